"""Files of structures that a campaign starts from: their kinds, and what is wrong with them.

Asked at parse time by every cluster job, so nothing here imports torch or pymatgen, and
no structure is read: :mod:`chggen.generators.file` does that.
"""

import csv
import gzip
import os
from pathlib import Path
from typing import IO, Literal, get_args

from chggen.errors import ConfigError
from chggen.provenance import digest, file_digest

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
