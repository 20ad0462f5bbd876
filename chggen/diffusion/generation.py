"""Sampling of crystals in given cells: batches, score function, failures."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from chggen.compute.packing import groups
from chggen.diffusion.batch import Batch
from chggen.diffusion.constraint import Constraint
from chggen.diffusion.joint import JointSampler, NetworkJointScore
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.noise import Noise, NoiseStream
from chggen.diffusion.sampler import FastSampler, Sampler
from chggen.structure.crystal import Crystal
from chggen.structure.outcome import has_room
from chggen.structure.task import Placed, Progress, Task
from chggen.symmetry.orbits import exact

#: Separates the noise of the cells from that of the positions.
_CELL_STREAM = 0xCE11


class NetworkScore:
    """Score function of a network for one batch of crystals; counts its calls."""

    def __init__(
        self, network: ScoreNetwork, batch: Batch, constraint: Constraint | None = None
    ) -> None:
        self.network = network
        self.batch = batch
        self.constraint = constraint or Constraint([], batch)
        self.calls = 0

    @torch.no_grad()
    def __call__(self, positions: Tensor, sigma: Tensor) -> Tensor:
        """Score [n, 3] in 1/Å; zero on atoms without noise.

        If all atoms of a crystal have noise, the density is invariant under a common
        translation. The mean of the exact score is then zero, and the mean of the network's
        score is removed.
        """
        self.calls += 1
        # a structure with non-finite positions has failed and must not reach the neighbour search
        batch = self.batch.at(positions.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        u = self.network(batch, self.network.graph(batch), sigma)
        noisy = (sigma > 0).to(u.dtype)[:, None]
        free = (batch.mean(noisy) == 1).to(u.dtype)
        u = self.constraint.project((u - (batch.mean(u) * free)[batch.system]) * noisy)
        return u / sigma.clamp_min(1e-12)[:, None]


def sample(
    tasks: Sequence[Task],
    network: ScoreNetwork,
    sampler: Sampler,
    batch_atoms: int,
    progress: Progress | None = None,
) -> list[Placed]:
    """Sample every task, in order; a structure that fails does not affect the others.

    Args:
        tasks: cells with their atoms, and which of them are guests.
        network: score network.
        sampler: sampler of a preset.
        batch_atoms: largest number of atoms per batch.
        progress: called with (structures done, a fraction; total number of structures).
    """
    results: dict[int, Placed] = {
        index: Placed(None, "the cell is not finite or too small", 0)
        for index, task in enumerate(tasks)
        if not has_room(task.crystal)
    }
    usable = [index for index in range(len(tasks)) if index not in results]
    for members in groups([len(tasks[i].crystal) for i in usable], batch_atoms):
        chosen = [usable[i] for i in members]
        done = len(results)

        def report(step: int, steps: int, done: int = done, size: int = len(chosen)) -> None:
            if progress:
                progress(done + size * step / steps, len(tasks))

        sampled = _sample_batch([tasks[i] for i in chosen], network, sampler, report)
        results.update(zip(chosen, sampled, strict=True))
    return [results[index] for index in range(len(tasks))]


def _sample_batch(
    tasks: Sequence[Task],
    network: ScoreNetwork,
    sampler: Sampler,
    report: Callable[[int, int], None],
) -> list[Placed]:
    device = next(network.parameters()).device
    batch = Batch.of([t.crystal for t in tasks], device=device)
    guest = torch.as_tensor(np.concatenate([t.guest for t in tasks]), device=device)
    noise = NoiseStream([t.seed for t in tasks], batch.sizes.tolist(), batch.positions)
    constraint = Constraint(tasks, batch)
    score = NetworkScore(network, batch, constraint)

    def kept() -> Tensor:
        return constraint.replicate(noise())

    # a structure with an imposed space group starts on its orbits
    ready = torch.tensor([task.symmetry is not None for task in tasks], device=device)
    x = torch.where(ready[batch.system][:, None], batch.positions, sampler.start(batch, noise))
    if isinstance(sampler, FastSampler) and any(_draws_cell(task, network) for task in tasks):
        final, calls = _joint(tasks, batch.at(x), network, sampler, constraint, kept, report)
        return _placed(tasks, final, calls, network)
    if bool(guest.all()):
        x = sampler.generate(x, score, batch, kept, report)
    else:
        x = sampler.inpaint(x, batch.positions, guest, score, batch, kept, report)
    return _placed(tasks, batch.at(x), score.calls, network)


def _draws_cell(task: Task, network: ScoreNetwork) -> bool:
    """Whether cell and positions of a task are drawn together."""
    return network.settings.cell and task.cell_sigma > 0 and bool(task.guest.all())


def _joint(
    tasks: Sequence[Task],
    batch: Batch,
    network: ScoreNetwork,
    sampler: FastSampler,
    constraint: Constraint,
    noise: Noise,
    report: Callable[[int, int], None],
) -> tuple[Batch, int]:
    """Cell and positions drawn together; crystals and score calls.

    Args:
        tasks: the structures; those without noise of the cell keep theirs.
        batch: their starts.
        network: with a head for the cell.
        sampler: grid, churn and drift.
        constraint: imposed space groups.
        noise: of the positions.
        report: called with (levels done, levels in all).
    """
    levels = torch.tensor([task.cell_sigma for task in tasks]).to(batch.cells)
    # a stream of its own: the noise of the positions is the same with and without
    seeds = [[task.seed, _CELL_STREAM] for task in tasks]
    stream = NoiseStream(seeds, [1] * len(tasks), batch.cells, 6)
    score = NetworkJointScore(network, constraint)

    def cell_noise() -> Tensor:
        return constraint.project_strain(stream())

    drawn = JointSampler(sampler, levels).generate(batch, score, noise, cell_noise, report)
    return drawn, score.calls


def _placed(tasks: Sequence[Task], batch: Batch, calls: int, network: ScoreNetwork) -> list[Placed]:
    """Results of the tasks, from sampled crystals."""
    results = []
    for crystal, task in zip(batch.crystals(), tasks, strict=True):
        # a cell that was given is returned, not the one rounded to the network's precision
        cell = crystal.cell if _draws_cell(task, network) else task.crystal.cell
        placed = Crystal.of(cell, crystal.atomic_numbers, crystal.frac_coords)
        if not placed.is_finite:
            results.append(Placed(None, "positions are not finite", calls, task.symmetry))
        elif not has_room(placed):
            results.append(Placed(None, "the cell has collapsed", calls, task.symmetry))
        else:
            if task.symmetry is not None:
                placed = exact(placed, task.symmetry)
            results.append(Placed(placed, "", calls, task.symmetry))
    return results
