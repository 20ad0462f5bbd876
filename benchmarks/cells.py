"""Structures for the benchmarks: perturbed known crystals and generated cells."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Lattice, Structure

from chggen.campaign.seeds import Shard
from chggen.config.stages import GenerateConfig
from chggen.stages.generate import generate
from chggen.structure.composition import parse_formula
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

MOST_ATOMS = 38
LEAST_ATOMS = 4


def made_up(n: int, rng: np.random.Generator) -> list[Structure]:
    """Perturbed prototypes and random Zn-P-S cells, half of each."""
    formulas = ["ZnP2S6", "Zn2P2S7"]
    return known(n // 2, rng) + [
        random_cell(formulas[i % 2], 1 + i % 4 // 2, rng) for i in range(n - n // 2)
    ]


def generated(n: int, rng: np.random.Generator) -> list[Structure]:
    """Unrelaxed structures of the packaged score network in sampled cells, 9 to 22 atoms."""
    found: list[Structure] = []
    settings = GenerateConfig(candidates=1)
    with tempfile.TemporaryDirectory() as folder:
        for formula in ("ZnP2S6", "Zn2P2S7"):
            shard = Shard("Zn-P-S", formula, int(rng.integers(1000)))
            cells = {"formula_units": [1, 2], "lattices": n, "volume_per_atom": "auto"}
            path = Path(folder) / f"{formula}.parquet"
            generate(path, shard, cells, settings, 2025)
            rows = [r for r in parquet.read(path, "generated") if r["status"] == "ok"]
            rows = [rows[i] for i in rng.permutation(len(rows))]
            found += [Crystal.from_row(row).to_structure() for row in rows[: n - n // 2]]
    return found[:n]


def known(n: int, rng: np.random.Generator, path: str | None = None) -> list[Structure]:
    """Perturbed crystals of 4 to 38 atoms, from a CSV file if given, otherwise prototypes."""
    if path is not None:
        return from_csv(path, n, rng)
    base = [
        cell * (1, 1, times)
        for cell in prototypes()
        for times in (1, 2, 3)
        if len(cell) * times <= MOST_ATOMS
    ]
    base = [base[i] for i in rng.permutation(len(base))]
    return [disturbed(base[i % len(base)], rng) for i in range(n)]


def prototypes() -> list[Structure]:
    """Cells of 4 to 16 atoms of common structure types."""
    cubic = Lattice.cubic
    zero, quarter, half = [0.0] * 3, [0.25] * 3, [0.5] * 3
    wurtzite = [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]]
    rutile = [zero, [0.305, 0.305, 0]]
    perovskite = [zero, half, [0.5, 0.5, 0]]
    quartz = [[0.47, 0, 2 / 3], [0.413, 0.267, 0.786]]
    cells = [
        Structure.from_spacegroup("Fm-3m", cubic(5.69), ["Na", "Cl"], [zero, half]),
        Structure.from_spacegroup("F-43m", cubic(5.41), ["Zn", "S"], [zero, quarter]),
        Structure.from_spacegroup("Fm-3m", cubic(4.62), ["Li", "O"], [quarter, zero]),
        Structure.from_spacegroup("Pm-3m", cubic(3.91), ["Sr", "Ti", "O"], perovskite),
        Structure.from_spacegroup("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], rutile),
        Structure.from_spacegroup("P6_3mc", Lattice.hexagonal(3.25, 5.21), ["Zn", "O"], wurtzite),
        Structure.from_spacegroup("P3_221", Lattice.hexagonal(4.91, 5.40), ["Si", "O"], quartz),
        Structure.from_spacegroup("Fd-3m", cubic(5.43), ["Si"], [zero]),
    ]
    smallest = [cell for cell in cells if len(cell) >= LEAST_ATOMS]
    spinel = Structure.from_spacegroup(
        "Fd-3m", cubic(8.08), ["Mg", "Al", "O"], [zero, [0.625] * 3, [0.3875] * 3]
    )
    return [*smallest, spinel.get_primitive_structure()]


def disturbed(structure: Structure, rng: np.random.Generator) -> Structure:
    """A crystal with a strained cell (3 %) and displaced atoms (0.1 Å per coordinate)."""
    lattice = Lattice(structure.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))))
    shift = rng.normal(0, 0.1, (len(structure), 3)) @ np.linalg.inv(lattice.matrix)
    return Structure(lattice, structure.species, structure.frac_coords + shift)


def random_cell(formula: str, units: int, rng: np.random.Generator) -> Structure:
    """A cell of 24 Å³ per atom with random positions, at least 1.6 Å apart."""
    species = [el for el, k in parse_formula(formula).items() for _ in range(k * units)]
    while True:
        angles, lengths = rng.uniform(70, 110, 3), np.exp(rng.uniform(-0.4, 0.4, 3))
        lattice = Lattice.from_parameters(*lengths, *angles).scale(24.0 * len(species))
        frac_coords = np.empty((0, 3))
        for _ in range(200 * len(species)):
            trial = np.vstack([frac_coords, rng.random(3)])
            numbers = np.ones(len(trial), dtype=int)
            if Crystal.of(lattice.matrix, numbers, trial).min_distance > 1.6:  # noqa: PLR2004
                frac_coords = trial
            if len(frac_coords) == len(species):
                return Structure(lattice, species, frac_coords)


def from_csv(path: str, n: int, rng: np.random.Generator) -> list[Structure]:
    """Perturbed crystals of a CSV file (column ``cif``), 4 to 38 atoms each."""
    table = pd.read_csv(path, usecols=["cif"])
    found: list[Structure] = []
    for place in rng.permutation(len(table)):
        structure = Structure.from_str(table["cif"][place], fmt="cif")
        if LEAST_ATOMS <= len(structure) <= MOST_ATOMS:
            found.append(disturbed(structure, rng))
        if len(found) == n:
            break
    return found
