"""Cell and positions drawn together: stochastic Heun steps on both (docs/method.md).

The cell starts as it is given, taken for the true one with a log strain of standard deviation
σ_L; this falls with the noise of the positions, σ_L = min(start, ratio · σ). A step deforms
the cell with its atoms (fractional coordinates kept) and moves the atoms in it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.constraint import Constraint
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.noise import Noise, edm_levels
from chggen.diffusion.sampler import FastSampler, Progress, silent
from chggen.diffusion.strain import deform, matrix

#: Predicted noise of positions [n, 3] and cells [s, 6] (sign of the score) of a batch at
#: noise levels [n] (Å) and [s].
JointScore = Callable[[Batch, Tensor, Tensor], tuple[Tensor, Tensor]]


class NetworkJointScore:
    """Predictions of a network for crystals whose cells change; counts its calls.

    Args:
        network: with a head for the cell.
        constraint: imposed space groups, kept by cell and positions.
    """

    def __init__(self, network: ScoreNetwork, constraint: Constraint) -> None:
        self.network = network
        self.constraint = constraint
        self.calls = 0

    @torch.no_grad()
    def __call__(self, batch: Batch, sigma: Tensor, cell_sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Noise of positions [n, 3], its mean left out, and of cells [s, 6].

        Args:
            batch: the crystals; one with a number that is not finite must not be among them.
            sigma: [n] Å.
            cell_sigma: [s].
        """
        self.calls += 1
        u, strain = self.network.joint(batch, self.network.graph(batch), sigma, cell_sigma)
        return self.constraint.project(batch.centred(u)), self.constraint.project_strain(strain)


@dataclass(frozen=True)
class JointSampler:
    """Stochastic Heun steps on positions and cell.

    Args:
        inner: grid, churn and drift.
        cell_sigma: [s] noise σ_L of each cell at the start; 0: that cell is kept.
        ratio: σ_L per Å of noise of the positions.
    """

    inner: FastSampler
    cell_sigma: Tensor
    ratio: float = 0.2

    def level(self, sigma: float) -> Tensor:
        """σ_L [s] at a noise level (Å) of the positions."""
        return self.cell_sigma.clamp_max(self.ratio * sigma)

    def generate(
        self,
        batch: Batch,
        score: JointScore,
        noise: Noise,
        cell_noise: Noise,
        progress: Progress = silent,
    ) -> Batch:
        """Crystals drawn from a start.

        Args:
            batch: starting positions and cells.
            score: predictions of the network.
            noise: unit noise of the positions [n, 3].
            cell_noise: unit noise of the cells [s, 6].
            progress: called after each level.
        """
        inner = self.inner
        grid = edm_levels(inner.sigma_max, inner.sigma_min, inner.levels, inner.rho)
        gamma = min(inner.churn / inner.levels, math.sqrt(2) - 1)
        for step in range(inner.levels):
            sigma, lower = grid[step], grid[step + 1]
            cells, below = self.level(sigma), self.level(lower)
            if inner.churn_range[0] <= sigma <= inner.churn_range[1]:
                raised = sigma * (1 + gamma)
                batch = deform(batch, matrix(cells[:, None] * math.sqrt((1 + gamma) ** 2 - 1) * cell_noise()))
                batch = batch.at(batch.positions + math.sqrt(raised**2 - sigma**2) * noise())
                sigma, cells = raised, cells * (1 + gamma)
            drift = inner.factor(sigma)
            u, strain = score(batch, torch.full_like(batch.positions[:, 0], sigma), cells)
            ahead = self._moved(batch, drift * (sigma - lower) * u, drift * (cells - below)[:, None] * strain)
            if lower > 0:
                # the second slope is in the frame of the cell ahead, which differs by a
                # small strain only
                second, strain_ahead = score(ahead, torch.full_like(u[:, 0], lower), below)
                drift = (drift + inner.factor(lower)) / 2
                u, strain = (u + second) / 2, (strain + strain_ahead) / 2
                ahead = self._moved(batch, drift * (sigma - lower) * u, drift * (cells - below)[:, None] * strain)
            batch = ahead
            progress(step + 1, inner.levels)
        return batch

    def _moved(self, batch: Batch, shift: Tensor, strain: Tensor) -> Batch:
        moved = deform(batch, matrix(strain))
        return moved.at(moved.positions + shift)
