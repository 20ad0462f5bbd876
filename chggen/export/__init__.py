"""Structures of tables in the formats of other programs, each with what its numbers are."""
