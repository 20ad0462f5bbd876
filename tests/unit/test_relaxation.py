"""A verdict for every structure, and none that depends on its neighbours in the table."""

import numpy as np
import pytest
import torch

from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import load_potential
from chggen.relaxation.bfgs import BFGS, MAX_STEP
from chggen.relaxation.pool import relax
from chggen.relaxation.springs import CUTOFF
from chggen.structure.crystal import Crystal

torch.set_num_threads(1)

SALT = [
    [0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
    [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5],
]  # fmt: skip
SETTINGS = RelaxConfig(fmax=0.05, smax=0.5)


@pytest.fixture(scope="module")
def model():
    return load_potential("chgnet-0.3.0")


def salt(a=5.6, seed=None, spread=0.1):
    """Rock salt; with a seed, atoms and cell are disturbed."""
    cell, frac = np.eye(3) * a, np.array(SALT)
    if seed is not None:
        rng = np.random.default_rng(seed)
        cell = cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
        frac = frac + rng.normal(0, spread, frac.shape) / a
    return Crystal.of(cell, [11] * 4 + [17] * 4, frac)


def blende(seed):
    rng = np.random.default_rng(seed)
    cell = np.array([[0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]])
    cell = cell @ (np.eye(3) + rng.normal(0, 0.03, (3, 3)))
    return Crystal.of(cell, [30, 16], [[0, 0, 0], 0.25 + rng.normal(0, 0.02, 3)])


def good():
    return [salt(seed=1), blende(2), salt(5.4, seed=3), blende(4), salt(5.9, seed=5)]


def too_close():
    return Crystal.of(np.eye(3) * 4, [30, 16], [[0, 0, 0], [0.1, 0, 0]])


def lonely():
    return Crystal.of(np.eye(3) * 14, [3, 9, 2], [[0, 0, 0], [0.12, 0, 0], [0.5, 0.5, 0.5]])


def not_a_number():
    return Crystal.of(np.eye(3) * 4, [30], [[0, np.nan, 0]])


def flat():
    return Crystal.of(
        [[40, 0, 0], [0, 40, 0], [0, 0, 0.1]], [30] * 20, np.random.default_rng(0).random((20, 3))
    )


def dense():
    return Crystal.of(np.eye(3) * 0.6, [30], [[0, 0, 0]])


def flattened_to_nothing():
    return Crystal.of([[4, 0, 0], [0, 4, 0], [4, 4, 0]], [30], [[0, 0, 0]])


def nothing():
    return Crystal.of(np.eye(3), [], np.zeros((0, 3)))


BROKEN = {
    too_close: Status.TOO_CLOSE,
    lonely: Status.ISOLATED_ATOM,
    not_a_number: Status.NOT_FINITE,
    flat: Status.FAILED,
    dense: Status.TOO_CLOSE,
    flattened_to_nothing: Status.TOO_CLOSE,
    nothing: Status.FAILED,
}


class Spoiled:
    """The real model, but wrong wherever it sees helium."""

    def __init__(self, model, **spoil):
        self.model, self.spoil = model, spoil
        self.device, self.dtype = model.device, model.dtype
        self.calls = 0

    def __call__(self, state):
        self.calls += 1
        marked = torch.zeros(state.n_systems, dtype=torch.bool)
        marked[state.system_idx[state.atomic_numbers == 2]] = True
        if self.spoil.get("error") and marked.any():
            raise RuntimeError("no memory for this one")
        output = dict(self.model(state))
        for key, value in self.spoil.items():
            if key in output:
                rows = marked[state.system_idx] if key == "forces" else marked
                output[key] = output[key].clone()
                output[key][rows] = value
        return output


def marked():
    """Rock salt with one helium in place of sodium."""
    base = salt(seed=9)
    return Crystal.of(base.cell, [2, *base.atomic_numbers[1:]], base.frac_coords)


def assert_same(rows, expected):
    """Same results up to rounding (single precision, other order of summation)."""
    for row, other in zip(rows, expected, strict=True):
        assert row.status == other.status == Status.OK
        assert row.steps == pytest.approx(other.steps, abs=1)
        assert row.energy_per_atom == pytest.approx(other.energy_per_atom, abs=1e-5)
        assert row.energy_per_atom_initial == pytest.approx(other.energy_per_atom_initial, abs=1e-5)
        np.testing.assert_allclose(row.crystal.cell, other.crystal.cell, atol=2e-3)
        np.testing.assert_allclose(row.crystal.frac_coords, other.crystal.frac_coords, atol=1e-3)


def test_relaxes_to_the_criteria_and_says_so(model):
    starts = good()
    rows = relax(starts, SETTINGS, model=model)
    for start, row in zip(starts, rows, strict=True):
        assert row.status == Status.OK
        assert row.converged
        assert (row.reason, row.stop_reason) == ("", "converged")
        assert row.fmax < SETTINGS.fmax
        assert row.smax < SETTINGS.smax
        assert row.delta_energy_per_atom > 0
        assert row.delta_energy_per_atom == pytest.approx(
            row.energy_per_atom_initial - row.energy_per_atom, abs=1e-9
        )
        assert 0 < row.steps < 60
        assert row.wall_time > 0
        assert 0.02 < row.rmsd <= row.max_displacement * (1 + 1e-9) < 1
        np.testing.assert_array_equal(row.crystal.atomic_numbers, start.atomic_numbers)
        assert row.min_distance == pytest.approx(row.crystal.min_distance)
        assert row.volume_per_atom == pytest.approx(row.crystal.volume_per_atom)
    energies = [row.energy_per_atom for row in rows]
    assert np.ptp(energies[::2]) < 2e-3  # all rock salt
    assert np.ptp(energies[1::2]) < 2e-3  # all zinc blende


def test_rows_hold_what_the_model_says_of_their_structures(model):
    starts = good()[:2]
    for start, row in zip(starts, relax(starts, SETTINGS, model=model), strict=True):
        n = len(start)
        again = relax([start, row.crystal], RelaxConfig(max_steps=1), model=model)
        assert row.energy_per_atom_initial == pytest.approx(
            again[0].energy_per_atom_initial, abs=1e-5
        )
        assert row.energy_per_atom == pytest.approx(again[1].energy_per_atom, abs=1e-5)
        assert again[1].steps == 0  # converged where it starts
        assert again[1].delta_energy_per_atom == 0
        assert row.fmax == pytest.approx(again[1].fmax, abs=1e-3)
        assert row.smax == pytest.approx(again[1].smax, abs=1e-2)
        assert n == len(row.crystal)


def test_volume_is_found_from_both_sides(model):
    small, large = relax([salt(5.2), salt(6.2)], RelaxConfig(fmax=0.01, smax=0.05), model=model)
    assert small.volume_per_atom == pytest.approx(large.volume_per_atom, rel=2e-3)
    assert (small.crystal.volume_per_atom * 8) ** (1 / 3) == pytest.approx(5.65, abs=0.1)


def test_broken_rows_leave_the_good_ones_alone(model):
    starts = good()
    expected = relax(starts, SETTINGS, model=model)
    table, places = [], []
    for start, broken in zip(starts + [None] * 2, BROKEN, strict=True):
        table.append(broken())
        if start is not None:
            places.append(len(table))
            table.append(start)
    rows = relax(table, SETTINGS, model=model)
    assert len(rows) == len(table)
    assert_same([rows[i] for i in places], expected)
    for row, status in zip(
        (row for i, row in enumerate(rows) if i not in places), BROKEN.values(), strict=True
    ):
        assert row.status == status
        assert row.reason
        assert row.stop_reason == status.value
        assert not row.converged


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        ({"energy": float("nan")}, Status.NOT_FINITE),
        ({"forces": float("inf")}, Status.NOT_FINITE),
        ({"stress": float("nan")}, Status.NOT_FINITE),
        ({"stress": 0.0, "energy": -1e4}, Status.EXPLODED),
        ({"stress": -1e3 * torch.eye(3)}, Status.EXPLODED),
        ({"stress": 1e3 * torch.eye(3)}, Status.EXPLODED),
        ({"min_distance": 0.1}, Status.EXPLODED),
        ({"error": True}, Status.FAILED),
    ],
)
def test_a_failing_model_fails_one_row(model, spoil, status):
    starts = good()[:3]
    expected = relax(starts, SETTINGS, model=model)
    rows = relax([*starts[:2], marked(), starts[2]], SETTINGS, model=Spoiled(model, **spoil))
    assert_same([rows[0], rows[1], rows[3]], expected)
    assert rows[2].status == status
    assert rows[2].reason
    assert not rows[2].converged
    assert (rows[2].crystal is None) == (status != Status.EXPLODED)


def test_a_failure_leaves_at_once(model):
    spoiled = Spoiled(model, energy=float("nan"))
    rows = relax([marked()], SETTINGS, model=spoiled)
    assert spoiled.calls == 1
    assert rows[0].steps == 0
    assert rows[0].energy_per_atom is None


def test_step_limit_keeps_the_row(model):
    row = relax([salt(5.2, seed=1)], RelaxConfig(max_steps=3, fmax=0.001), model=model)[0]
    assert row.status == Status.NOT_CONVERGED
    assert row.stop_reason == "max_steps"
    assert "after 3 steps" in row.reason
    assert row.steps == 3
    assert not row.converged
    assert row.delta_energy_per_atom > 0
    assert row.crystal is not None
    assert row.rmsd is not None


def test_results_do_not_depend_on_how_the_batch_is_filled(model):
    starts = good()
    together = relax(starts, SETTINGS, model=model)
    one_by_one = relax(starts, SETTINGS.model_copy(update={"batch_atoms": 1}), model=model)
    in_flight = relax(starts, SETTINGS.model_copy(update={"batch_atoms": 12}), model=model)
    backwards = relax(starts[::-1], SETTINGS, model=model)[::-1]
    for rows in (one_by_one, in_flight, backwards):
        assert_same(rows, together)


def test_a_fixed_cell_stays_and_its_stress_is_no_criterion(model):
    start = salt(5.2, seed=1)
    row = relax([start], RelaxConfig(relax_cell=False), model=model)[0]
    assert row.status == Status.OK
    assert row.smax > 5
    np.testing.assert_allclose(row.crystal.cell, start.cell, atol=1e-12)
    assert np.abs(row.crystal.frac_coords - start.frac_coords).max() > 1e-3


def test_stress_is_a_criterion_when_the_cell_is_free(model):
    row = relax([salt(5.0)], RelaxConfig(), model=model)[0]  # no forces by symmetry
    assert row.steps > 0
    assert row.smax < 1


def test_overlapping_atoms_are_pushed_apart(model):
    """At 0.7 Å CHGNet attracts: without the repulsion the pair falls together."""
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.36], [0.05, 0.45, 0.9]])
    start = Crystal.of(np.eye(3) * 5, [30, 16, 16, 16], frac)
    assert start.min_distance == pytest.approx(0.7)
    row = relax([start], RelaxConfig(), model=model)[0]
    assert row.status == Status.OK
    assert row.min_distance > 1.8


def test_left_handed_cells(model):
    start = blende(2)
    mirror = Crystal.of(-start.cell, start.atomic_numbers, -start.frac_coords)
    rows = relax([start, mirror], SETTINGS, model=model)
    assert rows[1].energy_per_atom == pytest.approx(rows[0].energy_per_atom, abs=1e-5)
    np.testing.assert_allclose(rows[1].crystal.cell, -rows[0].crystal.cell, atol=1e-3)


def test_progress_counts_up_to_all(model):
    seen = []
    table = [too_close(), *good()[:3]]
    relax(table, SETTINGS, model=model, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (4, 4)
    assert relax([], SETTINGS) == []


def quadratic(bfgs, centre, stiffness):
    """Forces of springs to given positions, and no stress."""
    force = stiffness * (centre - bfgs.positions())
    return force, torch.zeros(len(bfgs.cells()), 3, 3, dtype=torch.float64)


def test_bfgs_learns_stiffness_and_steps_are_capped():
    start = salt()
    rng = np.random.default_rng(0)
    centre = torch.tensor(start.cart_coords + rng.normal(0, 0.15, (8, 3)))
    stiffness = torch.tensor(rng.uniform(1, 60, (8, 1)))
    bfgs = BFGS(relax_cell=False, device=torch.device("cpu"))
    bfgs.add([start])
    for _ in range(40):
        before = bfgs.positions()
        bfgs.advance(*quadratic(bfgs, centre, stiffness))
        step = torch.linalg.vector_norm(bfgs.positions() - before, dim=1)
        assert step.max() <= MAX_STEP * (1 + 1e-9)
    np.testing.assert_allclose(bfgs.positions(), centre, atol=1e-4)


def test_bfgs_path_does_not_depend_on_company():
    starts = [salt(), blende(1), salt(5.9)]
    rng = np.random.default_rng(0)
    centres = [torch.tensor(c.cart_coords + rng.normal(0, 0.1, (len(c), 3))) for c in starts]

    def path(schedule):
        """Positions of the second crystal; schedule: crystals present at each step."""
        bfgs, present, seen = BFGS(relax_cell=True, device=torch.device("cpu")), [], []
        for wanted in schedule:
            stay = [row for row, k in enumerate(present) if k in wanted]
            bfgs.keep(stay)
            present = [present[row] for row in stay]
            new = [k for k in wanted if k not in present]
            bfgs.add([starts[k] for k in new])
            present += new
            force, stress = quadratic(bfgs, torch.cat([centres[k] for k in present]), 20.0)
            bfgs.advance(force, stress + 0.01 * torch.eye(3, dtype=torch.float64))
            sizes = [len(starts[k]) for k in present]
            seen.append(bfgs.positions().split(sizes)[present.index(1)])
        return torch.stack(seen)

    alone = path([[1]] * 6)
    company = path([[1], [0, 1], [0, 1, 2], [1, 2], [1], [1, 0]])
    np.testing.assert_allclose(company, alone, atol=1e-12)


def test_in_double_precision_a_short_relaxation_does_not_depend_on_its_batch():
    model = load_potential("chgnet-0.3.0", precision="float64")
    rng = np.random.default_rng(5)
    starts = []
    for size in (6, 9, 4):
        cell = np.eye(3) + rng.normal(0, 0.1, (3, 3))
        cell *= np.cbrt(20 * size / abs(np.linalg.det(cell)))
        grid = np.array([[x, y, z] for x in (0, 0.5) for y in (0, 0.5) for z in (0, 0.33, 0.67)])
        frac = grid[rng.permutation(12)[:size]] + rng.normal(0, 0.02, (size, 3))
        starts.append(Crystal.of(cell, rng.choice([30, 16], size), frac))
    settings = SETTINGS.model_copy(update={"max_steps": 25, "precision": "float64"})
    together = relax(starts, settings, model=model)
    for start, row in zip(starts, together, strict=True):
        alone = relax([start], settings, model=model)[0]
        assert alone.steps == row.steps > 5
        assert row.energy_per_atom == pytest.approx(alone.energy_per_atom, abs=1e-8)
        np.testing.assert_allclose(row.crystal.cell, alone.crystal.cell, atol=1e-6)
        np.testing.assert_allclose(row.crystal.frac_coords, alone.crystal.frac_coords, atol=1e-6)


def test_a_skewed_cell_is_relaxed_as_its_lattice(model):
    """A cell may be 0.07 Å high only because its vectors are long."""
    start = salt(seed=3)
    change = np.array([[1, 0, 1], [0, 1, 0], [36, 1850, 37]])
    skewed = Crystal.of(
        change @ start.cell, start.atomic_numbers, start.frac_coords @ np.linalg.inv(change)
    )
    assert np.linalg.det(change) == pytest.approx(1.0)
    plain, other = relax([start, skewed], SETTINGS, model=model)
    assert other.status == Status.OK
    assert other.energy_per_atom == pytest.approx(plain.energy_per_atom, abs=1e-3)
    assert other.max_displacement is not None


def test_atoms_too_far_apart_for_a_spring_are_relaxed(model):
    """Body-centred caesium: neighbours at 5.3 Å, beyond the springs of the first guess."""
    caesium = Crystal.of(np.eye(3) * 6.15, [55, 55], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert caesium.min_distance > CUTOFF
    row = relax([caesium], SETTINGS, model=model)[0]
    assert (row.status, row.converged) == (Status.OK, True)
