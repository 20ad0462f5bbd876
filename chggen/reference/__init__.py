"""Competing phases, and the decomposition energy against them."""
