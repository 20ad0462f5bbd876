"""Cells of the candidates of a structure, as a campaign and an evaluation draw them.

Every candidate of a row has a cell of its own lattice type and shape: the ranking of the
candidates chooses the cell with the structure.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chggen.cells.lattice import Lattice, sample_lattices
from chggen.config.stages import Bravais, LatticeConfig
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task


def draw_cells(
    contents: Sequence[NDArray[np.int64]],
    volume_per_atom: ArrayLike,
    settings: LatticeConfig,
    seed: np.random.SeedSequence,
    draws: int,
    kinds: Collection[tuple[Bravais, str]] | None = None,
) -> list[list[Lattice]]:
    """Draw the cells of all candidates of several rows.

    Row ``i`` depends only on the seed, the settings, ``i``, ``draws``, its atoms and its
    volume: the first k of n rows are those of a call for k.

    Args:
        contents: atomic numbers of the cell of each row.
        volume_per_atom: Å³, one number or one per row.
        settings: how cells are drawn.
        seed: source of all random numbers; not modified.
        draws: candidates per row.
        kinds: allowed Bravais types with centrings; all if None.

    Returns:
        One list of ``draws`` cells per row, whose volumes are exact up to rounding.

    Raises:
        ConfigError: the ranges contain (almost) only flat cells.
    """
    sizes = np.array([len(z) for z in contents]) * np.asarray(volume_per_atom, dtype=np.float64)
    count = len(contents) * draws
    cells = sample_lattices(count, np.repeat(sizes, draws), settings, seed, kinds)
    return [cells[start : start + draws] for start in range(0, count, draws)]


def tasks_of(numbers: NDArray[np.int64], cells: Sequence[Lattice], seed: int) -> list[Task]:
    """Tasks of the candidates of one row: empty cells for all of its atoms.

    Args:
        numbers: [n] atomic numbers.
        cells: of the candidates.
        seed: of the row.
    """
    nowhere, everyone = np.zeros((len(numbers), 3)), np.ones(len(numbers), bool)
    return [Task(Crystal.of(cell.cell, numbers, nowhere), everyone, seed) for cell in cells]
