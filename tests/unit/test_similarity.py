"""Chemical distances of elements and the assignment of elements to those of a donor."""

import numpy as np
import pytest

from chggen.errors import CompositionError
from chggen.structure.composition import ATOMIC_NUMBERS as Z
from chggen.structure.similarity import (
    anonymous,
    assign,
    contents,
    element_distances,
    ordered,
)


def test_distances_are_symmetric_finite_and_zero_only_between_an_element_and_itself() -> None:
    table = element_distances()
    assert table.shape == (104, 104)
    inner = table[1:, 1:]
    assert np.isfinite(inner).all()
    np.testing.assert_array_equal(inner, inner.T)
    assert (np.diag(inner) == 0).all()
    assert (inner[~np.eye(103, dtype=bool)] > 0).all()


@pytest.mark.parametrize(
    ("element", "near", "far"),
    [("Na", "K", "Cl"), ("Gd", "Tb", "O"), ("S", "Se", "Li"), ("Zr", "Hf", "I"), ("Cl", "Br", "P")],
)
def test_neighbours_in_a_group_are_nearer_than_strangers(element: str, near: str, far: str) -> None:
    table = element_distances()
    assert table[Z[element], Z[near]] < table[Z[element], Z[far]]


def test_anonymous_formula_ignores_formula_units_and_order() -> None:
    assert anonymous({8: 6, 38: 2, 22: 2}) == (1, 1, 3)
    assert contents("Sr2Ti2O6") == {38: 1, 22: 1, 8: 3}
    assert ordered({8: 3, 38: 1, 22: 1}) == (22, 38, 8)
    with pytest.raises(CompositionError):
        contents("Xx2")


def test_elements_take_the_places_of_their_relatives_whatever_the_order() -> None:
    """BaZrO3 into SrTiO3: Ba on Sr, Zr on Ti."""
    donor = ordered(contents("SrTiO3"))
    target = ordered(contents("BaZrO3"))
    _, taken = assign((1, 1, 3), target, [donor])
    by_donor = dict(zip(donor, taken[0].tolist(), strict=True))
    assert by_donor == {Z["Sr"]: Z["Ba"], Z["Ti"]: Z["Zr"], Z["O"]: Z["O"]}


def test_species_of_other_counts_are_never_exchanged() -> None:
    """Li2O has the cation twice, OF2's relative MgF2 the anion: only counts decide."""
    donor = ordered(contents("MgF2"))
    distance, taken = assign((1, 2), ordered(contents("Li2O")), [donor, ordered(contents("Na2O"))])
    assert taken.tolist() == [[Z["O"], Z["Li"]]] * 2
    assert distance[1] < distance[0]


def test_own_formula_has_distance_zero_and_one_element_works() -> None:
    target = ordered(contents("Li3PS4"))
    distance, taken = assign((1, 3, 4), target, [target])
    assert distance[0] == 0
    assert taken[0].tolist() == list(target)
    distance, taken = assign((1,), [Z["Fe"]], [[Z["Co"]], [Z["Fe"]]])
    assert distance.argmin() == 1
    assert taken.tolist() == [[Z["Fe"]], [Z["Fe"]]]


def test_no_donor_gives_empty_arrays() -> None:
    distance, taken = assign((1, 1), [3, 9], [])
    assert distance.shape == (0,)
    assert taken.shape == (0, 2)
