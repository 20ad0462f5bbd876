"""Prototype labels: the space group of a crystal and the multiplicities of its orbits.

A label is the same for every cell, setting, origin and order of the atoms: multiplicities are
counted in the cell of the lattice that spglib finds and divided by their greatest common
divisor. Species are anonymous. Crystals of one prototype have one label; that the converse
need not hold is measured in docs/references.md.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import SymmetrisationError, symmetry_dataset

#: Distance tolerances (Å) at which crystals are labelled.
TOLERANCES: Final = (0.01, 0.1)


@dataclass(frozen=True, order=True)
class Label:
    """Space group and orbits of a crystal at one tolerance.

    Args:
        space_group: international number.
        orbits: multiplicities of the orbits of each species, over their greatest common
            divisor: ``1|1|1,1,1`` has three species, the last one on three orbits.
    """

    space_group: int
    orbits: str

    def __str__(self) -> str:
        """``225 1|1``."""
        return f"{self.space_group} {self.orbits}"


def normalised(species: Iterable[Iterable[int]]) -> str:
    """Multiplicities in any cell of a crystal as the text of :class:`Label`.

    Args:
        species: multiplicities of the orbits of each species.
    """
    sizes = [sorted(orbits) for orbits in species]
    divisor = math.gcd(*(size for orbits in sizes for size in orbits))
    divided = sorted([size // divisor for size in orbits] for orbits in sizes)
    return "|".join(",".join(map(str, orbits)) for orbits in divided)


def label(crystal: Crystal, symprec: float) -> Label | None:
    """Label of a crystal at a tolerance (Å); None if spglib finds no space group.

    Args:
        crystal: any setting, primitive or not.
        symprec: distance tolerance, Å. The angle tolerance is spglib's own, which follows
            from it.
    """
    try:
        reduced, data = symmetry_dataset(crystal, symprec)
    except SymmetrisationError:
        return None
    # of the primitive cell: those of a supercell can be divided by its lower symmetry
    orbits = data.crystallographic_orbits.tolist()
    counts: dict[int, Counter[int]] = {}
    for number, orbit in zip(reduced.atomic_numbers.tolist(), orbits, strict=True):
        counts.setdefault(number, Counter())[orbit] += 1
    return Label(int(data.number), normalised(found.values() for found in counts.values()))


def labels(crystal: Crystal) -> frozenset[Label]:
    """Labels of a crystal at both of :data:`TOLERANCES`; empty if spglib finds none."""
    found = (label(crystal, symprec) for symprec in TOLERANCES)
    return frozenset(one for one in found if one is not None)
