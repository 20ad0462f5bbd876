"""From tasks to crystals: order, seeds, failures."""

import numpy as np
import pytest
import torch

from chggen.compute.packing import groups
from chggen.diffusion.generation import sample
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.sampler import FastSampler, PaperSampler
from chggen.diffusion.settings import PRESETS
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task

SAMPLERS = [FastSampler(levels=4), PaperSampler(levels=4, corrector_steps=1, resampling=2)]


@pytest.fixture(scope="module")
def network() -> ScoreNetwork:
    torch.manual_seed(0)
    return ScoreNetwork(PRESETS["tiny"].network).eval().requires_grad_(requires_grad=False)


def task(seed: int, n: int = 5, hosts: int = 0) -> Task:
    rng = np.random.default_rng(seed)
    crystal = Crystal.of(6 * np.eye(3) + rng.normal(0, 0.3, (3, 3)), [16] * n, rng.random((n, 3)))
    return Task(crystal, np.arange(n) >= hosts, seed)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["fast", "paper"])
@pytest.mark.parametrize("hosts", [0, 2])
def test_company_does_not_matter(
    network: ScoreNetwork, sampler: FastSampler | PaperSampler, hosts: int
) -> None:
    """A structure comes out the same alone and among others, and in order."""
    tasks = [task(1, 4, hosts), task(2, 7, hosts), task(3, 5, hosts)]
    together = sample(tasks, network, sampler, 1000)
    split = sample(tasks, network, sampler, 8)
    alone = [sample([t], network, sampler, 1000)[0] for t in tasks]
    for one, two, three, t in zip(together, split, alone, tasks, strict=True):
        assert None not in (one.crystal, two.crystal, three.crystal)
        assert np.array_equal(one.crystal.cell, t.crystal.cell)
        for other in (two, three):
            delta = one.crystal.frac_coords - other.crystal.frac_coords
            assert np.abs(delta - np.round(delta)).max() < 1e-3


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["fast", "paper"])
def test_seeds_decide(network: ScoreNetwork, sampler: FastSampler | PaperSampler) -> None:
    first, again, other = (
        sample([Task(task(1).crystal, task(1).guest, s)], network, sampler, 100)[0].crystal
        for s in (5, 5, 6)
    )
    assert None not in (first, again, other)
    assert np.array_equal(first.frac_coords, again.frac_coords)
    assert not np.allclose(first.frac_coords, other.frac_coords)


@pytest.mark.parametrize(("sampler", "reach"), zip(SAMPLERS, (1e-5, 0.02), strict=True))
def test_hosts_stay(
    network: ScoreNetwork, sampler: FastSampler | PaperSampler, reach: float
) -> None:
    tasks = [task(4, 6, hosts=3)]
    result = sample(tasks, network, sampler, 100)[0].crystal
    assert result
    delta = result.frac_coords[:3] - tasks[0].crystal.frac_coords[:3]
    delta -= np.round(delta)
    assert np.abs(delta @ tasks[0].crystal.cell).max() < reach


def test_one_lost_structure_does_not_stop_the_batch(network: ScoreNetwork) -> None:
    good, bad = task(1), task(2)
    broken = Crystal.of(
        np.full((3, 3), np.nan), bad.crystal.atomic_numbers, bad.crystal.frac_coords
    )
    sampler = FastSampler(levels=3)
    results = sample([good, Task(broken, bad.guest, 2)], network, sampler, 100)
    assert results[0].crystal is not None
    assert results[1].crystal is None
    assert results[1].reason
    alone = sample([good], network, sampler, 100)[0].crystal
    assert alone
    assert np.allclose(results[0].crystal.frac_coords, alone.frac_coords, atol=1e-4)


def test_score_calls_are_counted(network: ScoreNetwork) -> None:
    for sampler in SAMPLERS:
        assert sample([task(1)], network, sampler, 100)[0].score_calls == sampler.calls[0]
        assert sample([task(1, 5, 2)], network, sampler, 100)[0].score_calls == sampler.calls[1]


def test_groups() -> None:
    assert [list(g) for g in groups([5, 5, 5], 10)] == [[0, 1], [2]]
    assert [list(g) for g in groups([20, 1], 10)] == [[0], [1]]
    assert groups([], 10) == []
