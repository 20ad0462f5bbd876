"""Means, medians and differences with their 95 % intervals, structures as the unit.

The K samples of one structure are not independent: an easy crystal is found by all of
them, a hard one by none. Everything that is counted or measured per sample therefore has
a percentile bootstrap interval over *structures* (all samples of a structure are drawn
together), and only match@K, one yes or no per structure, a Wilson interval.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from chggen.analysis.intervals import wilson

Floats = NDArray[np.float64]
#: A figure with the limits of its 95 % interval.
Figure = tuple[float, float, float]
Statistic = Callable[[Floats], Floats]

#: Bootstrap draws; the limits then vary by some 1 % of the interval's width.
DRAWS = 4000
#: Values drawn at once, which bounds the memory (8 MB).
_MOST_VALUES = 1_000_000


def bootstrap(values: Floats, statistic: Statistic, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile interval of a statistic, structures drawn with replacement.

    Args:
        values: [structures, samples]; a draw keeps all samples of a structure.
        statistic: of many such arrays at once, [draws, structures, samples] to [draws];
            may give ±inf, and NaN for draws that hold no numbers.
        draws: how many.

    Returns:
        Limits; NaN where there is nothing to draw. Always the same for the same values.
    """
    n = len(values)
    rng = np.random.default_rng(0)
    at_once = max(1, _MOST_VALUES // max(values.size, 1))
    found = np.concatenate(
        [
            statistic(values[rng.integers(n, size=(min(at_once, draws - done), n))])
            for done in range(0, draws, at_once)
        ]
    )
    found = found[~np.isnan(found)]
    if not len(found):
        return math.nan, math.nan
    # limits that were drawn: between inf and a number nothing can be interpolated
    low = np.quantile(found, 0.025, method="lower")
    high = np.quantile(found, 0.975, method="higher")
    return float(low), float(high)


def _means(values: Floats) -> Floats:
    return values.mean(axis=(1, 2))


def _medians(values: Floats) -> Floats:
    """Median of the numbers of each draw; NaN where there are none."""
    ordered = np.sort(values.reshape(len(values), -1), axis=1)  # NaN last
    count = (~np.isnan(ordered)).sum(1)
    rows = np.arange(len(ordered))
    middle = ordered[rows, np.maximum(count - 1, 0) // 2], ordered[rows, count // 2 - (count == 0)]
    return (middle[0] + middle[1]) / 2


def mean(per_structure: Floats) -> Figure:
    """Mean of shares per structure [N], each in 0 to 1, with its interval.

    Where all structures agree (or there is one alone) a bootstrap would see no doubt at all;
    the interval is then Wilson's for N structures that are hit or not, from that of the next
    lower number of hits to that of the next higher one.
    """
    rate, n = float(per_structure.mean()), len(per_structure)
    if np.ptp(per_structure) == 0:
        hits = round(rate * n, 9)
        return rate, wilson(math.floor(hits), n)[0], wilson(math.ceil(hits), n)[1]
    return rate, *bootstrap(per_structure[:, None], _means)


def share(hits: NDArray[np.bool_]) -> Figure:
    """Share of all samples [N, K] with its interval."""
    return mean(hits.mean(1))


def binary(hits: NDArray[np.bool_]) -> Figure:
    """Share of structures [N], one yes or no each, with its Wilson interval."""
    found = int(hits.sum())
    return found / len(hits), *wilson(found, len(hits))


def median(values: Floats) -> Figure:
    """Median of the numbers in [N, K] (NaN: left out), with its interval."""
    return float(_medians(values[None])[0]), *bootstrap(values, _medians)


def difference(first: Floats, second: Floats) -> Figure:
    """Mean of first minus second, values per structure [N] in 0 to 1, paired.

    Where all differences are the same the interval reaches as far as Wilson's for no
    event in N.
    """
    gain = first - second
    shift = float(gain.mean())
    if np.ptp(gain) == 0:
        reach = wilson(0, len(gain))[1]
        return shift, max(-1.0, shift - reach), min(1.0, shift + reach)
    return shift, *bootstrap(gain[:, None], _means)
