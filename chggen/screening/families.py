"""Families: structures that differ only in how the same layers, chains or molecules are stacked.

A potential without dispersion, such as CHGNet, cannot tell such stackings apart: their energies
agree within its noise whatever the gap between the parts. They count as one structure where
the screen limits how many go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from ase.geometry import minkowski_reduce
from scipy.spatial import KDTree

from chggen.structure.bonds import Component
from chggen.structure.distances import Floats

#: Largest difference (Å) of mean distances inside bonded parts that count as the same.
WINDOW: Final = 0.1
_NEIGHBOURS: Final = 12
_FRAMEWORK: Final = 3


@dataclass(frozen=True)
class _Part:
    """A kind of bonded component of a crystal, and the share of all atoms in it."""

    component: Component
    share: float

    @cached_property
    def distances(self) -> Floats:
        return inner_distances(self.component)

    def same(self, other: "_Part") -> bool:
        """Whether the two are the same component, as far as distances tell."""
        a, b = self.component, other.component
        return (
            a.dimensionality == b.dimensionality
            and a.formula == b.formula
            and abs(self.share - other.share) < 1e-6  # noqa: PLR2004
            and self.distances.shape == other.distances.shape
            and bool(np.abs(self.distances - other.distances).max() < WINDOW)
        )


def families(parts: Sequence[Sequence[Component] | None], formulas: Sequence[str]) -> list[int]:
    """For each crystal the index of the first that it differs from by stacking alone.

    Crystals are compared with the first member of each family, so their order decides who
    that is: give the lowest in energy first. Only crystals whose bonded components all have
    a dimensionality below three can share a family; the others get their own index.

    Args:
        parts: bonded components of each crystal; None where they are not known.
        formulas: canonical formula of each.
    """
    heads: dict[str, list[int]] = {}
    sorted_parts: list[list[_Part] | None] = [_kinds(found) for found in parts]
    result = []
    for index, (own, formula) in enumerate(zip(sorted_parts, formulas, strict=True)):
        known = heads.setdefault(formula, [])
        head = index
        if own is not None:
            head = next((i for i in known if _match(own, sorted_parts[i] or [])), index)
            if head == index:
                known.append(index)
        result.append(head)
    return result


def inner_distances(component: Component) -> Floats:
    """Mean distances (Å) to the 12 nearest atoms of the same component, [elements · 12].

    As the average minimum distance of Widdowson et al. (doi:10.46793/match.87-3.529W) by
    element, but without the other layers, chains or molecules: so it does not depend on how
    they are stacked. Zeros where a molecule has fewer atoms.
    """
    here, z = component.positions, component.atomic_numbers
    periods = _short(component.periods)
    wanted = _NEIGHBOURS + 1
    radius = 6.0
    while True:
        points = (here[None] + _translations(here, periods, radius)[:, None]).reshape(-1, 3)
        k = min(wanted, len(points))
        distances = np.asarray(KDTree(points).query(here, k)[0]).reshape(len(here), k)
        if not len(periods) or (k == wanted and distances.max() <= radius):
            break
        radius *= 1.5
    full = np.zeros((len(here), wanted))
    full[:, :k] = distances
    means = [full[z == number, 1:].mean(axis=0) for number in np.unique(z)]
    return np.concatenate(means)


def _kinds(parts: Sequence[Component] | None) -> list[_Part] | None:
    """The different components of a crystal; None for one that is a family by itself."""
    if not parts or any(part.dimensionality == _FRAMEWORK for part in parts):
        return None
    total = sum(len(part.atomic_numbers) for part in parts)
    kinds: list[list[Component]] = []
    for part in parts:
        probe = _Part(part, 0.0)
        for kind in kinds:
            if probe.same(_Part(kind[0], 0.0)):
                kind.append(part)
                break
        else:
            kinds.append([part])
    return [
        _Part(kind[0], sum(len(part.atomic_numbers) for part in kind) / total) for kind in kinds
    ]


def _match(first: Sequence[_Part], second: Sequence[_Part]) -> bool:
    """Whether each kind of one has its own partner in the other."""
    if len(first) != len(second):
        return False
    left = list(second)
    for part in first:
        partner = next((other for other in left if part.same(other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return True


def _short(periods: Floats) -> Floats:
    """The same lattice [d, 3] with vectors as short as can be."""
    if len(periods) < 2:  # noqa: PLR2004
        return periods
    cell = np.zeros((3, 3))
    cell[:2] = periods
    cell[2] = np.cross(*periods)
    return np.asarray(minkowski_reduce(cell, pbc=[True, True, False])[0])[:2]


def _translations(here: Floats, periods: Floats, radius: float) -> Floats:
    """Lattice translations [t, 3] that bring images within ``radius`` of the atoms."""
    if not len(periods):
        return np.zeros((1, 3))
    extent = np.ptp(here @ np.linalg.pinv(periods), axis=0)
    heights = 1.0 / np.linalg.norm(np.linalg.pinv(periods), axis=0)
    spans = np.ceil(radius / heights + extent).astype(int)
    grids = np.meshgrid(*(np.arange(-m, m + 1) for m in spans), indexing="ij")
    return np.stack(grids, -1).reshape(-1, len(periods)) @ periods
