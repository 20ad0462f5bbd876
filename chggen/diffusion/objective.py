"""Denoising score matching: which noise, which mask, which loss.

For positions x = x0 + σ e the loss is E |u(x, σ) + e|² / 3 per atom, with u = σ s
(paper eq. 6, weighted by σ² so that all levels count alike).

Two points need care. (1) The density of a crystal's positions is invariant under a common
translation, so the mean of the true score over a crystal is zero and the mean of e cannot
be predicted: if all atoms have the same noise, both sides of the loss are centred. (2) For
conditional inpainting some structures keep clean hosts (σ = 0). The reference frame of the
guests is then known, so nothing is centred and only guests enter the loss.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.settings import TrainingSettings


@dataclass(frozen=True)
class Noised:
    """A batch with noise added.

    Args:
        batch: crystals at the noisy positions.
        sigma: [n] noise level of each atom in Å; 0 on clean hosts.
        noise: [n, 3] unit noise e; 0 on clean hosts.
        free: [s] True where all atoms of a crystal have noise.
    """

    batch: Batch
    sigma: Tensor
    noise: Tensor
    free: Tensor

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


def add_noise(batch: Batch, sigma: Tensor, guests: Tensor, noise: Tensor) -> Noised:
    """Noise ``sigma`` [s] (Å) on the guests of each crystal; ``noise`` [n, 3] is e.

    Args:
        batch: crystals at their clean positions.
        sigma: [s] noise level of each crystal, Å.
        guests: [n] True for atoms that get noise.
        noise: [n, 3] unit noise e.
    """
    per_atom = sigma.to(batch.positions)[batch.system] * guests
    noise = noise.to(batch.positions) * guests[:, None]
    free = batch.mean(guests[:, None].to(noise.dtype)).squeeze(-1) == 1
    return Noised(batch.at(batch.positions + per_atom[:, None] * noise), per_atom, noise, free)


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
                everyone = torch.ones_like(batch.system, dtype=torch.bool)
                sigma = torch.full((batch.n_systems,), level)
                noised = add_noise(batch, sigma, everyone, noise)
                u = network(noised.batch, network.graph(noised.batch), noised.sigma)
                residual = noised.residual(u)
                lost = noised.noise - noised.target
                centred += float(residual.square().sum()) / 3
                plain += float((residual + lost).square().sum()) / 3
                atoms += len(noise)
            result[level] = {"plain": plain / atoms, "centred": centred / atoms}
    return result
