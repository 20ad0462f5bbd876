"""The table of competing phases in the package: every chemical system, offline.

One row per phase: records of the Materials Project as they are, the hull energies that these
imply, and formation energies converted from the Materials Project's earlier corrections, each
with its uncertainty. ``docs/fit_reference.py`` makes it, ``SOURCES.md`` beside it has the
sources. Read with pyarrow alone: it is asked while the Snakefile is parsed.
"""

import functools
import importlib.resources
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chggen.errors import ReferenceCoverageError
from chggen.reference.files import Phase

if TYPE_CHECKING:
    import pyarrow as pa

#: File of the table, in ``chggen/data``.
TABLE: Final = "reference.parquet"
#: Sources of a row, by their number in the table.
SOURCES: Final = ("record", "hull", "converted")
#: Columns of the table; the last is there for measurements alone (``benchmarks/hull.py``).
COLUMNS: Final = (
    *("formula", "formation_energy_per_atom", "uncertainty", "source", "material_id"),
    *("converted_energy", "converted_uncertainty"),
)


@dataclass(frozen=True)
class Builtin:
    """The table, as read.

    Args:
        rows: columns of :data:`COLUMNS`.
        date: of the newest source.
    """

    rows: "pa.Table"
    date: str


@functools.cache
def builtin_table() -> Builtin:
    """The table in the package, read and checked once.

    Raises:
        ReferenceCoverageError: it is not there, not readable, or only half of it is.
    """
    return read_builtin((importlib.resources.files("chggen") / "data" / TABLE).read_bytes)


def read_builtin(content: Callable[[], bytes]) -> Builtin:
    """A table of this kind; see :func:`builtin_table`.

    Args:
        content: gives the bytes of the file.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    where = f"the builtin table '{TABLE}'"
    try:
        # threads of so short a reading may outlive the interpreter, which then aborts
        # (pq.read_table would import pandas, which parsing does without)
        rows = pq.ParquetFile(io.BytesIO(content()), pre_buffer=False).read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        line = str(error).partition("\n")[0]
        raise ReferenceCoverageError(f"{where} cannot be read: {line}") from error
    missing = [name for name in COLUMNS if name not in rows.column_names]
    if missing:
        raise ReferenceCoverageError(f"{where} has no column {missing[0]}")
    metadata = {k.decode(): v.decode() for k, v in (rows.schema.metadata or {}).items()}
    if metadata.get("rows") != str(rows.num_rows):
        raise ReferenceCoverageError(
            f"{where} has {rows.num_rows} rows, not the {metadata.get('rows', '?')} that it says"
        )
    for name in COLUMNS[:4]:
        column = rows[name]
        bad = column.null_count or (
            pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py()
        )
        if bad:
            raise ReferenceCoverageError(f"{where}: column {name} has a row without a value")
    return Builtin(rows, metadata.get("date", ""))


def builtin_phases(elements: Iterable[str]) -> tuple[Phase, ...]:
    """Phases of the table inside a chemical system; elements' ground states are not among them.

    Args:
        elements: symbols of the system's elements.

    Raises:
        ReferenceCoverageError: see :func:`builtin_table`.
    """
    import pyarrow.compute as pc

    rows = builtin_table().rows
    inside = pc.match_substring_regex(
        rows["formula"], f"^((?:{'|'.join(sorted(elements))})[0-9]*)+$"
    )
    found = rows.select(COLUMNS[:5]).filter(inside).to_pylist()
    return tuple(
        Phase(
            label=_label(row["source"], row["material_id"]),
            composition=row["formula"],
            formation_energy_per_atom=row["formation_energy_per_atom"],
            uncertainty=row["uncertainty"],
            source=SOURCES[row["source"]],
        )
        for row in found
    )


def _label(source: int, number: int | None) -> str:
    if number is None:
        return SOURCES[source]
    return f"mp-{number}" if number > 0 else f"mvc-{-number}"
