"""Denoising score matching: which noise, which mask, which loss.

For positions x = x0 + σ e the loss is E |u(x, σ) + e|² / 3 per atom, with u = σ s
(paper eq. 6, weighted by σ² so that all levels count alike).

Two points need care. (1) The density of a crystal's positions is invariant under a common
translation, so the mean of the true score over a crystal is zero and the mean of e cannot
be predicted: if all atoms have the same noise, both sides of the loss are centred. (2) For
conditional inpainting some structures keep clean hosts (σ = 0). The reference frame of the
guests is then known, so nothing is centred and only guests enter the loss.

In joint diffusion a cell is deformed first (:mod:`chggen.diffusion.strain`), with its atoms,
and the positions get their noise in the deformed cell.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.settings import TrainingSettings
from chggen.diffusion.strain import deform, matrix


@dataclass(frozen=True)
class Noised:
    """A batch with noise added.

    Args:
        batch: crystals at the noisy positions.
        sigma: [n] noise level of each atom in Å; 0 on clean hosts.
        noise: [n, 3] unit noise e; 0 on clean hosts.
        free: [s] True where all atoms of a crystal have noise.
        cell_sigma: [s] noise level of each cell (log strain); 0 where it is clean.
        cell_noise: [s, 6] unit noise of the cells.
    """

    batch: Batch
    sigma: Tensor
    noise: Tensor
    free: Tensor
    cell_sigma: Tensor
    cell_noise: Tensor

    @property
    def target(self) -> Tensor:
        """The predictable part of -u: the noise, centred where all atoms have noise."""
        return self._centre(self.noise)

    @property
    def noisy(self) -> Tensor:
        """[n] True for atoms that have noise."""
        return self.sigma > 0

    def _centre(self, values: Tensor) -> Tensor:
        mean = self.batch.mean(values) * self.free[:, None].to(values.dtype)
        return values - mean[self.batch.system]

    def residual(self, prediction: Tensor) -> Tensor:
        """[m, 3] u + e of the atoms that have noise."""
        return (self._centre(prediction) + self.target)[self.noisy]

    def cell_residual(self, prediction: Tensor) -> Tensor:
        """[c, 6] the same of the cells that have noise."""
        return (prediction + self.cell_noise)[self.cell_sigma > 0]


def sample_sigma(count: int, settings: TrainingSettings, rng: np.random.Generator) -> Tensor:
    """Noise levels [count] in Å, log-uniform in the core range or in the whole range.

    Args:
        count: number of levels, one per crystal.
        settings: ranges in Å and share of the core range.
        rng: random stream of the step.
    """
    bounds = np.log([settings.sigma_range, settings.sigma_core])
    pick = (rng.random(count) < settings.core_share).astype(int)
    low, high = bounds[pick, 0], bounds[pick, 1]
    return torch.as_tensor(np.exp(low + rng.random(count) * (high - low)), dtype=torch.float32)


def sample_cell_sigma(
    sigma: Tensor, free: Tensor, settings: TrainingSettings, rng: np.random.Generator
) -> Tensor:
    """Noise levels of the cells [s], without unit; 0 for clean cells.

    Most follow the noise of the positions, as when both are drawn together; some do not, so
    that the network also knows a good cell with poor positions and the reverse.

    Args:
        sigma: [s] noise levels of the positions, Å.
        free: [s] True where all atoms have noise; other cells stay clean.
        settings: shares and ranges.
        rng: random stream of the step.
    """
    count = len(sigma)
    low, high = np.log(settings.cell_ratio)
    tied = sigma.numpy() * np.exp(low + rng.random(count) * (high - low))
    least = math.log(settings.sigma_core[0] * settings.cell_ratio[0])
    apart = np.exp(least + rng.random(count) * (math.log(settings.cell_most) - least))
    level = np.where(rng.random(count) < settings.cell_apart, apart, tied)
    noisy = (rng.random(count) < settings.cell_share) & free.numpy()
    level = np.where(noisy, np.minimum(level, settings.cell_most), 0.0)
    return torch.as_tensor(level, dtype=torch.float32)


def sample_guests(batch: Batch, share: float, rng: np.random.Generator) -> Tensor:
    """[n] True for atoms that get noise; a ``share`` of the crystals keeps clean hosts.

    Guests are all atoms of one or two elements, as in a campaign, or in one case of four
    (and in crystals of one element) any atoms. If a crystal would have no host or no guest,
    all its atoms get noise.

    Args:
        batch: crystals.
        share: probability that a crystal keeps clean hosts.
        rng: random stream of the step.
    """
    numbers = batch.atomic_numbers.cpu().numpy()
    guests = np.ones(len(numbers), dtype=bool)
    start = 0
    for size in batch.sizes.tolist():
        atoms = slice(start, start + size)
        start += size
        if rng.random() >= share:
            continue
        species = np.unique(numbers[atoms])
        if rng.random() < 0.25 or len(species) == 1:  # noqa: PLR2004
            chosen = rng.random(size) < rng.uniform(0.1, 0.9)
        else:
            most = min(2, len(species) - 1)
            picked = rng.choice(species, size=rng.integers(1, most + 1), replace=False)
            chosen = np.isin(numbers[atoms], picked)
        if chosen.any() and not chosen.all():
            guests[atoms] = chosen
    return torch.as_tensor(guests, device=batch.positions.device)


def add_noise(
    batch: Batch,
    sigma: Tensor,
    guests: Tensor,
    noise: Tensor,
    cell_sigma: Tensor | None = None,
    cell_noise: Tensor | None = None,
) -> Noised:
    """Noise ``sigma`` [s] (Å) on the guests of each crystal; ``noise`` [n, 3] is e.

    Args:
        batch: crystals at their clean positions.
        sigma: [s] noise level of each crystal, Å.
        guests: [n] True for atoms that get noise.
        noise: [n, 3] unit noise e.
        cell_sigma: [s] noise level of each cell; None: all are clean.
        cell_noise: [s, 6] unit noise of the cells; None: none.
    """
    if cell_sigma is None or cell_noise is None:
        cell_sigma = batch.cells.new_zeros(batch.n_systems)
        cell_noise = batch.cells.new_zeros(batch.n_systems, 6)
    else:
        cell_sigma, cell_noise = cell_sigma.to(batch.cells), cell_noise.to(batch.cells)
        cell_noise = cell_noise * (cell_sigma > 0)[:, None]
        batch = deform(batch, matrix(cell_sigma[:, None] * cell_noise))
    per_atom = sigma.to(batch.positions)[batch.system] * guests
    noise = noise.to(batch.positions) * guests[:, None]
    noisy = batch.at(batch.positions + per_atom[:, None] * noise)
    return Noised(noisy, per_atom, noise, everyone(batch, guests), cell_sigma, cell_noise)


def everyone(batch: Batch, guests: Tensor) -> Tensor:
    """[s] True for crystals all of whose atoms are guests."""
    return batch.mean(guests[:, None].to(batch.positions.dtype)).squeeze(-1) == 1


def error_by_level(
    network: ScoreNetwork, batches: list[Batch], levels: tuple[float, ...], seed: int = 0
) -> dict[float, dict[str, float]]:
    """Error per component E|u + e|²/3 at each noise level (Å), all atoms noisy.

    ``plain`` uses the full noise. ``centred`` omits its mean, which no network can predict
    and which contributes 1/N for a structure of N atoms.

    Args:
        network: in evaluation mode.
        batches: clean crystals.
        levels: noise levels, Å.
        seed: seed of the noise, the same at every level.
    """
    result = {}
    with torch.no_grad():
        for level in levels:
            generator = torch.Generator().manual_seed(seed)
            plain = centred = 0.0
            atoms = 0
            for batch in batches:
                noise = torch.randn(batch.positions.shape, generator=generator)
                guests = torch.ones_like(batch.system, dtype=torch.bool)
                sigma = torch.full((batch.n_systems,), level)
                noised = add_noise(batch, sigma, guests, noise)
                u = network(noised.batch, network.graph(noised.batch), noised.sigma)
                residual = noised.residual(u)
                lost = noised.noise - noised.target
                centred += float(residual.square().sum()) / 3
                plain += float((residual + lost).square().sum()) / 3
                atoms += len(noise)
            result[level] = {"plain": plain / atoms, "centred": centred / atoms}
    return result


def explained_by_level(
    network: ScoreNetwork,
    batches: list[Batch],
    levels: tuple[tuple[float, float], ...],
    seed: int = 0,
) -> dict[tuple[float, float], dict[str, float]]:
    """Shares of the noise that the network explains, 1 - E|prediction + e|² / E|e|².

    Args:
        network: in evaluation mode, with a head for the cell.
        batches: clean crystals.
        levels: (σ in Å, σ_L) of positions and cell.
        seed: seed of the noise, the same at every level.

    Returns:
        Per level ``positions`` (mean of the noise left out), ``strain`` and ``volume``.
    """
    result = {}
    with torch.no_grad():
        for level in levels:
            generator = torch.Generator().manual_seed(seed)
            left = dict.fromkeys(("positions", "strain", "volume"), 0.0)
            whole = dict(left)
            for batch in batches:
                noise = torch.randn(batch.positions.shape, generator=generator)
                cell = torch.randn(batch.n_systems, 6, generator=generator)
                guests = torch.ones_like(batch.system, dtype=torch.bool)
                sigma = torch.full((batch.n_systems,), level[0])
                cell_sigma = torch.full((batch.n_systems,), level[1])
                noised = add_noise(batch, sigma, guests, noise, cell_sigma, cell)
                graph = network.graph(noised.batch)
                u, strain = network.joint(noised.batch, graph, noised.sigma, cell_sigma)
                residual = noised.cell_residual(strain)
                for key, value, target in (
                    ("positions", noised.residual(u), noised.target),
                    ("strain", residual[:, :5], cell[:, :5]),
                    ("volume", residual[:, 5:], cell[:, 5:]),
                ):
                    left[key] += float(value.square().sum())
                    whole[key] += float(target.square().sum())
            result[level] = {key: 1 - left[key] / whole[key] for key in left}
    return result
