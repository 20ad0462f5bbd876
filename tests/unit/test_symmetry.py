"""Symmetry verdicts and symmetrisation: behaviour on distorted prototypes."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import (
    EXACT,
    SymmetrisationError,
    space_group,
    space_groups,
    symmetrise,
)

#: One prototype per crystal system: space group, lattice, species, coordinates.
PROTOTYPES = {
    "cubic": (216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]),
    "hexagonal": (
        186, Lattice.hexagonal(3.82, 6.26), ["Zn", "S"],
        [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.3748]],
    ),
    "trigonal": (
        167, Lattice.hexagonal(4.99, 17.06), ["Ca", "C", "O"],
        [[0, 0, 0], [0, 0, 0.25], [0.257, 0, 0.25]],
    ),
    "tetragonal": (
        136, Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]],
    ),
    "orthorhombic": (
        62, Lattice.orthorhombic(5.49, 2.95, 4.05), ["Fe", "B"],
        [[0.18, 0.25, 0.125], [0.036, 0.25, 0.61]],
    ),
    "monoclinic": (
        14, Lattice.monoclinic(5.15, 5.21, 5.32, 99.2), ["Zr", "O", "O"],
        [[0.275, 0.04, 0.208], [0.07, 0.332, 0.345], [0.45, 0.757, 0.479]],
    ),
    "triclinic": (
        2, Lattice.from_parameters(4.1, 5.3, 6.6, 83.0, 97.0, 104.0), ["B", "O"],
        [[0.21, 0.31, 0.17], [0.62, 0.11, 0.38]],
    ),
}  # fmt: skip

#: Integer changes of basis: skewed, doubled, both.
BASES = [
    np.eye(3, dtype=int),
    np.array([[1, 0, 0], [2, 1, 0], [-1, 2, 1]]),
    np.diag([2, 1, 1]),
    np.array([[1, 1, 0], [-1, 1, 0], [1, 0, 1]]),
]


def prototype(system: str, basis: np.ndarray) -> Crystal:
    structure = Structure.from_spacegroup(*PROTOTYPES[system])
    return Crystal.from_structure(structure.make_supercell(basis, to_unit_cell=True))


def distorted(crystal: Crystal, noise: float, strain: float, seed: int) -> Crystal:
    rng = np.random.default_rng(seed)
    cell = crystal.cell @ (np.eye(3) + rng.uniform(-strain, strain, (3, 3)))
    moves = rng.uniform(-noise, noise, (len(crystal), 3))
    frac = crystal.frac_coords + moves @ np.linalg.inv(cell) + rng.uniform(-1, 1, 3)
    return Crystal.of(cell, crystal.atomic_numbers, frac)


cases = given(
    system=st.sampled_from(sorted(PROTOTYPES)),
    basis=st.sampled_from(BASES),
    seed=st.integers(0, 2**32 - 1),
)


@cases
@settings(max_examples=40, deadline=None)
def test_distorted_prototype_gets_its_group_back(system: str, basis: np.ndarray, seed: int) -> None:
    perfect = prototype(system, basis)
    crystal = distorted(perfect, noise=0.03, strain=0.005, seed=seed)
    assert space_group(crystal, 1e-3, -1.0).number == 1

    result = symmetrise(crystal, 0.3, 5.0)

    assert result.number == PROTOTYPES[system][0]
    assert space_group(result.crystal, EXACT, -1.0).number == result.number
    # same setting: atoms and order kept, no rotation, no jump of origin, same volume
    assert (result.crystal.atomic_numbers == crystal.atomic_numbers).all()
    assert result.crystal.volume == pytest.approx(crystal.volume, rel=1e-9)
    stretch = np.linalg.solve(crystal.cell, result.crystal.cell)
    assert stretch == pytest.approx(stretch.T, abs=1e-9)
    shift = result.crystal.frac_coords - crystal.frac_coords
    assert shift.mean(axis=0) == pytest.approx(0, abs=1e-9)
    # what is reported is what was done
    moved = np.linalg.norm(shift @ result.crystal.cell, axis=1)
    assert result.displacement_max == pytest.approx(moved.max())
    assert result.displacement_rms == pytest.approx(np.sqrt((moved**2).mean()))
    # and it is a projection: never further than the perfect crystal, which has the group
    assert result.displacement_rms <= 0.03 * np.sqrt(3)
    assert result.strain_max <= 0.005 * 3


@cases
@settings(max_examples=15, deadline=None)
def test_symmetrising_twice_is_symmetrising_once(system: str, basis: np.ndarray, seed: int) -> None:
    once = symmetrise(distorted(prototype(system, basis), 0.03, 0.005, seed), 0.3, 5.0)
    twice = symmetrise(once.crystal, EXACT, -1.0)
    assert twice.number == once.number
    assert twice.displacement_max < 1e-8
    assert twice.strain_max < 1e-8


@cases
@settings(max_examples=15, deadline=None)
def test_displacement_does_not_depend_on_origin_or_cell(
    system: str, basis: np.ndarray, seed: int
) -> None:
    crystal = distorted(prototype(system, basis), 0.03, 0.005, seed)
    moved = Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + 0.31)
    skew = np.array([[1, 0, 0], [3, 1, 0], [0, -2, 1]])
    skewed = Crystal.of(
        skew @ crystal.cell, crystal.atomic_numbers, crystal.frac_coords @ np.linalg.inv(skew)
    )
    first = symmetrise(crystal, 0.3, 5.0)
    for other in (moved, skewed):
        second = symmetrise(other, 0.3, 5.0)
        assert second.number == first.number
        assert second.displacement_rms == pytest.approx(first.displacement_rms, abs=1e-6)
        assert second.strain_max == pytest.approx(first.strain_max, abs=1e-6)


@pytest.mark.parametrize("system", sorted(PROTOTYPES))
def test_standard_cells(system: str) -> None:
    crystal = distorted(prototype(system, BASES[2]), 0.03, 0.005, seed=3)
    same = symmetrise(crystal, 0.3, 5.0)
    for cell in ("primitive", "conventional"):
        result = symmetrise(crystal, 0.3, 5.0, cell)
        assert result.multiplicity == Fraction(len(result.crystal), len(crystal))
        assert result.crystal.volume_per_atom == pytest.approx(same.crystal.volume_per_atom)
        assert space_group(result.crystal, EXACT, -1.0).number == same.number
        assert result.displacement_rms == same.displacement_rms
        assert result.crystal.min_distance == pytest.approx(same.crystal.min_distance, abs=1e-4)
    assert symmetrise(crystal, 0.3, 5.0, "primitive").multiplicity <= 0.5


def test_displacement_is_measured() -> None:
    # one of eight atoms 0.2 Å off: the group average moves it back by almost all of that
    crystal = prototype("cubic", np.eye(3, dtype=int))
    frac = crystal.frac_coords.copy()
    frac[3] += [0.2 / 5.41, 0, 0]
    result = symmetrise(Crystal.of(crystal.cell, crystal.atomic_numbers, frac), 0.5, 10.0)
    assert result.number == 216
    assert result.displacement_max == pytest.approx(0.2 * 7 / 8, abs=1e-6)


def test_space_groups_in_the_order_of_tolerances() -> None:
    crystal = distorted(prototype("cubic", BASES[0]), 0.03, 0.0, seed=1)
    assert space_groups(crystal, [0.3, 1e-4], 5.0) == [216, 1]


@pytest.mark.parametrize(
    ("cell", "frac", "word"),
    [
        (np.eye(3) * np.nan, [[0, 0, 0]], "finite"),
        (np.eye(3) * 4, [[np.inf, 0, 0]], "finite"),
        (np.diag([4, 4, 1e-9]), [[0, 0, 0]], "flat"),
        (np.diag([4, 4, 1e9]), [[0, 0, 0]], "long"),
        (np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]], "spglib"),
        (np.eye(3) * 4, np.zeros((0, 3)), "no atoms"),
    ],
)
def test_no_crystal_is_p1_with_a_reason(cell: np.ndarray, frac: list, word: str) -> None:
    crystal = Crystal.of(cell, [3] * len(frac), frac)
    verdict = space_group(crystal, 0.1, 10.0)
    assert (verdict.number, verdict.symbol, verdict.symmetric) == (1, "P1", False)
    assert word in verdict.reason
    with pytest.raises(SymmetrisationError, match=word):
        symmetrise(crystal, 0.1, 10.0)


def test_tolerance_of_an_interatomic_distance_is_an_error_or_exact() -> None:
    rng = np.random.default_rng(0)
    verdicts = set()
    for _ in range(30):
        crystal = Crystal.of(np.eye(3) * 6, [14] * 6, rng.random((6, 3)))
        try:
            result = symmetrise(crystal, 1.5, 30.0)
        except SymmetrisationError as error:
            verdicts.add(type(error))
            continue
        verdicts.add(type(result))
        assert space_group(result.crystal, EXACT, -1.0).number == result.number
    assert len(verdicts) == 2  # both ways are taken
