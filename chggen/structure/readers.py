"""Structures read from CIFs, extxyz, CSV and Parquet, each on its own.

What is wrong with one structure is a reason in one line and touches no other.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from chggen.errors import ChggenError
from chggen.structure import cif, files
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.files import cif_files, kind_of, stated
from chggen.structure.frames import frames
from chggen.structure.outcome import LEAST_VOLUME, Outcome

#: Rows of a Parquet file that are in memory at a time.
_ROWS: Final = 1024
#: What readers raise on files that are damaged in one way or another.
_DAMAGE: Final = (
    ValueError,
    AttributeError,
    LookupError,
    TypeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    OSError,
    ChggenError,
)


@dataclass(frozen=True)
class Entry:
    """One structure of a file, not read yet.

    Args:
        origin: where it stands.
        composition: what it says of itself; None if it says nothing.
        load: reads it; raises one of many exceptions where it is damaged.
        facts: values beside it that were asked for, by column.
        siblings: number of structures that one row of a table holds.
    """

    origin: str
    composition: str | None
    load: Callable[[], Crystal]
    facts: Mapping[str, Any] = field(default_factory=dict)
    siblings: int = 1


def entries(path: Path, columns: Sequence[str] = ()) -> Iterator[Entry]:
    """Every structure of a file or folder, in order; the files themselves are readable.

    Args:
        path: file or folder of any kind that :func:`~chggen.structure.files.kind_of` knows.
        columns: further columns of a table, or keys of extxyz comments, that become
            :attr:`Entry.facts` where there are such.
    """
    match kind_of(path):
        case "folder":
            for file in cif_files(path):
                yield from _cif_file(file, file.relative_to(path).as_posix())
        case "cif":
            yield from _cif_file(path, path.name)
        case "extxyz":
            yield from _frames(path, columns)
        case "csv":
            for row, content in enumerate(files.csv_rows(path, ["cif"], columns)):
                yield from _row_of_cif(row, content)
        case "parquet":
            yield from _parquet(path, columns)


def load(entry: Entry) -> Outcome:
    """Read a structure; anything wrong with it is a reason in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crystal = entry.load()
    except _DAMAGE as error:
        return Outcome(None, f"not readable ({files.first_line(error)})")
    if not len(crystal):
        return Outcome(None, "has no atoms")
    if not crystal.is_finite or crystal.volume_per_atom < LEAST_VOLUME:
        return Outcome(None, "its cell has no volume or its coordinates are not numbers")
    if not ((crystal.atomic_numbers > 0) & (crystal.atomic_numbers < len(comp.SYMBOLS))).all():
        return Outcome(None, "has atoms of no known element")
    made = comp.formula_of(crystal.atomic_numbers)
    if entry.composition not in {None, made}:
        return Outcome(None, f"says {entry.composition} but its atoms are {made}")
    return Outcome(_right_handed(crystal))


def _right_handed(crystal: Crystal) -> Crystal:
    """Same crystal in a right-handed cell."""
    if np.linalg.det(crystal.cell) > 0:
        return crystal
    flip = np.array([-1.0, 1.0, 1.0])
    return Crystal.of(
        crystal.cell * flip[:, None], crystal.atomic_numbers, crystal.frac_coords * flip
    )


def _cif_file(file: Path, origin: str) -> Iterator[Entry]:
    try:
        text = files.read_text(file)
    except files.READING_ERRORS as error:
        yield Entry(origin, None, partial(_damaged, files.first_line(error)))
        return
    yield from cif_entries(text, origin)


def cif_entries(text: str, origin: str) -> Iterator[Entry]:
    """Structures of a CIF: those of several blocks are named ``origin#block``."""
    found = list(cif.blocks(text))
    seen: dict[str, int] = {}
    for name, block in found:
        seen[name] = seen.get(name, 0) + 1
        more = f"({seen[name]})" if seen[name] > 1 else ""
        place = f"{origin}#{name}{more}" if len(found) > 1 else origin
        yield Entry(place, cif.stated_formula(block), partial(cif.read, block))


def _row_of_cif(row: int, content: dict[str, Any]) -> Iterator[Entry]:
    text = content.pop("cif") or ""
    if not text.strip():
        yield Entry(f"row {row}", None, partial(_damaged, "the row has no CIF"), content)
        return
    found = list(cif_entries(text, f"row {row}"))
    for entry in found:
        yield replace(entry, facts=content, siblings=len(found))


def _frames(path: Path, columns: Sequence[str]) -> Iterator[Entry]:
    """Frames of an extxyz file, cut by their numbers of atoms, so that each stands alone."""
    with files.open_text(path, "replace") as file:
        for number, (text, problem) in enumerate(frames(file)):
            read = partial(_damaged, problem) if problem else partial(_frame, text)
            comment = "" if problem else text.split("\n", 2)[1]
            facts = {name: value for name in columns for value in _values(comment, name)}
            yield Entry(f"frame {number}", None, read, facts)


def _values(comment: str, name: str) -> list[str]:
    """Value of a key in the comment of an extxyz frame, or nothing."""
    found = re.search(rf"(?:^|\s){re.escape(name)}\s*=\s*[\"']?([^\s\"']*)", comment)
    return [found[1]] if found else []


def _damaged(what: str) -> Crystal:
    raise ValueError(what)


def _frame(text: str) -> Crystal:
    from ase.io import read

    atoms = read(io.StringIO(text), format="extxyz")
    if atoms.cell.rank != 3:  # noqa: PLR2004
        raise ValueError("has no cell (Lattice)")
    return Crystal.of(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions(wrap=False))


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Entry]:
    """Rows of a table: of chggen (also damaged ones), or with a column ``cif``."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    wanted = files.parquet_columns(names)
    beside = [name for name in columns if name in names and name not in wanted]
    row = 0
    for batch in pq.ParquetFile(path).iter_batches(_ROWS, columns=[*wanted, *beside]):
        for content in batch.to_pylist():
            if wanted == ["cif"]:
                yield from _row_of_cif(row, content)
            else:
                facts = {name: content.pop(name) for name in beside}
                formula = stated(str(content.get("composition") or ""))
                yield Entry(f"row {row}", formula, partial(_row, content), facts)
            row += 1


def _row(content: dict[str, Any]) -> Crystal:
    if content["cell"] is None or not content["atomic_numbers"]:
        raise ValueError("the row has no structure")
    return Crystal.of(content["cell"], content["atomic_numbers"], content["frac_coords"])
