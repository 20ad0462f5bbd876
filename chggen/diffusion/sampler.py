"""Samplers of the variance-exploding SDE: the paper's, and a fast one.

Both accept any score function, so that tests can run them on densities with a known
score. Positions are Cartesian and unwrapped; only the score treats periodicity.
Presets and costs:

=========  ==================================================  ============  ===========
preset     algorithm                                           generation    inpainting
=========  ==================================================  ============  ===========
``paper``  predictor-corrector, RePaint resampling             1,200 calls   3,600 calls
``fast``   stochastic Heun on an EDM grid, σ = 0 on the hosts  29 calls      29 calls
=========  ==================================================  ============  ===========
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.noise import Noise, edm_levels, geometric_levels, step_variance

#: Score [n, 3] in 1/Å at positions [n, 3] (Å) and noise levels [n] (Å, > 0 where asked).
Score = Callable[[Tensor, Tensor], Tensor]
#: Called after every noise level with (levels done, total number of levels).
Progress = Callable[[int, int], None]


def silent(_done: int, _total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class PaperSampler:
    """Predictor-corrector sampling and RePaint inpainting, as in the original code.

    Args:
        sigma_max: highest noise level σ_T, Å.
        sigma_min: lowest noise level σ_0, Å.
        levels: predictor steps T, from σ_T to σ_0 log-spaced.
        corrector_steps: Langevin steps M per level.
        snr: signal-to-noise ratio δ.
        resampling: passes r per level when inpainting.
    """

    sigma_max: float = 10.0
    sigma_min: float = 0.001
    levels: int = 200
    corrector_steps: int = 5
    snr: float = 0.4
    resampling: int = 3

    def grid(self) -> list[float]:
        """σ_T … σ_0 in Å, highest first."""
        return geometric_levels(self.sigma_max, self.sigma_min, self.levels)

    @property
    def calls(self) -> tuple[int, int]:
        """Score calls of one generation and of one inpainting."""
        once = self.levels * (1 + self.corrector_steps)
        return once, once * self.resampling

    def start(self, batch: Batch, noise: Noise) -> Tensor:
        """x_T ~ N(0, σ_T² I), which is uniform in a cell of a few ångströms."""
        del batch
        return self.sigma_max * noise()

    def _down(
        self,
        x: Tensor,
        sigma: float,
        lower: float,
        score: Score,
        batch: Batch,
        noise: Noise,
    ) -> tuple[Tensor, Tensor]:
        """Predictor from ``sigma`` to ``lower`` and corrector there; also the last z."""
        full = torch.full_like(x[:, 0], sigma)
        x = x + (sigma**2 - lower**2) * score(x, full)
        z = noise()
        x = x + step_variance(sigma, lower) * z
        for _ in range(self.corrector_steps):
            z = noise()
            g = score(x, torch.full_like(full, lower))
            # ‖g‖ is the root mean square over the atoms of one crystal, so that the step does
            # not depend on the rest of the batch; a vanishing score gives no step
            norm = batch.mean(g.square().sum(-1, keepdim=True)).sqrt()[batch.system]
            size = 2 * (math.sqrt(3) * self.snr / norm.clamp_min(1e-6)) ** 2
            size = size.clamp_max(self.sigma_max**2)
            x = x + size * g + (2 * size).sqrt() * z
        return x, z

    def generate(
        self,
        x: Tensor,
        score: Score,
        batch: Batch,
        noise: Noise,
        progress: Progress = silent,
    ) -> Tensor:
        """Unconditional generation from x_T; returns positions [n, 3].

        Args:
            x: start [n, 3], Å, of :meth:`start`.
            score: score function.
            batch: the crystals.
            noise: random numbers.
            progress: called after each level.
        """
        grid = self.grid()
        for step in range(self.levels):
            x, _ = self._down(x, grid[step], grid[step + 1], score, batch, noise)
            progress(step + 1, self.levels)
        return x

    def inpaint(
        self,
        x: Tensor,
        host: Tensor,
        guest: Tensor,
        score: Score,
        batch: Batch,
        noise: Noise,
        progress: Progress = silent,
    ) -> Tensor:
        """RePaint: guests given the host.

        Args:
            x: x_T of all atoms [n, 3], Å.
            host: unperturbed positions [n, 3]; guests' rows are not used.
            guest: [n] True = guest, to be generated.
            score: score function.
            batch: the crystals.
            noise: random numbers.
            progress: called after each level.
        """
        grid = self.grid()
        keep = guest[:, None]
        for step in range(self.levels):
            sigma, lower = grid[step], grid[step + 1]
            for turn in range(self.resampling):
                x, z = self._down(x, sigma, lower, score, batch, noise)
                x = torch.where(keep, x, host + lower * z)
                if turn < self.resampling - 1 and step < self.levels - 1:
                    # back to the higher level: the root of a difference of variances (not the
                    # difference itself), between t-1 and t-2 as in the original code
                    x = x + math.sqrt(lower**2 - grid[step + 2] ** 2) * noise()
            progress(step + 1, self.levels)
        return x


@dataclass(frozen=True)
class FastSampler:
    """Stochastic Heun steps on an EDM grid (Karras et al., arXiv:2206.00364, alg. 2).

    The score is multiplied by ``drift`` at noise levels within ``drift_range``. With 1 the
    density is that of the score. With more, draws come from a sharpened density: where noise
    is added back, a step is one of Langevin dynamics with the drift of p^drift and the noise of
    p, which concentrates draws in the modes (low-temperature sampling; Ingraham et al.,
    doi:10.1038/s41586-023-06728-8, methods). For a crystal the modes are what is wanted: the
    most likely arrangements, not their fluctuations. Neither end of the grid is sharpened: at
    high noise the score only knows the mean density, and near the end there is no choice left
    between modes.

    A Gaussian density of variance v gives, in the limit of short steps, draws of variance
    v β / (drift (1 + β) - 1) with β = γ / h, γ the relative raise of the noise level by what is
    added back and h its relative fall per step: v for drift 1, at most v / 2 for drift 2.

    Args:
        sigma_max: highest noise level, Å; above it the network knows nothing of a crystal.
        sigma_min: lowest noise level, Å; below it relaxation is better and cheaper.
        levels: number of noise levels; there are 2 · levels - 1 score calls.
        rho: exponent that concentrates the levels at low noise.
        churn: noise added back at each step, in units of the step's share.
        churn_range: noise levels (Å) between which noise is added back.
        drift: factor of the score within ``drift_range``.
        drift_range: noise levels (Å) between which it counts, limits included.
    """

    sigma_max: float = 2.0
    sigma_min: float = 0.03
    levels: int = 15
    rho: float = 5.0
    churn: float = 10.0
    churn_range: tuple[float, float] = (0.02, 3.0)
    drift: float = 2.0
    drift_range: tuple[float, float] = (0.1, 1.5)

    def grid(self) -> list[float]:
        """Noise levels in Å, highest first, and 0."""
        return edm_levels(self.sigma_max, self.sigma_min, self.levels, self.rho)

    @property
    def calls(self) -> tuple[int, int]:
        """Score calls of one generation and of one inpainting."""
        return 2 * self.levels - 1, 2 * self.levels - 1

    def start(self, batch: Batch, noise: Noise) -> Tensor:
        """Positions drawn uniformly in the cell."""
        frac = torch.special.ndtr(noise())
        return torch.einsum("ni,nij->nj", frac, batch.cells[batch.system])

    def generate(
        self,
        x: Tensor,
        score: Score,
        batch: Batch,
        noise: Noise,
        progress: Progress = silent,
    ) -> Tensor:
        """Unconditional generation; returns positions [n, 3].

        Args:
            x: start [n, 3], Å, of :meth:`start`.
            score: score function.
            batch: the crystals.
            noise: random numbers.
            progress: called after each level.
        """
        everyone = torch.ones_like(batch.system, dtype=torch.bool)
        return self.inpaint(x, x, everyone, score, batch, noise, progress)

    def inpaint(
        self,
        x: Tensor,
        host: Tensor,
        guest: Tensor,
        score: Score,
        batch: Batch,
        noise: Noise,
        progress: Progress = silent,
    ) -> Tensor:
        """Guests given a clean host: only guests have noise and move.

        The score must have been trained with clean hosts.

        Args:
            x: start of all atoms [n, 3], Å; hosts' rows are not used.
            host: clean positions [n, 3], Å; guests' rows are not used.
            guest: [n] True = guest, to be generated.
            score: score function.
            batch: not used; part of the signature of the paper's sampler.
            noise: random numbers.
            progress: called after each level.
        """
        del batch
        mask = guest[:, None].to(x.dtype)
        x = torch.where(guest[:, None], x, host)
        grid = self.grid()
        steps = len(grid) - 1
        gamma = min(self.churn / steps, math.sqrt(2) - 1)
        for step, (level, lower) in enumerate(itertools.pairwise(grid)):
            sigma = level
            if self.churn_range[0] <= level <= self.churn_range[1]:
                sigma = level * (1 + gamma)
                x = x + math.sqrt(sigma**2 - level**2) * mask * noise()
            slope = self._slope(x, sigma, mask, score)
            ahead = x + (lower - sigma) * slope
            if lower > 0:
                second = self._slope(ahead, lower, mask, score)
                ahead = x + (lower - sigma) * (slope + second) / 2
            x = ahead
            progress(step + 1, steps)
        return x

    def _slope(self, x: Tensor, sigma: float, mask: Tensor, score: Score) -> Tensor:
        """dx/dσ [n, 3] of the atoms with ``mask`` [n, 1] = 1, at the level ``sigma`` in Å."""
        return -self.factor(sigma) * sigma * mask * score(x, sigma * mask[:, 0])

    def factor(self, sigma: float) -> float:
        """Factor of the score at a noise level in Å."""
        low, high = self.drift_range
        return self.drift if low <= sigma <= high else 1.0


Sampler = PaperSampler | FastSampler


def make_sampler(preset: str, resampling: int = 3) -> Sampler:
    """Return the sampler of a preset name from the config."""
    return PaperSampler(resampling=resampling) if preset == "paper" else FastSampler()
