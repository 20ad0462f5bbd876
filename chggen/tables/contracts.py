"""Columns that say what an energy is, and those of the second level of the screen."""

from chggen.tables.columns import BOOL, F64, I32, STR, Column

#: What makes two energies comparable. No energy column without these beside it.
CONTRACT: list[Column] = [
    ("potential", STR, "", "name of the interatomic potential (chgnet-0.3.0)"),
    ("potential_hash", STR, "", "sha256 of its weights or settings, first 16 hex digits"),
    ("functional", STR, "", "functional that the potential was trained on (GGA/GGA+U, r2SCAN)"),
    ("corrections", STR, "", "corrections included in its energies (MP2020, none)"),
]

#: Corrections added to an energy for its comparison with a reference that has them.
ADDED: list[Column] = [
    (
        "correction_per_atom",
        F64,
        "eV/atom",
        "added to energy_per_atom for E_f and E_d, not in it; 0 where the energy needs none, null"
        " where it could not be computed",
    ),
    ("added_corrections", STR, "", "scheme of that correction (MP2020); null if none was added"),
    (
        "run_type",
        STR,
        "",
        "GGA or GGA+U (metals in oxides and fluorides), as the Materials Project calculates the"
        " composition and the correction supposes; null if none was added",
    ),
]

#: Selected rows by screen.second_potential, null in all others; never mixed with the first.
SECOND: list[Column] = [
    (
        "second_energy_per_atom",
        F64,
        "eV/atom",
        "energy from the second potential, of the row's structure or (second_relaxed) of its"
        " relaxed one; null if that failed",
    ),
    ("second_status", STR, "", "'ok' or why the second potential gave no energy"),
    ("second_relaxed", BOOL, "", "false: single point at the structure from the first potential"),
    ("second_rank", I32, "", "rank by it among the selected rows of the composition, from 1"),
    (
        "second_formation_energy_per_atom",
        F64,
        "eV/atom",
        "against the elements of second_reference; null without one of its contract",
    ),
    (
        "second_decomposition_energy",
        F64,
        "eV/atom",
        "E_d as decomposition_energy, by the second potential against second_reference",
    ),
    ("second_decomposition_products", STR, "", "competing phases there, atomic fractions"),
    *[(f"second_{name}", *rest) for name, *rest in CONTRACT],
    *[
        (f"second_{name}", *rest[:2], rest[2].replace("energy_per_atom", "second_energy_per_atom"))
        for name, *rest in ADDED
    ],
    ("second_reason", STR, "", "why there is no second energy or no E_d of it; empty if ok"),
    (
        "second_agrees",
        BOOL,
        "",
        "both E_d are below their thresholds, or both are not (screen.second_threshold, or"
        " screen.threshold for both); null without a second E_d",
    ),
    ("second_reference", STR, "", "source of competing phases of the same contract"),
    ("second_reference_hash", STR, "", "sha256 of its entries, first 16 hex digits"),
]
