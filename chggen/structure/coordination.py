"""Coordination numbers, and how broadly an element's are spread."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np
import spglib
from scipy.spatial import KDTree

from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, Floats

#: Neighbours looked at per atom: past the second shell of any packing, where ECoN
#: weights are below 1e-3.
_NEIGHBOURS: Final = 24
_ECON_ROUNDS: Final = 20
#: Distance (Å) below which two atoms count as one place.
_TOUCHING: Final = 0.1


def nearest_distances(crystal: Crystal, k: int) -> Floats:
    """Distances in Å from each atom to its ``k`` nearest neighbours, sorted, [n, k].

    Periodic images count as neighbours. Raises ``ValueError`` for a flat cell.
    """
    cell = spglib.niggli_reduce(crystal.cell)
    if cell is None:
        raise ValueError("cell is flat")
    frac = crystal.cart_coords @ np.linalg.inv(cell)
    here = (frac - np.floor(frac)) @ cell
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    # a sphere of this radius holds k atoms at the mean density; the margin is for
    # structures with voids, and the loop for those with larger ones
    radius = 1.3 * np.cbrt((k + 1) * crystal.volume_per_atom * 3 / (4 * np.pi))
    while True:
        spans = [np.arange(-m, m + 1) for m in np.ceil(radius / heights).astype(int)]
        images = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 1, 3) @ cell
        tree = KDTree((images + here).reshape(-1, 3))
        distances: Floats = np.asarray(tree.query(here, k + 1)[0])[:, 1:]
        if distances.size == 0 or distances.max() <= radius:
            return distances
        radius *= 1.3


def coordination_numbers(crystal: Crystal) -> Floats:
    """Effective coordination number (ECoN) of each atom, [n].

    Hoppe's definition (Z. Kristallogr. 150, 23 (1979)): the sum over neighbours of
    exp(1 - (d/d̄)⁶) with d̄ the average distance under the same weights, iterated to
    self-consistency. It needs no radii and no cutoff, changes smoothly as atoms move
    (a gap between sorted distances does not, and generated structures have few clear
    gaps) and is an integer for regular polyhedra. Neighbours of every element count.
    """
    distances = nearest_distances(crystal, _NEIGHBOURS)
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
