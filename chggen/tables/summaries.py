"""Columns of tables whose rows are no structures: ``chosen`` and ``report``."""

from chggen.tables.columns import BOOL, F64, I64, STR, Column

#: Coordination numbers of the elements of a composition, and which element is the guest.
CHOICE: list[Column] = [
    ("system", STR, "", "name of the chemical system in the config"),
    ("composition", STR, "", "canonical formula"),
    ("element", STR, "", "one of its elements"),
    ("chosen", BOOL, "", "the guest of this composition"),
    ("basis", STR, "", "'system' or 'composition': which entropy decided"),
    (
        "system_entropy",
        F64,
        "",
        "Shannon entropy (nats) of its coordination numbers (ECoN,"
        " rounded) over all compositions of the system; null without a usable structure",
    ),
    ("system_atoms", I64, "", "atoms that this is of"),
    ("system_structures", I64, "", "structures that were counted in the system"),
    ("entropy", F64, "", "the same over the structures of this composition"),
    ("atoms", I64, "", "atoms that this is of"),
    ("structures", I64, "", "structures that were counted of this composition"),
    ("reason", STR, "", "why the guest of the system was not taken; empty if it was"),
]

REPORT: list[Column] = [
    ("system", STR, "", "name of the chemical system"),
    ("composition", STR, "", "canonical formula, or 'all'"),
    ("route", STR, "", "'unconditional', 'prototypes', 'inpainting' or 'all'"),
    (
        "draw_kind",
        STR,
        "",
        "'free' (no space group above P1 imposed while sampling), 'imposed', 'given' (read, not"
        " drawn) or 'all'",
    ),
    ("quantity", STR, "", "what is counted or measured"),
    ("tolerance", STR, "", "tolerance or threshold the quantity depends on; empty if none"),
    (
        "n",
        I64,
        "",
        "full denominator: attempts that the quantity was asked of",
    ),
    ("k", I64, "", "how many of them have it; null for measured quantities"),
    ("value", F64, "", "k/n, or the median of a measured quantity"),
    ("low", F64, "", "lower end: 95 % interval (chggen.analysis.intervals), or lower quartile"),
    ("high", F64, "", "upper end: 95 % interval (chggen.analysis.intervals), or upper quartile"),
    ("unit", STR, "", "unit of value, low and high; empty for rates"),
]
