"""The answer of a campaign: its best candidates in a few lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chggen.errors import Status
from chggen.tables import parquet

#: Status of rows that count.
_DONE: Final = frozenset({Status.OK.value, Status.NOT_CONVERGED.value})
_HEADINGS: Final = ("", "space group", "E_d eV/atom", "atoms", "from", "known", "id")


def best(screened: Path, count: int) -> list[parquet.Row]:
    """Rows of table ``screened``, lowest E_d first: one per structure, known phases among them.

    Args:
        screened: the table.
        count: most rows.
    """
    rows = [
        row
        for row in parquet.read(screened, "screened")
        if row["status"] in _DONE
        and row["decomposition_energy"] is not None
        and row["duplicate_of"] is None
        and not row["too_close"]
    ]
    rows.sort(key=lambda row: (row["decomposition_energy"], row["id"]))
    return rows[:count]


def table(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Cells of the answer, headings first.

    Args:
        rows: of :func:`best`.
    """
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for place, row in enumerate(rows, 1):
        group = f"{row['space_group_symbol']} ({row['space_group_number']})"
        mark = "" if row["converged"] else " (not converged)"
        cells = (
            str(place),
            group if row["space_group_number"] is not None else "",
            with_uncertainty(row) + mark,
            str(row["n_atoms"]),
            {"unconditional": "diffusion"}.get(row["route"], row["route"]),
            known(row),
            row["id"],
        )
        lines.append(cells)
    return lines


def with_uncertainty(row: Mapping[str, Any]) -> str:
    """E_d with the uncertainty of its competing phases, where the reference has one."""
    text = f"{row['decomposition_energy']:+.3f}"
    uncertainty = row.get("decomposition_energy_uncertainty")
    return text if uncertainty is None else f"{text} ± {uncertainty:.3f}"


def known(row: Mapping[str, Any]) -> str:
    """What is known of a structure: a phase that it is, a prototype that it shares, or new."""
    if row.get("known_phase"):
        return f"known as {row['known_phase']}"
    if row.get("prototype_of"):
        return f"new, same prototype as {row['prototype_of']}"
    return "new"


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as lines of text, columns aligned to the left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
