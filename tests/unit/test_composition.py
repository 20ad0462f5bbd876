"""Formulas: parsing, canonical form, formula units, lines and ranges."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition, Element

from chggen.errors import CompositionError
from chggen.structure import composition as comp

SYMBOL = st.sampled_from(comp.SYMBOLS[1:])
COUNTS = st.dictionaries(SYMBOL, st.integers(1, 30), min_size=1, max_size=6)


def written(counts):
    return "".join(f"{s}{n}" for s, n in counts.items())


@given(COUNTS)
def test_parsing_gives_back_what_was_written(counts):
    assert comp.parse_formula(written(counts)) == counts


@given(COUNTS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_canonical_form_is_one_per_composition(counts, times, random):
    shuffled = [(s, n * times) for s, n in counts.items()]
    random.shuffle(shuffled)
    canonical = comp.canonical_formula(written(dict(shuffled)))
    assert canonical == comp.canonical(counts)
    assert comp.canonical_formula(canonical) == canonical
    divisor = math.gcd(*counts.values())
    assert comp.parse_formula(canonical) == {s: n // divisor for s, n in counts.items()}


@given(COUNTS, COUNTS, st.integers(1, 9))
def test_brackets_multiply_what_they_hold(outer, inner, times):
    expected = dict(outer)
    for symbol, n in inner.items():
        expected[symbol] = expected.get(symbol, 0) + n * times
    found = comp.parse_formula(f"{written(outer)}({written(inner)}){times}")
    assert found == expected


def test_brackets_in_brackets():
    assert comp.parse_formula("Ca3(Al(OH)4)2") == {"Ca": 3, "Al": 2, "O": 8, "H": 8}


@given(COUNTS)
def test_pymatgen_reads_the_same_composition(counts):
    formula = comp.canonical(counts)
    assert Composition(formula).fractional_composition.almost_equals(
        Composition(counts).fractional_composition
    )


def test_order_is_that_of_pymatgen():
    known = [s for s in comp.SYMBOLS[1:95] if s not in {"He", "Ne", "Ar"}]
    for first, second in itertools.combinations(known, 2):
        a, b = sorted((first, second), key=lambda s: (Element(s).X, s))
        assert comp.canonical({first: 1, second: 1}) == a + b


def test_symbols_are_the_periodic_table():
    assert len(comp.SYMBOLS) == 104
    assert all(z == Element(s).Z for s, z in comp.ATOMIC_NUMBERS.items())
    ranks = comp._ORDER
    assert sorted(ranks) == sorted(comp.SYMBOLS[1:])
    assert sorted(ranks.values()) == list(range(103))


@pytest.mark.parametrize(
    "text",
    ["", "zn", "Zn(", "Zn)", ")(", "(Zn", "2ZnS", "Zn S", "Zn-S", "Zn2.5S", "Zn0S", "Zn(S)0",
     "Qq", "X", "D2O", "()", "Zn()", "Zn()2", "Zn2 3", "Zn(2)", "Zn1.0", "ZnS+", "Ζn"],
)  # fmt: skip
def test_what_is_no_formula_is_one_clear_line(text):
    with pytest.raises(CompositionError) as caught:
        comp.parse_formula(text)
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


@given(COUNTS, st.integers(1, 12))
def test_a_cell_of_formula_units_is_counted_back(counts, units):
    formula = comp.canonical(counts)
    cell = comp.atomic_numbers(formula, units)
    assert len(cell) == units * sum(comp.parse_formula(formula).values())
    assert comp.formula_of(cell) == formula
    content = {s: n * units for s, n in comp.parse_formula(formula).items()}
    assert comp.formula_units(content, formula) == units


@pytest.mark.parametrize(
    "counts",
    [{"Zn": 2, "P": 2, "S": 6}, {"Zn": 1, "P": 1, "S": 4}, {"Zn": 2, "P": 2}, {"Zn": 2, "S": 7},
     {"Zn": 2, "P": 2, "S": 7, "O": 1}, {}],
)  # fmt: skip
def test_a_cell_without_whole_formula_units(counts):
    assert comp.formula_units(counts, "Zn2P2S7") is None


def sizes(formulas):
    return [sum(comp.parse_formula(f).values()) for f in formulas]


def test_line_between_two_compounds():
    found = comp.line(("ZnS", "P2S5"), 20)
    assert "Zn2P2S7" in found
    assert "Zn3P2S8" in found
    assert "ZnP2S6" in found
    assert max(sizes(found)) <= 20
    shares = [Composition(f).get_atomic_fraction("P") for f in found]
    assert shares == sorted(shares)


@given(
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.integers(2, 12),
)
def test_line_holds_every_composition_between_its_ends(first, second, most):
    ends = [{s: n for s, n in zip(("Li", "Si"), e, strict=True) if n} for e in (first, second)]
    if not all(ends) or first[0] * second[1] == first[1] * second[0]:
        return
    low, high = sorted(e[0] / sum(e) for e in (first, second))
    expected = {
        comp.canonical({s: n for s, n in (("Li", a), ("Si", b)) if n})
        for a in range(most + 1)
        for b in range(most + 1 - a)
        if a + b and low < a / (a + b) < high
        and (a + b) // math.gcd(a, b) <= most
    }  # fmt: skip
    found = comp.line((written(ends[0]), written(ends[1])), most)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_line_does_not_depend_on_how_its_ends_are_written():
    assert comp.line(("Zn2S2", "P4S10"), 20) == comp.line(("ZnS", "P2S5"), 20)


def test_line_between_one_composition_and_itself_is_that_composition():
    assert comp.line(("ZnS", "Zn2S2"), 10) == ["ZnS"]


@given(st.integers(2, 15))
def test_range_holds_every_composition_that_its_clauses_allow(most):
    found = comp.element_range("Li_x Si_y", "x > y", most)
    expected = {
        comp.canonical({"Li": x, "Si": y})
        for x in range(1, most)
        for y in range(1, x)
        if x + y <= most
    }
    assert set(found) == expected
    assert len(found) == len(expected)


def test_range_with_numbers_and_several_clauses():
    assert comp.element_range("Li_x P S4", "x >= 2 and x <= 3", 20) == ["Li2PS4", "Li3PS4"]
    assert comp.element_range("Na_x Cl_x", "", 10) == ["NaCl"]
    assert comp.element_range("Zn2 P2 S7", "", 11) == ["Zn2P2S7"]
    assert comp.element_range("Zn2 P2 S7", "", 10) == []


@pytest.mark.parametrize(
    ("pattern", "where"),
    [("Li_x Qq_y", ""), ("Li_xy", ""), ("", ""), ("Li0 Si_x", ""), ("Li_x Si_y", "x > z"),
     ("Li_x Si_y", "x > y and"), ("Li_x Si_y", "x ! y"), ("Li_x Si_y", "x > y > 1"),
     ("LixSiy", "")],
)  # fmt: skip
def test_a_range_that_cannot_be_read(pattern, where):
    with pytest.raises(CompositionError) as caught:
        comp.element_range(pattern, where, 10)
    assert "\n" not in str(caught.value)
