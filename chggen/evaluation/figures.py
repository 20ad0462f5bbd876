"""The figures of one generator, from the outcomes of its samples; keys of docs/evaluation.md."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chggen.errors import Status
from chggen.evaluation.budget import Search, by_samples
from chggen.evaluation.outcomes import CLOSE, COSTS, RELAXED, Outcome
from chggen.evaluation.sampling import PROTOTYPES, UNCONDITIONAL
from chggen.evaluation.settings import SIZES, size_class
from chggen.evaluation.statistics import Figure, Floats, binary, difference, mean, median, share

#: How much relaxation changes a sample: attributes of an outcome.
MOVED: Final = ("delta_energy", "rmsd", "rmsd_normalised", "max_displacement", "volume_change")
#: eV/atom under the known structure from which a sample counts as lower in energy.
LOWER: Final = 0.01
#: eV/atom above the known structure up to which a sample counts as as good.
NEAR: Final = 0.01
#: What is counted per structure, the rate that follows from it, and whether the count is of
#: samples (0 to K) or yes or no for all K together.
COUNTED: Final = (
    ("matches", "match_at_1", True),
    ("matches", "match_at_k", False),
    ("matches_narrow", "match_at_1_narrow", True),
    ("matches_narrow", "match_at_k_narrow", False),
    ("lowest_matches", "lowest_energy_at_k", False),
    ("lowest_matches_narrow", "lowest_energy_at_k_narrow", False),
    ("samples_within_10_mev", "within_10_mev", True),
)

#: Counts per structure, by name: those that results of runs are compared by.
Counts = Mapping[str, NDArray[np.int64]]


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


def ranked(outcomes: Sequence[Outcome], samples: int) -> Floats:
    """Energies above the known structures [N, K], eV/atom, with inf for failures.

    A failure is worse than any energy: leaving it out would reward it.
    """
    energy = grid(outcomes, samples, "energy_above_truth")
    return np.where(np.isnan(energy), np.inf, energy)


def counts(outcomes: Sequence[Outcome], samples: int) -> dict[str, NDArray[np.int64]]:
    """Counts per structure [N], named as in :data:`COUNTED`.

    Args:
        outcomes: the samples, those of one structure behind each other.
        samples: K, per structure.
    """
    energy = ranked(outcomes, samples)
    lowest = np.arange(len(energy)), energy.argmin(1)
    found: dict[str, NDArray[Any]] = {"samples_within_10_mev": (energy <= NEAR).sum(1)}
    for suffix in ("", "_narrow"):
        hits = grid(outcomes, samples, f"matched{suffix}") > 0
        found |= {f"matches{suffix}": hits.sum(1), f"lowest_matches{suffix}": hits[lowest]}
    return {name: values.astype(np.int64) for name, values in found.items()}


def _rates(counted: Counts, samples: int) -> dict[str, Floats]:
    """Rates per structure [N], in 0 to 1; those whose counts are missing are left out."""
    return {
        rate: counted[name] / samples if each else (counted[name] > 0).astype(np.float64)
        for name, rate, each in COUNTED
        if name in counted
    }


def summary(outcomes: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """All figures of one generator, but for those against CPU seconds.

    Args:
        outcomes: the samples, those of one structure behind each other.
        samples: K, per structure.
    """
    counted = counts(outcomes, samples)
    statuses = Counter(o.status for o in outcomes)
    return _values(outcomes, samples) | {
        "n_samples": len(outcomes),
        "n_relaxed": sum(statuses[s] for s in RELAXED),
        "n_rmsd": int(np.isfinite(grid(outcomes, samples, "rmsd")).sum()),
        "n_matched": int(counted["matches"].sum()),
        "n_matched_by_label": int(grid(outcomes, samples, "matched_by_label").sum()),
        "n_new": int(grid(outcomes, samples, "new").sum()),
        # in the order of the structures: what later runs are compared with
        **{name: values.tolist() for name, values in counted.items()},
        "statuses": {s.value: statuses[s] for s in Status if statuses[s]},
        "score_calls": sum(o.placed.score_calls for o in outcomes) / len(outcomes),
        "relaxation_steps": sum(o.relaxed.steps if o.relaxed else 0 for o in outcomes)
        / len(outcomes),
        "by_samples": by_samples(*_arrays(outcomes, samples)),
        "by_route": {route: _of_route(outcomes, route) for route in (UNCONDITIONAL, PROTOTYPES)},
        "by_size": {
            size: {"n_structures": len(some) // samples} | _values(some, samples)
            for size, some in of_sizes(outcomes, samples).items()
        },
    }


def _values(outcomes: Sequence[Outcome], samples: int) -> dict[str, float]:
    """The figures that have intervals, and the costs."""
    figures: dict[str, Figure] = {}
    rates = _rates(counts(outcomes, samples), samples)
    for _, name, each in COUNTED:
        figures[name] = mean(rates[name]) if each else binary(rates[name] > 0)
    energy = ranked(outcomes, samples)
    figures |= {
        "energy_above_truth": median(energy),
        "energy_above_truth_best": median(energy.min(1, keepdims=True)),
        "lower_energy": share(energy < -LOWER),
        "new": share(grid(outcomes, samples, "new") > 0),
        "too_close": share(grid(outcomes, samples, "min_distance") < CLOSE),
        **{name: median(grid(outcomes, samples, name)) for name in MOVED},
    }
    return flat(figures) | {name: float(grid(outcomes, samples, name).mean()) for name in COSTS}


def _of_route(outcomes: Sequence[Outcome], route: str) -> dict[str, Any]:
    """Samples of one route: how many, which share matches, how many structures they find.

    The share is the mean over the structures that have such samples.
    """
    hits: dict[int, list[bool]] = {}
    for outcome in outcomes:
        if outcome.route == route:
            hits.setdefault(outcome.structure, []).append(outcome.matched)
    found: dict[str, Any] = {
        "n_samples": sum(map(len, hits.values())),
        "n_matched": sum(map(sum, hits.values())),
        "n_structures": len(hits),
        "n_structures_matched": sum(map(any, hits.values())),
    }
    if not hits:
        return found
    per_structure = np.array([np.mean(some) for some in hits.values()])
    return found | flat({"match_at_1": mean(per_structure)})


def _arrays(
    outcomes: Sequence[Outcome], samples: int
) -> tuple[list[NDArray[np.bool_]], list[Floats]]:
    """Matches and ranked energies, one array [K] per structure."""
    return list(grid(outcomes, samples, "matched") > 0), list(ranked(outcomes, samples))


def of_sizes(outcomes: Sequence[Outcome], samples: int) -> dict[str, list[Outcome]]:
    """Outcomes by size class of their structures, smallest first; classes that occur.

    Args:
        outcomes: the samples, those of one structure behind each other.
        samples: K, per structure.
    """
    found: dict[str, list[Outcome]] = {size_class(low): [] for low, _ in SIZES}
    for first in range(0, len(outcomes), samples):
        size = size_class(len(outcomes[first].task.crystal))
        found[size] += outcomes[first : first + samples]
    return {size: some for size, some in found.items() if some}


def search_of(first: Sequence[Outcome], more: Sequence[Outcome]) -> Search:
    """Samples as a search at a cost; a structure's cost is the mean of its samples.

    Args:
        first: samples of all structures.
        more: further samples of some of them.
    """
    found: dict[int, list[Outcome]] = {}
    for outcome in (*first, *more):
        found.setdefault(outcome.structure, []).append(outcome)
    ordered = [found[place] for place in sorted(found)]
    return Search(
        [np.array([o.matched for o in some]) for some in ordered],
        [ranked(some, len(some))[0] for some in ordered],
        [float(np.mean([o.cpu_seconds for o in some])) for some in ordered],
    )


def searches_of(first: Sequence[Outcome], more: Sequence[Outcome]) -> dict[str, Search]:
    """The same by size class, smallest first; classes that occur."""
    both = (of_sizes(first, 1), of_sizes(more, 1))
    return {size: search_of(some, both[1].get(size, [])) for size, some in both[0].items()}


def paired(first: Sequence[Outcome], second: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """Rates of one generator minus those of another, structure by structure.

    Args:
        first: outcomes of the first generator.
        second: of the second, for the same structures.
        samples: K, per structure.
    """
    both = (of_sizes(first, samples), of_sizes(second, samples))
    return _pair(first, second, samples) | {
        "by_size": {size: _pair(both[0][size], both[1][size], samples) for size in both[0]}
    }


def _pair(first: Sequence[Outcome], second: Sequence[Outcome], samples: int) -> dict[str, float]:
    return differences(counts(first, samples), counts(second, samples), (samples, samples))


def differences(first: Counts, second: Counts, samples: tuple[int, int]) -> dict[str, float]:
    """Differences of rates, first minus second, from counts per structure.

    Args:
        first: counts [N] of the first, named as in :data:`COUNTED`.
        second: of the second, of the same structures; what only one has is left out.
        samples: K of the first and of the second; rates of all K together need the same.
    """
    mine, others = _rates(first, samples[0]), _rates(second, samples[1])
    same = samples[0] == samples[1]
    return flat(
        {
            name: difference(mine[name], others[name])
            for _, name, each in COUNTED
            if name in mine and name in others and (each or same)
        }
    )


def flat(figures: Mapping[str, Figure]) -> dict[str, float]:
    """Figures as keys ``name``, ``name_low`` and ``name_high``."""
    found: dict[str, float] = {}
    for key, (value, low, high) in figures.items():
        found |= {key: value, f"{key}_low": low, f"{key}_high": high}
    return found


def of_generator(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Figures of one generator in a result; nothing where it has none.

    Those of the first generator are at the top. In files of format 1 that was always
    ``diffusion``, whichever was named first.
    """
    if isinstance(result.get(name), Mapping):
        found: Mapping[str, Any] = result[name]
        return found
    top = "diffusion" if result.get("format") == 1 else next(iter(result["generators"]), None)
    return result if name == top and "matches" in result else {}
