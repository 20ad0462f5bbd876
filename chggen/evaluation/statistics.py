"""Rates, medians and their 95 % intervals.

The K samples of one structure are not independent: an easy crystal is found by all of
them, a hard one by none. Everything that is counted or measured per sample therefore has
a percentile bootstrap interval over *structures* (all samples of a structure are drawn
together), and only match@K, one yes or no per structure, a Wilson interval.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chggen.analysis.rates import wilson
from chggen.errors import Status
from chggen.evaluation.outcomes import CLOSE, RELAXED, Outcome

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]

#: Bootstrap draws; the limits then vary by some 1 % of the interval's width.
DRAWS = 4000
#: eV/atom under the known structure from which a sample counts as lower in energy.
LOWER = 0.01


def bootstrap(values: Floats, statistic: Statistic, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile interval of a statistic, structures drawn with replacement.

    Args:
        values: [structures, ...]; a draw keeps all that belongs to a structure.
        statistic: of such an array; may give ±inf, but not NaN for most draws.
        draws: how many.

    Returns:
        Limits; NaN where there is nothing to draw. Always the same for the same values.
    """
    n = len(values)
    if n == 0:
        return math.nan, math.nan
    rng = np.random.default_rng(0)
    found = np.array([statistic(values[rng.integers(n, size=n)]) for _ in range(draws)])
    found = found[~np.isnan(found)]
    if not len(found):
        return math.nan, math.nan
    # limits that were drawn: between inf and a number nothing can be interpolated
    low = np.quantile(found, 0.025, method="lower")
    high = np.quantile(found, 0.975, method="higher")
    return float(low), float(high)


def share(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Share of all samples [N, K] with its interval.

    Where all structures agree a bootstrap would see no doubt at all; the interval is then
    Wilson's for N structures that all say the same.
    """
    per_structure = hits.mean(1)
    rate = float(per_structure.mean())
    if np.ptp(per_structure) == 0 and rate in {0.0, 1.0}:
        return rate, *wilson(round(rate * len(hits)), len(hits))
    return rate, *bootstrap(per_structure, lambda x: float(x.mean()))


def once(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Share of structures [N, K] with at least one hit, with its Wilson interval."""
    found = int(hits.any(1).sum())
    return found / len(hits), *wilson(found, len(hits))


def median(values: Floats) -> tuple[float, float, float]:
    """Median of the numbers in [N, K] (NaN: left out), with its interval."""
    return _median(values), *bootstrap(values, _median)


def _median(values: Floats) -> float:
    numbers = values[~np.isnan(values)]
    return float(np.median(numbers)) if len(numbers) else math.nan


def difference(first: Floats, second: Floats) -> tuple[float, float, float]:
    """Mean of first minus second, values per structure [N] in 0 to 1, paired.

    Where all differences are the same the interval reaches as far as Wilson's for no
    event in N.
    """
    gain = first - second
    mean = float(gain.mean())
    if np.ptp(gain) == 0:
        reach = wilson(0, len(gain))[1]
        return mean, max(-1.0, mean - reach), min(1.0, mean + reach)
    return mean, *bootstrap(gain, lambda x: float(x.mean()))


def grid(outcomes: Sequence[Outcome], samples: int, name: str) -> Floats:
    """One attribute of all outcomes as [N, K]."""
    values = np.array([getattr(o, name) for o in outcomes], dtype=np.float64)
    return values.reshape(-1, samples)


def summary(outcomes: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """All figures of one generator; keys as in docs/evaluation.md."""
    wide = grid(outcomes, samples, "matched") > 0
    narrow = grid(outcomes, samples, "matched_narrow") > 0
    energy = grid(outcomes, samples, "energy_above_truth")
    # a failure is worse than any energy: leaving it out would reward it
    ranked = np.where(np.isnan(energy), np.inf, energy)
    delta, rmsd = (grid(outcomes, samples, name) for name in ("delta_energy", "rmsd"))
    figures = {
        "match_at_1": share(wide),
        "match_at_k": once(wide),
        "match_at_1_narrow": share(narrow),
        "match_at_k_narrow": once(narrow),
        "energy_above_truth": median(ranked),
        "energy_above_truth_best": median(ranked.min(1, keepdims=True)),
        "lower_energy": share(energy < -LOWER),
        "too_close": share(grid(outcomes, samples, "min_distance") < CLOSE),
        "delta_energy": median(delta),
        "rmsd": median(rmsd),
    }
    found: dict[str, Any] = {}
    for key, (value, low, high) in figures.items():
        found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    statuses = Counter(o.status for o in outcomes)
    return found | {
        "n_samples": len(outcomes),
        "n_relaxed": sum(statuses[s] for s in RELAXED),
        "n_rmsd": int(np.isfinite(rmsd).sum()),
        "n_matched": int(wide.sum()),
        "statuses": {s.value: statuses[s] for s in Status if statuses[s]},
        "score_calls": sum(o.placed.score_calls for o in outcomes) / len(outcomes),
        "relaxation_steps": sum(o.relaxed.steps if o.relaxed else 0 for o in outcomes)
        / len(outcomes),
    }


def paired(first: Sequence[Outcome], second: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """Match rates of one generator minus those of another, structure by structure."""
    found: dict[str, Any] = {}
    for suffix, name in (("", "matched"), ("_narrow", "matched_narrow")):
        a, b = grid(first, samples, name), grid(second, samples, name)
        figures = {
            f"match_at_1{suffix}": difference(a.mean(1), b.mean(1)),
            f"match_at_k{suffix}": difference(a.max(1), b.max(1)),
        }
        for key, (value, low, high) in figures.items():
            found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return found
