"""Cells that a composition starts in: Bravais lattices at a predicted volume."""
