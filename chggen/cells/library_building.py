"""Tables of cells of known crystals, made of their structures."""

import math
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import spglib
from ase.geometry import cell_to_cellpar
from numpy.typing import NDArray

from chggen.cells.lattice import Kind, free_parameters, symbol
from chggen.cells.library import SCHEMA, label, write
from chggen.errors import ChggenError, ConfigError
from chggen.run.progress import Progress, silent
from chggen.structure import files, readers, similarity
from chggen.structure.crystal import Crystal

Floats = NDArray[np.float64]

#: Tolerance (Å) of the primitive cell of a crystal, and of the symmetry of its lattice.
SYMPREC: Final = 0.01
#: Column of a table with the energy above the hull, eV/atom.
_HULL: Final = "e_above_hull"
#: Structures between two reports of progress.
_NEWS: Final = 100
#: Decimals that are kept of axis ratios, and of angles in degrees.
_DECIMALS: Final = (3, 2)

#: Bravais lattice by the space group of one atom on each of its points.
_HOLOHEDRIES: Final[dict[int, Kind]] = {
    2: ("triclinic", "P"),
    10: ("monoclinic", "P"),
    12: ("monoclinic", "C"),
    47: ("orthorhombic", "P"),
    65: ("orthorhombic", "C"),
    69: ("orthorhombic", "F"),
    71: ("orthorhombic", "I"),
    123: ("tetragonal", "P"),
    139: ("tetragonal", "I"),
    166: ("rhombohedral", "P"),
    191: ("hexagonal", "P"),
    221: ("cubic", "P"),
    225: ("cubic", "F"),
    229: ("cubic", "I"),
}

#: A row without its crystal: number of atoms, formula, elements, lattice, parameters.
Row = tuple[int, str, tuple[int, ...], str, tuple[float | None, ...]]


def row_of(crystal: Crystal) -> Row | None:
    """The row of a crystal's primitive cell; None if spglib finds no lattice."""
    shape = crystal.cell, crystal.frac_coords, crystal.atomic_numbers
    counts = np.unique(crystal.atomic_numbers, return_counts=True)[1]
    try:
        # a translation takes the atoms of each species in groups of one size
        smaller = spglib.find_primitive(shape, SYMPREC) if math.gcd(*counts) > 1 else None
        cell, _, numbers = smaller or shape
        lattice = lattice_of(np.asarray(cell))
    except spglib.SpglibError:
        return None
    if lattice is None:
        return None
    content = Counter(np.asarray(numbers).tolist())
    formula = label(similarity.anonymous(content))
    elements = similarity.ordered(content)
    return len(numbers), formula, elements, symbol(*lattice[0]), _columns(*lattice)


def lattice_of(cell: Floats) -> tuple[Kind, list[float], list[float]] | None:
    """Bravais lattice of a primitive cell with its free axis ratios and angles (degrees).

    As :func:`chggen.cells.lattice.unit_cell` takes them; None if there is none.

    Args:
        cell: 3×3 row vectors, Å.
    """
    data = spglib.get_symmetry_dataset((cell, [[0.0] * 3], [1]), SYMPREC)
    if data is None:
        return None
    kind = _HOLOHEDRIES[int(data.number)]
    a, b, c, *angles = cell_to_cellpar(np.asarray(data.std_lattice))
    match kind[0]:
        case "rhombohedral":  # spglib's conventional cell has hexagonal axes
            half = 1.5 / np.sqrt(3.0 + (c / a) ** 2)
            return kind, [], [2.0 * float(np.degrees(np.arcsin(half)))]
        case "monoclinic":
            angles = [angles[1]]
        case "triclinic":
            pass
        case _:
            angles = []
    ratios = {0: [], 1: [c / a], 2: [b / a, c / a]}[free_parameters(kind[0])[0]]
    return kind, [float(r) for r in ratios], [float(x) for x in angles]


def _columns(kind: Kind, ratios: list[float], angles: list[float]) -> tuple[float | None, ...]:
    """Values of :data:`PARAMETERS`, rounded; None where a parameter is not free."""
    lengths: list[float | None] = [None] * (2 - len(ratios))  # a single ratio is c/a
    lengths += [round(r, _DECIMALS[0]) for r in ratios]
    places: list[float | None] = [None] * 3
    start = 1 if kind[0] == "monoclinic" else 0
    places[start : start + len(angles)] = [round(x, _DECIMALS[1]) for x in angles]
    return *lengths, *places


def table_of(rows: set[Row]) -> pa.Table:
    """Table of cells, each once, in an order that does not depend on that of the crystals."""
    # None does not compare with numbers
    ordered = sorted(rows, key=lambda r: (*r[:4], [(x is None, x or 0.0) for x in r[4]]))
    sizes, formulas, elements, lattices, parameters = zip(*ordered, strict=True)
    values = zip(*parameters, strict=True)
    columns = [sizes, formulas, elements, lattices, *values]
    arrays = [
        pa.array(column, type=pa.string()).dictionary_encode()
        if str(f.type).startswith("dict")
        else pa.array(column, type=f.type)
        for column, f in zip(columns, SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, names=SCHEMA.names)


def build(
    structures: Path,
    output: Path,
    max_above_hull: float = 0.1,
    max_atoms: int = 52,
    source: str = "",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a table of the cells of the crystals of a file or folder.

    Args:
        structures: whatever generator ``file`` reads; tables may have the column
            ``e_above_hull`` (eV/atom).
        output: table to write.
        max_above_hull: eV/atom; crystals above it stay out where the file says so.
        max_atoms: most atoms of a primitive cell.
        source: where the structures come from, for the table's metadata.
        progress: called with (structures read, structures in all, 0 if not known).

    Returns:
        Numbers of structures: read, kept, and left out by reason.

    Raises:
        ConfigError: the file cannot be read.
        ChggenError: it holds no crystal for the library.
    """
    try:
        files.check(structures)
    except ConfigError as error:
        raise ConfigError(f"'{structures}': {error}") from error
    rows: set[Row] = set()
    left_out: Counter[str] = Counter()
    read = 0
    for read, entry in enumerate(readers.entries(structures, [_HULL]), 1):
        row = _row_or_reason(entry, max_above_hull, max_atoms)
        if isinstance(row, str):
            left_out[row] += 1
        else:
            left_out["copies"] += row in rows
            rows.add(row)
        if not read % _NEWS:
            progress(read, 0)
    if not rows:
        raise ChggenError(f"'{structures}': holds no crystal for a library ({dict(left_out)})")
    numbers = {"read": read, "kept": len(rows), "left_out": dict(left_out)}
    facts = {
        "max_above_hull": max_above_hull,
        "max_atoms": max_atoms,
        "structures_digest": files.structures_digest(structures),
        "source": source,
    }
    write(output, table_of(rows), facts | numbers)
    return numbers


def _row_or_reason(entry: readers.Entry, max_above_hull: float, max_atoms: int) -> Row | str:
    """The row of one structure, or why it has none."""
    try:
        above = float(entry.facts.get(_HULL, "nan"))
    except (TypeError, ValueError):
        above = float("nan")  # not known: not filtered
    if above > max_above_hull:
        return "above the hull"
    crystal = readers.load(entry).crystal
    row = row_of(crystal) if crystal else None
    if row is None:
        return "not readable"
    return row if row[0] <= max_atoms else "number of atoms"
