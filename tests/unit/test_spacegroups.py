"""Space groups that fit a cell, Wyckoff positions drawn, starts that have the group."""

import math
from collections import Counter

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.cells.lattice import sample_lattices
from chggen.config.stages import LatticeConfig
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry import settings as spacegroups
from chggen.symmetry import wyckoff
from chggen.symmetry.orbits import exact, impose
from chggen.symmetry.settings import operations, settings_of

LATTICES = sample_lattices(42, 180.0, LatticeConfig(), np.random.SeedSequence(3))


def crystal_of(data):
    return (data.cell, data.frac_coords - np.floor(data.frac_coords), data.atomic_numbers)


@pytest.mark.parametrize("number", range(1, 231))
def test_wyckoff_tables_are_in_a_setting_of_spglib(number):
    assert spglib.get_spacegroup_type(spacegroups.standard_hall(number)).number == number


def test_every_space_group_fits_some_bravais_lattice():
    found = {n for lattice in LATTICES for n in {s.number for s in settings_of(lattice.cell)}}
    assert found == set(range(1, 231))


@pytest.mark.parametrize("lattice", LATTICES, ids=lambda x: f"{x.bravais_type}-{x.centring}")
def test_settings_have_the_lattice_of_the_cell(lattice):
    for setting in settings_of(lattice.cell):
        assert spacegroups.bravais_type(setting.number) == lattice.bravais_type
        size = setting.size
        assert size == pytest.approx(round(size))
        conventional = setting.basis @ lattice.cell
        assert abs(np.linalg.det(conventional)) == pytest.approx(180.0 * size)


def test_operations_form_a_group_and_keep_distances():
    rng = np.random.default_rng(0)
    for lattice in LATTICES[::3]:
        found = settings_of(lattice.cell)
        for setting in rng.permutation(np.array(found, dtype=object))[:4]:
            rotations, translations = operations(setting)
            metric = lattice.cell @ lattice.cell.T
            for r in rotations:
                np.testing.assert_allclose(r.T @ metric @ r, metric, atol=1e-6 * metric.max())
            keys = {
                (r.tobytes(), *np.rint(t * 1e4).astype(int) % 10_000)
                for r, t in zip(rotations, translations, strict=True)
            }
            assert len(keys) == len(rotations)
            i, j = rng.integers(len(rotations), size=2)
            product = rotations[i] @ rotations[j]
            shift = rotations[i] @ translations[j] + translations[i]
            assert (product.tobytes(), *np.rint(shift * 1e4).astype(int) % 10_000) in keys


def test_axes_of_orthorhombic_and_monoclinic_cells_take_every_role():
    cell = np.diag([4.0, 5.0, 6.0])
    ways = [s.basis for s in settings_of(cell) if s.number == 62]
    assert len({tuple(np.abs(w).round().astype(int).ravel()) for w in ways}) == 6
    glide = np.array([[4.0, 0, 0], [0, 5.0, 0], [-1.0, 0, 6.0]])
    assert len([s for s in settings_of(glide) if s.number == 14]) == 3


def brute(number, count):
    """Weight of all ways to place ``count`` sites of one element, by plain recursion."""
    positions = wyckoff.positions(number)

    def total(i, left):
        if left == 0:
            return 1.0
        if i == len(positions):
            return 0.0
        p = positions[i]
        price = math.exp(-0.7 - 0.3 * p.freedom)
        most = left // p.multiplicity if p.freedom else min(1, left // p.multiplicity)
        return sum(price**k * total(i + 1, left - k * p.multiplicity) for k in range(most + 1))

    return total(0, count)


@pytest.mark.parametrize(("number", "count"), [(2, 5), (62, 12), (166, 9), (225, 12), (227, 8)])
def test_summed_weights_count_every_way_once(number, count):
    table = wyckoff.ways(number, count, 0.7, 0.3)
    assert table[-1, -1] == pytest.approx(brute(number, count))


def test_ways_are_drawn_as_often_as_they_weigh():
    cell = np.eye(3) * 5
    setting = next(s for s in settings_of(cell) if s.number == 221)
    rng = np.random.default_rng(0)
    drawn = Counter()
    for _ in range(3000):
        combination = wyckoff.draw(setting, [11] * 3, rng)
        drawn[tuple(sorted(p.letter for p in combination[11]))] += 1
    price = {
        p.letter: math.exp(-wyckoff.prior()["orbit"] - wyckoff.prior()["freedom"] * p.freedom)
        for p in wyckoff.positions(221)
    }
    weights = {letters: math.prod(price[x] for x in letters) for letters in drawn}
    for letters, count in drawn.items():
        share = weights[letters] / sum(weights.values())
        assert abs(count / 3000 - share) < 4 * math.sqrt(share * (1 - share) / 3000) + 1e-3


def test_positions_without_freedom_are_never_taken_twice():
    setting = next(s for s in settings_of(np.eye(3) * 4) if s.number == 221)
    rng = np.random.default_rng(1)
    for _ in range(200):
        combination = wyckoff.draw(setting, [22, 38, 8, 8, 8], rng)
        fixed = [p.letter for some in combination.values() for p in some if not p.freedom]
        assert len(set(fixed)) == len(fixed)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 41), st.integers(0, 10**6))
def test_starts_have_the_space_group_they_claim(index, seed):
    cell = LATTICES[index].cell
    numbers = np.array([30, 30, 15, 15, *[16] * 7])
    task = Task(Crystal.of(cell, numbers, np.zeros((11, 3))), np.ones(11, bool), seed)
    kept = impose(task, "auto")
    if isinstance(kept, str):
        return
    data = spglib.get_symmetry_dataset(crystal_of(kept.crystal), 1e-3)
    assert len(data.rotations) >= len(kept.symmetry.rotations)
    assert (kept.crystal.atomic_numbers == numbers).all()
    np.testing.assert_array_equal(kept.crystal.cell, cell)
    assert kept.symmetry.number in {s.number for s in settings_of(cell)}


def test_the_same_seed_gives_the_same_start():
    task = Task(
        Crystal.of(np.eye(3) * 6, [11] * 4 + [17] * 4, np.zeros((8, 3))), np.ones(8, bool), 7
    )
    first, again = impose(task, "auto"), impose(task, "auto")
    np.testing.assert_array_equal(first.crystal.frac_coords, again.crystal.frac_coords)


@pytest.mark.parametrize(("symmetry", "fits"), [(221, True), ((195, 230), True), (62, False)])
def test_only_groups_asked_for(symmetry, fits):
    task = Task(Crystal.of(np.eye(3) * 4, [55, 17], np.zeros((2, 3))), np.ones(2, bool), 0)
    kept = impose(task, symmetry)
    assert (not isinstance(kept, str)) == fits
    if fits:
        assert kept.symmetry.number in ({221} if symmetry == 221 else set(range(195, 231)))


def test_a_combination_that_cannot_be_says_so():
    # F-centred, one atom each of five elements: Fm-3m has four sites with one per cell
    # that another element has not taken, and these only once
    cell = np.array([[0, 3.0, 3.0], [3.0, 0, 3.0], [3.0, 3.0, 0]])
    task = Task(Crystal.of(cell, [3, 11, 19, 37, 55], np.zeros((5, 3))), np.ones(5, bool), 0)
    kept = impose(task, 225)
    assert isinstance(kept, str)


def test_guests_keep_the_space_group_of_their_framework():
    # zinc blende without zinc; F-43m, host cell primitive
    cell = 2.7 * np.array([[0, 1.0, 1.0], [1.0, 0, 1.0], [1.0, 1.0, 0]])
    for origin in ([0, 0, 0], [0.1, 0.2, 0.3]):
        crystal = Crystal.of(cell, [16, 30], [origin, [0, 0, 0]])
        found = set()
        for seed in range(20):
            kept = impose(Task(crystal, np.array([False, True]), seed), "auto")
            assert not isinstance(kept, str), kept
            np.testing.assert_allclose(kept.crystal.frac_coords[0], origin)
            assert kept.symmetry.number == 225  # of the host alone
            site = (kept.crystal.frac_coords[1] - origin) % 1
            found.add(tuple(site.round(3) % 1))
        assert found == {(0.5, 0.5, 0.5)}


def test_exact_brings_rounded_coordinates_back():
    cell = LATTICES[2].cell
    rng = np.random.default_rng(0)
    task = Task(Crystal.of(cell, [30] * 4 + [16] * 4, np.zeros((8, 3))), np.ones(8, bool), 5)
    kept = impose(task, "auto")
    noisy = Crystal.of(
        cell, kept.crystal.atomic_numbers, kept.crystal.frac_coords + rng.normal(0, 1e-5, (8, 3))
    )
    clean = exact(noisy, kept.symmetry)
    data = spglib.get_symmetry_dataset(crystal_of(clean), 1e-7)
    assert len(data.rotations) >= len(kept.symmetry.rotations)
