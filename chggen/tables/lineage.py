"""What a row keeps of the row it is made from."""

from collections.abc import Mapping
from typing import Any

from chggen.errors import Status
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, has_structure
from chggen.tables import parquet

#: Columns that a row keeps from the row it comes from.
LINEAGE = ("system", "composition", "route", "seed", "index", "draw", "random_seed")

#: Columns of a structure; the names of ``schema.STRUCTURE``.
STRUCTURE = ("n_atoms", "formula_units", "cell", "atomic_numbers", "frac_coords")


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
