"""Every column of every table: name, type, unit and meaning, declared once.

A table is named by the participle of the verb that makes it (``generate`` makes
``generated``). :mod:`chggen.tables.parquet` is the only reader and writer and checks each file
against these schemas. Units and meanings travel in the Arrow field metadata.
"""

from typing import Final

import pyarrow as pa

from chggen.tables.columns import BOOL, CELL, F64, I32, I64, STR, VECTOR, Column
from chggen.tables.contracts import ADDED, CONTRACT, SECOND
from chggen.tables.libraries import KNOWN, PART, PHASES, PLAN, PROTOTYPES
from chggen.tables.summaries import CHOICE, REPORT

SCHEMA_VERSION: Final = 2


def names(*groups: list[Column]) -> tuple[str, ...]:
    """Names of columns, in order."""
    return tuple(name for group in groups for name, *_ in group)


IDENTITY: list[Column] = [
    ("id", STR, "", "content hash of the row's structure, lineage and seed"),
    ("parent_id", STR, "", "id of the row this one was made from; null for generated rows"),
    ("system", STR, "", "name of the chemical system in the config"),
    ("composition", STR, "", "canonical reduced formula, integers only (Zn2P2S7)"),
    (
        "route",
        STR,
        "",
        "'unconditional', 'prototypes' (known crystals with other elements) or 'inpainting';"
        " 'reference' for competing phases",
    ),
    ("seed", I64, "", "lattice seed: number of the shard"),
    ("index", I32, "", "place of the row's generated ancestor in its shard, from 0"),
    (
        "draw",
        I32,
        "",
        "number of the inpainting draw of its framework, from 0; 0 for generated rows",
    ),
    (
        "framework",
        I32,
        "",
        "number of the framework among those of its structure, from 0, the chosen one first;"
        " null before refine",
    ),
    ("random_seed", I64, "", "seed of this row's own random stream"),
    ("status", STR, "", "'ok' or why it ended (chggen.errors.Status)"),
    ("reason", STR, "", "one line saying more about the status; empty if ok"),
]

STRUCTURE: list[Column] = [
    ("n_atoms", I32, "", "atoms in the cell; 0 if the row has no structure"),
    ("formula_units", I32, "", "formula units in the cell"),
    ("cell", CELL, "Å", "3×3 row vectors"),
    ("atomic_numbers", pa.list_(pa.int16()), "", "one per atom"),
    ("frac_coords", pa.list_(VECTOR), "", "fractional coordinates, one triple per atom"),
]

GENERATION: list[Column] = [
    ("generator", STR, "", "generator that placed the atoms (diffusion, random, …)"),
    (
        "origin",
        STR,
        "",
        "known crystal that a structure was made from, with its prototype, or why there was none;"
        " file and place of a structure that was read",
    ),
    ("sampler", STR, "", "preset of the sampler (paper, fast, …)"),
    ("checkpoint", STR, "", "sha256 of the score network's weights, first 16 hex digits"),
    ("candidates", I32, "", "number of draws, of which this one was kept"),
    ("score_calls", I32, "", "score-network evaluations for this row, all draws together"),
    (
        "imposed_space_group_number",
        I32,
        "",
        "space group imposed while sampling; null if free (1, P1, imposes nothing either)",
    ),
    ("imposed_sites", STR, "", "Wyckoff positions assigned to the atoms: 'Zn 1a; P 2c'"),
    (
        "bravais_type",
        STR,
        "",
        "Bravais lattice type of the sampled cell; null if the structure brought its own cell",
    ),
    ("cell_source", STR, "", "known, known_size, bravais (docs/generators.md); null if its own"),
    ("volume_per_atom", F64, "Å³", "cell volume over number of atoms"),
    ("min_distance", F64, "Å", "shortest interatomic distance, periodic images included"),
]

#: How far atoms moved, from generated to relaxed or from submitted to final structure.
DISPLACEMENT: list[Column] = [
    (
        "rmsd",
        F64,
        "Å",
        "root mean square distance of paired atoms, start to end, after StructureMatcher's"
        " alignment; null if they do not match",
    ),
    (
        "rmsd_normalised",
        F64,
        "",
        "the same in units of (V/n)^(1/3), as pymatgen and most publications give it",
    ),
    ("max_displacement", F64, "Å", "largest distance of two paired atoms, same alignment"),
]

RELAXATION: list[Column] = [
    ("energy_per_atom", F64, "eV/atom", "potential energy of the final structure"),
    ("energy_per_atom_initial", F64, "eV/atom", "potential energy before relaxation"),
    ("delta_energy_per_atom", F64, "eV/atom", "initial minus final energy (ΔE)"),
    *DISPLACEMENT,
    ("fmax", F64, "eV/Å", "largest atomic force at the end"),
    ("smax", F64, "GPa", "largest absolute stress component at the end"),
    ("steps", I32, "", "optimiser steps taken"),
    ("converged", BOOL, "", "true if the force (and stress) criterion was met"),
    ("stop_reason", STR, "", "converged, max_steps, or the failure that ended it"),
    ("wall_time", F64, "s", "wall time of its batch over structures in it"),
    ("volume_per_atom", F64, "Å³", "cell volume over number of atoms at the end"),
    ("min_distance", F64, "Å", "shortest interatomic distance at the end"),
    ("repaired", BOOL, "", "true if overlapping atoms were first pushed apart (relax.repair)"),
    *CONTRACT,
]

REFINEMENT: list[Column] = [
    ("guests", pa.list_(STR), "", "elements removed; the row's structure is the rest"),
    (
        "guest_choice",
        STR,
        "",
        "who chose them: 'config', or table chosen on the structures of the whole 'system' or of"
        " this 'composition' alone",
    ),
    ("n_guests", I32, "", "number of guest atoms for the row's cell"),
    ("ladder_step", I32, "", "step of the tolerance ladder that was used, from 0"),
    ("symprec", F64, "Å", "spglib distance tolerance of that step"),
    ("angle_tolerance", F64, "°", "spglib angle tolerance of that step"),
    ("space_group_number", I32, "", "space group of the symmetrised framework"),
    ("space_group_symbol", STR, "", "its Hermann-Mauguin symbol"),
    ("displacement_rms", F64, "Å", "RMS displacement of host atoms by symmetrisation"),
    ("displacement_max", F64, "Å", "largest displacement of a host atom"),
    ("strain_max", F64, "", "largest principal strain of the host cell by symmetrisation"),
    ("coordination_changed", I32, "", "host atoms that lose or gain a bond with another host"),
    ("host_cell", STR, "", "cell chosen for the framework: input, primitive or conventional"),
]

INPAINTING: list[Column] = [
    *[c for c in GENERATION if c[0] not in {"bravais_type", "cell_source"}],
    ("guest_mask", pa.list_(BOOL), "", "true: guest atom that was placed; false: host atom"),
    ("host_space_group_number", I32, "", "space group of the framework"),
    (
        "host_displacement_max",
        F64,
        "Å",
        "largest distance of a host atom from its framework site after sampling",
    ),
]

SCREENING: list[Column] = [
    ("energy_per_atom", F64, "eV/atom", "potential energy of the relaxed structure"),
    ("delta_energy_per_atom", F64, "eV/atom", "initial minus final energy (ΔE)"),
    *DISPLACEMENT,
    ("converged", BOOL, "", "relaxation met its criterion"),
    ("min_distance", F64, "Å", "shortest interatomic distance after relaxation"),
    ("distance_ratio", F64, "", "least distance over what screen.min_distance allows the pair"),
    ("too_close", BOOL, "", "distance_ratio is under 1"),
    ("volume_per_atom", F64, "Å³", "cell volume over number of atoms"),
    ("volume_ratio", F64, "", "volume over the one expected for the composition"),
    ("swollen", BOOL, "", "volume_ratio is screen.swollen or more"),
    ("dimensionality", I32, "", "bonded network: 0 molecules, 1 chains, 2 layers, 3 framework"),
    ("family", STR, "", "id of the lowest row that differs by stacking alone, or its own"),
    ("final", BOOL, "", "relaxed again by relax.final, which all other columns are then of"),
    ("energy_per_atom_first", F64, "eV/atom", "energy before that second relaxation"),
    ("space_group_number_first", I32, "", "space group before it, at the same tolerances"),
    ("space_group_number", I32, "", "space group at `symprec`, `angle_tolerance`"),
    ("space_group_symbol", STR, "", "its Hermann-Mauguin symbol"),
    ("symprec", F64, "Å", "tolerance of the symmetry verdict"),
    ("angle_tolerance", F64, "°", "angle tolerance of the symmetry verdict"),
    (
        "space_group_numbers",
        pa.list_(I32),
        "",
        "space group at each tolerance of screen.tolerances, in that order",
    ),
    ("host_space_group_number", I32, "", "space group of the framework, inpainting only"),
    ("symmetric", BOOL, "", "success test: above P-1 and no distance under the limit"),
    ("formation_energy_per_atom", F64, "eV/atom", "against the reference's elements"),
    (
        "decomposition_energy",
        F64,
        "eV/atom",
        "E_d: energy minus the hull of the competing"
        " phases at this composition, own entry left out (pymatgen get_e_above_hull on a"
        " diagram without the row, allow_negative); negative = breaks the hull",
    ),
    (
        "decomposition_energy_uncertainty",
        F64,
        "eV/atom",
        "standard uncertainty of the hull there, of the energies of the competing phases, without"
        " that of the potential; null if the reference states none",
    ),
    ("decomposition_products", STR, "", "competing phases and their atomic fractions"),
    ("decomposition_phases", pa.list_(STR), "", "their formulas, largest amount first"),
    ("decomposition_amounts", pa.list_(F64), "", "their atomic fractions, same order, sum 1"),
    (
        "campaign_decomposition_energy",
        F64,
        "eV/atom",
        "energy minus the hull of competing phases and the converged structures of this"
        " campaign together, own entry included; 0 on it, negative only for rows that are no"
        " part of it (not converged, atoms too close)",
    ),
    ("on_campaign_hull", BOOL, "", "one of the phases that make up that hull"),
    ("below_threshold", BOOL, "", "E_d is under screen.threshold"),
    (
        "duplicate_of",
        STR,
        "",
        "id of the row it matches that stands for both: lower in energy, or converged where"
        " this one is not; null if unique",
    ),
    ("known_phase", STR, "", "known crystal that it is (mp-22862, or its label); null if new"),
    ("known_by", STR, "", "'structure' (StructureMatcher) or 'label' (docs/references.md)"),
    ("prototype_of", STR, "", "known crystal of other elements in the same prototype, if new"),
    (
        "filter",
        STR,
        "",
        "'selected', or the first filter of the screen it failed (chggen.screening.filters)",
    ),
    ("filter_reason", STR, "", "reason in words"),
    ("selected", BOOL, "", "selected for DFT"),
    ("guaranteed", BOOL, "", "above a threshold, selected only as the best of its composition"),
    ("rank", I32, "", "rank by E_d among the unique rows of its composition, from 1"),
    *CONTRACT,
    *ADDED,
    ("reference", STR, "", "source of the competing phases"),
    ("reference_date", STR, "", "date of that source"),
    ("reference_hash", STR, "", "sha256 of its entries, first 16 hex digits"),
    *SECOND,
]

#: What a structure is to DFT: 'candidate' or 'competing' (a phase of the hull).
_ROLE: list[Column] = [
    ("role", STR, "", "'candidate', or 'competing': a known phase that the hull needs"),
    ("label", STR, "", "name of a competing phase in its source; null for candidates"),
]

SUBMISSION: list[Column] = [
    *_ROLE,
    ("decomposition_energy", F64, "eV/atom", "E_d from the screen; null for competing phases"),
    ("engine", STR, "", "DFT code of the inputs (vasp, gpaw)"),
    ("input_set", STR, "", "pymatgen input set (MP24RelaxSet, …) or the engine's own settings"),
    ("directory", STR, "", "directory of the inputs, relative to the table"),
    ("potcar", STR, "", "'spec' (symbols only) or 'full'; null for engines without"),
]

#: One DFT calculation, whatever became of it.
CALCULATION: list[Column] = [
    *_ROLE,
    ("engine", STR, "", "DFT code (vasp, gpaw)"),
    ("dft_energy_per_atom", F64, "eV/atom", "of the last step, dft_corrections included"),
    ("dft_correction_per_atom", F64, "eV/atom", "corrections in it"),
    ("dft_functional", STR, "", "functional of the last step; engine in it unless VASP"),
    ("dft_corrections", STR, "", "correction scheme of its energy (MP2020, none)"),
    ("run_type", STR, "", "functional as the output files say it"),
    ("fmax", F64, "eV/Å", "largest force in the last step"),
    ("smax", F64, "GPa", "largest absolute stress component in the last step"),
    ("converged", BOOL, "", "every step of the recipe finished and converged"),
    ("finished", pa.list_(STR), "", "steps of the recipe that succeeded, in order"),
    ("corrected_errors", pa.list_(STR), "", "errors that were detected and corrected, in order"),
    ("attempts", I32, "", "number of jobs used"),
    ("wall_time", F64, "s", "of all attempts"),
    ("directory", STR, "", "directory of the calculation, relative to the system's"),
]

#: The calculations of a system, judged beside what the potential had said.
COLLECTION: list[Column] = [
    *CALCULATION,
    ("energy_per_atom", F64, "eV/atom", "by the potential, of the structure submitted"),
    *CONTRACT,
    ("decomposition_energy", F64, "eV/atom", "E_d by the potential, from the screen"),
    ("dft_formation_energy_per_atom", F64, "eV/atom", "against dft_reference's elements"),
    ("dft_decomposition_energy", F64, "eV/atom", "E_d by DFT against dft_reference"),
    ("dft_decomposition_products", STR, "", "competing phases there, atomic fractions"),
    ("dft_reference", STR, "", "source of competing phases of the same contract"),
    ("dft_reference_hash", STR, "", "sha256 of its entries, first 16 hex digits"),
    ("space_group_number", I32, "", "after DFT, at symprec and angle tolerance of the screen"),
    ("space_group_symbol", STR, "", "its Hermann-Mauguin symbol"),
    *DISPLACEMENT,
    ("volume_per_atom", F64, "Å³", "cell volume over number of atoms after DFT"),
]

#: Competing phases relaxed by the campaign's own potential (reference ``potential``).
REFERENCING: list[Column] = [
    ("label", STR, "", "name of the phase in its source"),
    ("source", STR, "", "where its structure comes from"),
    *RELAXATION,
]

EVALUATION: list[Column] = [
    ("generator", STR, "", "what placed the atoms (diffusion, random, pyxtal)"),
    ("score_calls", I32, "", "score-network evaluations spent on this structure"),
    ("matched", BOOL, "", "is the known structure: ltol 0.3, stol 0.5, angle_tol 10°"),
    ("matched_narrow", BOOL, "", "the same with ltol 0.2, stol 0.3, angle_tol 5°"),
    ("known_phase", STR, "", "known crystal that it is by its label; null if none"),
    ("energy_above_truth", F64, "eV/atom", "energy minus that of the relaxed known structure"),
    ("min_distance_generated", F64, "Å", "shortest interatomic distance before relaxation"),
]


def _schema(name: str, *groups: list[Column]) -> pa.Schema:
    fields = []
    for column, type_, unit, meaning in [c for group in groups for c in group]:
        metadata = {"description": meaning} | ({"unit": unit} if unit else {})
        fields.append(pa.field(column, type_, metadata=metadata))
    return pa.schema(fields, metadata={"table": name, "schema_version": str(SCHEMA_VERSION)})


SCHEMAS: Final[dict[str, pa.Schema]] = {
    name: _schema(name, *groups)
    for name, groups in {
        "generated": (IDENTITY, STRUCTURE, GENERATION),
        "relaxed": (IDENTITY, STRUCTURE, RELAXATION),
        "chosen": (CHOICE,),
        "refined": (IDENTITY, STRUCTURE, REFINEMENT),
        "inpainted": (IDENTITY, STRUCTURE, INPAINTING),
        "rerelaxed": (IDENTITY, STRUCTURE, RELAXATION),
        "screened": (IDENTITY, STRUCTURE, SCREENING),
        "referenced": (IDENTITY, STRUCTURE, REFERENCING),
        "submitted": (IDENTITY, STRUCTURE, SUBMISSION),
        "calculated": (IDENTITY, STRUCTURE, CALCULATION),
        "collected": (IDENTITY, STRUCTURE, COLLECTION),
        "evaluated": (IDENTITY, STRUCTURE, EVALUATION, RELAXATION),
        "report": (REPORT,),
        "prototypes": (PROTOTYPES,),
        "phases": (PHASES,),
        "planned_phases": (PLAN, STRUCTURE),
        "built_phases": (PART, STRUCTURE, CONTRACT),
        "known": (KNOWN,),
    }.items()
}

#: Columns that are never null, whatever became of the row.
REQUIRED: Final = (
    "id",
    "system",
    "composition",
    "route",
    "seed",
    "index",
    "draw",
    "random_seed",
    "status",
    "reason",
)
