"""Columns of the libraries of known crystals and of the energies of known phases."""

from typing import Final

import pyarrow as pa

from chggen.tables.columns import BOOL, F64, I32, STR, Column

#: Library of known prototypes (chggen.symmetry.prototypes): one crystal per row.
PROTOTYPES: list[Column] = [
    ("name", STR, "", "of the crystal in its source"),
    ("anonymous", STR, "", "anonymous formula: reduced counts, rising ('1 1 3')"),
    ("elements", pa.list_(pa.uint8()), "", "atomic number on each place of the formula"),
    ("n_atoms", pa.uint16(), "", "atoms in the primitive cell"),
    ("space_group_number", pa.uint8(), "", "space group"),
    ("hall_number", pa.uint16(), "", "Hall number (spglib) of the setting of the sites"),
    ("sites", STR, "", "Wyckoff positions of each place, places separated by | ('4a|4b 8c')"),
    (
        "cell_parameters",
        pa.list_(pa.uint16()),
        "",
        "conventional cell: a, b, c in 1/2000 of the cube root of its volume; angles in 1/256°",
    ),
    (
        "coordinates",
        pa.list_(pa.uint16()),
        "",
        "x, y, z of one site per orbit, in 1/65536, in the order of the sites",
    ),
    ("volume", pa.uint16(), "0.01 Å³", "volume per atom"),
    ("above_hull", pa.int16(), "meV/atom", "energy above the hull; null if not known"),
]

_OF_PHASE: Final[list[Column]] = [
    ("label", STR, "", "id of the phase in its source"),
    ("composition", STR, "", "canonical reduced formula; empty if it cannot be known"),
    ("status", STR, "", "'ok' or why it ended (chggen.errors.Status)"),
    ("reason", STR, "", "one line saying more about the status; empty if ok"),
]
_SYMMETRY: Final[list[Column]] = [
    ("space_group_number", pa.uint8(), "", "space group after relaxation at 0.1 Å, 10°"),
    ("space_group_number_narrow", pa.uint8(), "", "the same at 0.01 Å, 10°"),
]

#: Energies of known phases by one potential, without structures; what they are (potential,
#: hash, functional, corrections, criteria, source, date) stands in the header.
PHASES: list[Column] = [
    *_OF_PHASE,
    ("n_atoms", pa.uint16(), "", "atoms in the cell"),
    *_SYMMETRY,
    ("energy_per_atom", pa.float32(), "eV/atom", "after relaxation; null if that failed"),
    ("volume_per_atom", pa.float32(), "Å³", "cell volume over number of atoms after relaxation"),
    ("converged", BOOL, "", "true if the force and stress criteria were met"),
]

#: Phases in the order in which ``chggen reference build`` relaxes them.
PLAN: list[Column] = [
    *_OF_PHASE,
    ("above_hull", F64, "eV/atom", "energy above the hull in the source; null if not known"),
]

#: A part of them, relaxed, in the order of the plan.
PART: list[Column] = [
    *_OF_PHASE,
    ("energy_per_atom", F64, "eV/atom", "potential energy of the final structure"),
    ("energy_per_atom_initial", F64, "eV/atom", "potential energy before relaxation"),
    ("fmax", F64, "eV/Å", "largest atomic force at the end"),
    ("smax", F64, "GPa", "largest absolute stress component at the end"),
    ("steps", I32, "", "optimiser steps taken"),
    ("converged", BOOL, "", "true if the force and stress criteria were met"),
    ("volume_per_atom", F64, "Å³", "cell volume over number of atoms at the end"),
    *_SYMMETRY,
]

#: Known crystals (chggen.symmetry.known_crystals): what each is, without its coordinates.
KNOWN: list[Column] = [
    ("number", pa.int32(), "", "of the Materials Project: 22862 is mp-22862"),
    ("formula", STR, "", "canonical reduced formula"),
    ("anonymous", STR, "", "anonymous formula: reduced counts, rising ('1 1 3')"),
    ("space_group_number", pa.uint8(), "", "space group at 0.01 Å; null for large cells"),
    ("orbits", STR, "", "multiplicities of the orbits at 0.01 Å (chggen.symmetry.labels)"),
    ("space_group_number_loose", pa.uint8(), "", "the same at 0.1 Å; null where it is the same"),
    ("orbits_loose", STR, "", "the same at 0.1 Å; null where label is the same"),
    ("volume", pa.uint32(), "0.01 Å³", "volume per atom"),
    (
        "distances",
        pa.list_(pa.uint8()),
        "",
        "of each element: 200 · (mean distance to 12 nearest atoms / (V/n)^(1/3) - 0.5), or null",
    ),
]
