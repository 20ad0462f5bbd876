"""Bonds by covalent radii: limits of distances, components, dimensionality, families."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.screening.families import families, inner_distances
from chggen.structure.bonds import (
    closest_pair,
    components,
    dimensionality,
    least_distance,
    neighbours,
)
from chggen.structure.crystal import Crystal


def made(group: object, lattice: Lattice, species: list[str], coords: object) -> Crystal:
    return Crystal.from_structure(Structure.from_spacegroup(group, lattice, species, coords))


GRAPHITE = made(
    194, Lattice.hexagonal(2.46, 6.71), ["C", "C"], [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25]]
)
BRUCITE = made(
    164, Lattice.hexagonal(3.14, 4.77), ["Mg", "O", "H"],
    [[0, 0, 0], [1 / 3, 2 / 3, 0.22], [1 / 3, 2 / 3, 0.43]],
)  # fmt: skip
MOS2 = made(
    194, Lattice.hexagonal(3.16, 12.3), ["Mo", "S"], [[1 / 3, 2 / 3, 0.25], [1 / 3, 2 / 3, 0.621]]
)
KNOWN = {
    "salt": (made(225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5] * 3]), 3),
    "copper": (made(225, Lattice.cubic(3.61), ["Cu"], [[0, 0, 0]]), 3),
    "sodium": (made(229, Lattice.cubic(4.29), ["Na"], [[0, 0, 0]]), 3),
    "diamond": (made(227, Lattice.cubic(3.57), ["C"], [[0.125] * 3]), 3),
    "TlCl": (made(221, Lattice.cubic(3.83), ["Tl", "Cl"], [[0, 0, 0], [0.5] * 3]), 3),
    "CsCl": (made(221, Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5] * 3]), 3),
    "graphite": (GRAPHITE, 2),
    "MoS2": (MOS2, 2),
    "brucite": (BRUCITE, 2),
    "selenium": (made(152, Lattice.hexagonal(4.37, 4.95), ["Se"], [[0.225, 0, 1 / 3]]), 1),
    "argon": (made(225, Lattice.cubic(5.31), ["Ar"], [[0, 0, 0]]), 0),
    "CO2": (
        made(205, Lattice.cubic(5.62), ["C", "O"], [[0, 0, 0], [0.119] * 3]),
        0,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_dimensionality_of_textbook_crystals(name: str) -> None:
    crystal, expected = KNOWN[name]
    assert dimensionality(crystal) == expected


@given(st.integers(0, 10**6), st.sampled_from(sorted(KNOWN)))
@settings(max_examples=60, deadline=None)
def test_the_setting_of_the_cell_does_not_matter(seed: int, name: str) -> None:
    crystal, expected = KNOWN[name]
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-2, 3, (3, 3))
    while not 0 < abs(round(np.linalg.det(matrix))) <= 4:
        matrix = rng.integers(-2, 3, (3, 3))
    structure = crystal.to_structure()
    structure.translate_sites(list(range(len(structure))), rng.random(3))
    structure.make_supercell(matrix)
    other = Crystal.from_structure(structure)
    assert dimensionality(other) == expected
    assert closest_pair(other).ratio == pytest.approx(closest_pair(crystal).ratio, rel=1e-6)
    parts = [components(c) for c in (crystal, other)]
    same = families(parts, ["x", "x"])
    assert same == ([0, 1] if expected == 3 else [0, 0])


def test_neighbours_are_all_there() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        cell = rng.normal(0, 3, (3, 3)) + 4 * np.eye(3)
        crystal = Crystal.of(cell, [6] * 5, rng.random((5, 3)) * 3 - 1)
        found = neighbours(crystal, 5.0)
        i, j, _, distances = crystal.to_structure().get_neighbor_list(5.0, exclude_self=True)
        assert found is not None
        assert sorted(found.distances) == pytest.approx(sorted(distances), abs=1e-6)
        pairs = zip(found.first.tolist(), found.second.tolist(), strict=True)
        assert sorted(pairs) == sorted(zip(i.tolist(), j.tolist(), strict=True))
        delta = (found.frac[found.second] + found.shifts - found.frac[found.first]) @ found.cell
        assert np.linalg.norm(delta, axis=1) == pytest.approx(found.distances)


def test_hydrogen_may_be_near_and_heavy_atoms_may_not() -> None:
    assert least_distance(1, 1) < 0.74  # H2
    assert least_distance(1, 8) < 0.95  # water
    assert least_distance(1, 9) < 0.91  # HF
    assert least_distance(7, 7) < 1.09  # N2
    assert least_distance(8, 92) < 1.75  # uranyl
    assert least_distance(16, 30) > 1.3  # where 1 Å would pass
    cell = np.eye(3) * 8.0
    far = [[0, 0, 0], [0.97 / 8, 0, 0], [0.5, 0.5, 0.5], [0.5 + 1.2 / 8, 0.5, 0.5]]
    pair = closest_pair(Crystal.of(cell, [8, 1, 16, 30], far))
    # the O-H distance is shorter, but it is the other that is wrong
    assert pair.symbols == ("S", "Zn")
    assert pair.ratio < 1
    assert closest_pair(Crystal.of(cell, [8, 1], far[:2])).ratio > 1
    assert closest_pair(Crystal.of(cell, [8, 1], far[:2]), 1.0).ratio == pytest.approx(0.97)


def test_one_atom_and_bad_crystals() -> None:
    alone = closest_pair(Crystal.of(np.eye(3) * 3.0, [26], [[0, 0, 0]]))
    assert alone.distance == pytest.approx(3.0)
    assert closest_pair(Crystal.of(np.eye(3), [], np.zeros((0, 3)))) is None
    bad = Crystal.of(np.eye(3) * math.nan, [26], [[0, 0, 0]])
    assert closest_pair(bad) is None
    assert dimensionality(bad) is None
    flat = Crystal.of(np.diag([3.0, 3.0, 0.0]), [26], [[0, 0, 0]])
    assert dimensionality(flat) is None
    assert families([components(bad), components(flat)], ["Fe", "Fe"]) == [0, 1]


def test_interpenetrating_frameworks_and_a_guest_molecule() -> None:
    # two separate nets of a simple cubic lattice, each of every second translation
    cell = np.eye(3) * 1.6
    net = Crystal.of(cell, [6], [[0, 0, 0]])
    assert dimensionality(net) == 3
    structure = Structure(Lattice.cubic(1.6), ["C"], [[0, 0, 0]])
    structure.make_supercell([6, 6, 6])
    inside = [i for i, s in enumerate(structure) if not (np.round(s.coords / 1.6) % 6 != 0).all()]
    frame = Structure.from_sites([structure[i] for i in inside])
    frame.append("N", [0.5, 0.5, 0.5])
    frame.append("N", [0.5 + 1.1 / 9.6, 0.5, 0.5])
    parts = components(Crystal.from_structure(frame))
    assert sorted(p.dimensionality for p in parts) == [0, 3]
    assert families([parts, parts], ["x", "x"]) == [0, 1]


def test_different_layers_are_no_family() -> None:
    one_t = made(164, Lattice.hexagonal(3.19, 6.0), ["Mo", "S"], [[0, 0, 0], [1 / 3, 2 / 3, 0.26]])
    parts = [components(c) for c in (MOS2, one_t)]
    assert [max(p.dimensionality for p in found) for found in parts] == [2, 2]
    assert families(parts, ["MoS2", "MoS2"]) == [0, 1]
    wide = Crystal.of(MOS2.cell * np.array([[1], [1], [1.3]]), MOS2.atomic_numbers, [
        [x, y, (z - c) / 1.3 + c]
        for (x, y, z), c in zip(
            MOS2.frac_coords,
            np.where(MOS2.frac_coords[:, 2] < 0.5, 0.25, 0.75), strict=True)
    ])  # fmt: skip
    assert families([components(MOS2), components(wide)], ["MoS2", "MoS2"]) == [0, 0]


def test_distances_inside_a_molecule() -> None:
    (part, *_) = components(KNOWN["CO2"][0])
    assert part.formula == "CO2"
    carbon, oxygen = inner_distances(part).reshape(2, 12)
    assert carbon[:3] == pytest.approx([1.158, 1.158, 0.0], abs=2e-3)
    assert oxygen[:3] == pytest.approx([1.158, 2.317, 0.0], abs=2e-3)
