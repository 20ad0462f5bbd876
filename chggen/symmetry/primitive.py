"""The primitive cell of a structure, as it is: no atom is moved onto a symmetric place."""

from typing import Final

import numpy as np
import spglib

from chggen.structure.crystal import Crystal

#: Distance tolerance (Å) at which translations are found: above the scatter of relaxed
#: supercells of a perfect crystal, below the distortions that make a true supercell.
SYMPREC: Final = 0.05


def primitive(crystal: Crystal, symprec: float = SYMPREC) -> Crystal:
    """The smallest cell that repeats to the crystal; the crystal itself if it is that already.

    Lattice and atoms are not idealised: atoms that a translation makes equal are replaced by
    their mean place (spglib's ``standardize_cell`` with ``no_idealize``).

    Args:
        crystal: any; one that spglib cannot read comes back as it is.
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
