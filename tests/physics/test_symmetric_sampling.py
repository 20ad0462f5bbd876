"""Sampling that keeps a space group: maps are right, results have it, free rows are free."""

import numpy as np
import pytest
import spglib
import torch

from chggen.campaign.seeds import Shard
from chggen.cells.lattice import sample_lattices
from chggen.config.stages import GenerateConfig, LatticeConfig
from chggen.diffusion.batch import Batch
from chggen.diffusion.constraint import Constraint, replication
from chggen.diffusion.generation import sample
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.sampler import FastSampler, PaperSampler
from chggen.diffusion.settings import PRESETS
from chggen.stages.generate import generate
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.orbits import impose
from chggen.symmetry.projection import cartesian, projection
from chggen.tables import parquet

NUMBERS = np.array([30, 30, 15, 15, *[16] * 7])


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return ScoreNetwork(PRESETS["tiny"].network).eval()


@pytest.fixture(scope="module")
def tasks():
    lattices = sample_lattices(28, 220.0, LatticeConfig(), np.random.SeedSequence(1))
    found = []
    for seed, lattice in enumerate(lattices):
        task = Task(Crystal.of(lattice.cell, NUMBERS, np.zeros((11, 3))), np.ones(11, bool), seed)
        kept = impose(task, "auto")
        found.append(task if isinstance(kept, str) else kept)
    assert sum(t.symmetry is not None for t in found) > 14
    return found


def operations_of(placed, symprec=1e-3):
    crystal = placed.crystal
    frac = crystal.frac_coords - np.floor(crystal.frac_coords)
    return len(
        spglib.get_symmetry_dataset((crystal.cell, frac, crystal.atomic_numbers), symprec).rotations
    )


@pytest.mark.parametrize(
    "sampler",
    [FastSampler(levels=6), PaperSampler(levels=6, corrector_steps=1)],
    ids=["fast", "paper"],
)
def test_every_row_that_claims_a_space_group_has_it(tasks, network, sampler):
    placed = sample(tasks, network, sampler, 150)
    for task, result in zip(tasks, placed, strict=True):
        if task.symmetry is None:
            assert result.symmetry is None
            continue
        assert result.symmetry.number == task.symmetry.number
        if result.crystal.min_distance > 0.05:  # spglib has no verdict on coinciding atoms
            assert operations_of(result) >= len(task.symmetry.rotations)


def test_guests_in_a_framework_keep_its_group(network):
    cell = 2.7 * np.array([[0, 1.0, 1.0], [1.0, 0, 1.0], [1.0, 1.0, 0]]) * 1.3
    crystal = Crystal.of(cell, [16, *[30] * 3], np.zeros((4, 3)))
    task = impose(Task(crystal, np.array([False, True, True, True]), 0), "auto")
    assert not isinstance(task, str)
    (result,) = sample([task], network, FastSampler(levels=6), 100)
    np.testing.assert_allclose(result.crystal.frac_coords[0] % 1, 0, atol=1e-6)
    assert operations_of(result) >= 48


def test_maps(tasks):
    for task in [t for t in tasks if t.symmetry is not None][:8]:
        cell, symmetry = task.crystal.cell, task.symmetry
        project, replicate = (
            projection(cartesian(symmetry.rotations, cell), symmetry.permutations),
            replication(symmetry, cell),
        )
        # an orthogonal projection, and a map into what it keeps
        np.testing.assert_allclose(project @ project, project, atol=1e-9)
        np.testing.assert_allclose(project, project.T, atol=1e-9)
        np.testing.assert_allclose(replicate @ project, replicate, atol=1e-9)
        field = (np.random.default_rng(0).normal(size=33) @ project).reshape(-1, 3)
        for turn, images in zip(
            cartesian(symmetry.rotations, cell), symmetry.permutations, strict=True
        ):
            np.testing.assert_allclose(field[images], field @ turn, atol=1e-9)


def test_noise_has_unit_variance_along_free_directions(tasks):
    for task in [t for t in tasks if t.symmetry is not None][:6]:
        replicate = replication(task.symmetry, task.crystal.cell)
        variance = (replicate.T @ replicate).reshape(11, 3, 11, 3)
        for atom in range(11):
            own = np.linalg.eigvalsh(variance[atom, :, atom, :])
            assert np.allclose(own * (own - 1), 0, atol=1e-9)  # zero or one


def test_free_structures_are_not_touched_by_their_neighbours(network):
    free = [
        Task(Crystal.of(np.diag([5.0, 5.0, 9.0]), NUMBERS, np.zeros((11, 3))), np.ones(11, bool), s)
        for s in range(3)
    ]
    bound = impose(free[1], "auto")
    alone = sample([free[0], free[2]], network, FastSampler(levels=4), 100)
    mixed = sample([free[0], bound, free[2]], network, FastSampler(levels=4), 100)
    for a, b in zip(alone, [mixed[0], mixed[2]], strict=True):
        np.testing.assert_allclose(a.crystal.frac_coords, b.crystal.frac_coords, atol=1e-4)


def test_the_projected_score_is_the_score_for_an_equivariant_network(network, tasks):
    kept = [t for t in tasks if t.symmetry is not None and t.crystal.min_distance > 0.8][:4]
    batch = Batch.of([t.crystal for t in kept])
    with torch.no_grad():
        u = network(batch, network.graph(batch), torch.full((len(batch.system),), 0.5))
    projected = Constraint(kept, batch).project(u)
    assert torch.allclose(u, projected, atol=2e-4 * float(u.abs().max()))


@pytest.mark.parametrize(("symmetry", "types"), [(225, {"cubic"}), ((143, 167), None)])
def test_stage_keeps_what_is_asked_for(tmp_path, symmetry, types):
    path = tmp_path / "generated.parquet"
    cells = {"formula_units": [1], "lattices": 6, "volume_per_atom": 22.0}
    settings = GenerateConfig(candidates=1)
    generate(path, Shard("Na-Cl", "NaCl", 0), cells, settings, 1, symmetry=symmetry)
    rows = parquet.read(path, "generated")
    assert len(rows) == 6
    low, high = (symmetry, symmetry) if isinstance(symmetry, int) else symmetry
    for row in rows:
        if row["status"] == "symmetry_impossible":
            assert row["reason"]
            assert row["n_atoms"] == 0
            continue
        if row["route"] == "prototypes":  # which have a space group of their own
            found = Crystal.from_row(row).to_structure().get_space_group_info(0.01)[1]
            assert low <= found <= high
            continue
        assert low <= row["imposed_space_group_number"] <= high
        assert row["imposed_sites"].startswith("Na ")
        assert row["bravais_type"] in (types or {"hexagonal", "rhombohedral"})
    # only lattices that can have such a group are drawn
    assert not any(row["status"] == "symmetry_impossible" for row in rows)


def test_what_cannot_be_is_a_row(tmp_path):
    path = tmp_path / "generated.parquet"
    cells = {"formula_units": [1], "lattices": 3, "volume_per_atom": 22.0}
    generate(
        path, Shard("Na-Cl", "Na3Cl2", 0), cells, GenerateConfig(candidates=1), 1, symmetry=227
    )
    rows = parquet.read(path, "generated")
    assert [row["status"] for row in rows] == ["symmetry_impossible"] * 3
    assert all("Wyckoff" in row["reason"] and row["n_atoms"] == 0 for row in rows)
