"""The only reader and writer of Parquet tables: validated at both ends, atomic.

A table is written to a temporary file in the same directory, flushed to disk and
renamed, so that a reader sees a whole file or none, and a killed job leaves nothing
that looks finished.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chggen.errors import Status, TableError
from chggen.run.atomic import replacing
from chggen.tables.schema import REQUIRED, SCHEMA_VERSION, SCHEMAS

Row = dict[str, Any]
#: Conditions on rows: all of a list, or of one of several lists.
Filters = Sequence[tuple[str, str, Any]] | Sequence[Sequence[tuple[str, str, Any]]]
_HEADER = b"chggen"
#: Columns with fewer values than this are best written as numbers into a dictionary.
_FEW = 1000


def write(
    path: str | Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    header: Mapping[str, Any],
    level: int | None = None,
    *,
    compact: bool = False,
    group_rows: int | None = None,
) -> None:
    """Write rows as a table, atomically; missing columns become null.

    Args:
        path: file to write; its folder is made.
        name: key of ``SCHEMAS``.
        rows: columns by name.
        header: JSON-like (digests, versions, settings); goes into the file's footer.
        level: of the compression (zstd); default: the fast one.
        compact: choose the encoding of each column by its values, for tables that go into
            a package.
        group_rows: rows per row group, the least that is read at once; default: a million.

    Raises:
        TableError: unknown columns, wrong types, a null in a required column or an unknown
            status; ``path`` is left untouched.
    """
    path = Path(path)
    table = from_rows(name, rows, path)
    footer = {_HEADER: json.dumps(dict(header), sort_keys=True).encode()}
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **footer})
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=level,
            row_group_size=group_rows,
            **(_encodings(table) if compact else {}),
        )


def _encodings(table: pa.Table) -> dict[str, Any]:
    """Options of the writer: a dictionary where values recur, else the encoding of the type."""
    few = [n for n in table.column_names if pc.count_distinct(table[n]).as_py() < _FEW]
    others = {
        field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BYTE_ARRAY"
        for field in table.schema
        if field.name not in few and (pa.types.is_floating(field.type) or field.type == pa.string())
    }
    return {"use_dictionary": few, "column_encoding": others}


def from_rows(name: str, rows: Sequence[Mapping[str, Any]], where: object = "") -> pa.Table:
    """Rows as a validated Arrow table.

    Args:
        name: key of ``SCHEMAS``.
        rows: columns by name.
        where: what the message of an error begins with.

    Raises:
        TableError: names the column that does not fit.
    """
    schema = SCHEMAS[name]
    unknown = sorted({key for row in rows for key in row} - set(schema.names))
    if unknown:
        raise TableError(f"{where}: table '{name}' has no column {', '.join(unknown)}")
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        try:
            _refuse_fractions(values, field.type)
            columns.append(pa.array(values, type=field.type))
        except (pa.ArrowInvalid, ValueError, TypeError, OverflowError) as error:
            raise TableError(f"{where}: column '{field.name}' of '{name}': {error}") from error
    table = pa.Table.from_arrays(columns, schema=schema)
    _validate(table, name, where)
    return table


def read_table(
    path: str | Path,
    name: str,
    columns: Sequence[str] | None = None,
    filters: Filters | None = None,
) -> pa.Table:
    """Read and validate table ``name``.

    Args:
        path: of the file.
        name: key of ``SCHEMAS``.
        columns: those to read, in order; all if not given.
        filters: rows to read, as pyarrow's ``read_table`` takes them; row groups that hold
            none are not read.

    Raises:
        TableError: one clear line: not there, damaged, another table or schema.
    """
    path = Path(path)
    require(path, name)
    try:
        if filters is None:
            # pq.read_table would import pandas
            with pq.ParquetFile(path) as file:
                table = file.read(columns=columns)
                table = table if columns is None else table.select(list(columns))
        else:
            table = pq.read_table(path, columns=columns, partitioning=None, filters=filters)
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise TableError(f"{path}: not a readable Parquet file ({line})") from error
    _validate(table, name, path)
    return table


def require(path: str | Path, name: str) -> None:
    """Raise :class:`TableError`, one line, unless a file is table ``name``; reads its footer."""
    path = Path(path)
    if not path.is_file():
        raise TableError(f"{path}: no such table ('{name}' expected)")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise TableError(f"{path}: not a readable Parquet file ({line})") from error
    _require_schema(path, schema, name)


def _require_schema(path: Path, schema: pa.Schema, name: str) -> None:
    """Raise :class:`TableError` if a file's schema is not that of table ``name``."""
    found = (schema.metadata or {}).get(b"table", b"?").decode()
    version = (schema.metadata or {}).get(b"schema_version", b"?").decode()
    if found != name or version != str(SCHEMA_VERSION):
        raise TableError(
            f"{path}: holds table '{found}' version {version},"
            f" expected '{name}' version {SCHEMA_VERSION}"
        )
    if not schema.equals(SCHEMAS[name], check_metadata=False):
        raise TableError(f"{path}: columns differ from the schema of '{name}'")


def read(path: str | Path, name: str) -> list[Row]:
    """Rows of table ``name`` as dictionaries."""
    rows: list[Row] = read_table(path, name).to_pylist()
    return rows


def table_name(path: str | Path) -> str:
    """Which table a file says it is; raises :class:`TableError` if it does not say."""
    if not Path(path).is_file():
        raise TableError(f"{path}: no such table")
    name: str = _metadata(path).get(b"table", b"").decode()
    if name not in SCHEMAS:
        raise TableError(f"{path}: not a table of chggen")
    return name


def read_header(path: str | Path) -> dict[str, Any]:
    """The header that :func:`write` put into the footer; raises :class:`TableError`."""
    header: dict[str, Any] = json.loads(_metadata(path).get(_HEADER, b"{}"))
    return header


def _metadata(path: str | Path) -> dict[bytes, bytes]:
    try:
        return pq.read_schema(path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise TableError(f"{path}: not a readable Parquet file ({line})") from error


def _refuse_fractions(values: Sequence[Any], type_: pa.DataType) -> None:
    """Raise ``ValueError`` for 0.5 in an integer column, which Arrow would make 0."""
    if pa.types.is_list(type_) and pa.types.is_integer(type_.value_type):
        for value in values:
            _refuse_fractions([] if value is None else value, type_.value_type)
    elif pa.types.is_integer(type_):
        for value in values:
            if value is not None and value != int(value):
                raise ValueError(f"{value!r} is not an integer")


def _validate(table: pa.Table, name: str, where: object) -> None:
    for column in REQUIRED:
        if column in table.column_names and table[column].null_count:
            raise TableError(f"{where}: column '{column}' of '{name}' has empty values")
    if "status" in table.column_names:
        unknown = set(table["status"].to_pylist()) - {s.value for s in Status}
        if unknown:
            raise TableError(f"{where}: unknown status {sorted(unknown)} in '{name}'")
    if "id" in table.column_names:
        ids = table["id"].to_pylist()
        if len(set(ids)) != len(ids):
            raise TableError(f"{where}: ids of '{name}' are not unique")
