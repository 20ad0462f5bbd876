"""The neighbour list against ASE's, from sparse to absurdly dense, in any cell."""

import numpy as np
import pytest
import torch
from ase.neighborlist import primitive_neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.compute import neighbours
from chggen.compute.neighbours import neighbour_list

CUTOFF = 5.0


def crystals(seed: int, sizes: list[int], density: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Skewed cells of a volume per atom, atoms in any image."""
    rng = np.random.default_rng(seed)
    cells, places = [], []
    for size in sizes:
        cell = np.eye(3) + rng.normal(0, 0.35, (3, 3))
        cell *= np.cbrt(size * density / abs(np.linalg.det(cell)))
        cells.append(cell)
        places.append(rng.uniform(-3, 3, (size, 3)) @ cell)
    return np.array(cells), places


def listed(cells: np.ndarray, places: list[np.ndarray], *, once: bool = False):
    system = torch.repeat_interleave(
        torch.arange(len(places)), torch.tensor([len(p) for p in places])
    )
    positions = torch.from_numpy(np.concatenate(places))
    return neighbour_list(positions, torch.from_numpy(cells), system, CUTOFF, once=once)


def rows(centre, other, vectors) -> np.ndarray:
    table = np.column_stack([centre, other, np.round(vectors, 6) + 0.0])
    return table[np.lexsort(table.T[::-1])]


@given(
    seed=st.integers(0, 10**6),
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    density=st.floats(0.9, 30),
)
@settings(max_examples=40, deadline=None)
def test_pairs_are_those_of_ase(seed: int, sizes: list[int], density: float) -> None:
    cells, places = crystals(seed, sizes, density)
    centre, other, vectors = listed(cells, places)
    assert bool((centre.diff() >= 0).all())
    expected, first = [], 0
    for cell, place in zip(cells, places, strict=True):
        i, j, d = primitive_neighbor_list("ijD", (True,) * 3, cell, place, CUTOFF)
        expected.append(rows(i + first, j + first, d))
        first += len(place)
    found = rows(centre.numpy(), other.numpy(), vectors.numpy())
    np.testing.assert_allclose(found, rows(*_columns(np.concatenate(expected))), atol=2e-6)


@given(seed=st.integers(0, 10**6), density=st.floats(0.9, 20))
@settings(max_examples=20, deadline=None)
def test_once_is_each_pair_in_one_direction(seed: int, density: float) -> None:
    cells, places = crystals(seed, [1, 4], density)
    both = rows(*(x.numpy() for x in listed(cells, places)))
    centre, other, vectors = (x.numpy() for x in listed(cells, places, once=True))
    assert 2 * len(centre) == len(both)
    mirrored = rows(
        np.concatenate([centre, other]),
        np.concatenate([other, centre]),
        np.concatenate([vectors, -vectors]),
    )
    np.testing.assert_allclose(mirrored, both, atol=2e-6)


def _columns(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return table[:, 0], table[:, 1], table[:, 2:]


def test_a_crystal_without_pairs_and_none_at_all() -> None:
    sparse = listed(np.array([50 * np.eye(3)]), [np.zeros((1, 3))])
    assert [len(part) for part in sparse] == [0, 0, 0]
    assert sparse[2].shape == (0, 3)


@pytest.mark.parametrize("bad", ["cell", "atom"])
def test_what_is_not_a_number_is_an_error_and_not_the_end_of_the_process(bad: str) -> None:
    cells, places = crystals(0, [2, 2], 10.0)
    (cells[1] if bad == "cell" else places[1])[0, 0] = np.nan
    with pytest.raises(RuntimeError, match="not finite"):
        listed(cells, places)


def test_nothing_else_asks_for_a_neighbour_list() -> None:
    from pathlib import Path

    package = Path(neighbours.__file__).parent.parent
    words = ("torch_sim.neighbors", "nvalchemiops", "vesin", "neighbor_list(")
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found == {"compute/neighbours.py"}
