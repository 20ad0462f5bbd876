"""``refine``: relaxed structures to symmetrised frameworks without guests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen import provenance
from chggen.config.stages import RefineConfig
from chggen.errors import TableError
from chggen.run import progress as bars
from chggen.stages.choose import count, sentences
from chggen.structure.crystal import Crystal, row_id
from chggen.symmetry.framework import Framework
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
    *,
    chosen: str | Path | None = None,
) -> None:
    """Take the guests out of every relaxed structure and symmetrise the rest.

    Structures that only ran out of steps are used as well: the ladder's tolerances are
    far above what a further step would change. Every structure has a row that says what
    became of its framework; one with several has more rows (``framework``).

    Args:
        source: table ``relaxed``.
        output: table ``refined`` to write.
        guests: elements, or ``auto`` for what table ``chosen`` says.
        settings: section ``refine`` of the config.
        progress: called with (structures done, structures in all).
        chosen: that table; without one, ``auto`` decides on ``source`` alone.

    Raises:
        TableError: ``chosen`` lacks a composition.
    """
    rows = parquet.read(source, "relaxed")
    inputs = {Path(source).name: provenance.file_digest(source)}
    known: dict[str, tuple[list[str], str]] = {}
    note = ""
    if guests == "auto":
        choices = parquet.read(chosen, "chosen") if chosen else count([source])
        here = {row["composition"] for row in rows}
        choices = [row for row in choices if row["composition"] in here]
        known = {r["composition"]: ([r["element"]], r["basis"]) for r in choices if r["chosen"]}
        note = "; ".join(sentences(choices))
        if missing := sorted(here - set(known)):
            raise TableError(f"{chosen}: no guests for {missing[0]}")
        if chosen:
            inputs[Path(chosen).name] = provenance.file_digest(chosen)
    out = []
    for number, row in enumerate(rows, 1):
        taken, choice = known.get(row["composition"], (list(guests), "config"))
        results = refine_crystal(Crystal.from_row(row), taken, settings) if usable(row) else [None]
        out += [_row(row, i, result, taken, choice) for i, result in enumerate(results)]
        progress(number, len(rows))
    header = provenance.header(
        "refine",
        settings.model_dump(mode="json"),
        inputs,
        guests=sorted({guest for row in out for guest in row["guests"]}),
        guest_choice=note,
    )
    parquet.write(output, "refined", out, header)


def _row(
    parent: Mapping[str, Any],
    framework: int,
    result: Framework | None,
    guests: list[str],
    choice: str,
) -> parquet.Row:
    row = descend(parent) | {"framework": framework, "guests": guests, "guest_choice": choice}
    if result is not None:
        row |= {
            **{name: getattr(result, name) for name in _RESULT},
            "n_atoms": 0,
        }
        if result.crystal is not None:
            row |= result.crystal.columns()
    # the chosen framework keeps its id, whether or not others follow
    return row | {
        "id": row_id("refined", parent["id"], *guests, *([framework] if framework else []))
    }
