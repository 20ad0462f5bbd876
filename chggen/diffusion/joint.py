"""Cell and positions drawn together: stochastic Heun steps on both (docs/method.md).

The cell starts as it is given, taken for the true one times a log strain of standard deviation
σ_L. This falls with the noise of the positions: σ_L = min(start, RATIO · σ). A step deforms the
cell with its atoms (fractional coordinates kept) and moves the atoms in it.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.constraint import Constraint
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.noise import Noise
from chggen.diffusion.sampler import FastSampler, Progress, silent
from chggen.diffusion.strain import deform, matrix

#: Noise of the cell per Å of noise of the positions.
RATIO: Final = 0.2
#: Norm of the log strain that a single step may reach; true steps are far smaller.
_LARGEST_STEP: Final = 0.3

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
            batch: the crystals.
            sigma: [n] Å.
            cell_sigma: [s]; 0: the cell is clean.
        """
        self.calls += 1
        # a structure with a number that is not finite has failed: it must not reach the
        # neighbour search, nor stop the others
        positions = batch.positions.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        lost = ~batch.cells.isfinite().flatten(1).all(1)
        cells = torch.where(lost[:, None, None], 5 * torch.eye(3).to(batch.cells), batch.cells)
        batch = batch.at(positions, cells)
        u, strain = self.network.joint(batch, self.network.graph(batch), sigma, cell_sigma)
        return self.constraint.project(batch.centred(u)), self.constraint.project_strain(strain)


@dataclass(frozen=True)
class JointSampler:
    """Stochastic Heun steps on positions and cell.

    Args:
        inner: grid, churn and drift.
        cell_sigma: [s] noise σ_L of each cell at the start; 0: that cell is kept.
    """

    inner: FastSampler
    cell_sigma: Tensor

    def level(self, sigma: float) -> Tensor:
        """σ_L [s] at a noise level (Å) of the positions."""
        return self.cell_sigma.clamp_max(RATIO * sigma)

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
        inner, grid = self.inner, self.inner.grid()
        steps = len(grid) - 1
        gamma = min(inner.churn / steps, math.sqrt(2) - 1)
        for step, (sigma, lower) in enumerate(itertools.pairwise(grid)):
            high, low = self.level(sigma), self.level(lower)
            raised = sigma
            if inner.churn_range[0] <= sigma <= inner.churn_range[1]:
                raised = sigma * (1 + gamma)
                more = math.sqrt((1 + gamma) ** 2 - 1)
                batch = _moved(batch, more * sigma * noise(), more * high[:, None] * cell_noise())
                high = high * (1 + gamma)
            fall, shrink = raised - lower, (high - low)[:, None]
            first = self._slopes(batch, raised, high, score)
            ahead = _moved(batch, fall * first[0], shrink * first[1])
            if lower > 0:
                # the frames of the two cells differ by a small strain, of second order here
                second = self._slopes(ahead, lower, low, score)
                move, strain = ((a + b) / 2 for a, b in zip(first, second, strict=True))
                ahead = _moved(batch, fall * move, shrink * strain)
            batch = ahead
            progress(step + 1, steps)
        return batch

    def _slopes(
        self, batch: Batch, sigma: float, cell_sigma: Tensor, score: JointScore
    ) -> tuple[Tensor, Tensor]:
        """-dx/dσ [n, 3], and -dA/dσ_L as components [s, 6]."""
        u, strain = score(batch, torch.full_like(batch.positions[:, 0], sigma), cell_sigma)
        return self.inner.factor(sigma) * u, self.inner.factor(sigma) * strain


def _moved(batch: Batch, shift: Tensor, strain: Tensor) -> Batch:
    """Cells deformed by the strain [s, 6], positions then shifted [n, 3] (Å)."""
    limit = (_LARGEST_STEP / strain.norm(dim=1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
    moved = deform(batch, matrix(strain * limit))
    return moved.at(moved.positions + shift)
