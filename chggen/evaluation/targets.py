"""Compositions of a benchmark, and the known crystals that they are to be compared with.

The two come from different files, and the second is read after the search.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chggen.errors import CompositionError, ConfigError
from chggen.evaluation.structures import Known
from chggen.structure import files
from chggen.structure.composition import (
    ATOMIC_NUMBERS,
    canonical_formula,
    formula_of,
    parse_formula,
)
from chggen.structure.crystal import Crystal
from chggen.structure.readers import cif_entries, entries, load
from chggen.symmetry.primitive import primitive

_COLUMNS = ("name", "formula", "material_id")
#: Columns of a file of known crystals that are used if it has them.
_FACTS = ("material_id", "e_above_hull")


@dataclass(frozen=True)
class Target:
    """A composition and a number of atoms, which are all that a search is given.

    Args:
        name: in the benchmark's tables.
        formula: content of the cell, e.g. ``Si2(CN2)4``.
        material_id: of the known crystal, for finding it in a file; empty if not known.
        published: figures of others, by the names of their columns.
    """

    name: str
    formula: str
    material_id: str = ""
    published: dict[str, str] = field(default_factory=dict)

    @property
    def composition(self) -> str:
        """Canonical reduced formula."""
        return canonical_formula(self.formula)

    @property
    def atomic_numbers(self) -> NDArray[np.int64]:
        """[n] of the cell, grouped by element."""
        counts = parse_formula(self.formula)
        return np.array([ATOMIC_NUMBERS[s] for s, n in counts.items() for _ in range(n)])

    def blank(self, row: int) -> Known:
        """What a search is given: the atoms, in a cell that means nothing.

        Args:
            row: place of the target, which makes its random stream.
        """
        numbers = self.atomic_numbers
        nowhere = Crystal.of(np.eye(3), numbers, np.zeros((len(numbers), 3)))
        return Known(row, self.name, self.composition, nowhere)


@dataclass(frozen=True, eq=False)
class Truth:
    """A known crystal of a file.

    Args:
        name: its ``material_id``, or its place in the file.
        crystal: primitive cell.
        above_hull: eV/atom; infinite if the file does not say.
    """

    name: str
    crystal: Crystal
    above_hull: float


def read_targets(path: Path, limit: int | None = None) -> list[Target]:
    """Targets of a CSV with columns ``name``, ``formula`` and, if known, ``material_id``.

    Args:
        path: the table; its other columns are published figures.
        limit: first rows only.

    Raises:
        ConfigError: not readable, or a formula is none; names the file.
    """
    try:
        with files.open_text(path) as file:
            others = [c for c in file.readline().strip().split(",") if c not in _COLUMNS]
        rows = list(files.csv_rows(path, ["name", "formula"], ["material_id", *others]))[:limit]
        for row in rows:
            canonical_formula(row["formula"])
    except (*files.READING_ERRORS, ConfigError, CompositionError) as error:
        raise ConfigError(f"'{path}': {files.first_line(error)}") from error
    if not rows:
        raise ConfigError(f"'{path}': names no composition")
    return [
        Target(
            row["name"],
            row["formula"],
            row.get("material_id", ""),
            {c: row[c] for c in others if row[c]},
        )
        for row in rows
    ]


def find_truths(
    paths: Sequence[Path], targets: Sequence[Target]
) -> tuple[list[Truth | None], list[str]]:
    """Known crystals of the targets.

    With a ``material_id`` it is the crystal of this name, if it has the composition. Without
    one it is, of the crystals of the composition whose primitive cell fits a whole number of
    times into that of the target, the one with as many atoms, and of several the one lowest
    above the hull, then the first.

    Args:
        paths: files or folders of structures (CIF, extxyz, CSV, Parquet).
        targets: what is to be found.

    Returns:
        For each target its crystal, and a remark: why there is none, or how it was chosen.

    Raises:
        ConfigError: a file cannot be read, or has no structures; names it.
    """
    wanted = {t.composition for t in targets}
    found: dict[str, list[Truth]] = {}
    for path in paths:
        try:
            for truth in _read(path, wanted):
                found.setdefault(formula_of(truth.crystal.atomic_numbers), []).append(truth)
        except (*files.READING_ERRORS, ConfigError) as error:
            raise ConfigError(f"--truth '{path}': {files.first_line(error)}") from error
    chosen = [_choose(target, found.get(target.composition, [])) for target in targets]
    return [truth for truth, _ in chosen], [remark for _, remark in chosen]


def _choose(target: Target, known: Sequence[Truth]) -> tuple[Truth | None, str]:
    if target.material_id:
        named = [truth for truth in known if truth.name == target.material_id]
        if named:
            return named[0], ""
    atoms = len(target.atomic_numbers)
    fitting = [truth for truth in known if atoms % len(truth.crystal) == 0]
    if target.material_id or not fitting:
        sizes = ", ".join(f"{truth.name} ({len(truth.crystal)} atoms)" for truth in known)
        return None, "no truth" + (f"; of this composition: {sizes}" if known else "")
    fitting.sort(key=lambda truth: (-len(truth.crystal), truth.above_hull))
    others = ", ".join(truth.name for truth in fitting[1:])
    return fitting[0], f"the lowest; also known: {others}" if others else ""


def _read(path: Path, wanted: set[str]) -> Iterator[Truth]:
    """Structures of the compositions that are wanted."""
    kind = files.kind_of(path)
    if kind == "parquet":
        yield from _parquet(path, wanted)
        return
    files.check(path)
    if kind == "csv":
        for number, row in enumerate(files.csv_rows(path, ["cif"], _FACTS)):
            name = row.get("material_id") or f"row {number}"
            for entry in cif_entries(row["cif"], name):
                if entry.composition in {None, *wanted}:
                    above = row.get("e_above_hull")
                    yield from _truth(name, load(entry).crystal, above, wanted)
        return
    for entry in entries(path):
        if entry.composition in {None, *wanted}:
            yield from _truth(entry.origin, load(entry).crystal, None, wanted)


def _parquet(path: Path, wanted: set[str]) -> Iterator[Truth]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(path).names
        structure = files.parquet_columns(there)
        if not structure:
            lacking = ", ".join(files.STRUCTURE_COLUMNS)
            raise ConfigError(f"has neither a column 'cif' nor {lacking}")
        place = 0
        columns = [*structure, *(c for c in _FACTS if c in there)]
        for batch in pq.ParquetFile(path).iter_batches(columns=columns):
            for row in batch.to_pylist():
                name = str(row.get("material_id") or f"row {place}")
                for crystal in _crystals(row, name):
                    yield from _truth(name, crystal, row.get("e_above_hull"), wanted)
                place += 1
    except pa.ArrowException as error:
        raise ConfigError(f"no Parquet file ({files.first_line(error)})") from error


def _crystals(row: dict[str, Any], name: str) -> Iterator[Crystal | None]:
    if "cif" in row:
        yield from (load(entry).crystal for entry in cif_entries(row["cif"] or "", name))
        return
    try:
        yield Crystal.of(*(row[c] for c in files.STRUCTURE_COLUMNS))
    except (TypeError, ValueError):  # a row that is damaged or empty is no truth
        yield None


def _truth(
    name: str, crystal: Crystal | None, above_hull: float | str | None, wanted: set[str]
) -> Iterator[Truth]:
    if crystal is None or not crystal.is_finite or formula_of(crystal.atomic_numbers) not in wanted:
        return
    try:
        above = math.nan if above_hull is None else float(above_hull)
    except ValueError:  # the field is empty
        above = math.nan
    yield Truth(name, primitive(crystal), above if math.isfinite(above) else math.inf)
