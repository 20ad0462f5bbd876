"""A table on the terminal, or as CSV."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from chggen.errors import ChggenError
from chggen.tables import parquet
from chggen.tables.schema import SCHEMAS

#: Columns shown when none are named, the most important first: as many as the terminal has
#: room for. A last column of text takes what is left.
_USUAL: Final[Mapping[str, str]] = {
    "generated": "id composition status n_atoms volume_per_atom min_distance generator reason",
    "relaxed": "id composition status energy_per_atom steps fmax n_atoms route reason",
    "rerelaxed": "id composition status energy_per_atom steps fmax n_atoms route reason",
    "refined": "id composition status space_group_symbol n_atoms symprec displacement_max reason",
    "chosen": "composition element chosen basis system_entropy system_structures entropy reason",
    "inpainted": "id composition status n_atoms framework draw min_distance"
    " host_space_group_number reason",
    "screened": "id composition decomposition_energy space_group_symbol rank selected filter",
    "referenced": "label composition status energy_per_atom n_atoms steps source reason",
    "submitted": "id composition status role decomposition_energy input_set potcar reason",
    "calculated": "id composition status dft_energy_per_atom attempts converged role reason",
    "collected": "id composition status dft_decomposition_energy decomposition_energy"
    " space_group_symbol reason",
    "evaluated": "id composition generator status matched energy_above_truth n_atoms reason",
    "report": "composition route quantity k n value low high tolerance",
}
_LONGEST: Final = 40  # characters of a text in a column that is not the last
_LEAST: Final = 12  # of the last one, or it is left out


class _Column(NamedTuple):
    name: str
    heading: str
    cells: list[str]
    number: bool

    @property
    def width(self) -> int:
        """Characters of the widest line, and two for the space beside it."""
        lines = [*self.heading.split("\n"), *self.cells]
        return max(map(len, lines)) + 2


def show(
    source: Path,
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    most: int = 20,
    *,
    wide: bool = False,
) -> None:
    """Print how many rows of a table have each status, and the first rows.

    Args:
        source: table.
        columns: to print; the usual ones that fit if not given.
        sort: column to sort by, nulls last.
        most: rows to print.
        wide: print all columns, however long the lines become.

    Raises:
        ChggenError: the table has no such column.
    """
    from rich.console import Console
    from rich.text import Text

    name, rows, known = _read(source, columns, sort)
    chosen = list(columns or (known if wide else _USUAL[name].split()))
    console = Console(highlight=False)
    shown = [_column(SCHEMAS[name].field(c), rows[:most], cut=not columns) for c in chosen]
    if not columns and not wide:
        shown = _fitting(shown, console.width)
    console.print(
        Text(f"{name}: {_some(len(rows), most)} rows, {len(shown)} of {len(known)} columns")
    )
    for warning in parquet.read_header(source).get("warnings", []):
        console.print(Text(f"warning: {warning}"), soft_wrap=True)
    if "status" in known:
        counts = Counter(row["status"] for row in rows).most_common()
        console.print(Text("  ".join(f"{status} {n}" for status, n in counts)))
    _print(shown, console.width)
    if len(shown) < len(known):
        console.print(Text("all columns: --wide or --csv; some: --column NAME"))


def to_csv(
    source: Path,
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    most: int | None = None,
) -> str:
    """Rows of a table as CSV; lists are JSON, missing values empty.

    Args:
        source: table.
        columns: to write; all if not given.
        sort: column to sort by, nulls last.
        most: rows to write; all if not given.

    Raises:
        ChggenError: the table has no such column.
    """
    _, rows, known = _read(source, columns, sort)
    chosen = list(columns or known)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(chosen)
    for row in rows[:most]:
        cells = (row[c] for c in chosen)
        writer.writerow([json.dumps(v) if isinstance(v, list) else v for v in cells])
    return text.getvalue()


def _read(
    source: Path, columns: Sequence[str] | None, sort: str | None
) -> tuple[str, list[parquet.Row], list[str]]:
    """Name of a table, its rows in the order asked for, and its columns."""
    name = parquet.table_name(source)
    known = list(SCHEMAS[name].names)
    rows = parquet.read(source, name)
    for column in [*(columns or ()), *([sort] if sort else [])]:
        if column not in known:
            raise ChggenError(f"{source}: table '{name}' has no column '{column}'")
    if sort:
        rows.sort(key=lambda r: (r[sort] is None, r[sort] if r[sort] is not None else 0))
    return name, rows, known


def _column(field: pa.Field, rows: Sequence[parquet.Row], *, cut: bool) -> _Column:
    """Cells of a column, and its name on as many lines as make it no wider than they are."""
    number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    cells = [_cell(row[field.name]) for row in rows]
    if cut and not number and field.name != "reason":
        cells = [_cut(cell, _LONGEST) for cell in cells]
    return _Column(field.name, field.name.replace("_", "_\n"), cells, number)


def _fitting(columns: Sequence[_Column], room: int) -> list[_Column]:
    """The first columns that have room side by side; reasons take what is left."""
    kept: list[_Column] = []
    for column in columns:
        left = room - sum(c.width for c in kept)
        if column.width <= left:
            kept.append(column)
        elif column.name == "reason" and left >= _LEAST:
            cells = [_cut(cell, left - 2) for cell in column.cells]
            kept.append(column._replace(cells=cells))
    return kept or list(columns[:1])


def _print(columns: Sequence[_Column], room: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        side = "right" if column.number else "left"
        table.add_column(Text(column.heading), justify=side, no_wrap=True, vertical="bottom")  # type: ignore[arg-type]
    for cells in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    # a line that is too long is the terminal's to break: a number is never cut
    width = max(room, sum(c.width for c in columns))
    Console(highlight=False, width=width).print(table)


def _some(rows: int, most: int) -> str:
    return f"{rows}" if rows <= most else f"first {most} of {rows}"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return " ".join(text.split())
