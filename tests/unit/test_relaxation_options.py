"""Symmetry and hosts kept, overlaps repaired, memory that ends, broken rows in a table."""

import numpy as np
import pytest
import torch

from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import load_potential
from chggen.relaxation.constraints import made_symmetric, symmetric
from chggen.relaxation.pool import relax
from chggen.relaxation.repair import repaired
from chggen.stages.relax import relax as relax_table
from chggen.structure.crystal import Crystal, row_id
from chggen.symmetry.analysis import space_group
from chggen.tables import parquet
from tests.unit.test_relaxation import (
    BROKEN,
    assert_same,
    blende,
    good,
    lonely,
    marked,
    salt,
    too_close,
)

torch.set_num_threads(1)

SYMMETRIC = RelaxConfig(fmax=0.05, smax=0.5, keep_symmetry=True)


@pytest.fixture(scope="module")
def model():
    return load_potential("chgnet-0.3.0")


def rutile():
    """TiO2, strained within its space group, oxygen moved along its free direction."""
    u = 0.32
    frac = [[0] * 3, [0.5] * 3, [u, u, 0], [-u, -u, 0], [0.5 - u, 0.5 + u, 0.5]]
    return Crystal.of(
        np.diag([4.8, 4.8, 2.8]), [22, 22, 8, 8, 8, 8], [*frac, [0.5 + u, 0.5 - u, 0.5]]
    )


def shaken(crystal, spread, seed=0):
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, spread, crystal.frac_coords.shape) @ np.linalg.inv(crystal.cell)
    return Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + shift)


def supercell(crystal):
    frac = np.concatenate([crystal.frac_coords, crystal.frac_coords + np.array([1, 0, 0])])
    return Crystal.of(
        np.diag([2, 1, 1]) @ crystal.cell, np.tile(crystal.atomic_numbers, 2), frac / [2, 1, 1]
    )


def skewed(crystal):
    turn = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]])
    frac = crystal.frac_coords @ np.linalg.inv(turn)
    return Crystal.of(turn @ crystal.cell, crystal.atomic_numbers, frac)


@pytest.mark.parametrize("change", [lambda c: c, supercell, skewed], ids=["as is", "super", "skew"])
def test_symmetry_is_kept(model, change):
    start = shaken(change(rutile()), 0.01)
    assert space_group(start, 1e-5, -1.0).number == 1
    row = relax([start], SYMMETRIC, model=model)[0]
    assert row.status == Status.OK
    assert row.steps > 3
    assert space_group(row.crystal, 1e-5, -1.0).number == 136
    free = relax([start], SYMMETRIC.model_copy(update={"keep_symmetry": False}), model=model)[0]
    assert row.energy_per_atom == pytest.approx(free.energy_per_atom, abs=2e-3)


def test_without_symmetry_the_rest_of_the_batch_is_unaffected(model):
    starts = [blende(2), blende(4)]
    settings = SYMMETRIC.model_copy(update={"symmetry_symprec": 1e-4})  # P1: nothing to keep
    expected = relax(starts, settings.model_copy(update={"keep_symmetry": False}), model=model)
    rows = relax([starts[0], rutile(), starts[1]], settings, model=model)
    assert_same([rows[0], rows[2]], expected)
    assert space_group(rows[1].crystal, 1e-5, -1.0).number == 136


def test_projection_is_orthogonal_and_lets_through_what_is_free():
    found = symmetric(made_symmetric(rutile(), 0.01))
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    np.testing.assert_allclose(found @ found, found, atol=1e-12)
    # rutile: a and c, and one parameter of oxygen
    assert np.linalg.matrix_rank(found, tol=1e-6) == 3


def test_what_has_no_symmetry_relaxes_freely(model):
    start = salt(seed=1, spread=0.3)
    free = relax([start], RelaxConfig(), model=model)
    assert_same(relax([start], RelaxConfig(keep_symmetry=True), model=model), free)


def test_hosts_and_cell_stay_where_they_are(model):
    start = salt(5.5, seed=3, spread=0.15)
    mask = np.array([True, False, False, False, True, False, False, False])
    settings = RelaxConfig(fix_host=True, fmax=0.05)
    other = salt(5.6, seed=4)
    row, company = relax([start, other], settings, model=model, movable=[mask, None])
    assert row.status == Status.OK
    np.testing.assert_allclose(row.crystal.cell, start.cell, atol=1e-12)
    moved = row.crystal.cart_coords - start.cart_coords
    np.testing.assert_allclose(moved[~mask], 0, atol=1e-9)
    assert np.linalg.norm(moved[mask], axis=1).min() > 0.01
    assert row.delta_energy_per_atom > 0
    assert_same([company], relax([other], RelaxConfig(relax_cell=False, fmax=0.05), model=model))
    everything = RelaxConfig(fmax=0.05)  # masks mean nothing unless hosts are to be fixed
    loose = relax([start], everything, model=model, movable=[mask])
    assert_same(loose, relax([start], everything, model=model))


def test_repair_pushes_apart_only_what_overlaps():
    start = too_close()
    assert start.min_distance < 0.5
    after = repaired(start, 0.5)
    assert after.min_distance >= 0.5
    np.testing.assert_array_equal(after.cell, start.cell)
    frac = np.vstack([start.frac_coords, [[0.5, 0.5, 0.5]]])
    three = repaired(Crystal.of(start.cell, [30, 16, 16], frac), 0.5)
    np.testing.assert_allclose(three.frac_coords[2], 0.5)
    on_top = repaired(Crystal.of(np.eye(3) * 4, [30, 16, 16], np.zeros((3, 3))), 0.5)
    assert on_top.min_distance >= 0.5
    assert repaired(salt(), 0.5) is None
    assert repaired(Crystal.of(np.diag([0.4, 9, 9]), [30], [[0, 0, 0]]), 0.5) is None


def test_repaired_structures_relax_and_say_so(model):
    starts = [too_close(), salt(seed=1)]
    refused = relax(starts, RelaxConfig(), model=model)
    assert refused[0].status == Status.TOO_CLOSE
    rows = relax(starts, RelaxConfig(repair=True), model=model)
    assert [row.repaired for row in rows] == [True, False]
    assert rows[0].status == Status.OK
    assert rows[0].min_distance > 1.5
    assert_same(rows[1:], refused[1:])


class Small:
    """The real model on a machine without memory for more than so many atoms."""

    def __init__(self, model, most, error):
        self.model, self.most, self.error = model, most, error
        self.device, self.dtype = model.device, model.dtype
        self.sizes = []

    def __call__(self, state):
        if state.n_atoms > self.most:
            raise self.error
        self.sizes.append(state.n_atoms)
        return self.model(state)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA"), RuntimeError("CUDA out of memory."), MemoryError()]
)
def test_batches_halve_when_memory_ends(model, error, caplog):
    settings = RelaxConfig(fmax=0.05, smax=0.5)
    starts = good()
    small = Small(model, 12, error)
    said: list[str] = []
    rows = relax(starts, settings, model=small, warn=said.append)
    assert said[0] == "out of memory with 28 atoms; at most 14 at once from here on"
    assert caplog.messages == said
    assert_same(rows, relax(starts, settings, model=model))
    assert max(small.sizes) <= 12


def test_what_is_too_large_alone_fails_alone(model):
    small = Small(model, 4, torch.OutOfMemoryError("CUDA out of memory"))
    rows = relax([blende(2), salt(seed=1), blende(4)], RelaxConfig(), model=small)
    assert [row.status for row in rows] == [Status.OK, Status.FAILED, Status.OK]
    assert "out of memory" in rows[1].reason


def row_of(index, crystal, status=Status.OK):
    row = {
        "id": row_id("generated", str(index)), "system": "Na-Cl", "composition": "NaCl",
        "route": "diffusion", "seed": 0, "index": index, "draw": 0, "random_seed": index,
        "status": status, "reason": "", "formula_units": 1, "n_atoms": 0,
    }  # fmt: skip
    return row if crystal is None else row | crystal.columns()


def test_twenty_broken_rows_leave_the_good_ones_of_a_table_alone(tmp_path):
    makers = [make for make in BROKEN if make().is_finite and len(make())]
    broken = [makers[i % len(makers)]() for i in range(14)] + [marked(), lonely()]
    starts = good()
    clean = [row_of(i, crystal) for i, crystal in enumerate(starts)]
    ill = [row_of(100 + i, crystal) for i, crystal in enumerate(broken)]
    ill += [row_of(200 + i, None, Status.SAMPLING_FAILED) for i in range(4)]
    assert len(ill) == 20
    places = [3, 4, 11, 17, 24]
    mixed = list(ill)
    for place, row in zip(places, clean, strict=True):
        mixed.insert(place, row)
    results = {}
    for name, rows in (("clean", clean), ("mixed", mixed)):
        (tmp_path / name).mkdir()
        source, output = (tmp_path / name / f"{t}.parquet" for t in ("generated", "relaxed"))
        parquet.write(source, "generated", rows, {})
        relax_table(source, output, RelaxConfig(fmax=0.05, smax=0.5))
        results[name] = parquet.read(output, "relaxed")
    assert len(results["mixed"]) == 25
    for place, expected in zip(places, results["clean"], strict=True):
        row = results["mixed"][place]
        assert (row["id"], row["status"]) == (expected["id"], "ok")
        assert row["energy_per_atom"] == pytest.approx(expected["energy_per_atom"], abs=1e-5)
        np.testing.assert_allclose(row["cell"], expected["cell"], atol=2e-3)
    others = [row for i, row in enumerate(results["mixed"]) if i not in places]
    assert sum(row["status"] != "ok" and bool(row["reason"]) for row in others) >= 19
