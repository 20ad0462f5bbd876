"""Files of structures that a campaign starts from: their kinds, and what is wrong with them.

Asked at parse time by every cluster job, so nothing here imports torch or pymatgen, and
no structure is read: :mod:`chggen.generators.file` does that.
"""

import csv
import gzip
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, Literal, get_args

from chggen.errors import CompositionError, ConfigError
from chggen.provenance import digest, file_digest
from chggen.structure import composition as comp

Kind = Literal["folder", "cif", "extxyz", "parquet", "csv"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_SUFFIXES: dict[str, Kind] = {
    ".cif": "cif",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
}
#: Columns that hold a structure in a Parquet table of chggen.
STRUCTURE_COLUMNS = ("cell", "atomic_numbers", "frac_coords")
_FORMULA: Final = re.compile(r"^\s*_chemical_formula_sum\s+['\"]?([^'\"\n]+)", re.MULTILINE)


def kind_of(path: Path) -> Kind:
    """Kind of a file or folder; raises :class:`ConfigError` if there is none or it is unknown."""
    if path.is_dir():
        return "folder"
    if not path.is_file():
        raise ConfigError("no such file or folder")
    for suffix, kind in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise ConfigError(f"neither a folder of CIFs nor one of {', '.join(_SUFFIXES)}")


def cif_files(folder: Path) -> list[Path]:
    """CIFs of a folder and of the folders in it, by name."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() == ".cif" and p.is_file())


def check(path: Path) -> None:
    """Look at the outside of a file of structures.

    Raises:
        ConfigError: not there, not readable, of no known kind, or without the columns that
            are needed; says what, but not the path.
    """
    kind = kind_of(path)
    if not os.access(path, os.R_OK | (os.X_OK if kind == "folder" else 0)):
        raise ConfigError("not readable (permission denied)")
    try:
        problem = _problem(path, kind)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"not readable ({str(error).splitlines()[0]})") from error
    if problem:
        raise ConfigError(problem)


def structures_digest(path: Path) -> str:
    """Digest of what a file, or the CIFs of a folder with their names, hold."""
    if not path.is_dir():
        return file_digest(path)
    return digest({f.relative_to(path).as_posix(): file_digest(f) for f in cif_files(path)})


def _problem(path: Path, kind: Kind) -> str:
    match kind:
        case "folder":
            return "" if cif_files(path) else "holds no .cif files"
        case "cif":
            return "" if path.stat().st_size else "is empty"
        case "extxyz":
            with path.open() as file:
                first = file.readline().strip()
            return "" if first.isdigit() else "no extxyz file: its first line is no number of atoms"
        case "csv":
            with csv_text(path) as file:
                columns = next(csv.reader(file), [])
            return "" if "cif" in columns else "has no column 'cif'"
        case "parquet":
            return _parquet_problem(path)


def csv_text(path: Path) -> IO[str]:
    """Open a CSV or CSV.gz file as text."""
    return gzip.open(path, "rt") if path.suffix.lower() == ".gz" else path.open()


def _parquet_problem(path: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = set(pq.read_schema(path).names)
    except pa.ArrowInvalid as error:
        return f"no Parquet file ({str(error).splitlines()[0]})"
    if set(STRUCTURE_COLUMNS) <= columns or "cif" in columns:
        return ""
    return f"has neither a column 'cif' nor {', '.join(STRUCTURE_COLUMNS)}"


def stated(formula: str) -> str | None:
    """Canonical form of a formula that a file states; None if it is not one."""
    try:
        return comp.canonical_formula(formula)
    except CompositionError:
        return None


def stated_in_cif(text: str) -> str | None:
    """Canonical formula of a CIF's formula line; None if it has none."""
    match = _FORMULA.search(text)
    return stated(match[1].replace(" ", "")) if match else None


def missing_element(path: Path, elements: Iterable[str]) -> str | None:
    """First element, by name, of which a file states no elemental structure.

    None if there is none, and also where a structure does not state its formula, so that
    only reading it can tell.
    """
    formulas = set(_stated_formulas(path, kind_of(path)))
    if None in formulas:
        return None
    return next((symbol for symbol in sorted(elements) if symbol not in formulas), None)


def _stated_formulas(path: Path, kind: Kind) -> Iterator[str | None]:
    match kind:
        case "folder":
            yield from (stated_in_cif(f.read_text(errors="replace")) for f in cif_files(path))
        case "cif":
            yield stated_in_cif(path.read_text(errors="replace"))
        case "extxyz":
            yield from _formulas_of_frames(path)
        case "csv":
            with csv_text(path) as file:
                yield from (stated_in_cif(row["cif"] or "") for row in csv.DictReader(file))
        case "parquet":
            yield from _formulas_of_rows(path)


def _formulas_of_frames(path: Path) -> Iterator[str | None]:
    with path.open(errors="replace") as file:
        for first in iter(file.readline, ""):
            if not first.strip():
                continue
            if not first.strip().isdigit():
                yield None
                return
            comment = file.readline()
            symbols = [(file.readline().split() or [""])[0] for _ in range(int(first))]
            named = "Properties=" not in comment or "Properties=species:" in comment
            yield stated("".join(symbols)) if named else None


def _formulas_of_rows(path: Path) -> Iterator[str | None]:
    import pyarrow.parquet as pq

    own = set(STRUCTURE_COLUMNS) <= set(pq.read_schema(path).names)
    column = "atomic_numbers" if own else "cif"
    for value in pq.read_table(path, columns=[column])[column].to_pylist():
        if own:
            known = value and all(0 < z < len(comp.SYMBOLS) for z in value)
            yield comp.formula_of(value) if known else None
        else:
            yield stated_in_cif(value or "")
