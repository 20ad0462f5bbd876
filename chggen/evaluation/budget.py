"""Success of a search against what it may cost, from samples whose outcomes are known.

A search draws samples of one composition until its budget is spent and keeps the one of lowest
energy. The n samples at hand are one of many sets that could have been drawn, in one of n!
orders. What a search of k ≤ n samples would have found is therefore averaged over all
C(n, k) subsets of them, which is unbiased for independent samples (as pass@k: Chen et al.,
arXiv:2107.03374). More than n samples are not extrapolated.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chggen.evaluation.sampling import affordable
from chggen.evaluation.statistics import Figure, Floats, difference, mean

#: CPU seconds per composition at which success is given.
BUDGETS: Final = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100)

Bools = NDArray[np.bool_]
_Success = Callable[[Bools, Floats], Floats]


def found_at(hits: Bools, energies: Floats) -> Floats:
    """Probability that k of the n samples hold a hit, for k = 0 to n, [n + 1].

    1 - C(n - m, k) / C(n, k) with m hits, as the average over all subsets of k samples.

    Args:
        hits: [n] which samples are the known crystal.
        energies: [n]; not used.
    """
    del energies
    n, m = len(hits), int(hits.sum())
    k = np.arange(n)
    missed: Floats = np.cumprod(np.maximum(n - m - k, 0) / (n - k))
    return np.concatenate([[0.0], 1.0 - missed])


def lowest_at(hits: Bools, energies: Floats) -> Floats:
    """Probability that the lowest of k of the n samples is a hit, for k = 0 to n, [n + 1].

    The sample of rank r (from 0) is the lowest in C(n - 1 - r, k - 1) of the C(n, k) subsets.

    Args:
        hits: [n] which samples are the known crystal.
        energies: [n] any unit; inf for failures, which are no hits. Of equal energies the
            first sample is the lower one.
    """
    n = len(hits)
    ordered = hits[np.argsort(energies, kind="stable")]
    k = np.arange(n + 1)
    chance = k / n
    found = ordered[0] * chance
    for rank in range(1, n):
        chance = chance * np.maximum(n - rank - k + 1, 0) / (n - rank)
        found = found + ordered[rank] * chance
    return found


_SUCCESSES: Final[Mapping[str, _Success]] = {"found": found_at, "lowest": lowest_at}


def by_samples(hits: Sequence[Bools], energies: Sequence[Floats]) -> dict[str, list[float]]:
    """Success of 1 to K samples per structure.

    Args:
        hits: of each structure, [K] which samples are the known crystal.
        energies: of each structure, [K], inf for failures.

    Returns:
        ``found`` and ``lowest`` [K] with ``_low`` and ``_high``, and ``samples`` 1 to K.
    """
    found: dict[str, list[float]] = {"samples": list(range(1, len(hits[0]) + 1))}
    for name, success in _SUCCESSES.items():
        curves = np.array([success(h, e) for h, e in zip(hits, energies, strict=True)])
        found |= _columns(name, [mean(column) for column in curves.T[1:]])
    return found


class Search:
    """Samples of many structures, as many of each as there are, and what a sample costs.

    Args:
        hits: of each structure, [n] which samples are the known crystal.
        energies: of each structure, [n], inf for failures.
        costs: CPU seconds per sample of each structure, [N].
    """

    def __init__(
        self, hits: Sequence[Bools], energies: Sequence[Floats], costs: Sequence[float]
    ) -> None:
        self._n = np.array([len(h) for h in hits])
        self._costs = costs
        self._curves = {
            name: [success(h, e) for h, e in zip(hits, energies, strict=True)]
            for name, success in _SUCCESSES.items()
        }

    def success(self, name: str, budget: float) -> tuple[Floats, Bools]:
        """Success of each structure [N] after a budget, and which would draw more samples.

        For the latter it is the success of stopping after the samples there are.

        Args:
            name: ``found`` or ``lowest``.
            budget: CPU seconds per structure.
        """
        wanted = np.array([affordable(budget, cost) for cost in self._costs])
        drawn = np.minimum(wanted, self._n)
        values = [curve[k] for curve, k in zip(self._curves[name], drawn, strict=True)]
        return np.array(values), wanted > self._n

    def figures(self) -> dict[str, list[float | None]]:
        """Success at every budget of :data:`BUDGETS`; keys as in docs/evaluation.md."""
        beyond = [int(self.success("found", budget)[1].sum()) for budget in BUDGETS]
        found: dict[str, Any] = {"cpu_seconds": list(BUDGETS), "n_beyond": beyond}
        for name in _SUCCESSES:
            stopped = [mean(self.success(name, budget)[0]) for budget in BUDGETS]
            found |= _columns(name, _where(stopped, beyond))
            found |= _columns(f"{name}_stopped", stopped)
        return found


def compare(first: Search, second: Search) -> dict[str, list[float | None]]:
    """Success of the first minus that of the second at equal CPU seconds, paired.

    Both may stop after the samples they have, so the one with fewer is not favoured:
    ``n_beyond`` says for how many structures either does.

    Args:
        first: of the first generator.
        second: of the second, of the same structures in the same order.
    """
    found: dict[str, Any] = {"cpu_seconds": list(BUDGETS)}
    for name in _SUCCESSES:
        pairs = [[s.success(name, budget) for s in (first, second)] for budget in BUDGETS]
        beyond = [int((one[1] | two[1]).sum()) for one, two in pairs]
        stopped = [difference(one[0], two[0]) for one, two in pairs]
        found["n_beyond"] = beyond
        found |= _columns(name, _where(stopped, beyond))
        found |= _columns(f"{name}_stopped", stopped)
    return found


def _where(figures: Sequence[Figure], beyond: Sequence[int]) -> list[Figure]:
    """The figures without those for which samples are lacking."""
    none = (np.nan,) * 3
    return [none if n else figure for figure, n in zip(figures, beyond, strict=True)]


def _columns(name: str, figures: Sequence[Figure]) -> dict[str, list[float]]:
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: [f[i] for f in figures] for i, key in enumerate(keys)}
