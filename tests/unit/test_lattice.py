"""Lattices: volume, Bravais lattice, coverage, reproducibility."""

from collections import Counter

import numpy as np
import pytest
import spglib
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.cells.lattice import (
    MIN_HEIGHT,
    angle_determinant,
    relative_height,
    sample_lattices,
)
from chggen.config.stages import BRAVAIS_TYPES, LatticeConfig
from chggen.errors import ConfigError

DEFAULT = LatticeConfig()
#: Space group of one atom on each Bravais lattice: its holohedry.
HOLOHEDRY = {
    ("cubic", "P"): 221,
    ("cubic", "I"): 229,
    ("cubic", "F"): 225,
    ("tetragonal", "P"): 123,
    ("tetragonal", "I"): 139,
    ("orthorhombic", "P"): 47,
    ("orthorhombic", "C"): 65,
    ("orthorhombic", "I"): 71,
    ("orthorhombic", "F"): 69,
    ("hexagonal", "P"): 191,
    ("rhombohedral", "P"): 166,
    ("monoclinic", "P"): 10,
    ("monoclinic", "C"): 12,
    ("triclinic", "P"): 2,
}


def seed(number=0):
    return np.random.SeedSequence(number)


def shape(cell):
    """Metric tensor at volume 1: what two cells of one shape share."""
    return cell @ cell.T / np.cbrt(np.linalg.det(cell)) ** 2


@given(
    st.sampled_from(BRAVAIS_TYPES),
    st.floats(1e-2, 1e6),
    st.integers(0, 2**32),
    st.tuples(st.floats(0.4, 1.0), st.floats(1.0, 2.0)),
    st.tuples(st.floats(50, 80), st.floats(80, 130)),
)
@settings(max_examples=100, deadline=None)
def test_volume_is_exact_for_every_type(bravais_type, volume, number, ratio, angle):
    config = LatticeConfig(types=[bravais_type], ratio=ratio, angle=angle)
    for lattice in sample_lattices(4, volume, config, seed(number)):
        assert np.linalg.det(lattice.cell) == pytest.approx(volume, rel=1e-12)


def test_one_volume_per_lattice():
    volumes = np.linspace(10, 2000, 30)
    lattices = sample_lattices(30, volumes, DEFAULT, seed())
    assert np.allclose([np.linalg.det(x.cell) for x in lattices], volumes, rtol=1e-12)


def test_hexagonal_edge_is_the_cube_root():
    # V = a³ (c/a) √3/2; the original code takes a square root here
    config = LatticeConfig(types=["hexagonal"], ratio=(1.25, 1.25))
    (lattice,) = sample_lattices(1, 400.0, config, seed())
    edge = (400.0 / (1.25 * np.sqrt(3) / 2)) ** (1 / 3)
    assert np.linalg.norm(lattice.cell, axis=1) == pytest.approx([edge, edge, 1.25 * edge])


@pytest.mark.parametrize("number", range(3))
def test_each_cell_has_the_symmetry_of_its_bravais_lattice(number):
    lattices = sample_lattices(7 * 8, 100.0, DEFAULT, seed(number))
    assert {(x.bravais_type, x.centring) for x in lattices} == set(HOLOHEDRY)
    for lattice in lattices:
        found = spglib.get_symmetry_dataset((lattice.cell, [[0, 0, 0]], [1]), symprec=1e-6)
        assert found.number == HOLOHEDRY[lattice.bravais_type, lattice.centring]
        # one lattice point per cell: primitive
        assert len(found.std_mapping_to_primitive) >= 1
        assert len(spglib.find_primitive((lattice.cell, [[0, 0, 0]], [1]))[2]) == 1


@given(st.integers(0, 100), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_types_have_equal_shares(n, number):
    lattices = sample_lattices(n, 50.0, DEFAULT, seed(number))
    shares = [Counter(x.bravais_type for x in lattices)[t] for t in BRAVAIS_TYPES]
    assert len(lattices) == n
    assert max(shares) - min(shares) <= 1


@given(st.integers(1, 8), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_centrings_have_equal_shares(rounds, number):
    config = LatticeConfig(types=["orthorhombic", "cubic"])
    lattices = sample_lattices(24 * rounds, 50.0, config, seed(number))
    counts = Counter((x.bravais_type, x.centring) for x in lattices)
    assert {counts["cubic", c] for c in "PIF"} == {4 * rounds}
    assert {counts["orthorhombic", c] for c in "PCIF"} == {3 * rounds}


def test_types_and_centrings_do_not_fall_in_step_with_alternating_cells():
    # a caller that alternates formula units must see every Bravais lattice with each
    lattices = sample_lattices(400, 50.0, DEFAULT, seed())
    for first in range(2):
        drawn = {(x.bravais_type, x.centring) for x in lattices[first::2]}
        assert drawn == set(HOLOHEDRY)


def test_single_lattices_of_many_seeds_are_not_all_of_one_type():
    drawn = {sample_lattices(1, 50.0, DEFAULT, seed(i))[0].bravais_type for i in range(60)}
    assert drawn == set(BRAVAIS_TYPES)


def test_no_two_lattices_alike_but_cubic_ones():
    lattices = sample_lattices(140, 50.0, DEFAULT, seed())
    shapes = [shape(x.cell) for x in lattices if x.bravais_type != "cubic"]
    # the first round has P, I and F once each
    shapes += [shape(x.cell) for x in lattices if x.bravais_type == "cubic"][:3]
    for i, first in enumerate(shapes):
        for second in shapes[i + 1 :]:
            assert np.abs(first - second).max() > 1e-6


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_first_of_many_are_those_of_few(few, more, number):
    start = sample_lattices(few, 50.0, DEFAULT, seed(number))
    longer = sample_lattices(few + more, 50.0, DEFAULT, seed(number))
    for a, b in zip(start, longer, strict=False):
        assert (a.bravais_type, a.centring) == (b.bravais_type, b.centring)
        assert np.array_equal(a.cell, b.cell)


def test_a_seed_gives_the_same_lattices_whatever_it_was_used_for_before():
    sequence = seed(5)
    before = sample_lattices(20, 50.0, DEFAULT, sequence)
    sequence.spawn(3)
    after = sample_lattices(20, 50.0, DEFAULT, sequence)
    assert all(np.array_equal(a.cell, b.cell) for a, b in zip(before, after, strict=True))


def test_seeds_differ():
    first, second = (
        sample_lattices(5, 50.0, LatticeConfig(types=["triclinic"]), s) for s in seed().spawn(2)
    )
    for a in first:
        for b in second:
            assert not np.allclose(a.cell, b.cell)


def test_shape_does_not_depend_on_volume():
    small = sample_lattices(14, 10.0, DEFAULT, seed())
    large = sample_lattices(14, 1000.0, DEFAULT, seed())
    for a, b in zip(small, large, strict=True):
        assert np.allclose(shape(a.cell), shape(b.cell), rtol=1e-12)


def test_ratios_are_even_in_the_logarithm_and_angles_within_range():
    config = LatticeConfig(types=["hexagonal"], ratio=(0.5, 2.0))
    logs = [
        np.log2(np.linalg.norm(x.cell[2]) / np.linalg.norm(x.cell[0]))
        for x in sample_lattices(64, 50.0, config, seed())
    ]
    # quasi-random: eight equal bins hold about eight each, a plain draw scatters by ±3
    counts, _ = np.histogram(logs, bins=8, range=(-1, 1))
    assert counts.sum() == 64
    assert counts.min() >= 6


def test_one_centring_of_several_covers_the_whole_range():
    # a base-2 sequence shared by four centrings would give each a quarter of the range
    config = LatticeConfig(types=["orthorhombic"], ratio=(0.5, 2.0))
    logs = [
        np.log2(np.linalg.norm(x.cell[1]) / np.linalg.norm(x.cell[0]))
        for x in sample_lattices(64, 50.0, config, seed())
        if x.centring == "P"
    ]
    assert len(logs) == 16
    assert min(logs) < -0.7
    assert max(logs) > 0.7


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_no_cell_is_flat(number):
    config = LatticeConfig(ratio=(0.3, 3.0), angle=(40.0, 140.0))
    for lattice in sample_lattices(35, 50.0, config, seed(number)):
        assert relative_height(lattice.cell) >= MIN_HEIGHT * (1 - 1e-9)


@pytest.mark.parametrize(
    ("types", "key", "value"),
    [
        (["rhombohedral"], "angle", (120.0, 130.0)),
        (["tetragonal"], "ratio", (0.01, 0.02)),
        (["triclinic"], "angle", (125.0, 140.0)),
    ],
)
def test_ranges_without_a_valid_cell_are_a_config_error(types, key, value):
    with pytest.raises(ConfigError, match=types[0]):
        sample_lattices(2, 50.0, LatticeConfig(types=types, **{key: value}), seed())


@pytest.mark.parametrize("volumes", [0.0, -1.0, np.nan, np.inf, [1.0, 2.0]])
def test_bad_volumes_are_refused(volumes):
    with pytest.raises(ValueError, match=r"volumes|broadcast"):
        sample_lattices(3, volumes, DEFAULT, seed())


def test_angles_without_a_cell_are_known():
    assert angle_determinant([60, 60, 130]) < 0
