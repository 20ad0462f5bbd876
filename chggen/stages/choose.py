"""``choose``: the guest of every composition, from all relaxed structures of a system.

Only where ``guests`` is ``auto``.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen import provenance
from chggen.errors import TableError
from chggen.run import progress as bars
from chggen.structure import composition as comp
from chggen.structure.coordination import CoordinationCounts
from chggen.structure.crystal import Crystal
from chggen.symmetry.guests import choose_guests
from chggen.tables import parquet
from chggen.tables.lineage import STRUCTURE, usable

LOGGER = logging.getLogger("chggen")


def choose(
    sources: Sequence[str | Path], output: str | Path, progress: bars.Progress = bars.silent
) -> list[str]:
    """Choose guests by the breadth of their coordination; writes ``chosen``.

    Args:
        sources: tables ``relaxed`` of all shards of a system.
        output: table to write.
        progress: called with (tables done, tables in all).

    Returns:
        What was chosen and why, a line per choice.

    Raises:
        TableError: tables of more than one system.
        CompositionError: a composition of one element.
    """
    rows = count(sources, progress)
    header = provenance.header(
        "choose", {}, {"relaxed": provenance.digest([provenance.file_digest(p) for p in sources])}
    )
    parquet.write(output, "chosen", rows, header)
    lines = sentences(rows)
    for line in lines:
        LOGGER.info(line)
    return lines


def count(
    sources: Sequence[str | Path], progress: bars.Progress = bars.silent
) -> list[parquet.Row]:
    """Rows of table ``chosen``: see :func:`choose`."""
    counts: dict[str, CoordinationCounts] = {}
    systems: dict[str, None] = {}
    for number, path in enumerate(sources, 1):
        table = parquet.read_table(
            path, "relaxed", ["id", "system", "composition", "status", *STRUCTURE]
        )
        for row in table.to_pylist():
            systems[row["system"]] = None
            own = counts.setdefault(row["composition"], CoordinationCounts())
            if usable(row):
                own.add(Crystal.from_row(row))
        progress(number, len(sources))
    if len(systems) > 1:
        raise TableError(f"{sources[0]} and others: tables of {' and '.join(sorted(systems))}")
    together = sum(counts.values(), CoordinationCounts())
    return [
        {
            "system": next(iter(systems)),
            "composition": formula,
            "element": element,
            "chosen": element == choice.guest,
            "basis": choice.basis,
            "system_entropy": together.entropies.get(element),
            "system_atoms": together.atoms(element),
            "system_structures": together.structures,
            "entropy": counts[formula].entropies.get(element),
            "atoms": counts[formula].atoms(element),
            "structures": counts[formula].structures,
            "reason": choice.reason,
        }
        for formula, choice in choose_guests(counts).items()
        for element in comp.parse_formula(formula)
    ]


def sentences(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was chosen, with its numbers: a line for the system, one per composition that differs.

    Args:
        rows: of table ``chosen``.
    """
    lines: dict[str, None] = {}
    for row in (row for row in rows if row["chosen"]):
        whole = row["basis"] == "system"
        where, prefix = (row["system"], "system_") if whole else (row["composition"], "")
        same = [r for r in rows if whole or r["composition"] == row["composition"]]
        entropies = {r["element"]: r[f"{prefix}entropy"] for r in same}
        numbers = ", ".join(f"{e} {v:.2f}" for e, v in entropies.items() if v is not None)
        because = f"coordination entropy {numbers or 'unknown'} nats"
        because += f" in {row[f'{prefix}structures']} structures"
        notes = "; ".join(filter(None, [because, row["reason"]]))
        lines[f"guest in {where}: {row['element']} (auto: {notes})"] = None
    return list(lines)
