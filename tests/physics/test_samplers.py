"""Samplers on densities whose score is exact, and inpainting against its definition."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.noise import NoiseStream, edm_levels, geometric_levels
from chggen.diffusion.sampler import FastSampler, PaperSampler, Sampler
from chggen.structure.crystal import Crystal

CENTRES = torch.tensor([[-1.5, 0.0, 0.0], [1.5, 0.0, 0.0], [0.0, 2.0, 0.0]])
WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
WIDTH = 0.3
#: few levels are enough here, and quick
PAPER = PaperSampler(sigma_max=10.0, sigma_min=0.01, levels=40, corrector_steps=2, snr=0.16)
FAST = FastSampler(sigma_max=10.0, sigma_min=0.01, levels=30, drift=1.0)


def mixture_score(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact score of the Gaussian mixture, blurred by sigma."""
    variance = (WIDTH**2 + sigma**2)[:, None]
    delta = CENTRES[None] - x[:, None]
    log = WEIGHTS.log() - delta.square().sum(-1) / (2 * variance)
    share = torch.softmax(log, -1)
    return (share[..., None] * delta).sum(1) / variance


def atoms(count: int) -> Batch:
    """Independent atoms of one crystal, in a cell too large to matter.

    The corrector's step comes from the mean square score of a crystal, so it is sound
    where there are many atoms; a single atom near a mode would take huge steps.
    """
    return Batch.of([Crystal.of(1000 * np.eye(3), [1] * count, np.zeros((count, 3)))])


def stream(batch: Batch, seed: int = 0) -> NoiseStream:
    sizes = batch.sizes.tolist()
    return NoiseStream(range(seed, seed + len(sizes)), sizes, batch.positions)


@pytest.mark.parametrize("sampler", [PAPER, FAST], ids=["paper", "fast"])
def test_known_mixture(sampler: Sampler) -> None:
    """Shares, centres and widths of the mixture come out."""
    count = 3000
    batch = atoms(count)
    noise = stream(batch)
    x = sampler.generate(10 * noise(), mixture_score, batch, noise)
    nearest = torch.cdist(x, CENTRES).argmin(-1)
    shares = torch.bincount(nearest, minlength=3) / count
    # the corrector's finite steps and σ_T = 10 Å leave a few per cent
    torch.testing.assert_close(shares, WEIGHTS, atol=0.06, rtol=0)
    for component in range(3):
        mine = x[nearest == component]
        assert (mine.mean(0) - CENTRES[component]).norm() < 0.06
        assert abs(float(mine.std(0).mean()) - WIDTH) < 0.05


def narrow_score(x: Tensor, sigma: Tensor) -> Tensor:
    """Exact score of N(0, 0.3²), blurred by sigma."""
    return -x / (WIDTH**2 + sigma**2)[:, None]


@pytest.mark.parametrize("drift", [1.0, 1.5, 2.0, 3.0])
def test_drift_narrows_a_gaussian_as_documented(drift: float) -> None:
    """Variance v β / (drift (1 + β) - 1), the limit of short steps; v for drift 1."""
    sampler = FastSampler(
        sigma_max=10.0, sigma_min=0.01, levels=400, rho=1e3, churn_range=(0.0, 10.0),
        drift=drift, drift_range=(0.0, 15.0),
    )  # fmt: skip
    grid = sampler.grid()
    beta = (sampler.churn / sampler.levels) / (1 - grid[1] / grid[0])
    batch = atoms(3000)
    noise = stream(batch)
    x = sampler.generate(10 * noise(), narrow_score, batch, noise)
    expected = WIDTH * (beta / (drift * (1 + beta) - 1)) ** 0.5
    assert float(x.std()) == pytest.approx(expected, rel=0.05)
    assert float(x.mean(0).norm()) < 0.03


def test_drift_prefers_the_most_likely_mode() -> None:
    """The share of the largest mode grows, that of the smallest falls; centres stay."""
    batch = atoms(3000)
    noise = stream(batch)
    sampler = replace(FAST, drift=2.0, drift_range=(0.1, 3.0))
    x = sampler.generate(10 * noise(), mixture_score, batch, noise)
    nearest = torch.cdist(x, CENTRES).argmin(-1)
    shares = torch.bincount(nearest, minlength=3) / len(x)
    assert shares[0] > WEIGHTS[0] + 0.1
    assert shares[2] < WEIGHTS[2]
    main = x[nearest == 0]
    assert (main.mean(0) - CENTRES[0]).norm() < 0.06
    assert float(main.std(0).mean()) < 0.8 * WIDTH


def test_drift_counts_within_its_range_only() -> None:
    """A range without any level of the grid leaves the draws as they are."""
    batch = atoms(50)
    outside = replace(FAST, drift=2.0, drift_range=(20.0, 30.0))
    start = 10 * stream(batch)()
    plain, other, sharp = (
        s.generate(start, mixture_score, batch, stream(batch))
        for s in (FAST, outside, replace(FAST, drift=2.0))
    )
    assert torch.equal(plain, other)
    assert not torch.equal(plain, sharp)


def joint_score(x: Tensor, sigma: Tensor) -> Tensor:
    """Pairs (host, guest): host ~ N(0, 0.5²), guest = host + (2, 0, 0) + N(0, 0.2²).

    Exact score of the joint density for noise levels of their own.
    """
    pair, s = x.view(-1, 2, 3), sigma.view(-1, 2)
    a, b = 0.5**2, 0.2**2
    covariance = torch.zeros(len(pair), 2, 2)
    covariance[:, 0, 0] = a + s[:, 0] ** 2
    covariance[:, 0, 1] = covariance[:, 1, 0] = a
    covariance[:, 1, 1] = a + b + s[:, 1] ** 2
    mean = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    return -torch.linalg.solve(covariance, pair - mean).reshape(-1, 3)


def pairs(count: int) -> tuple[Batch, Tensor, Tensor]:
    sites = [[0.0007, 0, 0], [0, 0, 0]] * count
    batch = Batch.of([Crystal.of(1000 * np.eye(3), [1, 2] * count, sites)])
    guest = torch.tensor([False, True] * count)
    return batch, batch.positions, guest


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [(PaperSampler(levels=60, corrector_steps=2, snr=0.16, sigma_min=0.01), 0.12), (FAST, 0.05)],
    ids=["paper", "fast"],
)
def test_inpainting_draws_from_the_conditional(sampler: Sampler, tolerance: float) -> None:
    """With the host at 0.7 Å the guest is N(2.7, 0.2²): the host informs the guest."""
    batch, host, guest = pairs(800)
    noise = stream(batch)
    x = sampler.inpaint(10 * noise(), host, guest, joint_score, batch, noise)
    found = x[guest]
    assert (found.mean(0) - torch.tensor([2.7, 0.0, 0.0])).norm() < tolerance
    assert abs(float(found.std(0).mean()) - 0.2) < tolerance


@pytest.mark.parametrize("sampler", [PAPER, FAST], ids=["paper", "fast"])
def test_inpainting_leaves_the_host(sampler: Sampler) -> None:
    """Hosts end within the lowest noise level of their sites (fast: exactly there)."""
    batch, host, guest = pairs(50)
    noise = stream(batch)
    x = sampler.inpaint(10 * noise(), host, guest, joint_score, batch, noise)
    moved = (x - host)[~guest].norm(dim=-1)
    assert moved.max() < 6 * sampler.sigma_min
    if isinstance(sampler, FastSampler):
        assert moved.max() == 0


def test_score_calls_are_what_the_docs_say() -> None:
    assert PaperSampler().calls == (1200, 3600)
    fast = FastSampler().calls
    assert max(fast) <= 60
    assert fast[0] * 10 <= PaperSampler().calls[0]
    batch, host, guest = pairs(2)
    count = 0

    def counted(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return joint_score(x, sigma)

    for sampler in (PAPER, FAST):
        count = 0
        sampler.generate(host, counted, batch, stream(batch))
        assert count == sampler.calls[0]
        count = 0
        sampler.inpaint(host, host, guest, counted, batch, stream(batch))
        assert count == sampler.calls[1]


def test_resampling_goes_back_by_the_root_of_the_difference_of_variances() -> None:
    """With no score and no corrector, only the jumps and the ancestral noise are left.

    One level with r passes adds, per jump, variance σ²(t-1) - σ²(t-2) (method.md §3.3).
    """
    sampler = PaperSampler(sigma_max=1.0, sigma_min=0.25, levels=2, corrector_steps=0, resampling=2)
    assert geometric_levels(1.0, 0.25, 2) == pytest.approx([1.0, 0.5, 0.25])
    batch = atoms(20000)
    guest = torch.ones(20000, dtype=torch.bool)

    def nothing(x: Tensor, _sigma: Tensor) -> Tensor:
        return torch.zeros_like(x)

    x = sampler.inpaint(batch.positions, batch.positions, guest, nothing, batch, stream(batch))
    first, second = 0.5**2 * (1 - 0.5**2) / 1, 0.25**2 * (0.5**2 - 0.25**2) / 0.5**2
    jump = 0.5**2 - 0.25**2
    expected = 2 * first + jump + 2 * second
    assert float(x.var()) == pytest.approx(expected, rel=0.03)


def test_noise_does_not_depend_on_company() -> None:
    first = NoiseStream([5, 6], [3, 2], torch.zeros(1))
    alone = NoiseStream([6], [2], torch.zeros(1))
    for _ in range(130):
        assert torch.equal(first()[3:], alone())


def test_grids_fall_from_top_to_bottom() -> None:
    for grid in (geometric_levels(10, 0.001, 200), edm_levels(5, 0.005, 30, 5.0)):
        assert grid[0] == pytest.approx(grid[0])
        assert all(a > b for a, b in itertools.pairwise(grid))
    assert geometric_levels(10, 0.001, 200)[-1] == pytest.approx(0.001)
    assert edm_levels(5, 0.005, 30, 5.0)[-1] == 0
