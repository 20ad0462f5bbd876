"""Known structures from a CSV: which are taken, and in which order.

Rows are shuffled by the seed and taken until there are enough that pass the filter.
A structure's place in that order does not depend on the limit or on the filter, so that
runs with other limits share their structures.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chggen.errors import ChggenError, ConfigError
from chggen.evaluation.settings import Evaluation
from chggen.run.progress import Progress, silent
from chggen.structure.composition import SYMBOLS, canonical_formula
from chggen.structure.crystal import Crystal
from chggen.structure.files import csv_rows
from chggen.structure.readers import cif_entries, load


@dataclass(frozen=True, eq=False)
class Known:
    """One structure of the file.

    Args:
        row: place in the file, from 0; it makes the structure's random stream.
        name: ``material_id`` of the file, or ``row N``.
        formula: canonical reduced formula.
        crystal: as the file has it.
    """

    row: int
    name: str
    formula: str
    crystal: Crystal


@dataclass
class Selection:
    """What was taken and why the rest was not."""

    known: list[Known] = field(default_factory=list)
    rows: int = 0
    seen: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    hull_column: bool = True


def read_table(path: Path) -> list[dict[str, str]]:
    """Columns of the file that matter; one clear line if it is not what it should be."""
    if not path.is_file():
        raise ChggenError(f"--structures '{path}': no such file")
    try:
        return list(csv_rows(path, ["cif"], ["e_above_hull", "material_id"]))
    except ConfigError as error:
        raise ChggenError(f"--structures '{path}': {error}") from error


def select(
    settings: Evaluation, elements: Collection[str], progress: Progress = silent
) -> Selection:
    """Structures of a run.

    Args:
        settings: file, filter, seed.
        elements: symbols that are known to whatever must know them.
        progress: called with (structures taken, limit).
    """
    table = read_table(settings.structures)
    chosen = Selection(rows=len(table), hull_column=bool(table) and "e_above_hull" in table[0])
    order = np.random.default_rng([settings.seed, 0x5E1EC7]).permutation(len(table))
    for row in map(int, order):
        if len(chosen.known) == settings.limit:
            break
        chosen.seen += 1
        found = _take(table[row], row, settings, elements)
        if isinstance(found, Known):
            chosen.known.append(found)
            progress(len(chosen.known), settings.limit)
        else:
            chosen.left_out[found] = chosen.left_out.get(found, 0) + 1
    if not chosen.known:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(chosen.left_out.items()))
        raise ChggenError(
            f"--structures '{settings.structures}': no structure passes the filter"
            f" ({why or 'no rows'})"
        )
    return chosen


def _take(
    row: Mapping[str, str], index: int, settings: Evaluation, elements: Collection[str]
) -> Known | str:
    """Structure of a row, or why it is left out."""
    # no value: not known to be near the hull
    if "e_above_hull" in row and not _number(row["e_above_hull"]) < settings.max_above_hull:
        return "above the hull"
    found = list(cif_entries(row["cif"], ""))
    crystal = load(found[0]).crystal if len(found) == 1 else None
    if crystal is None:
        return "not readable"
    if not settings.min_atoms <= len(crystal) <= settings.max_atoms:
        return "number of atoms"
    if settings.cells == "framework" and len(set(crystal.atomic_numbers.tolist())) == 1:
        return "one element"
    if not {SYMBOLS[z] for z in crystal.atomic_numbers.tolist()} <= set(elements):
        return "unknown elements"
    name = row.get("material_id") or f"row {index}"
    formula = canonical_formula(crystal.to_structure().composition.reduced_formula)
    return Known(index, name, formula, crystal)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
