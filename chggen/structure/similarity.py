"""How alike elements are in crystals, and which element takes the place of which.

The distance of two elements is -log of the share of formulas, among pairs that differ in
these two elements alone, whose crystals have the same prototype (a substitution statistic as
in Glawe et al., New J. Phys. 18, 093011 (2016), doi:10.1088/1367-2630/18/9/093011, but of the
share, not of the count). ``docs/fit_element_distances.py`` fits it to Materials Project
crystals. Distances of several substitutions add up.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chggen.structure.composition import ATOMIC_NUMBERS, SYMBOLS, parse_formula

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TABLE: Final = Path(__file__).parents[1] / "data/element_distances.csv"


@cache
def element_distances() -> Floats:
    """Distances of elements [104, 104] by atomic number, ≥ 0, 0 on the diagonal.

    Row and column 0 belong to no element and are infinite. Read-only.
    """
    size = len(SYMBOLS)
    table = np.full((size, size), np.inf)
    table[1:, 1:] = np.loadtxt(_TABLE, delimiter=",", skiprows=1, usecols=range(1, size))
    table[0, 0] = 0.0
    table.setflags(write=False)
    return table


def contents(formula: str) -> dict[int, int]:
    """Atoms per atomic number of a formula, reduced to smallest integers."""
    counts = {ATOMIC_NUMBERS[s]: n for s, n in parse_formula(formula).items()}
    return reduced(counts)


def reduced(counts: Mapping[int, int]) -> dict[int, int]:
    """Counts per atomic number over their greatest common divisor."""
    divisor = math.gcd(*counts.values())
    return {int(z): int(n) // divisor for z, n in counts.items()}


def anonymous(counts: Mapping[int, int]) -> tuple[int, ...]:
    """Anonymous formula: the reduced counts, rising. ``(1, 1, 3)`` for SrTiO3."""
    return tuple(sorted(reduced(counts).values()))


def ordered(counts: Mapping[int, int]) -> tuple[int, ...]:
    """Atomic numbers in the order of :func:`anonymous` (by count, then by number)."""
    return tuple(sorted(counts, key=lambda z: (counts[z], z)))


def assign(counts: Sequence[int], target: Sequence[int], donors: ArrayLike) -> tuple[Floats, Ints]:
    """Best assignment of the elements of a formula to those of donors of its anonymous formula.

    Only species with equal counts are exchanged; within these the sum of the distances is
    smallest (ties: the first in the order given).

    Args:
        counts: [k] anonymous formula, rising.
        target: [k] atomic numbers of the formula, in that order.
        donors: [m, k] atomic numbers of the donors, in that order.

    Returns:
        Chemical distance of each donor [m], and for each donor and place [m, k] the atomic
        number that takes that place.
    """
    from scipy.optimize import linear_sum_assignment

    theirs = np.asarray(donors, dtype=np.int64).reshape(-1, len(counts))
    ours = np.asarray(target, dtype=np.int64)
    table = element_distances()
    total = np.zeros(len(theirs))
    taken = np.tile(ours, (len(theirs), 1))
    for count in sorted(set(counts)):
        places = [i for i, n in enumerate(counts) if n == count]
        if len(places) == 1:
            total += table[theirs[:, places[0]], ours[places[0]]]
            continue
        for row, donor in enumerate(theirs):
            cost = table[np.ix_(donor[places], ours[places])]
            rows, columns = linear_sum_assignment(cost)
            taken[row, places] = ours[places][columns]
            total[row] += cost[rows, columns].sum()
    return total, taken
