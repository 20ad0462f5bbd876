"""The primitive cell of a structure, without symmetrisation of its atoms."""

from typing import Final

import numpy as np
import spglib

from chggen.structure.crystal import Crystal

#: Distance tolerance (Å) of translations: above the scatter of relaxed supercells of a
#: perfect crystal, below the distortions of a true superstructure.
SYMPREC: Final = 0.05


def primitive(crystal: Crystal, symprec: float = SYMPREC) -> Crystal:
    """The primitive cell of a crystal; the crystal itself if it is already primitive.

    Lattice and atoms are not idealised: atoms that are equivalent by translation are replaced
    by their mean position (spglib's ``standardize_cell`` with ``no_idealize``).

    Args:
        crystal: any crystal; one that spglib cannot process is returned unchanged.
        symprec: distance tolerance, Å.
    """
    if not len(crystal) or not crystal.is_finite:
        return crystal
    cell = (crystal.cell, crystal.frac_coords, crystal.atomic_numbers)
    try:
        found = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=symprec)
    except spglib.SpglibError:
        return crystal
    if found is None or not 0 < len(found[2]) < len(crystal):
        return crystal
    smaller = Crystal.of(*(found[0], found[2], found[1]))
    share = len(smaller) / len(crystal)
    kept = np.array_equal(
        np.bincount(smaller.atomic_numbers, minlength=120),
        share * np.bincount(crystal.atomic_numbers, minlength=120),
    )
    return smaller if kept else crystal
