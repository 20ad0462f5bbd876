"""Generator ``file``: structures from CIFs, extxyz or a table enter the campaign.

Each structure belongs to the composition that it has; those of one composition are dealt
out to its lattice seeds in turn. What cannot be read keeps a row, with the reason, in the
composition that it states (the formula line of a CIF, the column ``composition`` of a
table). Files that do not even say what they are made of belong to no shard: they are
listed in the header of every table, and named where a composition has no structures.
"""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from chggen import composition as comp
from chggen.crystal import Crystal
from chggen.errors import ChggenError, ConfigError
from chggen.generators.source import Brought, Order
from chggen.placement import Placed, Progress
from chggen.structurefiles import (
    STRUCTURE_COLUMNS,
    check,
    cif_files,
    csv_text,
    kind_of,
    stated,
    stated_in_cif,
    structures_digest,
)

LOGGER = logging.getLogger(__name__)

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


class FileSource:
    """Structures of one file or folder.

    Attributes:
        inputs: digest of the content under ``structures``.
        unreadable: what could not be read and does not state its composition, with why;
            known once structures have been asked for.
    """

    name = "file"

    def __init__(self, path: Path) -> None:
        try:
            check(path)
        except ConfigError as error:
            raise ConfigError(f"config: generate.path = '{path}': {error}") from error
        self.path = path
        self.inputs = {"structures": structures_digest(path)}
        self.unreadable: list[str] = []

    def structures(self, order: Order, progress: Progress | None = None) -> list[Brought]:
        """Structures of the order's composition that fall to its lattice seed.

        Seed s of S gets the s-th, (s+S)-th, … of them, in the order of the file (CIFs:
        by name), at most as many as the order wants.
        """
        self.unreadable = []
        mine = []
        for entry in entries(self.path):
            # a composition that is stated spares reading what belongs to others
            known = None if entry.composition else load(entry)
            if known is not None and known.crystal is None:
                self.unreadable.append(f"{entry.origin}: {known.reason}")
                LOGGER.warning("%s: %s", entry.origin, known.reason)
                continue
            found = entry.composition or _composition(known)
            if found == order.composition:
                mine.append((entry, known))
        dealt = mine[order.seed % order.seeds :: order.seeds][: len(order.random_seeds)]
        out = []
        for done, (entry, known) in enumerate(dealt, 1):
            placed = known or load(entry)
            if placed.crystal is None:
                placed = Placed(None, f"{entry.origin}: {placed.reason}", 0)
            out.append(Brought(placed, entry.origin))
            if progress:
                progress(done, len(dealt))
        return out or [Brought(Placed(None, self._nothing(order, len(mine)), 0))]

    def _nothing(self, order: Order, found: int) -> str:
        where = f"'{self.path.name}'"
        if found:
            return f"{where} holds {found} structures of {order.composition}, for other seeds"
        reason = f"{where} holds no structure of {order.composition}"
        if self.unreadable:
            reason += f" ({len(self.unreadable)} unreadable, first {self.unreadable[0]})"
        return reason


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


def _composition(placed: Placed | None) -> str | None:
    if placed is None or placed.crystal is None:
        return None
    return comp.formula_of(placed.crystal.atomic_numbers)


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
