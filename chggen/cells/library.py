"""Cells of known crystals: the shapes of their primitive cells, without their atoms.

A table has one row per crystal: number of atoms of the primitive cell, anonymous formula,
elements, Bravais lattice and its free parameters. The packaged one is made of Materials
Project crystals (CC BY 4.0, Jain et al., APL Materials 1, 011002 (2013)); ``chggen library``
makes others. Only the cell of a crystal is used, scaled to another volume. A cell has the
symmetry of its Bravais lattice exactly, as its parameters are kept and not its vectors.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from chggen.cells.lattice import (
    PEARSON,
    Kind,
    free_parameters,
    symbol,
    unit_cell,
)
from chggen.errors import ConfigError
from chggen.provenance import PACKAGE
from chggen.structure import composition as comp
from chggen.structure import similarity
from chggen.structure.files import first_line

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: The packaged table.
PACKAGED: Final = PACKAGE / "data/known_cells.parquet"
#: Free parameters of a Bravais lattice: axis ratios, and angles in degrees.
PARAMETERS: Final = ("b_over_a", "c_over_a", "alpha", "beta", "gamma")
#: Chemically nearest crystals among which cells are drawn.
NEAREST: Final = 32

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        pa.field("n_atoms", pa.uint16()),
        pa.field("formula", _TEXT),
        pa.field("elements", pa.list_(pa.uint8())),
        pa.field("lattice", _TEXT),
        *(pa.field(name, pa.float32()) for name in PARAMETERS),
    ]
)
#: Says in a file that it is such a table, and of which version.
_MARK: Final = (b"chggen", b"cells 1")
_ABOUT: Final = b"about"
_LETTER: Final = re.compile(r"[A-Z]")


@dataclass(frozen=True, eq=False)
class Library:
    """Cells of known crystals.

    Args:
        n_atoms: [m] atoms per primitive cell.
        formulas: [m] anonymous formulas (:func:`label`).
        elements: [m] atomic numbers in the order of the anonymous formula.
        lattices: [m] Pearson symbols of the Bravais lattices.
        parameters: [m, 5] of :data:`PARAMETERS`; NaN where not free.
    """

    n_atoms: Ints
    formulas: NDArray[np.str_]
    elements: Sequence[Sequence[int]]
    lattices: NDArray[np.str_]
    parameters: Floats

    @classmethod
    def of_table(cls, table: pa.Table) -> Self:
        """Cells of a table with the columns of :data:`SCHEMA`."""
        columns = [table[name].to_numpy().astype(np.float64) for name in PARAMETERS]
        return cls(
            table["n_atoms"].to_numpy().astype(np.int64),
            np.array(table["formula"].to_pylist(), dtype=np.str_),
            table["elements"].to_pylist(),
            np.array(table["lattice"].to_pylist(), dtype=np.str_),
            np.stack(columns, axis=1),
        )

    def cell(self, row: int) -> tuple[Kind, Floats]:
        """Bravais lattice and primitive cell of volume 1 of a row."""
        kind = PEARSON[str(self.lattices[row])]
        values = self.parameters[row][~np.isnan(self.parameters[row])]
        ratios = free_parameters(kind[0])[0]
        return kind, unit_cell(kind, values[:ratios], values[ratios:])

    def of_size(self, n_atoms: int, kinds: Collection[Kind]) -> Ints:
        """Rows of crystals with a number of atoms and one of some Bravais lattices."""
        fits = np.isin(self.lattices, [symbol(*kind) for kind in kinds])
        return np.flatnonzero(fits & (self.n_atoms == n_atoms))

    def nearest(self, numbers: Ints, rows: Ints, most: int = NEAREST) -> Ints:
        """Rows of the same anonymous formula, the chemically nearest first.

        Args:
            numbers: [n] atomic numbers of the cell to be found.
            rows: to choose from.
            most: rows returned at most.
        """
        species, counts = np.unique(numbers, return_counts=True)
        content = dict(zip(species.tolist(), counts.tolist(), strict=True))
        kind = similarity.anonymous(content)
        rows = rows[self.formulas[rows] == label(kind)]
        if not len(rows):
            return rows
        donors = [self.elements[row] for row in rows]
        distance, _ = similarity.assign(kind, similarity.ordered(content), donors)
        return rows[np.argsort(distance, kind="stable")[:most]]


def label(counts: Sequence[int]) -> str:
    """Anonymous formula of rising counts: ``ABC3`` of (1, 1, 3)."""
    letters = [chr(ord("A") + i) for i in range(len(counts))]
    return "".join(a + (str(n) if n > 1 else "") for a, n in zip(letters, counts, strict=True))


def write(path: Path, table: pa.Table, facts: Mapping[str, Any]) -> None:
    """Write a table of cells.

    Args:
        path: Parquet file.
        table: columns of :data:`SCHEMA`.
        facts: JSON-like: sources, filter, counts.
    """
    metadata = {_MARK[0]: _MARK[1], _ABOUT: json.dumps(dict(facts), sort_keys=True).encode()}
    table = table.cast(SCHEMA).replace_schema_metadata(metadata)
    pq.write_table(table, path, compression="zstd", compression_level=19)


def read(path: Path) -> pa.Table:
    """Read a table of cells; its metadata say what it is made of (:func:`about`).

    Raises:
        ConfigError: not there, damaged, empty or another kind of file; one line, without
            the path.
    """
    if not path.is_file():
        raise ConfigError("no such file")
    try:
        schema = pq.read_schema(path)
        if (schema.metadata or {}).get(_MARK[0]) != _MARK[1]:
            raise ConfigError("no table of cells (made by 'chggen library')")
        if not schema.equals(SCHEMA):
            raise ConfigError("its columns are not those of a table of cells of this version")
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"no readable Parquet file ({first_line(error)})") from error
    problem = next(_problems(table), "")
    if problem:
        raise ConfigError(problem)
    return table


def about(path: Path) -> dict[str, Any]:
    """What a table of cells says of its sources."""
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[_ABOUT])
    return found


def _problems(table: pa.Table) -> Iterator[str]:
    """What is wrong with the values of a table; what follows the first may be nonsense."""
    if not len(table):
        yield "has no cells"
    gaps = [name for name in SCHEMA.names[: -len(PARAMETERS)] if table[name].null_count]
    if gaps:
        yield f"column '{gaps[0]}' has empty values"
    library = Library.of_table(table)
    unknown = sorted(set(library.lattices.tolist()) - set(PEARSON))
    if unknown:
        yield f"has the unknown lattice '{unknown[0]}'"
    free = np.array([free_parameters(PEARSON[str(x)][0]) for x in library.lattices])
    given = ~np.isnan(library.parameters)
    if (np.stack([given[:, :2].sum(axis=1), given[:, 2:].sum(axis=1)], axis=1) != free).any():
        yield "has lattices without their free parameters, or with others"
    ratios = np.nan_to_num(library.parameters[:, :2], nan=1.0, posinf=0.0)
    angles = np.nan_to_num(library.parameters[:, 2:], nan=90.0, posinf=0.0, neginf=0.0)
    if (ratios <= 0).any():
        yield "has axis ratios that no cell has"
    cos = np.cos(np.radians(angles))
    if (1.0 + 2.0 * np.prod(cos, axis=1) - np.sum(cos**2, axis=1) <= 0).any():
        yield "has angles that no cell has"
    most = len(comp.SYMBOLS)
    sizes = {kind: len(_LETTER.findall(kind)) for kind in set(library.formulas.tolist())}
    for formula, elements in zip(library.formulas.tolist(), library.elements, strict=True):
        if len(elements) != sizes[formula] or not all(0 < z < most for z in elements):
            yield f"has elements that do not fit their formula {formula}"


@cache
def known_cells(own: Path | None) -> Library:
    """The packaged cells, and those of the user's file.

    Raises:
        ConfigError: a file cannot be used.
    """
    tables = [read(PACKAGED)]
    if own is not None:
        try:
            tables.append(read(own))
        except ConfigError as error:
            raise ConfigError(f"config: generate.lattice.library = '{own}': {error}") from error
    return Library.of_table(pa.concat_tables(tables))
