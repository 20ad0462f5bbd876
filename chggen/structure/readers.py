"""Structures read from CIFs, extxyz, CSV and Parquet, each on its own.

What is wrong with one structure is a reason in one line and touches no other.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from chggen.errors import ChggenError
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.files import (
    STRUCTURE_COLUMNS,
    cif_files,
    csv_text,
    kind_of,
    stated,
    stated_in_cif,
)
from chggen.structure.task import Placed

#: What readers raise on files that are damaged in one way or another.
_DAMAGE: Final = (
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,
    OSError,
    ChggenError,
)
#: Å³ per atom under which a cell is taken for an error (the densest solids have 3).
_LEAST_VOLUME: Final = 1.0


@dataclass(frozen=True)
class Entry:
    """One structure of a file, not read yet.

    Args:
        origin: where it stands.
        composition: what it says of itself; None if it says nothing.
        load: reads it; raises one of many exceptions where it is damaged.
    """

    origin: str
    composition: str | None
    load: Callable[[], Crystal]


def entries(path: Path) -> Iterator[Entry]:
    """Every structure of a file or folder, in order; the files themselves are readable."""
    match kind_of(path):
        case "folder":
            for file in cif_files(path):
                yield _cif_file(file, file.relative_to(path).as_posix())
        case "cif":
            yield _cif_file(path, path.name)
        case "extxyz":
            yield from _frames(path)
        case "csv":
            import pandas as pd

            with csv_text(path) as lines:
                texts = pd.read_csv(lines, usecols=["cif"], dtype=str)["cif"]
            for row, text in enumerate(texts.fillna("")):
                yield _cif(text, f"row {row}")
        case "parquet":
            yield from _parquet(path)


def load(entry: Entry) -> Placed:
    """Read a structure; anything wrong with it is a reason in one line."""
    try:
        crystal = entry.load()
    except _DAMAGE as error:
        line = (str(error).splitlines() or [""])[0].strip()
        return Placed(None, f"not readable ({line or type(error).__name__})", 0)
    if not len(crystal):
        return Placed(None, "has no atoms", 0)
    if not crystal.is_finite or crystal.volume_per_atom < _LEAST_VOLUME:
        return Placed(None, "its cell has no volume or its coordinates are not numbers", 0)
    if not ((crystal.atomic_numbers > 0) & (crystal.atomic_numbers < len(comp.SYMBOLS))).all():
        return Placed(None, "has atoms of no known element", 0)
    made = comp.formula_of(crystal.atomic_numbers)
    if entry.composition not in {None, made}:
        return Placed(None, f"says {entry.composition} but its atoms are {made}", 0)
    return Placed(_right_handed(crystal), "", 0)


def _right_handed(crystal: Crystal) -> Crystal:
    """Same crystal in a right-handed cell."""
    if np.linalg.det(crystal.cell) > 0:
        return crystal
    flip = np.array([-1.0, 1.0, 1.0])
    return Crystal.of(
        crystal.cell * flip[:, None], crystal.atomic_numbers, crystal.frac_coords * flip
    )


def _cif_file(file: Path, origin: str) -> Entry:
    try:
        text = file.read_text(errors="replace")
    except OSError as error:
        return Entry(origin, None, partial(_damaged, error.strerror or str(error)))
    return _cif(text, origin)


def _cif(text: str, origin: str) -> Entry:
    return Entry(origin, stated_in_cif(text), partial(_parse, text))


def _parse(text: str) -> Crystal:
    from pymatgen.core import Structure

    structure = Structure.from_str(text, fmt="cif")
    if not structure.is_ordered:
        raise ValueError("has partly occupied sites")
    return Crystal.from_structure(structure)


def _frames(path: Path) -> Iterator[Entry]:
    """Frames of an extxyz file, cut by their numbers of atoms, so that each stands alone."""
    with path.open(errors="replace") as file:
        for frame, first in enumerate(iter(file.readline, "")):
            if not first.strip():
                continue
            if not first.strip().isdigit():
                yield Entry(f"frame {frame}", None, partial(_damaged, "no number of atoms"))
                return  # where the next one begins cannot be known
            text = first + "".join(file.readline() for _ in range(int(first) + 1))
            yield Entry(f"frame {frame}", None, partial(_frame, text))


def _damaged(what: str) -> Crystal:
    raise ValueError(what)


def _frame(text: str) -> Crystal:
    from ase.io import read

    atoms = read(io.StringIO(text), format="extxyz")
    if atoms.cell.rank != 3:  # noqa: PLR2004
        raise ValueError("has no cell (Lattice)")
    return Crystal.of(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=False))


def _parquet(path: Path) -> Iterator[Entry]:
    """Rows of a table: of chggen (also damaged ones), or with a column ``cif``."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    own = set(STRUCTURE_COLUMNS) <= set(names)
    wanted = [*STRUCTURE_COLUMNS, *({"composition"} & set(names))] if own else ["cif"]
    row = 0
    for batch in pq.ParquetFile(path).iter_batches(columns=wanted):
        for content in batch.to_pylist():
            if own:
                formula = stated(str(content.get("composition") or ""))
                yield Entry(f"row {row}", formula, partial(_row, content))
            else:
                yield _cif(str(content["cif"] or ""), f"row {row}")
            row += 1


def _row(content: dict[str, Any]) -> Crystal:
    if content["cell"] is None or not content["atomic_numbers"]:
        raise ValueError("the row has no structure")
    return Crystal.of(content["cell"], content["atomic_numbers"], content["frac_coords"])
