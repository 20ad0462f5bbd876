"""Space groups and positions of known crystals as prior of symmetric draws."""

import numpy as np
import pytest

from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.analysis import space_group
from chggen.symmetry.orbits import impose
from chggen.symmetry.prototype_library import Library
from chggen.symmetry.signatures import Signatures

FCC = 3.0 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])


@pytest.fixture(scope="module")
def known() -> Signatures:
    return Signatures(Library())


def task(cell: np.ndarray, numbers: list[int], seed: int) -> Task:
    n = len(numbers)
    return Task(Crystal.of(cell, numbers, np.zeros((n, 3))), np.ones(n, bool), seed)


def test_weights_favour_what_alike_compounds_have(known: Signatures) -> None:
    """Most alkali halides with two atoms per cell are rocksalt."""
    weights = known.weights([37, 35])
    best = max(weights, key=weights.__getitem__)
    assert best.number == 225
    assert dict(best.sites).keys() == {37, 35}
    assert set("".join(letters for _, letters in best.sites)) == {"a", "b"}


def test_draws_have_the_group_they_say_and_known_positions(known: Signatures) -> None:
    cell = 5.0 * np.eye(3)
    numbers = [38, 22, 8, 8, 8]
    allowed = {(s.number, s.sites) for s in known.weights(numbers)}
    found = 0
    for seed in range(12):
        made = impose(task(cell, numbers, seed), "auto", known)
        assert isinstance(made, Task)
        assert made.symmetry is not None
        assert sorted(made.crystal.atomic_numbers.tolist()) == sorted(numbers)
        assert space_group(made.crystal, 1e-3, -1.0).number >= made.symmetry.number
        sites = tuple(
            (z, "".join(p[-1] for p in made_sites))
            for z, made_sites in _sites(made.symmetry.sites).items()
        )
        found += (made.symmetry.number, tuple(sorted(sites))) in allowed
    assert found == 12


def _sites(text: str) -> dict[int, list[str]]:
    symbols = {"Sr": 38, "Ti": 22, "O": 8}
    parts = (part.split() for part in text.split("; "))
    return {symbols[symbol]: sites for symbol, *sites in parts}


def test_groups_that_are_not_asked_for_are_not_drawn(known: Signatures) -> None:
    for seed in range(6):
        made = impose(task(FCC, [37, 35], seed), (216, 216), known)
        assert isinstance(made, Task)
        assert made.symmetry is not None
        assert made.symmetry.number == 216


def test_where_nothing_is_known_the_general_prior_draws_as_without(known: Signatures) -> None:
    numbers = [3] * 5 + [16] * 3 + [15] * 7  # no known crystal has such a formula
    assert known.weights(numbers) == {}
    cell = np.diag([6.0, 7.0, 8.0])
    for seed in range(4):
        first = impose(task(cell, numbers, seed), "auto", known)
        second = impose(task(cell, numbers, seed), "auto")
        assert isinstance(first, Task) == isinstance(second, Task)
        if isinstance(first, Task) and isinstance(second, Task):
            np.testing.assert_array_equal(first.crystal.frac_coords, second.crystal.frac_coords)


def test_a_draw_depends_on_its_seed_alone(known: Signatures) -> None:
    one, two = (impose(task(FCC, [37, 35], 3), "auto", known) for _ in range(2))
    assert isinstance(one, Task)
    assert isinstance(two, Task)
    np.testing.assert_array_equal(one.crystal.frac_coords, two.crystal.frac_coords)
