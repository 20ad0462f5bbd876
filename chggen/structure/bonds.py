"""Bonds by covalent radii: atoms too close, bonded components, dimensionality.

Two atoms are bonded if they are closer than :data:`BONDED` times the sum of their covalent
radii (Cordero et al., doi:10.1039/b801115j, as ASE tabulates them). The dimensionality of
a bonded component is the rank of the lattice translations that its closed paths add up to
(Larsen et al., doi:10.1103/PhysRevMaterials.3.034003): 0 for a molecule, 1 for a chain,
2 for a layer, 3 for a framework.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations_with_replacement
from typing import Final

import numpy as np
import spglib
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.spatial import KDTree

from chggen.structure.composition import SYMBOLS, formula_of
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

Integers = NDArray[np.int64]

#: Bonds are shorter than this times the sum of covalent radii. Of 3,000 crystals of the
#: Materials Project, docs/references.md has the shares of 0D to 3D and what they are.
BONDED: Final = 1.25
#: Same for a cation and an anion, whose radii add up to more than the covalent ones (TlCl,
#: 3.3 Å, is 1.35 times their sum).
BONDED_IONIC: Final = 1.4
#: Difference of Pauling electronegativities from which a pair counts as one of ions.
IONIC: Final = 1.4
#: Least share of the sum of covalent radii that atoms may be apart, and the same where one
#: of them is hydrogen.
LEAST_SHARE: Final = 0.6
LEAST_SHARE_HYDROGEN: Final = 0.75
#: Volume per atom (Å³) that no crystal falls below.
LEAST_VOLUME: Final = 1e-3
#: Most images of a cell that are searched for bonds; flatter cells have no bonds worth a name.
_MOST_POINTS: Final = 400_000


def least_distance(first: int, second: int) -> float:
    """Shortest distance (Å) that two elements may be apart, by atomic numbers.

    0.6 times the sum of their covalent radii is shorter than any bond, triple bonds and
    uranyl included; with hydrogen it is 0.75 times (H-H 0.47, O-H 0.73 Å), as its bonds are
    never multiple.
    """
    share = LEAST_SHARE_HYDROGEN if 1 in {first, second} else LEAST_SHARE
    return share * float(covalent_radii[first] + covalent_radii[second])


@dataclass(frozen=True)
class ClosestPair:
    """The pair of a crystal that is nearest to its limit, or farthest under it.

    Args:
        symbols: the two elements.
        distance: how far apart they are, Å.
        limit: least distance that they may be apart, Å.
    """

    symbols: tuple[str, str]
    distance: float
    limit: float

    @property
    def ratio(self) -> float:
        """Distance over limit; under 1 is too close."""
        return self.distance / self.limit

    def __str__(self) -> str:
        """Return the pair in words."""
        pair = "-".join(self.symbols)
        return f"{pair} distance {self.distance:.2f} Å, limit {self.limit:.2f} Å"


def closest_pair(crystal: Crystal, limit: float | None = None) -> ClosestPair | None:
    """Pair of atoms whose distance is the smallest share of what its elements allow.

    Args:
        crystal: any.
        limit: the same least distance (Å) for all pairs; None: :func:`least_distance`.

    Returns:
        None for a crystal without atoms, or whose numbers are not finite.
    """
    if not len(crystal) or not crystal.is_finite:
        return None
    elements = [int(z) for z in np.unique(crystal.atomic_numbers)]
    limits = {
        pair: least_distance(*pair) if limit is None else limit
        for pair in combinations_with_replacement(elements, 2)
    }
    shortest = crystal.min_distance
    # the pair with the shortest distance bounds the ratio, so that few pairs are looked at
    reach = shortest * max(limits.values()) / min(limits.values()) * (1 + 1e-9) + 1e-9
    found = neighbours(crystal, reach)
    if found is None or not len(found.distances):
        first = elements[0]
        return ClosestPair((SYMBOLS[first], SYMBOLS[first]), shortest, limits[first, first])
    z = crystal.atomic_numbers
    pairs = np.sort(np.stack([z[found.first], z[found.second]], 1), axis=1)
    allowed = np.array([limits[int(a), int(b)] for a, b in pairs])
    best = int(np.argmin(found.distances / allowed))
    a, b = (int(x) for x in pairs[best])
    return ClosestPair((SYMBOLS[a], SYMBOLS[b]), float(found.distances[best]), limits[a, b])


@dataclass(frozen=True)
class Neighbours:
    """Directed pairs within a cutoff, in the reduced cell that ``cell`` and ``frac`` are.

    Args:
        cell: 3×3 row vectors of the reduced cell, Å.
        frac: [n, 3] fractional coordinates in it, in [0, 1).
        first: [p] index of the first atom.
        second: [p] index of the second atom.
        shifts: [p, 3] lattice translation of the second atom.
        distances: [p] Å.
    """

    cell: Floats
    frac: Floats
    first: Integers
    second: Integers
    shifts: Integers
    distances: Floats


def neighbours(crystal: Crystal, cutoff: float) -> Neighbours | None:
    """All pairs closer than ``cutoff`` (Å), each in both directions, periodic images included.

    Returns:
        None for a cell without volume, or so dense or flat that there are too many images.
    """
    if not crystal.is_finite or crystal.volume < LEAST_VOLUME * len(crystal):
        return None
    reduced = spglib.niggli_reduce(crystal.cell)
    if reduced is None:
        return None
    frac = crystal.cart_coords @ np.linalg.inv(reduced)
    frac -= np.floor(frac)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)
    spans = np.ceil(cutoff / heights).astype(int)
    if np.prod(2.0 * spans + 1) * len(crystal) > _MOST_POINTS:
        return None
    grids = np.meshgrid(*(np.arange(-m, m + 1) for m in spans), indexing="ij")
    images = np.stack(grids, -1).reshape(-1, 3)
    n = len(frac)
    points = ((frac[None] + images[:, None]) @ reduced).reshape(-1, 3)
    here = frac @ reduced
    found = KDTree(points).query_ball_point(here, cutoff)
    first = np.repeat(np.arange(n), [len(f) for f in found])
    index = np.array([j for f in found for j in f], dtype=np.int64)
    shifts, second = images[index // n], index % n
    distances = np.linalg.norm(points[index] - here[first], axis=1)
    other = (first != second) | shifts.any(axis=1)
    return Neighbours(reduced, frac, first[other], second[other], shifts[other], distances[other])


@dataclass(frozen=True)
class Component:
    """A bonded part of a crystal: a molecule, chain, layer or framework.

    Args:
        atomic_numbers: [m] of the atoms in one period of it.
        positions: [m, 3] Cartesian, Å, whole (not cut by the cell).
        periods: [d, 3] Cartesian vectors (Å) of the lattice that it repeats by.
    """

    atomic_numbers: Integers
    positions: Floats
    periods: Floats

    @property
    def dimensionality(self) -> int:
        """0 to 3."""
        return len(self.periods)

    @cached_property
    def formula(self) -> str:
        """Its reduced formula."""
        return formula_of(self.atomic_numbers)


def components(crystal: Crystal) -> list[Component] | None:
    """Bonded components of a crystal; None where its neighbours cannot be counted."""
    if not len(crystal) or not crystal.is_finite:
        return None
    z = crystal.atomic_numbers
    table = bond_limits(z)
    found = neighbours(crystal, float(table.max()))
    if found is None:
        return None
    bonded = found.distances < table[z[found.first], z[found.second]]
    parts = _walk(len(z), found.first[bonded], found.second[bonded], found.shifts[bonded])
    return [
        Component(
            z[atoms],
            (found.frac[atoms] + shifts) @ found.cell,
            _basis(cycles) @ found.cell,
        )
        for atoms, shifts, cycles in parts
    ]


def dimensionality(crystal: Crystal) -> int | None:
    """Highest dimensionality of the bonded components, 0 to 3; None if it cannot be known."""
    parts = components(crystal)
    return None if parts is None else max(part.dimensionality for part in parts)


def bond_limits(atomic_numbers: Integers) -> Floats:
    """Distances (Å) below which two atoms are bonded, by their atomic numbers [Z, Z].

    Args:
        atomic_numbers: of a crystal with atoms; what it lacks is zero.
    """
    elements = np.unique(atomic_numbers)
    table = np.zeros((int(elements.max()) + 1,) * 2)
    for a in elements:
        for b in elements:
            table[a, b] = _bond_limit(int(a), int(b))
    return table


@cache
def _bond_limit(first: int, second: int) -> float:
    """Distance (Å) below which two elements are bonded."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noble gases have none: NaN, and no ion
        difference = abs(Element(SYMBOLS[first]).X - Element(SYMBOLS[second]).X)
    share = BONDED_IONIC if difference >= IONIC else BONDED
    return share * float(covalent_radii[first] + covalent_radii[second])


def _walk(
    n: int, first: Integers, second: Integers, shifts: Integers
) -> Iterator[tuple[Integers, Integers, Integers]]:
    """Atoms, their translations and closed paths' translations of each component."""
    order = np.argsort(first, kind="stable")
    first, second, shifts = first[order], second[order], shifts[order]
    ends = np.searchsorted(first, np.arange(n + 1))
    place: dict[int, Integers] = {}
    for start in range(n):
        if start in place:
            continue
        place[start] = np.zeros(3, dtype=np.int64)
        atoms, cycles = [start], [np.zeros((0, 3), dtype=np.int64)]
        for atom in atoms:  # grows as it goes
            edges = slice(ends[atom], ends[atom + 1])
            for other, shift in zip(second[edges].tolist(), shifts[edges], strict=True):
                if other not in place:
                    place[other] = place[atom] + shift
                    atoms.append(other)
                else:
                    cycles.append((place[atom] + shift - place[other])[None])
        closed = np.unique(np.concatenate(cycles), axis=0)
        yield np.array(atoms), np.stack([place[a] for a in atoms]), closed


def _basis(vectors: Integers) -> Integers:
    """Basis [d, 3] of the lattice that integer vectors [k, 3] span (Hermite normal form)."""
    rows = [list(map(int, v)) for v in vectors if v.any()]
    basis: list[list[int]] = []
    for column in range(3):
        while True:
            here = sorted((r for r in rows if r[column]), key=lambda r: abs(r[column]))
            if len(here) <= 1:
                break
            pivot = here[0]
            for r in here[1:]:
                q = r[column] // pivot[column]
                r[:] = [x - q * y for x, y in zip(r, pivot, strict=True)]
        if here:
            basis.append(here[0])
            rows = [r for r in rows if r is not here[0] and any(r)]
    return np.array(basis, dtype=np.int64).reshape(-1, 3)
