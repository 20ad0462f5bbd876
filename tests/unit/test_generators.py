"""Generators that place atoms at random: distances, space groups, seeds."""

from typing import Any

import numpy as np
import pytest
import spglib
from ase.data import covalent_radii

from chggen.cells.lattice import sample_lattices
from chggen.config.stages import LatticeConfig
from chggen.generators import pyxtal as pyxtal_starts
from chggen.generators.random import FRACTIONS, RandomGenerator
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed, Task
from chggen.symmetry import settings as spacegroups


def tasks_of(
    formula: str, units: int, count: int, volume: float = 18.0, seed: int = 3
) -> list[Task]:
    z = np.array(comp.atomic_numbers(formula, units))
    lattices = sample_lattices(count, volume * len(z), LatticeConfig(), np.random.SeedSequence(3))
    return [
        Task(Crystal.of(lattice.cell, z, np.zeros((len(z), 3))), np.ones(len(z), bool), index)
        for index, lattice in enumerate(lattices)
    ]


def closest(crystal: Crystal) -> float:
    """Smallest distance between two atoms over the sum of their covalent radii."""
    radii = covalent_radii[crystal.atomic_numbers]
    distances = crystal.to_structure().distance_matrix / (radii[:, None] + radii)
    return float(distances[np.triu_indices(len(crystal), 1)].min())


def good(placed: list[Placed]) -> list[Crystal]:
    return [p.crystal for p in placed if p.crystal is not None]


# -- random --------------------------------------------------------------------------------


def test_random_keeps_distances_cell_and_atoms() -> None:
    tasks = tasks_of("Zn2P2S7", 1, 21)
    placed = RandomGenerator()(tasks)
    for task, result in zip(tasks, placed, strict=True):
        crystal = result.crystal
        assert crystal is not None
        assert np.array_equal(crystal.cell, task.crystal.cell)
        assert np.array_equal(crystal.atomic_numbers, task.crystal.atomic_numbers)
        assert closest(crystal) > 0.9
        assert result.score_calls == 0


def test_random_in_a_skewed_cell_sees_all_images() -> None:
    """The same lattice in vectors that are far from reduced."""
    skew = np.array([[1, 0, 0], [2, 1, 0], [-3, 2, 1]])
    for task in tasks_of("ZnS", 3, 7):
        cell = skew @ task.crystal.cell
        crystal = RandomGenerator()(
            [Task(Crystal.of(cell, task.crystal.atomic_numbers, np.zeros((6, 3))), task.guest, 5)]
        )[0].crystal
        assert crystal is not None
        assert np.array_equal(crystal.cell, cell)
        plain = crystal.frac_coords @ skew
        assert closest(Crystal.of(task.crystal.cell, crystal.atomic_numbers, plain)) > 0.9


@pytest.mark.parametrize("make", [RandomGenerator, pyxtal_starts.PyxtalGenerator])
def test_seeds_decide_and_company_does_not_matter(make: Any) -> None:
    tasks = tasks_of("ZnS", 2, 6)
    together = make()(tasks)
    alone = [make()([task])[0] for task in reversed(tasks)][::-1]
    for one, two in zip(together, alone, strict=True):
        assert (one.crystal is None) == (two.crystal is None)
        if one.crystal is not None and two.crystal is not None:
            assert np.array_equal(one.crystal.frac_coords, two.crystal.frac_coords)
    triclinic = next(i for i, p in enumerate(together) if p.crystal is not None)
    other = make()([Task(tasks[triclinic].crystal, tasks[triclinic].guest, 999)])[0].crystal
    first = together[triclinic].crystal
    assert first is not None
    assert other is None or not np.allclose(first.frac_coords, other.frac_coords)


def test_random_places_guests_around_hosts() -> None:
    start = RandomGenerator()(tasks_of("Zn2P2S7", 1, 5))
    for crystal in good(start):
        guest = crystal.atomic_numbers == 30
        moved = crystal.frac_coords + 2.0  # any image will do
        task = Task(Crystal.of(crystal.cell, crystal.atomic_numbers, moved), guest, 77)
        again = RandomGenerator()([task])[0].crystal
        assert again is not None
        assert np.array_equal(again.frac_coords[~guest], moved[~guest])
        assert not np.allclose(again.frac_coords[guest], crystal.frac_coords[guest])
        assert closest(again) > 0.7


def test_random_gives_way_in_tight_cells_and_then_gives_up() -> None:
    tight = RandomGenerator()(tasks_of("ZnS", 4, 7, volume=9.0))
    assert len(good(tight)) == 7
    for crystal in good(tight):
        assert FRACTIONS[-1] <= closest(crystal) < 1.0
    hopeless = RandomGenerator()(tasks_of("ZnS", 4, 3, volume=1.5))
    assert not good(hopeless)
    assert all("no placement" in p.reason for p in hopeless)
    broken = Task(Crystal.of(np.full((3, 3), np.nan), [30], [[0, 0, 0]]), np.ones(1, bool), 0)
    assert RandomGenerator()([broken])[0].reason


# -- pyxtal --------------------------------------------------------------------------------


def test_pyxtal_crystals_have_the_space_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spglib finds what was drawn, or a group with more operations."""
    drawn = []
    fill = pyxtal_starts._fill

    def spy(crystal, setting, *rest):
        frac = fill(crystal, setting, *rest)
        if frac is not None:
            drawn.append(setting)
        return frac

    monkeypatch.setattr(pyxtal_starts, "_fill", spy)
    tasks = tasks_of("ZnS", 2, 14) + tasks_of("ZnP2S6", 1, 14)
    placed = pyxtal_starts.PyxtalGenerator()(tasks)
    made = [(t, p.crystal) for t, p in zip(tasks, placed, strict=True) if p.crystal is not None]
    assert len(made) >= 20
    assert len(drawn) == len(made)
    exact = 0
    for setting, (task, crystal) in zip(drawn, made, strict=True):
        assert np.array_equal(crystal.cell, task.crystal.cell)
        assert np.array_equal(crystal.atomic_numbers, task.crystal.atomic_numbers)
        assert closest(crystal) > 0.49
        cell = (crystal.cell, crystal.frac_coords, crystal.atomic_numbers)
        found = spglib.get_symmetry_dataset(cell, 1e-4)
        wanted = _operations(*spacegroups.operations(setting))
        assert wanted <= _operations(found.rotations, found.translations), setting.number
        assert len(wanted) > 1
        exact += found.number == setting.number
    assert exact >= len(made) / 2
    for placement in placed:
        assert (placement.crystal is None) == bool(placement.reason)
    # said in the table, so that nobody takes them for free draws
    assert [p.symmetry.number for p in placed if p.symmetry] == [s.number for s in drawn]


def _operations(rotations: Any, translations: Any) -> set[tuple[int, ...]]:
    """Operations that can be compared, translations in units of 1/1000."""
    return {
        (*np.rint(r).astype(int).ravel(), *(np.rint(t * 1000).astype(int) % 1000))
        for r, t in zip(rotations, translations, strict=True)
    }


def test_pyxtal_says_why_it_has_none() -> None:
    # one atom of each of nine elements has no place in a face-centred cell
    z = np.arange(3, 12)
    cell = 8.0 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystal = Crystal.of(cell, z, np.zeros((9, 3)))
    result = pyxtal_starts.PyxtalGenerator()([Task(crystal, np.ones(9, bool), 1)])[0]
    assert result.crystal is None
    assert "no space group" in result.reason
    guests = Task(crystal, z > 5, 1)
    assert "guests" in pyxtal_starts.PyxtalGenerator()([guests])[0].reason
