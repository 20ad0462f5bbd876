"""Noise levels of the samplers, and noise that does not depend on the batch.

Each structure has its own random stream, so its noise does not depend on the other
structures in the batch.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: Returns new standard normal numbers [n, 3] at each call.
Noise = Callable[[], Tensor]


def geometric_levels(sigma_max: float, sigma_min: float, steps: int) -> list[float]:
    """σ_T … σ_0 in Å, T = ``steps``, log-spaced, highest first.

    Args:
        sigma_max: highest level, Å.
        sigma_min: lowest level, Å.
        steps: number of steps T; there are T + 1 levels.
    """
    return [float(s) for s in np.geomspace(sigma_max, sigma_min, steps + 1)]


def edm_levels(sigma_max: float, sigma_min: float, count: int, rho: float) -> list[float]:
    """σ grid of Karras et al. (arXiv:2206.00364, eq. 5), highest first, followed by 0.

    Args:
        sigma_max: highest level, Å.
        sigma_min: lowest level above 0, Å.
        count: number of levels above 0.
        rho: exponent that concentrates the levels at low noise; 1 is linear.
    """
    steps = np.linspace(0, 1, count)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return [*(float(s) for s in (top + steps * (bottom - top)) ** rho), 0.0]


class NoiseStream:
    """Standard normal numbers [n, width] for a batch, one random stream per structure.

    Args:
        seeds: one seed per structure, or what numpy makes a stream of.
        sizes: rows per structure, for positions its atoms.
        like: tensor that gives device and type of the noise.
        width: numbers per row.
    """

    _AHEAD = 64  # draws made in advance: one call per step and structure would dominate the cost

    def __init__(
        self,
        seeds: Sequence[int | Sequence[int]],
        sizes: Sequence[int],
        like: Tensor,
        width: int = 3,
    ) -> None:
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        self._sizes = list(sizes)
        self._like = like
        self._width = width
        self._ready: npt.NDArray[np.float64] = np.empty((0, sum(self._sizes), width))
        self._next = 0

    def __call__(self) -> Tensor:
        """Return the next [n, width] numbers."""
        if self._next == len(self._ready):
            pairs = zip(self._generators, self._sizes, strict=True)
            parts = [g.standard_normal((self._AHEAD, size, self._width)) for g, size in pairs]
            self._ready, self._next = np.concatenate(parts, axis=1), 0
        self._next += 1
        return torch.as_tensor(self._ready[self._next - 1]).to(self._like)


def step_variance(sigma: float, lower: float) -> float:
    """Standard deviation of the ancestral step from ``sigma`` to ``lower`` (paper eq. 4)."""
    return math.sqrt(lower**2 * (sigma**2 - lower**2)) / sigma
