"""Initial cells of a composition: Bravais lattices at a predicted volume."""
