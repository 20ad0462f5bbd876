"""Known phases in the order in which a table of their energies is built.

Elements come first, then the lowest phase of every composition, then the others, each by
energy above the hull: whatever time there is, what matters most for a hull is done.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from chggen.errors import ChggenError, ConfigError, Status
from chggen.run.progress import Progress, silent
from chggen.structure import composition as comp
from chggen.structure import files
from chggen.structure.crystal import has_structure
from chggen.structure.readers import Entry, entries, load
from chggen.tables import parquet

#: Table of the plan, in the folder of a build, and the pattern of the parts beside it.
PLAN: Final = "plan.parquet"
PARTS: Final = "[0-9]*.parquet"
#: Columns (or keys of extxyz comments) beside a structure that are used if they are there.
_LABELS: Final = ("material_id", "label")
_ABOVE: Final = "e_above_hull"


def planned(
    structures: Path,
    max_above_hull: float,
    max_atoms: int,
    progress: Progress = silent,
) -> tuple[list[parquet.Row], Mapping[str, int]]:
    """Rows of table ``planned_phases``, in order, and how many were left out by reason.

    A structure that cannot be read keeps its row, with status and reason, if what it says of
    itself is not beyond the limits.

    Args:
        structures: whatever generator ``file`` reads, or the folder of another build, whose
            relaxed structures are taken then.
        max_above_hull: eV/atom; phases above it stay out where the file says so.
        max_atoms: most atoms in a cell.
        progress: called with (structures read, structures in all, 0 if not known).

    Raises:
        ConfigError: the file cannot be read.
        ChggenError: it holds no phase within the limits.
    """
    if (structures / PLAN).is_file():
        given = _of_build(structures)
    else:
        given = _of_files(structures, progress)
    left_out: Counter[str] = Counter()
    rows = []
    for row in given:
        above = row["above_hull"]
        if above is not None and not above <= max_above_hull:
            left_out["above the hull"] += 1
        elif row.get("n_atoms", 0) > max_atoms:
            left_out["number of atoms"] += 1
        else:
            rows.append(row)
    if not any(has_structure(row) for row in rows):
        raise ChggenError(
            f"'{structures}': no readable phase up to {max_atoms} atoms and {max_above_hull:g}"
            f" eV/atom above the hull (left out: {dict(left_out)})"
        )
    return in_order(rows), left_out


def in_order(rows: Iterable[parquet.Row]) -> list[parquet.Row]:
    """Rows with elements first, then the lowest of each composition, then the others.

    Args:
        rows: with ``composition`` and ``above_hull`` (eV/atom, or None: then the place in
            the file decides).
    """
    by_energy = sorted(rows, key=lambda row: row["above_hull"] or 0.0)  # stable: file order
    seen: set[str] = set()
    keys = []
    for row in by_energy:
        formula = row["composition"]
        element = bool(formula) and len(comp.parse_formula(formula)) == 1
        keys.append((not element, formula in seen))
        seen.add(formula)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return [by_energy[place] for place in order]


def _of_files(path: Path, progress: Progress) -> Iterable[parquet.Row]:
    try:
        files.check(path)
    except ConfigError as error:
        raise ConfigError(f"'{path}': {error}") from error
    total = pq.read_metadata(path).num_rows if files.kind_of(path) == "parquet" else 0
    for number, entry in enumerate(entries(path, [*_LABELS, _ABOVE]), 1):
        yield _row(entry)
        progress(number, total)


def _row(entry: Entry) -> parquet.Row:
    outcome = load(entry)
    row: parquet.Row = {
        "label": str(next((entry.facts[n] for n in _LABELS if entry.facts.get(n)), entry.origin)),
        "above_hull": _number(entry.facts.get(_ABOVE)),
        "composition": entry.composition or "",
        "n_atoms": 0,
        "status": Status.OK,
        "reason": "",
    }
    if outcome.crystal is None:
        return row | {"status": outcome.status, "reason": outcome.reason}
    formula = comp.formula_of(outcome.crystal.atomic_numbers)
    return row | {"composition": formula} | outcome.crystal.columns()


def _of_build(folder: Path) -> Iterable[parquet.Row]:
    """Phases of another build as it relaxed them; those that it has not done yet stay out."""
    above = {
        row["label"]: row["above_hull"]
        for row in parquet.read_table(
            folder / PLAN, "planned_phases", ["label", "above_hull"]
        ).to_pylist()
    }
    for part in sorted(folder.glob(PARTS)):
        for row in parquet.read(part, "built_phases"):
            kept = {
                key: row[key]
                for key in ("label", "composition", "n_atoms", "cell", "atomic_numbers")
            }
            kept |= {"frac_coords": row["frac_coords"], "above_hull": above.get(row["label"])}
            status, reason = Status.OK, ""
            if not has_structure(row):
                status, reason = Status.PARENT_FAILED, f"{row['status']}: {row['reason']}"
            yield kept | {"status": status, "reason": reason}


def _number(value: Any) -> float | None:  # noqa: ANN401
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if number == number else None  # noqa: PLR0124 - not a number
