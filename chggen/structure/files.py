"""Files of structures that a campaign starts from: their kinds, and what is wrong with them.

Asked at parse time by every cluster job, so nothing here imports torch or pymatgen, and
no structure is read: :mod:`chggen.generators.file` does that.
"""

import codecs
import csv
import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, get_args

from chggen.errors import CompositionError, ConfigError
from chggen.provenance import digest, file_digest
from chggen.structure import composition as comp
from chggen.structure.frames import COUNT, frames

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["folder", "cif", "extxyz", "parquet", "csv"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SUFFIXES: dict[str, Kind] = {
    ".cif": "cif",
    ".cif.gz": "cif",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".extxyz.gz": "extxyz",
    ".xyz.gz": "extxyz",
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
}
#: Columns that hold a structure in a Parquet table of chggen.
STRUCTURE_COLUMNS = ("cell", "atomic_numbers", "frac_coords")
#: What reading a damaged or unreadable file raises.
READING_ERRORS: Final = (OSError, EOFError, UnicodeError, zlib.error, csv.Error)
#: Characters that a field of a CSV may have: a CIF of thousands of atoms needs more than
#: the 131,072 of Python's csv.
_FIELD_LIMIT: Final = 2**30


def kind_of(path: Path) -> Kind:
    """Kind of a file or folder; raises :class:`ConfigError` if there is none or it is unknown."""
    try:
        folder, file = path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:  # a parent that may not be entered, a bad name
        raise ConfigError(f"not readable ({first_line(error)})") from error
    if folder:
        return "folder"
    if not file:
        raise ConfigError("no such file or folder")
    for suffix, kind in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise ConfigError(f"neither a folder of CIFs nor one of {', '.join(_SUFFIXES)}")


def cif_files(folder: Path) -> list[Path]:
    """CIFs (also .cif.gz) of a folder and of the folders in it, by name."""
    names = (".cif", ".cif.gz")
    return sorted(p for p in folder.rglob("*") if p.name.lower().endswith(names) and p.is_file())


def first_line(error: BaseException) -> str:
    """First line of an exception's text, or its kind."""
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [""])[0].strip() or type(error).__name__


def read_text(path: Path) -> str:
    """Text of a file that may be gzipped and may start with a byte-order mark.

    Bytes that are no UTF-8 are replaced: they stand in comments and names.
    """
    data = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.decompress(data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    return data.decode("utf-8-sig", errors="replace")


def open_text(path: Path, errors: str = "strict") -> IO[str]:
    """Open a file, gzipped if its name ends in .gz, as UTF-8 text, byte-order mark or not."""
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors=errors, newline="")
    return path.open(encoding="utf-8-sig", errors=errors, newline="")


def allow_long_fields() -> None:
    """Let Python's csv read fields as long as the CIF of thousands of atoms."""
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))


def csv_rows(
    path: Path, needed: Iterable[str], optional: Iterable[str] = ()
) -> Iterator[dict[str, str]]:
    """Rows of a CSV or CSV.gz file, one after the other: the only reader of tables of structures.

    Args:
        path: the file, UTF-8.
        needed: columns that it must have.
        optional: columns that are given if it has them.

    Raises:
        ConfigError: not readable, damaged or cut short, or without a column that is needed;
            says what, but not the path.
    """
    allow_long_fields()
    row = -1
    try:
        with open_text(path) as file:
            # strict: an open quote at the end of the file is an error, not a field
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            lacking = [name for name in needed if name not in columns]
            if lacking:
                raise ConfigError(f"has no column '{lacking[0]}'")
            wanted = [(n, columns.index(n)) for n in (*needed, *optional) if n in columns]
            for row, values in enumerate(line for line in reader if line):
                if len(values) != len(columns):
                    raise ConfigError(
                        f"damaged or cut short: row {row} has {len(values)} fields,"
                        f" the header {len(columns)}"
                    )
                yield {name: values[place] for name, place in wanted}
    except READING_ERRORS as error:
        where = f" after row {row}" if row >= 0 else ""
        raise ConfigError(f"not readable{where} ({first_line(error)})") from error


def check(path: Path, *, through: bool = True) -> None:
    """Read a file of structures, without parsing a structure.

    Args:
        path: file or folder.
        through: to its end; otherwise a table is only looked at: whether it has the columns
            and any row. What a training reads can be large, and each job looks at it.

    Raises:
        ConfigError: not there, not readable, of no known kind, damaged or cut short, or
            without the columns that are needed; says what, but not the path.
    """
    kind = kind_of(path)
    if not os.access(path, os.R_OK | (os.X_OK if kind == "folder" else 0)):
        raise ConfigError("not readable (permission denied)")
    try:
        problem = _problem(path, kind) if through else _problem_at_start(path, kind)
    except READING_ERRORS as error:
        raise ConfigError(f"not readable ({first_line(error)})") from error
    if problem:
        raise ConfigError(problem)


def structures_digest(path: Path) -> str:
    """Digest of what a file, or the CIFs of a folder with their names, hold."""
    if not path.is_dir():
        return file_digest(path)
    return digest({f.relative_to(path).as_posix(): _digest_of(f) for f in cif_files(path)})


def _digest_of(file: Path) -> str:
    try:
        return file_digest(file)
    except OSError as error:  # a row with this reason, not the end of the campaign
        return first_line(error)


def _problem_at_start(path: Path, kind: Kind) -> str:
    if kind == "csv":
        return "" if any(True for _ in csv_rows(path, ["cif"])) else "has no rows"
    if kind == "parquet":
        return _parquet_problem(path, through=False)
    return _problem(path, kind)


def _problem(path: Path, kind: Kind) -> str:
    match kind:
        case "folder":
            return "" if cif_files(path) else "holds no .cif files"
        case "cif":
            return "" if read_text(path).strip() else "is empty"
        case "extxyz":
            with open_text(path, "replace") as file:
                first = next((line for line in file if line.strip()), "")
                for _ in file:  # a gzip file that is cut short says so at its end
                    pass
            right = COUNT.fullmatch(first) and int(first)
            return "" if right else "no extxyz file: its first line is no number of atoms"
        case "csv":
            for _ in csv_rows(path, ["cif"]):
                pass
            return ""
        case "parquet":
            return _parquet_problem(path)


def _parquet_problem(path: Path, *, through: bool = True) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        columns = parquet_columns(schema.names)
        if not columns:
            return f"has neither a column 'cif' nor {', '.join(STRUCTURE_COLUMNS)}"
        for name in columns:
            if not _right_type(name, schema.field(name).type):
                return f"column '{name}' has the wrong type ({schema.field(name).type})"
        file = pq.ParquetFile(path)
        if not through:
            return "" if file.metadata.num_rows else "has no rows"
        for _ in file.iter_batches(columns=columns):
            pass
    except pa.ArrowException as error:
        return f"no Parquet file ({first_line(error)})"
    return ""


def parquet_columns(names: Iterable[str]) -> list[str]:
    """Columns of a table that hold structures: chggen's own, or ``cif``; empty if none do."""
    names = list(names)
    if set(STRUCTURE_COLUMNS) <= set(names):
        return [*STRUCTURE_COLUMNS, *({"composition"} & set(names))]
    return ["cif"] if "cif" in names else []


def _right_type(name: str, kind: "pa.DataType") -> bool:
    """True if a column of structures has a type that can hold them.

    Vectors may stand one after the other in one list of numbers, or each in a list of its own.
    """
    import pyarrow as pa

    depth = {"cell": 2, "frac_coords": 2, "atomic_numbers": 1}.get(name, 0)
    for level in range(depth):
        if not (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        ):
            if level:
                break
            return False
        kind = kind.value_type
    if not depth:
        text = kind.value_type if pa.types.is_dictionary(kind) else kind
        return bool(pa.types.is_string(text) or pa.types.is_large_string(text))
    number = pa.types.is_integer(kind)
    return bool(number or (name != "atomic_numbers" and pa.types.is_floating(kind)))


def stated(formula: str) -> str | None:
    """Canonical form of a formula that a file states; None if it is not one."""
    try:
        return comp.canonical_formula(formula)
    except CompositionError:
        return None


def missing_element(path: Path, elements: Iterable[str]) -> str | None:
    """First element, by name, of which a file states no elemental structure.

    None if there is none, and also where a structure does not state its formula, so that
    only reading it can tell.
    """
    formulas = set(stated_formulas(path))
    if None in formulas:
        return None
    return next((symbol for symbol in sorted(elements) if symbol not in formulas), None)


def stated_formulas(path: Path) -> Iterator[str | None]:
    """Canonical formula that each structure of a file states; None where one states none.

    Raises:
        ConfigError: as :func:`check`; files of a folder that cannot be read state nothing.
    """
    match kind_of(path):
        case "folder":
            for file in cif_files(path):
                try:
                    text = read_text(file)
                except READING_ERRORS:
                    yield None
                else:
                    yield from _formulas_of_cif(text)
        case "cif":
            yield from _formulas_of_cif(read_text(path))
        case "extxyz":
            yield from _formulas_of_frames(path)
        case "csv":
            for row in csv_rows(path, ["cif"]):
                yield from _formulas_of_cif(row["cif"])
        case "parquet":
            yield from _formulas_of_rows(path)


def _formulas_of_frames(path: Path) -> Iterator[str | None]:
    with open_text(path, "replace") as file:
        for text, _ in frames(file):
            _, comment, *atoms = text.splitlines() or ["", ""]
            symbols = [(line.split() or [""])[0] for line in atoms]
            named = "Properties=" not in comment or "Properties=species:" in comment
            yield stated("".join(symbols)) if named and symbols else None


def _formulas_of_cif(text: str) -> Iterator[str | None]:
    from chggen.structure import cif

    yield from (cif.stated_formula(block) for _, block in cif.blocks(text))


def _formulas_of_rows(path: Path) -> Iterator[str | None]:
    import pyarrow.parquet as pq

    columns = parquet_columns(pq.read_schema(path).names)
    column = "cif" if columns == ["cif"] else "atomic_numbers"
    for batch in pq.ParquetFile(path).iter_batches(columns=[column]):
        for value in batch.column(0).to_pylist():
            if column == "cif":
                yield from _formulas_of_cif(value or "")
            else:
                known = value and all(z and 0 < z < len(comp.SYMBOLS) for z in value)
                yield comp.formula_of(value) if known else None
