"""95 % intervals of rates: of independent counts, and of counts in clusters."""

import math
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t

#: Confidence level of every interval.
LEVEL: Final = 0.95
_TAIL: Final = 0.5 * (1.0 + LEVEL)
_Z: Final = float(norm.ppf(_TAIL))

Floats = NDArray[np.float64]


@lru_cache(maxsize=65536)
def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson score interval of a rate k/n of independent trials; (nan, nan) for n = 0.

    Wilson, J. Am. Stat. Assoc. 22, 209 (1927), doi:10.1080/01621459.1927.10502953; it stays
    inside [0, 1] and keeps its coverage for small n and for k = 0 or n.

    Args:
        k: successes.
        n: trials.

    Raises:
        ValueError: k is not within 0…n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k = {k} is not within 0 and n = {n}")
    if n == 0:
        return math.nan, math.nan
    low, high = binomtest(k, n).proportion_ci(LEVEL, method="wilson")
    return float(low), float(high)


def clustered(hits: Floats, sizes: Floats) -> tuple[float, float]:
    """Wilson interval of a rate whose trials come in clusters that resemble each other.

    Wilson's interval for the *effective* number of independent trials, which is n over the
    design effect (Kish, Survey Sampling, Wiley 1965), with the correction for few clusters of
    Korn & Graubard, Survey Methodology 24, 193 (1998). The design effect is the variance of
    the rate between clusters (linearised ratio estimator) over that of independent trials,
    at least 1. So that it is defined for 0 and n hits too, and is not taken for 1 where there
    are only a few, a cluster of nothing but hits and one of nothing but misses, both of mean
    size, are added to its estimate (in the manner of Agresti & Coull, Am. Stat. 52, 119
    (1998)); they do not enter the rate.

    Args:
        hits: [clusters] hits in each.
        sizes: [clusters] trials in each, at least 1. Where all are 1 the interval is that of
            :func:`wilson`.

    Returns:
        Lower and upper end; (nan, nan) without trials.
    """
    n, k, groups = float(sizes.sum()), float(hits.sum()), len(sizes)
    if groups in {0, n}:
        return wilson(round(k), round(n))
    effective = n / _design_effect(hits, sizes)
    if groups > 1:
        effective *= (_quantile(round(n) - 1) / _quantile(groups - 1)) ** 2
    else:
        effective = 1.0
    return _wilson_of(k / n, max(effective, 1.0))


@cache
def _quantile(freedom: int) -> float:
    """Of Student's t, two-sided at :data:`LEVEL`."""
    return float(t.ppf(_TAIL, freedom))


def _design_effect(hits: Floats, sizes: Floats) -> float:
    """Variance of the rate between clusters over that of as many independent trials."""
    # mean size of the cluster that a trial is in
    mean = float((sizes**2).sum() / sizes.sum())
    hits, sizes = np.append(hits, [mean, 0.0]), np.append(sizes, [mean, mean])
    n, groups = float(sizes.sum()), len(sizes)
    rate = float(hits.sum()) / n
    between = groups / (groups - 1) * float(((hits - rate * sizes) ** 2).sum()) / n**2
    return max(1.0, between * (n - 1) / (rate * (1 - rate)))


def _wilson_of(rate: float, n: float) -> tuple[float, float]:
    """Wilson's formula for a number of trials that need not be whole."""
    scale = 1.0 + _Z * _Z / n
    centre = (rate + _Z * _Z / (2 * n)) / scale
    half = _Z / scale * math.sqrt(rate * (1 - rate) / n + _Z * _Z / (4 * n * n))
    # the exact ends at rates of 0 and 1, which rounding would miss
    return (0.0 if rate == 0 else centre - half), (1.0 if rate == 1 else centre + half)
