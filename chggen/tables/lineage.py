"""What a row keeps of the row it is made from."""

from collections.abc import Mapping
from typing import Any

from chggen.errors import Status
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, has_structure
from chggen.tables import parquet, schema

#: Columns of a row's own, which it does not take from the row it comes from.
_OWN = ("id", "parent_id", "status", "reason")

#: Columns that a row keeps from the row it comes from.
LINEAGE = tuple(name for name in schema.names(schema.IDENTITY) if name not in _OWN)

#: Columns of a structure.
STRUCTURE = schema.names(schema.STRUCTURE)


def shared(source: str, target: str) -> tuple[str, ...]:
    """Columns of table ``target`` that table ``source`` has too, ids left out."""
    has = schema.SCHEMAS[source].names
    return tuple(n for n in schema.SCHEMAS[target].names if n in has and n not in _OWN[:2])


def descend(row: Mapping[str, Any]) -> parquet.Row:
    """Start of a row that is made from ``row``: its lineage, with a failure passed on."""
    start: parquet.Row = {key: row[key] for key in LINEAGE} | {"parent_id": row["id"]}
    if row["status"] != Status.OK:
        reason = f"parent: {row['status']}"
        start |= {"status": Status.PARENT_FAILED, "reason": reason, "n_atoms": 0}
    return start


def usable(row: Mapping[str, Any]) -> bool:
    """True for relaxed structures, also those that only ran out of steps."""
    return row["status"] in {Status.OK, Status.NOT_CONVERGED} and has_structure(row)


def structure_columns(crystal: Crystal) -> parquet.Row:
    """Columns :data:`STRUCTURE` of a crystal, formula units as many as its cell holds."""
    formula = comp.parse_formula(comp.formula_of(crystal.atomic_numbers))
    return crystal.columns() | {"formula_units": len(crystal) // sum(formula.values())}
