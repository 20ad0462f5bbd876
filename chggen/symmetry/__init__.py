"""Space groups: detection, symmetrisation, imposed symmetry, frameworks."""
