"""What a generator is asked for and what it gives back.

A generator is called with tasks and returns as many results, in order. What becomes of
one task does not depend on the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chggen.errors import Status
from chggen.structure.crystal import Crystal
from chggen.structure.outcome import Outcome

#: Called with (structures done, structures in all), in fractions of a batch.
Progress = Callable[[float, int], None]


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """A space group that a generator kept, and where it put the atoms.

    Args:
        number: space group number.
        symbol: Hermann-Mauguin symbol.
        sites: occupied Wyckoff positions, e.g. ``Zn 1a; P 2c; S 6i``; empty if not known.
    """

    number: int
    symbol: str
    sites: str


@dataclass(frozen=True, eq=False)
class ImposedSymmetry(SpaceGroup):
    """A space group in a task's cell, with what its operations do to the atoms.

    Operation k takes atom i to ``rotations[k] @ frac[i] + translations[k]``, which is
    atom ``permutations[k, i]`` moved by the lattice vector ``offsets[k, i]``.

    Args:
        rotations: [m, 3, 3] integers, fractional coordinates as columns.
        translations: [m, 3] fractional.
        permutations: [m, n].
        offsets: [m, n, 3] integers.
    """

    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    permutations: NDArray[np.int64]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is to be made: a cell with its atoms, and which of them are guests.

    Args:
        crystal: cell, atomic numbers, and host coordinates where there are hosts.
        guest: [n] True = to be placed.
        seed: random stream of this structure.
        symmetry: space group to keep; the crystal's coordinates are then a start that
            has it.
        cell_sigma: noise of the cell, a log strain without unit: how wrong it is expected to
            be. Generators that draw the cell with the positions start from there; 0, and all
            others, keep the cell.
    """

    crystal: Crystal
    guest: NDArray[np.bool_]
    seed: int
    symmetry: ImposedSymmetry | None = None
    cell_sigma: float = 0.0


@dataclass(frozen=True)
class Placed(Outcome):
    """One structure of a generator, or why there is none, and what it cost.

    Args:
        score_calls: evaluations of a score network.
        symmetry: space group that was kept, or was to be kept where there is no crystal.
        candidate: which of several candidates this is.
    """

    score_calls: int = 0
    symmetry: SpaceGroup | None = None
    status: Status = field(default=Status.SAMPLING_FAILED, kw_only=True)
    candidate: int = field(default=0, kw_only=True)


def place_each(
    place: Callable[[Task], Placed], tasks: Sequence[Task], progress: Progress | None
) -> list[Placed]:
    """Place tasks one by one, each from its own seed.

    Args:
        place: places the atoms of one task.
        tasks: what is to be made.
        progress: called with (tasks done, tasks in all).
    """
    results = []
    for done, task in enumerate(tasks, 1):
        results.append(place(task))
        if progress:
            progress(done, len(tasks))
    return results


class Generator(Protocol):
    """Places the atoms of many tasks."""

    @property
    def name(self) -> str:
        """Key of the generator in the config."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests of the files it rests on, for the header of the table."""

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Give one result per task, in order."""
