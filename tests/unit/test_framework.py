"""Guests out, hosts symmetrised, composition kept."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.config.stages import RefineConfig
from chggen.errors import Status
from chggen.structure import composition as comp
from chggen.structure.coordination import coordination_numbers
from chggen.structure.crystal import Crystal
from chggen.symmetry import framework
from chggen.symmetry.analysis import EXACT, Symmetrised, space_group
from chggen.symmetry.framework import Framework

#: Zinc-blende lattice of hosts with Li guests anywhere: Li2(ZnS)4 and the like.
HOSTS = Structure.from_spacegroup(
    216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
)


def with_guests(n: int, seed: int = 0, repeat: tuple[int, int, int] = (1, 1, 1)) -> Crystal:
    """Slightly disordered hosts, ``n`` Li atoms in their voids, atoms shuffled."""
    rng = np.random.default_rng(seed)
    hosts = Crystal.from_structure(HOSTS.make_supercell(repeat, in_place=False))
    noise = rng.uniform(-0.01, 0.01, (len(hosts), 3)) @ np.linalg.inv(hosts.cell)
    voids = np.array([[0.5, 0.5, 0.5], [0.75, 0.75, 0.75], [0.5, 0, 0], [0, 0.5, 0]])
    frac = np.vstack([hosts.frac_coords + noise, (voids / repeat)[:n] + 0.01])
    z = np.concatenate([hosts.atomic_numbers, [3] * n])
    order = rng.permutation(len(z))
    return Crystal.of(hosts.cell, z[order], frac[order])


def refine(crystal: Crystal, guests: list[str], settings: RefineConfig) -> Framework:
    """The framework that the ladder chooses."""
    return framework.refine(crystal, guests, settings)[0]


def counts(numbers: Any) -> dict[str, int]:
    z, n = np.unique(np.asarray(numbers), return_counts=True)
    return {comp.SYMBOLS[int(a)]: int(b) for a, b in zip(z, n, strict=True)}


@given(
    n=st.integers(1, 4),
    seed=st.integers(0, 999),
    cell=st.sampled_from(["input", "primitive", "conventional"]),
    repeat=st.sampled_from([(1, 1, 1), (2, 1, 1)]),
)
@settings(max_examples=40, deadline=None)
def test_composition_is_kept_or_refused(
    n: int, seed: int, cell: str, repeat: tuple[int, int, int]
) -> None:
    crystal = with_guests(n, seed, repeat)
    found = refine(crystal, ["Li"], RefineConfig(host_cell=cell))
    formula = comp.formula_of(crystal.atomic_numbers)
    if found.status is Status.OK:
        assert found.crystal is not None
        assert 3 not in found.crystal.atomic_numbers
        full = counts([*found.crystal.atomic_numbers, *found.guest_numbers])
        assert comp.formula_units(full, formula) == found.formula_units
        assert found.space_group_number == 216
        assert space_group(found.crystal, EXACT, -1.0).number == 216
        assert found.symprec == RefineConfig().ladder[found.ladder_step].symprec
        assert found.crystal.volume_per_atom == pytest.approx(
            crystal.volume / (len(crystal) - n), rel=1e-6
        )
    else:
        assert found.status is Status.COMPOSITION_DRIFT
        assert found.crystal is None
        hosts = 8 * np.prod(repeat)
        share = {"primitive": 2 / hosts, "conventional": 8 / hosts}[cell]
        assert (n * share) % 1 != 0


@given(shift=st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_periodic_shift_changes_nothing(shift: list[float]) -> None:
    crystal = with_guests(2)
    moved = Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + shift)
    first, second = (refine(c, ["Li"], RefineConfig()) for c in (crystal, moved))
    assert second.space_group_number == first.space_group_number
    assert second.ladder_step == first.ladder_step
    assert second.displacement_rms == pytest.approx(first.displacement_rms, abs=1e-6)


def test_input_cell_keeps_hosts_where_they_are() -> None:
    crystal = with_guests(2)
    found = refine(crystal, ["Li"], RefineConfig())
    hosts = crystal.take(crystal.atomic_numbers != 3)
    assert found.crystal is not None
    assert (found.crystal.atomic_numbers == hosts.atomic_numbers).all()
    moved = (found.crystal.frac_coords - hosts.frac_coords) @ found.crystal.cell
    assert np.linalg.norm(moved, axis=1).max() == pytest.approx(found.displacement_max)
    assert found.displacement_max < 0.02
    assert (found.n_guests, found.formula_units, found.host_cell) == (2, 2, "input")


def test_primitive_cell_that_cannot_hold_the_guests_is_refused() -> None:
    found = refine(with_guests(2), ["Li"], RefineConfig(host_cell="primitive"))
    assert found.status is Status.COMPOSITION_DRIFT
    assert "1/2 Li" in found.reason
    assert refine(with_guests(4), ["Li"], RefineConfig(host_cell="primitive")).n_guests == 1


def test_size_limit() -> None:
    found = refine(with_guests(2), ["Li"], RefineConfig(max_atoms=9))
    assert found.status is Status.COMPOSITION_DRIFT
    assert "10 atoms" in found.reason
    assert refine(with_guests(2), ["Li"], RefineConfig(max_atoms=10)).status is Status.OK


@pytest.mark.parametrize(
    ("cap", "word"),
    [
        ({"max_displacement": 0.001}, "move"),
        ({"max_rms_displacement": 0.001}, "RMS"),
        ({"max_strain": 0.001}, "strain"),
    ],
)
def test_caps_refuse_at_the_first_symmetric_step(cap: dict[str, float], word: str) -> None:
    crystal = with_guests(2)
    bent = Crystal.of(
        crystal.cell @ (np.eye(3) + np.diag([0.004, 0, 0])),
        crystal.atomic_numbers,
        crystal.frac_coords,
    )
    found = refine(bent, ["Li"], RefineConfig(**cap))
    assert found.status is Status.DISPLACEMENT_CAP
    assert word in found.reason
    assert found.crystal is None
    assert found.displacement_max is not None  # the row shows what it would have cost
    assert refine(bent, ["Li"], RefineConfig()).ladder_step == found.ladder_step


def test_no_symmetry() -> None:
    rng = np.random.default_rng(5)
    crystal = Crystal.of(np.diag([6.0, 7.1, 8.3]), [3] * 2 + [16] * 9, rng.random((11, 3)))
    found = refine(crystal, ["Li"], RefineConfig(ladder=[(0.01, 5), (0.02, 5)]))
    assert found.status is Status.NO_SYMMETRY
    assert found.crystal is None
    assert found.ladder_step is None


def test_bad_structures_are_verdicts_not_errors() -> None:
    crystal = with_guests(2)
    nan = Crystal.of(crystal.cell * np.nan, crystal.atomic_numbers, crystal.frac_coords)
    assert refine(nan, ["Li"], RefineConfig()).status is Status.NOT_FINITE
    assert refine(crystal, ["Na"], RefineConfig()).status is Status.FAILED
    assert refine(crystal, ["Li", "Zn", "S"], RefineConfig()).status is Status.FAILED
    heap = Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords * 0)
    assert refine(heap, ["Li"], RefineConfig()).status is Status.NO_SYMMETRY


@pytest.mark.parametrize(
    ("group", "a", "species", "sites", "expected"),
    [
        (216, 5.41, ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]], 4),
        (225, 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], 6),
        (225, 3.61, ["Cu"], [[0, 0, 0]], 12),
        (221, 4.12, ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], 12),  # 8 + 6 second, as ECoN has it
    ],
)
def test_coordination_of_known_structures(
    group: int, a: float, species: list[str], sites: list, expected: int
) -> None:
    structure = Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
    numbers = coordination_numbers(Crystal.from_structure(structure))
    assert np.rint(numbers).astype(int).tolist() == [expected] * len(structure)
    primitive = Crystal.from_structure(structure.get_primitive_structure())
    assert coordination_numbers(primitive)[0] == pytest.approx(numbers[0], abs=1e-6)


def rung(step: int, order: int, moved: float, status: Status = Status.OK) -> framework._Rung:
    """A result of a step, as far as the choice looks at it."""
    found = Framework(status, ("Li",), "input", ladder_step=step)
    crystal = with_guests(1)
    ideal = Symmetrised(crystal, crystal, 5, "C2", moved, moved, 0.0, Fraction(1), order)
    return framework._Rung(found, ideal)


BAD = Status.COORDINATION_CHANGED


@pytest.mark.parametrize(
    ("rungs", "first", "best"),
    [
        ([(0, 2, 0.05), (3, 4, 0.09)], 0, 1),
        ([(0, 2, 0.05), (3, 4, 0.11)], 0, 0),  # farther than the first step's 0.1 Å
        ([(0, 2, 0.15), (3, 4, 0.16)], 0, 0),  # which the first step itself may be
        ([(0, 2, 0.05), (3, 4, 0.09), (4, 8, 0.095)], 0, 2),
        ([(0, 2, 0.05), (3, 4, 0.09, BAD), (4, 4, 0.07)], 0, 2),
        ([(0, 2, 0.05), (3, 4, 0.09), (4, 4, 0.07)], 0, 2),  # of equal ones the nearer
        ([(0, 2, 0.05, BAD), (3, 4, 0.09)], None, 1),
        ([(0, 2, 0.05, BAD), (3, 4, 0.2)], None, None),
        ([(0, 2, 0.05, BAD)], None, None),
    ],
)
def test_which_step_is_taken(rungs: list[tuple], first: int | None, best: int | None) -> None:
    made = [rung(*r) for r in rungs]
    for choice, expected in (("first", first), ("best", best)):
        chosen = framework._choose(made, RefineConfig(ladder_choice=choice))
        assert chosen is (None if expected is None else made[expected])
