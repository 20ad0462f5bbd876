"""Comparison of the potential with DFT: errors, softening, threshold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

#: Share of the metastable structures that a suggested threshold must keep.
KEPT: Final = 0.95
#: Resolution of the suggested threshold, eV/atom.
_STEP: Final = 1e-3


@dataclass(frozen=True)
class Parity:
    """Energies of the potential compared with DFT, both in eV/atom.

    Args:
        n: number of structures with both energies.
        mean_error: potential minus DFT.
        mae: mean absolute error.
        slope: slope of the least-squares line potential = slope · DFT + intercept; the
            potential is too soft if it is below one. None with fewer than three structures or
            no spread.
        intercept: intercept of that line.
    """

    n: int
    mean_error: float
    mae: float
    slope: float | None
    intercept: float | None


@dataclass(frozen=True)
class Threshold:
    """Screening threshold suggested by the results.

    Args:
        metastable: number of structures with a DFT E_d below ``limit``.
        limit: DFT E_d below which a structure counts as metastable, eV/atom.
        value: E_d by the potential (eV/atom): the smallest threshold, in steps of
            1 meV/atom, that keeps the share :data:`KEPT` of them.
    """

    metastable: int
    limit: float
    value: float


_FEWEST: Final = 3


def parity(potential: ArrayLike, dft: ArrayLike) -> Parity | None:
    """Compare two lists of energies (eV/atom); None if they are empty."""
    y, x = np.asarray(potential, dtype=float), np.asarray(dft, dtype=float)
    if not len(x):
        return None
    slope = intercept = None
    if len(x) >= _FEWEST and np.ptp(x) > 0:
        fit = np.polynomial.Polynomial.fit(x, y, 1).convert().coef
        intercept, slope = float(fit[0]), float(fit[1])
    errors = y - x
    return Parity(len(x), float(errors.mean()), float(np.abs(errors).mean()), slope, intercept)


def suggest_threshold(
    potential: Sequence[float], dft: Sequence[float], limit: float
) -> Threshold | None:
    """Smallest threshold that keeps :data:`KEPT` of the structures metastable by DFT.

    Structures that the screen rejected were never computed, so the true value can be higher.

    Args:
        potential: E_d by the potential, eV/atom.
        dft: E_d by DFT, eV/atom.
        limit: DFT E_d below which a structure counts as metastable, eV/atom.

    Returns:
        The threshold; None if no structure is metastable by DFT.
    """
    found = sorted(p for p, d in zip(potential, dft, strict=True) if d < limit)
    if not found:
        return None
    last = found[math.ceil(KEPT * len(found)) - 1]
    # the screen keeps structures strictly below its threshold
    steps = math.floor(last / _STEP + 1e-6) + 1
    return Threshold(len(found), limit, round(steps * _STEP, 3))
