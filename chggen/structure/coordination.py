"""Coordination numbers, how broadly an element's are spread, and where bonds changed."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from chggen.structure import composition as comp
from chggen.structure.bonds import Integers, Neighbours, bond_limits, neighbours
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats, nearest_distances

#: Neighbours looked at per atom: past the second shell of any packing, where ECoN
#: weights are below 1e-3.
_NEIGHBOURS: Final = 24
_ECON_ROUNDS: Final = 20
#: Distance (Å) below which two atoms count as one place.
_TOUCHING: Final = 0.1
#: Steepness of a bond's weight in the coordination number of DFT-D3 (its k1).
_STEEPNESS: Final = 16.0
#: A bond whose weight changes by more is broken or formed. Averaging a bond and a gap, as
#: symmetrisation does, makes two half bonds: a change of a half in both.
_BROKEN: Final = 0.25


def coordination_numbers(crystal: Crystal) -> Floats:
    """Effective coordination number (ECoN) of each atom, [n].

    Hoppe's definition (Z. Kristallogr. 150, 23 (1979)): the sum over neighbours of
    exp(1 - (d/d̄)⁶) with d̄ the average distance under the same weights, iterated to
    self-consistency. It needs no radii and no cutoff, changes smoothly as atoms move
    (a gap between sorted distances does not, and generated structures have few clear
    gaps) and is an integer for regular polyhedra. Neighbours of every element count.
    """
    distances = nearest_distances(crystal.cell, crystal.frac_coords, _NEIGHBOURS)
    average = distances[:, :1]
    weights = np.zeros_like(distances)
    for _ in range(_ECON_ROUNDS):
        weights = np.exp(1.0 - (distances / average) ** 6)
        average = (weights * distances).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
    numbers: Floats = weights.sum(axis=1)
    return numbers


@dataclass
class CoordinationCounts:
    """How often each coordination number was seen, by element.

    Args:
        counts: atoms by element and (rounded) coordination number.
        structures: how many structures they are of.
    """

    counts: dict[str, Counter[int]] = field(default_factory=dict)
    structures: int = 0

    def add(self, crystal: Crystal) -> None:
        """Count a structure's atoms; one that is not finite or collapsed is passed over."""
        if not len(crystal) or not crystal.is_finite or crystal.min_distance < _TOUCHING:
            return
        numbers = np.rint(coordination_numbers(crystal)).astype(int)
        for z, number in zip(crystal.atomic_numbers, numbers, strict=True):
            self.counts.setdefault(comp.SYMBOLS[int(z)], Counter())[int(number)] += 1
        self.structures += 1

    def atoms(self, symbol: str) -> int:
        """How many atoms of an element were counted."""
        return sum(self.counts.get(symbol, Counter()).values())

    def __add__(self, other: "CoordinationCounts") -> "CoordinationCounts":
        """Return both together."""
        counts = {
            symbol: self.counts.get(symbol, Counter()) + other.counts.get(symbol, Counter())
            for symbol in {**self.counts, **other.counts}
        }
        return CoordinationCounts(counts, self.structures + other.structures)

    @property
    def entropies(self) -> dict[str, float]:
        """Shannon entropy (nats) of each element's distribution of coordination numbers."""
        return {symbol: _entropy(list(found.values())) for symbol, found in self.counts.items()}


def changed_coordination(before: Crystal, after: Crystal) -> int | None:
    """How many atoms lost or gained a neighbour when a crystal was changed a little.

    A pair of atoms at distance d is bonded by the weight 1 / (1 + exp(-16 (L/d - 1))), the
    counting function of the DFT-D3 coordination number (Grimme et al.,
    doi:10.1063/1.3382344, k1 = 16), with L from :func:`chggen.structure.bonds.bond_limits`.
    A bond is broken or formed where the weight changes by more than a quarter: a P-S bond
    of 2.05 Å when stretched past 2.48 Å. A distance that merely crosses L by a little
    changes nothing, as it would with a cutoff.

    Args:
        before: the crystal.
        after: the same atoms in the same order, none moved to another image.

    Returns:
        Number of atoms with a broken or new bond; None where neighbours cannot be counted.
    """
    z = before.atomic_numbers
    if not len(z):
        return 0
    limits = bond_limits(z)
    # farther away the weight is under _BROKEN, so that it cannot fall by more
    reach = limits / (1.0 + np.log(_BROKEN / (1.0 - _BROKEN)) / _STEEPNESS)
    pairs = []
    for crystal in (before, after):
        found = neighbours(crystal, float(reach.max()))
        if found is None:
            return None
        near = found.distances < reach[z[found.first], z[found.second]]
        pairs.append(_in_given_cell(crystal, found)[near])
    pair = np.unique(np.concatenate(pairs), axis=0)
    first, second, shift = pair[:, 0], pair[:, 1], pair[:, 2:]
    change = np.zeros(len(pair))
    for crystal, sign in ((before, -1.0), (after, 1.0)):
        frac = crystal.frac_coords
        vectors = (frac[second] + shift - frac[first]) @ crystal.cell
        distances = np.maximum(np.linalg.norm(vectors, axis=1), _TOUCHING)
        weight = 1.0 / (1.0 + np.exp(-_STEEPNESS * (limits[z[first], z[second]] / distances - 1)))
        change += sign * weight
    return len(np.unique(first[np.abs(change) > _BROKEN]))


def _in_given_cell(crystal: Crystal, found: Neighbours) -> Integers:
    """Pairs as (first, second, three lattice translations of the crystal's own cell)."""
    vectors = (found.frac[found.second] + found.shifts - found.frac[found.first]) @ found.cell
    delta = crystal.frac_coords[found.second] - crystal.frac_coords[found.first]
    shifts = np.rint(vectors @ np.linalg.inv(crystal.cell) - delta).astype(np.int64)
    return np.column_stack([found.first, found.second, shifts])


def _entropy(counts: list[int]) -> float:
    shares = np.asarray(counts, dtype=np.float64) / sum(counts)
    return float((shares * -np.log(shares)).sum()) + 0.0  # no minus zero
