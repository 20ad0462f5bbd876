"""Coordination: how broad, and where bonds change."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.errors import CompositionError
from chggen.structure.coordination import CoordinationCounts, changed_coordination
from chggen.structure.crystal import Crystal
from chggen.symmetry.guests import broadest, choose_guests


def crystal(group: int, a: float, species: list[str], sites: list[list[float]]) -> Crystal:
    return Crystal.from_structure(
        Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
    )


ZERO, HALF, QUARTER = [0.0] * 3, [0.5] * 3, [0.25] * 3
SALT = crystal(225, 5.2, ["Li", "Cl"], [ZERO, HALF])  # Li has 6 neighbours
ANTIFLUORITE = crystal(225, 5.7, ["S", "Li"], [ZERO, QUARTER])  # Li has 4, S has 8
BLENDE = crystal(216, 5.41, ["Zn", "S"], [ZERO, QUARTER])
KNOWN = [
    SALT,
    BLENDE,
    crystal(225, 3.61, ["Cu"], [ZERO]),
    crystal(221, 4.12, ["Cs", "Cl"], [ZERO, HALF]),
    crystal(227, 5.43, ["Si"], [[0.125] * 3]),
    crystal(229, 2.87, ["Fe"], [ZERO]),
]


def counted(*crystals: Crystal) -> CoordinationCounts:
    found = CoordinationCounts()
    for each in crystals:
        found.add(each)
    return found


def entropies(**counts: list[int]) -> CoordinationCounts:
    """Counts with so many atoms in each of some coordination numbers."""
    return CoordinationCounts({e: Counter(dict(enumerate(c, 4))) for e, c in counts.items()}, 1)


def test_entropy_of_known_crystals() -> None:
    found = counted(SALT, ANTIFLUORITE, BLENDE).entropies
    assert found["Zn"] == 0
    assert found["S"] == pytest.approx(np.log(2))
    assert found["Li"] == pytest.approx(-(1 / 3) * np.log(1 / 3) - (2 / 3) * np.log(2 / 3))


def test_unusable_structures_are_not_counted() -> None:
    nan = Crystal.of(SALT.cell * np.nan, SALT.atomic_numbers, SALT.frac_coords)
    heap = Crystal.of(SALT.cell, SALT.atomic_numbers, SALT.frac_coords * 0)
    assert counted(nan, heap, Crystal.of(np.eye(3), [], [])) == CoordinationCounts()
    assert counted(nan, SALT).structures == 1


@given(st.lists(st.sampled_from(range(3)), max_size=6), st.integers(0, 6))
def test_counts_of_parts_add_up(picked: list[int], cut: int) -> None:
    crystals = [[SALT, ANTIFLUORITE, BLENDE][i] for i in picked]
    whole = counted(*crystals)
    parts = counted(*crystals[:cut]) + counted(*crystals[cut:])
    assert (parts.structures, parts.entropies) == (whole.structures, whole.entropies)
    assert all(parts.atoms(e) == whole.atoms(e) for e in ("Li", "S", "Zn", "Cl"))


def test_the_broadest_that_is_no_anion() -> None:
    found = counted(SALT, ANTIFLUORITE, BLENDE).entropies
    # S is spread the most, but as the anion of the system it is the framework
    assert broadest(found, ["S", "Zn", "Li"]) == "Li"
    assert broadest(found, ["Cl", "S", "Zn", "Li"]) == "S"
    assert broadest(found, ["Zn", "S"]) == "Zn"
    assert broadest({}, ["Zn", "S", "Li"]) == "Li"  # on a tie the less electronegative
    with pytest.raises(CompositionError, match="one element"):
        broadest({}, ["Li"])


def test_one_guest_for_the_system_where_it_can_be() -> None:
    counts = {
        "Zn2P2S7": entropies(Zn=[9, 1], P=[5, 5], S=[1]),
        "ZnP2S6": entropies(Zn=[50, 50], P=[90, 10], S=[1]),
        "P2S5": entropies(P=[1], S=[5, 5]),
        "ZnP2": entropies(Zn=[1], P=[5, 5]),
    }
    chosen = choose_guests(counts)
    # P alone would win in Zn2P2S7, Zn wins when all are pooled
    assert {f: (c.guest, c.basis) for f, c in chosen.items()} == {
        "Zn2P2S7": ("Zn", "system"),
        "ZnP2S6": ("Zn", "system"),
        "P2S5": ("P", "composition"),
        "ZnP2": ("Zn", "system"),
    }
    assert "Zn, the guest of the system, is not in it" in chosen["P2S5"].reason
    assert not chosen["ZnP2"].reason
    assert choose_guests({}) == {}


@given(st.permutations(["Zn2P2S7", "ZnP2S6", "P2S5"]))
def test_the_order_of_shards_does_not_matter(order: list[str]) -> None:
    counts = {
        "Zn2P2S7": entropies(Zn=[5, 5], P=[5, 5], S=[1]),
        "ZnP2S6": entropies(Zn=[5, 5], P=[5, 5], S=[1]),
        "P2S5": entropies(P=[1], S=[5, 5]),
    }
    assert choose_guests({f: counts[f] for f in order}) == choose_guests(counts)


# bonds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", KNOWN, ids=lambda c: "".join(map(str, set(c.atomic_numbers))))
@given(seed=st.integers(0, 10_000), size=st.floats(0, 0.05))
@settings(max_examples=25, deadline=None)
def test_noise_changes_no_bond(known: Crystal, seed: int, size: float) -> None:
    """Ionic, covalent and metallic: also where a second shell lies near the limit."""
    rng = np.random.default_rng(seed)
    moved = rng.uniform(-size, size, (len(known), 3)) @ np.linalg.inv(known.cell)
    noisy = Crystal.of(known.cell, known.atomic_numbers, known.frac_coords + moved)
    assert changed_coordination(known, noisy) == 0


def pair(distance: float) -> Crystal:
    """A molecule P-S in a box."""
    return Crystal.of(
        10 * np.eye(3), [15, 16], [[0.95, 0.5, 0.5], [0.95 + distance / 10, 0.5, 0.5]]
    )


@pytest.mark.parametrize(
    ("before", "after", "atoms"),
    [
        (2.05, 2.45, 0),  # stretched
        (2.05, 2.50, 2),  # half broken, as an average of a bond and a gap is
        (2.05, 3.40, 2),  # broken
        (3.40, 2.05, 2),  # formed
        (3.40, 2.90, 0),  # nearer, no bond
        (2.60, 2.70, 0),  # over the limit by a little
    ],
)
def test_when_a_bond_breaks(before: float, after: float, atoms: int) -> None:
    assert changed_coordination(pair(before), pair(after)) == atoms
    assert changed_coordination(pair(after), pair(before)) == atoms


def test_another_neighbour_is_a_change_though_the_number_stays() -> None:
    """S changes from one P to the other: each of them has lost or gained a bond."""
    first, second = (
        Crystal.of(np.diag([8.0, 8, 8]), [15, 15, 16], [[0, 0, 0], [0.6875, 0, 0], [x, 0, 0]])
        for x in (0.25, 0.4375)
    )
    assert changed_coordination(first, second) == 3


@given(
    seed=st.integers(0, 1000),
    rows=st.sampled_from(
        [
            [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
            [[2, 1, 0], [1, 1, 3], [0, 0, 1]],
            [[1, 0, 4], [0, 1, -3], [0, 0, 1]],
        ]
    ),
    shift=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_bonds_do_not_depend_on_the_setting(seed: int, rows: list, shift: list[int]) -> None:
    rng = np.random.default_rng(seed)
    before = rng.random((6, 3))
    after = before + 0.06 * rng.standard_normal((6, 3))
    cell, z = np.diag([5.0, 6.0, 7.0]), [15, 15, 16, 16, 16, 16]
    expected = changed_coordination(Crystal.of(cell, z, before), Crystal.of(cell, z, after))
    matrix = np.array(rows)
    skewed, back = matrix @ cell, np.linalg.inv(matrix)
    images = np.where(rng.random((6, 1)) < 0.5, shift, 0)
    found = changed_coordination(
        Crystal.of(skewed, z, (before + images) @ back),
        Crystal.of(skewed, z, (after + images) @ back),
    )
    assert found == expected


def test_a_supercell_changes_as_often_as_its_cells() -> None:
    cell = np.diag([5.0, 5.0, 5.0])
    before = np.array([[0, 0, 0], [0.41, 0, 0.0]])
    after = np.array([[0, 0, 0], [0.7, 0, 0.0]])
    one = changed_coordination(*(Crystal.of(cell, [15, 16], f) for f in (before, after)))
    twice = changed_coordination(
        *(
            Crystal.of(
                np.diag([10.0, 5, 5]), [15, 16] * 2,
                np.concatenate([f * [0.5, 1, 1], f * [0.5, 1, 1] + [0.5, 0, 0]]),
            )
            for f in (before, after)
        )
    )  # fmt: skip
    assert one == 2
    assert twice == 4


def test_bonds_to_own_images_count() -> None:
    """One atom per cell: a chain that is pulled apart."""
    chains = [Crystal.of(np.diag([a, 8, 8]), [16], [[0, 0, 0]]) for a in (2.1, 3.3)]
    assert changed_coordination(*chains) == 1


def test_no_atoms_and_cells_without_volume() -> None:
    empty = Crystal.of(np.eye(3), [], [])
    assert changed_coordination(empty, empty) == 0
    flat = Crystal.of(np.diag([5, 5, 1e-9]), [16], [[0, 0, 0]])
    assert changed_coordination(flat, flat) is None
