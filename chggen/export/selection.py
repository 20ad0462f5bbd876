"""Which rows of a table are exported, and what their energies are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chggen.errors import ChggenError
from chggen.structure.crystal import has_structure
from chggen.tables import parquet
from chggen.tables.schema import SCHEMAS
from chggen.tables.where import parse_where

#: Tables whose structures come from DFT, as their energies do.
_CALCULATED: Final = frozenset({"calculated", "collected"})


@dataclass(frozen=True)
class Chosen:
    """Rows of a table that are exported.

    Args:
        source: the table's file.
        name: key of ``SCHEMAS``.
        rows: those chosen, all with a structure.
        total: rows in the table.
        header: of the table.
    """

    source: Path
    name: str
    rows: list[parquet.Row]
    total: int
    header: Mapping[str, Any]


@dataclass(frozen=True)
class Energy:
    """Energy of a row's structure, and what makes it comparable.

    Args:
        per_atom: eV/atom.
        functional: as in the row.
        corrections: scheme that is in it (MP2020, none).
        source: name of the potential, or 'DFT'.
        digest: hash of the potential; None for DFT.
    """

    per_atom: float
    functional: str
    corrections: str
    source: str
    digest: str | None = None


def choose(source: Path, ids: Sequence[str] | None, where: str | None) -> Chosen:
    """Rows with a structure that ``ids`` and ``where`` leave.

    Args:
        source: any table with structures.
        ids: only these rows; all if empty or None.
        where: only rows that meet this condition.

    Raises:
        ChggenError: names the option, column or row that does not fit.
    """
    name = parquet.table_name(source)
    rows = parquet.read(source, name)
    if not {"cell", "composition", "id"} <= set(SCHEMAS[name].names):
        raise ChggenError(f"{source}: table '{name}' has no structures")
    meets = parse_where(where, SCHEMAS[name]) if where is not None else None
    missing = sorted(set(ids or ()) - {row["id"] for row in rows})
    if missing:
        raise ChggenError(f"{source}: no row '{missing[0]}'")
    chosen = [
        row
        for row in rows
        if (not ids or row["id"] in ids) and (meets is None or meets(row)) and has_structure(row)
    ]
    return Chosen(source, name, chosen, len(rows), parquet.read_header(source))


def energy_of(row: Mapping[str, Any], name: str) -> Energy | None:
    """Energy of the structure that a row holds; None if the row has none.

    After DFT the structure is the one that DFT ended with, so its energy counts and not the
    potential's, which is of the structure before.

    Args:
        row: of table ``name``.
        name: key of ``SCHEMAS``.
    """
    if name in _CALCULATED:
        energy, functional = row.get("dft_energy_per_atom"), row.get("dft_functional")
        if energy is None or functional is None:
            return None
        return Energy(energy, functional, row.get("dft_corrections") or "none", "DFT")
    energy, potential = row.get("energy_per_atom"), row.get("potential")
    if energy is None or potential is None or row.get("functional") is None:
        return None
    return Energy(
        energy,
        row["functional"],
        row.get("corrections") or "none",
        potential,
        row.get("potential_hash"),
    )


def stem(row: Mapping[str, Any]) -> str:
    """Name of a row's file, without suffix."""
    return f"{row['composition']}-{row['id']}"
