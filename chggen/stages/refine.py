"""``refine``: relaxed structures to symmetrised frameworks without guests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen import provenance
from chggen.config.stages import RefineConfig
from chggen.run import progress as bars
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.symmetry.framework import Framework, choose_guests
from chggen.symmetry.framework import refine as refine_crystal
from chggen.tables import parquet
from chggen.tables.lineage import descend, usable
from chggen.tables.schema import REFINEMENT, names

#: Columns that every row has, and those that it takes from its framework.
_CHOICE = ("guests", "guest_choice")
_RESULT = (
    "status",
    "reason",
    "formula_units",
    *(name for name in names(REFINEMENT) if name not in _CHOICE),
)


def refine(
    source: str | Path,
    output: str | Path,
    guests: str | Sequence[str],
    settings: RefineConfig,
    progress: bars.Progress = bars.silent,
) -> None:
    """Take the guests out of every relaxed structure and symmetrise the rest.

    Structures that only ran out of steps are used as well: the ladder's tolerances are
    far above what a further step would change.

    Args:
        source: table ``relaxed``.
        output: table ``refined`` to write.
        guests: elements, or ``auto`` for the broadest coordination in this table.
        settings: section ``refine`` of the config.
        progress: called with (structures done, structures in all).
    """
    rows = parquet.read(source, "relaxed")
    good = [r for r in rows if usable(r)]
    chosen = list(guests) if not isinstance(guests, str) else _broadest(good)
    out = []
    for number, row in enumerate(rows, 1):
        result = refine_crystal(Crystal.from_row(row), chosen, settings) if usable(row) else None
        out.append(_row(row, result, chosen, "auto" if guests == "auto" else "config"))
        progress(number, len(rows))
    header = provenance.header(
        "refine",
        settings.model_dump(mode="json"),
        {Path(source).name: provenance.file_digest(source)},
        guests=chosen,
    )
    parquet.write(output, "refined", out, header)


def _broadest(rows: list[parquet.Row]) -> list[str]:
    if not rows:
        return []
    elements = comp.parse_formula(rows[0]["composition"])
    return [choose_guests([Crystal.from_row(r) for r in rows], elements)]


def _row(
    parent: Mapping[str, Any], result: Framework | None, guests: list[str], choice: str
) -> parquet.Row:
    row = descend(parent) | {"guests": guests, "guest_choice": choice}
    if result is not None:
        row |= {
            **{name: getattr(result, name) for name in _RESULT},
            "n_atoms": 0,
        }
        if result.crystal is not None:
            row |= result.crystal.columns()
    return row | {"id": row_id("refined", parent["id"], *guests)}
