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

from chggen.analysis.intervals import wilson
from chggen.errors import Status
from chggen.evaluation.outcomes import CLOSE, RELAXED, Outcome

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

#: Bootstrap draws; the limits then vary by some 1 % of the interval's width.
DRAWS = 4000
#: Values drawn at once, which bounds the memory (8 MB).
_MOST_VALUES = 1_000_000
#: How far relaxation moves atoms: attributes of an outcome.
MOVED = ("rmsd", "rmsd_normalised", "max_displacement")
#: eV/atom under the known structure from which a sample counts as lower in energy.
LOWER = 0.01


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


def share(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Share of all samples [N, K] with its interval.

    Where all structures agree a bootstrap would see no doubt at all; the interval is then
    Wilson's for N structures that all say the same.
    """
    per_structure = hits.mean(1)
    rate = float(per_structure.mean())
    if np.ptp(per_structure) == 0 and rate in {0.0, 1.0}:
        return rate, *wilson(round(rate * len(hits)), len(hits))
    return rate, *bootstrap(per_structure[:, None], _means)


def once(hits: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Share of structures [N, K] with at least one hit, with its Wilson interval."""
    found = int(hits.any(1).sum())
    return found / len(hits), *wilson(found, len(hits))


def median(values: Floats) -> tuple[float, float, float]:
    """Median of the numbers in [N, K] (NaN: left out), with its interval."""
    return float(_medians(values[None])[0]), *bootstrap(values, _medians)


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
    return mean, *bootstrap(gain[:, None], _means)


def grid(outcomes: Sequence[Outcome], samples: int, name: str) -> Floats:
    """One attribute of all outcomes as an array.

    Args:
        outcomes: the samples, those of one structure behind each other.
        samples: K, per structure.
        name: attribute of an outcome.

    Returns:
        [N, K] values.
    """
    values = np.array([getattr(o, name) for o in outcomes], dtype=np.float64)
    return values.reshape(-1, samples)


def summary(outcomes: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """All figures of one generator; keys as in docs/evaluation.md."""
    wide = grid(outcomes, samples, "matched") > 0
    narrow = grid(outcomes, samples, "matched_narrow") > 0
    energy = grid(outcomes, samples, "energy_above_truth")
    # a failure is worse than any energy: leaving it out would reward it
    ranked = np.where(np.isnan(energy), np.inf, energy)
    moved = {name: grid(outcomes, samples, name) for name in MOVED}
    figures = {
        "match_at_1": share(wide),
        "match_at_k": once(wide),
        "match_at_1_narrow": share(narrow),
        "match_at_k_narrow": once(narrow),
        "energy_above_truth": median(ranked),
        "energy_above_truth_best": median(ranked.min(1, keepdims=True)),
        "lower_energy": share(energy < -LOWER),
        "too_close": share(grid(outcomes, samples, "min_distance") < CLOSE),
        "delta_energy": median(grid(outcomes, samples, "delta_energy")),
        **{name: median(values) for name, values in moved.items()},
    }
    found: dict[str, Any] = {}
    for key, (value, low, high) in figures.items():
        found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    statuses = Counter(o.status for o in outcomes)
    return found | {
        "n_samples": len(outcomes),
        "n_relaxed": sum(statuses[s] for s in RELAXED),
        "n_rmsd": int(np.isfinite(moved["rmsd"]).sum()),
        "n_matched": int(wide.sum()),
        # in the order of the structures: what later runs are compared with
        "matches": wide.sum(1).tolist(),
        "matches_narrow": narrow.sum(1).tolist(),
        "statuses": {s.value: statuses[s] for s in Status if statuses[s]},
        "score_calls": sum(o.placed.score_calls for o in outcomes) / len(outcomes),
        "relaxation_steps": sum(o.relaxed.steps if o.relaxed else 0 for o in outcomes)
        / len(outcomes),
    }


def paired(first: Sequence[Outcome], second: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """Match rates of one generator minus those of another, structure by structure.

    Args:
        first: outcomes of the first generator.
        second: of the second, for the same structures.
        samples: K, per structure.
    """
    rates = {}
    for key in ("matched", "matched_narrow"):
        counts = [grid(outcomes, samples, key).sum(1) for outcomes in (first, second)]
        rates[key] = (counts[0], counts[1])
    return differences(rates["matched"], rates["matched_narrow"], (samples, samples))


def differences(
    wide: tuple[Floats, Floats], narrow: tuple[Floats, Floats], samples: tuple[int, int]
) -> dict[str, Any]:
    """Differences of match rates, first minus second, from matches per structure.

    Args:
        wide: matches [N] of the first and of the second.
        narrow: the same with the narrow tolerances.
        samples: K of the first and of the second; match@K needs the same.
    """
    found: dict[str, Any] = {}
    for suffix, (first, second) in (("", wide), ("_narrow", narrow)):
        figures = {f"match_at_1{suffix}": difference(first / samples[0], second / samples[1])}
        if samples[0] == samples[1]:
            figures[f"match_at_k{suffix}"] = difference(
                (first > 0).astype(np.float64), (second > 0).astype(np.float64)
            )
        for key, (value, low, high) in figures.items():
            found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return found
