"""Crystals: distances against pymatgen, rows, files, identifiers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.errors import TableError
from chggen.structure.crystal import Crystal, has_structure, row_id, structure_key
from chggen.structure.distances import reduced_cell, shortest_distance

LENGTH = st.floats(2.0, 12.0)
NUMBER = st.integers(0, 2**32)
SHEAR = st.lists(st.integers(-3, 3), min_size=6, max_size=6)


def crystal(n, seed, lengths=(4.0, 5.0, 6.0)):
    rng = np.random.default_rng(seed)
    cell = np.diag(lengths) + rng.uniform(-1, 1, (3, 3))
    return Crystal.of(cell, rng.integers(1, 90, n), rng.uniform(-2, 2, (n, 3)))


def reference(cell, frac):
    """Shortest distance by pymatgen: between atoms, and an atom and its images."""
    lattice = Lattice(cell)
    # pymatgen's own search takes images of a reduced cell into account
    own = np.linalg.norm(lattice.get_lll_reduced_lattice().matrix, axis=1).max()
    neighbours = lattice.get_points_in_sphere(np.zeros((1, 3)), [0, 0, 0], own + 1e-6)
    distances = [d for _, d, *_ in neighbours if d > 1e-8]
    if len(frac) > 1:
        between = lattice.get_all_distances(frac, frac)
        distances += list(between[np.triu_indices(len(frac), 1)])
    return min(distances)


@given(st.integers(1, 8), NUMBER, st.tuples(LENGTH, LENGTH, LENGTH))
@settings(max_examples=50, deadline=None)
def test_shortest_distance_of_common_cells(n, seed, lengths):
    c = crystal(n, seed, lengths)
    assert c.min_distance == pytest.approx(reference(c.cell, c.frac_coords), rel=1e-9)


@given(st.integers(1, 4), NUMBER, SHEAR)
@settings(max_examples=80, deadline=None)
def test_shortest_distance_does_not_depend_on_the_choice_of_cell(n, seed, shears):
    c = crystal(n, seed)
    lower, upper = np.eye(3), np.eye(3)
    lower[np.tril_indices(3, -1)] = shears[:3]
    upper[np.triu_indices(3, 1)] = shears[3:]
    change = lower @ upper  # integer, of determinant 1: another cell of the same crystal
    skewed = shortest_distance(change @ c.cell, c.frac_coords @ np.linalg.inv(change))
    assert skewed == pytest.approx(c.min_distance, rel=1e-6)


@given(st.integers(1, 4), NUMBER, st.floats(0.05, 1.0), st.integers(0, 2))
@settings(max_examples=30, deadline=None)
def test_shortest_distance_of_flat_cells(n, seed, height, axis):
    lengths = np.full(3, 6.0)
    lengths[axis] = height
    frac = np.random.default_rng(seed).uniform(0, 1, (n, 3))
    c = Crystal.of(np.diag(lengths), np.ones(n), frac)
    assert c.min_distance == pytest.approx(reference(c.cell, frac), rel=1e-9)


def test_a_cell_whose_heights_are_all_small():
    # the simple cubic lattice in a cell of long vectors: every height is below 0.1 Å
    change = np.array([[1, 9, 8], [7, 64, 60], [11, 99, 89]])
    assert round(np.linalg.det(change)) == 1
    assert shortest_distance(change @ np.eye(3), np.zeros((1, 3))) == pytest.approx(1.0)


def test_three_vectors_that_nearly_cancel():
    # pairwise as short as can be, yet a + b + c is the shortest vector by far
    cell = np.array([[1, 0, 0.01], [-0.5, 0.75**0.5, 0.01], [-0.5, -(0.75**0.5), 0.01]]) * 5
    assert shortest_distance(cell, np.zeros((1, 3))) == pytest.approx(0.15)


def test_one_atom_sees_its_own_images():
    assert shortest_distance(np.diag([3.0, 4.0, 5.0]), np.array([[0.3, 0.1, 0.9]])) == 3.0


def test_distance_over_the_border_and_between_coinciding_atoms():
    cell = np.eye(3) * 10
    assert shortest_distance(cell, np.array([[0.02, 0, 0], [0.98, 0, 0]])) == pytest.approx(0.4)
    assert shortest_distance(cell, np.array([[0.5, 0, 0], [0.5, 1, -3]])) == 0.0


def test_cells_that_are_none():
    atom = np.zeros((1, 3))
    assert shortest_distance(np.eye(3), np.zeros((0, 3))) == np.inf
    assert shortest_distance(np.full((3, 3), np.nan), atom) == np.inf
    assert shortest_distance(np.zeros((3, 3)), atom) == 0.0
    assert shortest_distance(np.ones((3, 3)), atom) == 0.0
    assert shortest_distance(np.diag([4.0, 4.0, 1e-13]), atom) < 1e-12


@given(NUMBER, SHEAR)
@settings(max_examples=60, deadline=None)
def test_reduction_keeps_the_lattice_and_finds_its_shortest_vector(seed, shears):
    cell = crystal(1, seed).cell
    lower, upper = np.eye(3), np.eye(3)
    lower[np.tril_indices(3, -1)] = shears[:3]
    upper[np.triu_indices(3, 1)] = shears[3:]
    skewed = lower @ upper @ cell
    short = reduced_cell(skewed)
    change = short @ np.linalg.inv(skewed)
    assert np.allclose(change, np.round(change), atol=1e-6)
    assert np.linalg.det(short) == pytest.approx(abs(np.linalg.det(skewed)))
    best = reference(cell, np.zeros((1, 3)))
    assert np.linalg.norm(short, axis=1).min() == pytest.approx(best)


def test_reduction_of_no_cell():
    with pytest.raises(ValueError, match="volume"):
        reduced_cell(np.ones((3, 3)))


@given(st.integers(1, 12), NUMBER)
@settings(max_examples=40, deadline=None)
def test_a_row_holds_the_whole_structure(n, seed):
    c = crystal(n, seed)
    row = c.columns()
    back = Crystal.from_row(row)
    assert has_structure(row)
    assert np.array_equal(back.cell, c.cell)
    assert np.array_equal(back.atomic_numbers, c.atomic_numbers)
    shift = back.frac_coords - c.frac_coords
    assert np.allclose(shift, np.round(shift), atol=1e-12)
    assert back.columns() == row


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=3))
def test_coordinates_are_wrapped_into_the_cell(frac):
    row = Crystal.of(np.eye(3), [1], [frac]).columns()
    assert all(0.0 <= x < 1.0 for x in row["frac_coords"][0])


@pytest.mark.parametrize("tiny", [-1e-17, -1e-300, -0.0, 1.0, 2.0 - 1e-17])
def test_coordinates_next_to_the_border_become_zero(tiny):
    row = Crystal.of(np.eye(3), [1], [[tiny, 0, 0]]).columns()
    assert row["frac_coords"][0][0] == 0.0


@pytest.mark.parametrize("row", [{}, {"n_atoms": 0, "cell": None}, {"n_atoms": 2, "cell": None}])
def test_a_row_without_structure(row):
    assert not has_structure(row)
    with pytest.raises(TableError, match="no structure"):
        Crystal.from_row({"id": "abc", **row})


@given(st.integers(1, 8), NUMBER)
@settings(max_examples=20, deadline=None)
def test_to_pymatgen_and_back(n, seed):
    c = crystal(n, seed)
    structure = c.to_structure()
    assert isinstance(structure, Structure)
    back = Crystal.from_structure(structure)
    assert np.allclose(back.cell, c.cell)
    assert np.array_equal(back.atomic_numbers, c.atomic_numbers)
    assert np.allclose(back.frac_coords, c.frac_coords)
    assert structure.volume == pytest.approx(c.volume)
    assert np.allclose(structure.cart_coords, c.cart_coords)
    assert c.volume_per_atom == pytest.approx(c.volume / n)


def test_take_by_mask_and_by_index():
    c = crystal(5, 0)
    mask = np.array([True, False, True, False, False])
    for pick in (mask, [0, 2]):
        part = c.take(pick)
        assert np.array_equal(part.atomic_numbers, c.atomic_numbers[[0, 2]])
        assert np.array_equal(part.frac_coords, c.frac_coords[[0, 2]])
        assert np.array_equal(part.cell, c.cell)
    assert len(c.take(np.zeros(5, bool))) == 0


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        Crystal.of(np.eye(2), [1], [[0, 0, 0]])
    with pytest.raises(ValueError, match="reshape"):
        Crystal.of(np.eye(3), [1, 2], [[0, 0, 0]])


def test_what_is_no_number_is_seen():
    assert crystal(2, 0).is_finite
    assert not Crystal.of(np.eye(3), [1], [[np.nan, 0, 0]]).is_finite
    assert not Crystal.of(np.full((3, 3), np.inf), [1], [[0, 0, 0]]).is_finite


def test_row_id_tells_contents_apart():
    first = row_id("generated", "abc", 7)
    assert first == row_id("generated", "abc", 7)
    assert len(first) == 16
    assert int(first, 16) >= 0
    others = [row_id("generated", "abc", 8), row_id("relaxed", "abc", 7), row_id("generated", 7)]
    assert first not in others


def test_row_id_sees_where_one_part_ends():
    assert row_id("ab", "c") != row_id("a", "bc")


#: Coordinates of special positions, where rounding tips over most easily.
SPECIAL = [0.0, 0.5, 0.25, 0.75, 0.125, 0.875, 1 / 3, 2 / 3, 1 / 6, 5 / 6, 0.0625, 0.03125]


@given(
    st.lists(st.tuples(*[st.sampled_from(SPECIAL)] * 3), min_size=1, max_size=6),
    st.integers(0, 2**31),
)
def test_the_key_of_a_structure_ignores_rounding_and_lattice_translations(
    sites: list[tuple[float, float, float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    frac = np.array(sites)
    numbers = rng.integers(1, 90, len(frac))
    cell = np.diag([3.0, 4.5, 6.123]) + np.triu(rng.uniform(-1, 1, (3, 3)), 1)
    crystal = Crystal.of(cell, numbers, frac)
    moved = frac + rng.integers(-2, 3, frac.shape) + rng.uniform(-1e-12, 1e-12, frac.shape)
    assert structure_key(crystal) == structure_key(Crystal.of(cell, numbers, moved))
    other = frac.copy()
    other[0, 0] += 0.01
    assert structure_key(crystal) != structure_key(Crystal.of(cell, numbers, other))
    assert structure_key(crystal) != structure_key(Crystal.of(cell * 1.01, numbers, frac))
