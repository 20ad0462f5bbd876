"""Duplicates and known phases: found in any setting, never invented."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.structure.crystal import Crystal
from chggen.structure.matching import (
    ENERGY_WINDOW,
    displacement,
    displacement_columns,
    duplicates,
    fingerprint,
    match_known,
)


def structure(group: int, lattice: Lattice, species: list[str], sites: list) -> Structure:
    return Structure.from_spacegroup(group, lattice, species, sites)


ZINC_BLENDE = structure(216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
WURTZITE = structure(
    186, Lattice.hexagonal(3.82, 6.26), ["Zn", "S"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.3748]]
)
ROCK_SALT = structure(225, Lattice.cubic(5.06), ["Zn", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]])
PROTOTYPES = [ZINC_BLENDE, WURTZITE, ROCK_SALT]


def another_way(found: Structure, seed: int, noise: float = 0.01) -> Crystal:
    """The same crystal rotated, shifted, in a skewed supercell, atoms shuffled."""
    rng = np.random.default_rng(seed)
    basis = [np.eye(3), [[1, 0, 0], [2, 1, 0], [0, -1, 1]], [[1, 1, 0], [-1, 1, 0], [0, 0, 1]]]
    large = found.make_supercell(basis[rng.integers(3)], in_place=False)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(large))
    cell = large.lattice.matrix @ rotation * (1 + 0.003 * rng.normal())
    moves = noise * rng.normal(size=(len(large), 3)) @ np.linalg.inv(cell)
    frac = large.frac_coords + rng.random(3) + moves
    return Crystal.of(cell, np.array(large.atomic_numbers)[order], frac[order])


@given(seed=st.integers(0, 10**6), which=st.sampled_from(range(3)))
@settings(max_examples=25, deadline=None)
def test_the_same_crystal_in_another_setting_is_a_duplicate(seed: int, which: int) -> None:
    first = Crystal.from_structure(PROTOTYPES[which])
    assert duplicates([first, another_way(PROTOTYPES[which], seed)], [-1.0, -0.999]) == [None, 0]
    exact = another_way(PROTOTYPES[which], seed, noise=0.0)
    assert fingerprint(exact) == pytest.approx(fingerprint(first), abs=1e-6)


def test_polymorphs_are_not_duplicates_even_at_the_same_energy() -> None:
    crystals = [Crystal.from_structure(s) for s in PROTOTYPES]
    assert duplicates(crystals, [0.0, 0.0, 0.0]) == [None, None, None]


def test_other_elements_energies_and_volumes_are_not_duplicates() -> None:
    first = Crystal.from_structure(ZINC_BLENDE)
    cadmium = Crystal.of(
        first.cell, np.where(first.atomic_numbers == 30, 48, 16), first.frac_coords
    )
    swollen = Crystal.of(first.cell * 1.05, first.atomic_numbers, first.frac_coords)
    assert duplicates([first, cadmium], [0.0, 0.0]) == [None, None]
    assert duplicates([first, swollen], [0.0, 0.0]) == [None, None]
    assert duplicates([first, first], [0.0, ENERGY_WINDOW * 1.01]) == [None, None]
    assert duplicates([first, first], [0.0, ENERGY_WINDOW * 0.99]) == [None, 0]


def test_duplicates_point_to_the_lowest_whatever_the_order() -> None:
    seeds = range(4)
    crystals = [another_way(s, seed) for s in PROTOTYPES for seed in seeds]
    energies = [0.001 * ((7 * i) % 12) for i in range(12)]  # lowest is not first
    found = duplicates(crystals, energies)
    for group in range(3):
        members = range(4 * group, 4 * group + 4)
        lowest = min(members, key=lambda i: energies[i])
        assert [found[i] for i in members] == [None if i == lowest else lowest for i in members]
    order = np.random.default_rng(0).permutation(12)
    again = duplicates([crystals[i] for i in order], [energies[i] for i in order])
    for place, index in enumerate(order):
        twin = again[place]
        assert (None if twin is None else order[twin]) == found[index]


def test_what_is_pointed_to_is_unique() -> None:
    # a chain in energy: the third is near the second but too far from the first
    first = Crystal.from_structure(ZINC_BLENDE)
    energies = [0.0, 0.015, 0.03, 0.034]
    assert duplicates([first] * 4, energies) == [None, 0, None, 2]


def test_known_phases() -> None:
    known = {
        "other": structure(225, Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        "disordered": Structure(Lattice.cubic(3), [{"Zn": 0.5, "S": 0.5}], [[0, 0, 0]]),
        "wurtzite": WURTZITE,
        "zinc blende": ZINC_BLENDE.copy().apply_strain(0.03, inplace=False),
    }
    crystals = [another_way(s, seed=5) for s in PROTOTYPES]
    assert match_known(crystals, known) == ["zinc blende", "wurtzite", None]
    assert match_known(crystals, {}) == [None, None, None]
    assert match_known([], known) == []


def test_a_cell_without_volume_matches_nothing() -> None:
    flat = Crystal.of(np.diag([4.0, 4.0, 0.0]), [30, 16], [[0, 0, 0], [0.5, 0.5, 0]])
    assert duplicates([flat, flat], [0.0, 0.0]) == [None, None]


def test_displacements_are_in_angstrom_and_ignore_the_choice_of_origin() -> None:
    a, place = 5.64, np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = np.concatenate([place, place + 0.5])
    numbers = [11] * 4 + [17] * 4
    start = Crystal.of(a * np.eye(3), numbers, frac)
    moved = frac.copy()
    moved[0, 0] += 0.05
    found = displacement(
        start, Crystal.of(a * np.eye(3), numbers, moved + np.array([0.2, 0.3, 0.4]))
    )
    assert found is not None
    # the matcher removes the mean shift of 1/8: one atom is 7/8 away, seven are 1/8
    shift = 0.05 * a
    assert found.max_displacement == pytest.approx(shift * 7 / 8, abs=1e-6)
    rms = shift * np.sqrt(((7 / 8) ** 2 + 7 * (1 / 8) ** 2) / 8)
    assert found.rmsd == pytest.approx(rms, abs=1e-6)
    assert found.rmsd_normalised == pytest.approx(rms / (a**3 / 8) ** (1 / 3), abs=1e-6)
    # the unit is that of the mean of both volumes
    larger = displacement(start, Crystal.of(1.1 * a * np.eye(3), numbers, moved))
    assert larger is not None
    assert larger.rmsd == pytest.approx(np.sqrt(1.1) * rms, abs=1e-6)


def test_displacements_of_what_does_not_match_are_null() -> None:
    start = Crystal.from_structure(ROCK_SALT)
    other = Crystal.of(start.cell, [3] * 4 + [17] * 4, start.frac_coords)
    assert displacement(start, other) is None
    empty = {"rmsd": None, "rmsd_normalised": None, "max_displacement": None}
    assert displacement_columns(None) == empty
