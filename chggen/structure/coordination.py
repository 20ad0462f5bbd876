"""Coordination numbers, and how broadly an element's are spread."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats, nearest_distances

#: Neighbours looked at per atom: past the second shell of any packing, where ECoN
#: weights are below 1e-3.
_NEIGHBOURS: Final = 24
_ECON_ROUNDS: Final = 20
#: Distance (Å) below which two atoms count as one place.
_TOUCHING: Final = 0.1


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


def coordination_entropies(crystals: Iterable[Crystal]) -> dict[str, float]:
    """Shannon entropy (nats) of each element's distribution of coordination numbers.

    Coordination numbers are rounded to integers and pooled over all structures.
    Structures that are not finite or have atoms on top of each other are passed over.
    """
    counts: dict[str, Counter[int]] = {}
    for crystal in crystals:
        if not len(crystal) or not crystal.is_finite or crystal.min_distance < _TOUCHING:
            continue
        numbers = np.rint(coordination_numbers(crystal)).astype(int)
        for z, number in zip(crystal.atomic_numbers, numbers, strict=True):
            counts.setdefault(comp.SYMBOLS[int(z)], Counter())[int(number)] += 1
    return {symbol: _entropy(list(found.values())) for symbol, found in counts.items()}


def _entropy(counts: list[int]) -> float:
    shares = np.asarray(counts, dtype=np.float64) / sum(counts)
    return float((shares * -np.log(shares)).sum()) + 0.0  # no minus zero
