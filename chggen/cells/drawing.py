"""Cells of the candidates of a structure, as a campaign and an evaluation draw them.

Every candidate of a row has a cell of its own lattice type and shape: the ranking of the
candidates chooses the cell with the structure. A cell is random (:mod:`chggen.cells.lattice`)
or has the shape of a known crystal's (:mod:`chggen.cells.library`): one with the same number of
atoms and anonymous formula, of the chemically nearest; if there are too few, one with the same
number of atoms. All are scaled to the volume that is asked for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chggen.cells.lattice import (
    CellSource,
    Kind,
    Lattice,
    allowed_kinds,
    child_seed,
    sample_lattices,
)
from chggen.cells.library import Library, known_cells, label
from chggen.config.stages import LatticeConfig
from chggen.structure import similarity
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task

Ints = NDArray[np.int64]

#: How wrong a cell is expected to be: noise (log strain) from which joint draws start. A random
#: lattice is 0.48 (median norm of the traceless log strain, √5 of these) from the known cell.
CELL_SIGMA: Final[dict[CellSource, float]] = {"bravais": 0.2, "known_size": 0.12, "known": 0.05}
#: How often a row has the cell of one crystal before it takes those of other formulas.
_REPEATS = 3


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows of the library that a composition may take its cells from.

    Args:
        library: the cells.
        nearest: of the same number of atoms and anonymous formula, the chemically nearest.
        others: all others of the same number of atoms.
    """

    library: Library
    nearest: Ints
    others: Ints

    @classmethod
    def of(cls, numbers: Ints, settings: LatticeConfig, kinds: Collection[Kind] | None) -> "Pool":
        """Cells for the atoms of a cell.

        Args:
            numbers: [n] atomic numbers.
            settings: types and library.
            kinds: allowed Bravais types with centrings; all if None.
        """
        library = known_cells(settings.library)
        allowed = [(t, c) for t, cs in allowed_kinds(settings, kinds).items() for c in cs]
        rows = library.of_size(len(numbers), allowed)
        nearest = library.nearest(numbers, rows)
        return cls(library, nearest, np.setdiff1d(rows, nearest))

    def draw(self, count: int, volume: float, rng: np.random.Generator) -> list[Lattice]:
        """Cells of ``count`` candidates of a row; fewer only if there is no cell at all.

        Args:
            count: number of cells.
            volume: Å³.
            rng: source of random numbers. The first k of n cells are those of a call for k.
        """
        turns = [rng.permutation(self.nearest) for _ in range(_REPEATS)]
        # a few suffice, and there may be thousands
        others = rng.permutation(self.others)[: max(count, 1)]
        rows = [*np.concatenate(turns), *others]
        while rows and len(rows) < count:
            rows += rows
        near = set(self.nearest.tolist())
        cells = []
        for row in rows[:count]:
            kind, cell = self.library.cell(int(row))
            source: CellSource = "known" if int(row) in near else "known_size"
            cells.append(Lattice(cell * np.cbrt(volume), *kind, source))
        return cells


def draw_cells(
    contents: Sequence[Ints],
    volume_per_atom: ArrayLike,
    settings: LatticeConfig,
    seed: np.random.SeedSequence,
    draws: int,
    kinds: Collection[Kind] | None = None,
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
        ConfigError: the ranges contain (almost) only flat cells, or the library of known
            cells cannot be read.
    """
    sizes = np.array([len(z) for z in contents]) * np.asarray(volume_per_atom, dtype=np.float64)
    count = len(contents) * draws
    random = sample_lattices(count, np.repeat(sizes, draws), settings, seed, kinds)
    rows = [random[start : start + draws] for start in range(0, count, draws)]
    if settings.source == "bravais":
        return rows
    pools: dict[bytes, Pool] = {}
    for i, (numbers, size) in enumerate(zip(contents, sizes, strict=True)):
        key = np.sort(numbers).tobytes()
        if key not in pools:
            pools[key] = Pool.of(numbers, settings, kinds)
        rng = np.random.default_rng(child_seed(seed, 3, i))
        turns = np.arange(draws)
        if settings.source == "mixed":
            # in pairs, as every second candidate may have a space group imposed
            turns = turns[(turns // 2 + rng.integers(2)) % 2 == 0]
        for turn, cell in zip(turns, pools[key].draw(len(turns), size, rng), strict=False):
            rows[i][turn] = cell
    return rows


def shortage(
    contents: Sequence[Ints], settings: LatticeConfig, kinds: Collection[Kind] | None = None
) -> list[str]:
    """For which cells known crystals are lacking, in one line for each kind.

    Args:
        contents: atomic numbers of the cell of each row.
        settings: how cells are drawn.
        kinds: allowed Bravais types with centrings; all if None.
    """
    if settings.source == "bravais":
        return []
    lines = []
    for numbers in {np.sort(z).tobytes(): z for z in contents}.values():
        pool = Pool.of(numbers, settings, kinds)
        if len(pool.nearest):
            continue
        species, counts = np.unique(numbers, return_counts=True)
        content = dict(zip(species.tolist(), counts.tolist(), strict=True))
        formula = label(similarity.anonymous(content))
        instead = "cells of other formulas" if len(pool.others) else "random lattices"
        lines.append(f"no known cell of {len(numbers)} atoms {formula} fits: {instead} instead")
    return lines


def tasks_of(
    numbers: Ints, cells: Sequence[Lattice], seed: int, *, joint: bool | None = None
) -> list[Task]:
    """Tasks of the candidates of one row: empty cells for all of its atoms.

    Args:
        numbers: [n] atomic numbers.
        cells: of the candidates.
        seed: of the row.
        joint: ``lattice.joint``; False: cells are kept, also by generators that can draw them.
    """
    nowhere, everyone = np.zeros((len(numbers), 3)), np.ones(len(numbers), bool)
    return [
        Task(
            Crystal.of(cell.cell, numbers, nowhere),
            everyone,
            seed,
            cell_sigma=0.0 if joint is False else CELL_SIGMA[cell.source],
        )
        for cell in cells
    ]
