"""CPU seconds per relaxed structure: chggen against chgnet's StructOptimizer, in one run.

    python benchmarks/relax.py [--json] [--n 40] [--seed 0] [--from generated]

Both relax the same structures with CHGNet 0.3.0 on one thread to 0.1 eV/Å, cells free.
StructOptimizer's criterion on the cell is 0.1 eV per atom of virial, some 0.7 GPa; ours is
set to 0.5 GPa, so that neither stops earlier. ``--from made-up``: half are disturbed prototypes,
half random Zn-P-S cells. ``generated``: what the shipped score network makes of the demo's
compositions, which is what a campaign relaxes. A CSV file (column ``cif``): its crystals,
disturbed.

Reported:
    ratio: CPU seconds of StructOptimizer over ours, for all structures
    cpu_per_structure, reference_cpu_per_structure: seconds
    steps, reference_steps: model calls per structure, mean
    overhead_share: share of one call of our model that is not the network's forward and
        backward pass: neighbours, graphs, sums
    energy_agreement_share: of the structures that both converge, the share whose energies
        agree within 2 meV/atom or where ours is lower
    n: structures
"""

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pymatgen.core import Lattice, Structure

from chggen import tables
from chggen.campaign import Shard
from chggen.composition import parse_formula
from chggen.config import GenerateConfig, RelaxConfig
from chggen.crystal import Crystal
from chggen.potential import CHGNetModel, load_potential
from chggen.potential.layout import Layout
from chggen.relaxation import Relaxation, relax
from chggen.stages.generate import generate

FMAX, SMAX = 0.1, 0.5
AGREEMENT = 2e-3  # eV/atom
MOST_ATOMS = 40
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--n", type=int, default=40, help="number of structures")
    parser.add_argument("--from", dest="source", default="made-up", help="see above")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    use_one_thread()
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(args.seed)
    makers = {"made-up": made_up, "generated": generated}
    make = makers.get(args.source, partial(from_csv, args.source))
    structures = make(args.n, rng)
    result = measure(structures)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:28} {value:.4g}" for key, value in result.items()))


def use_one_thread() -> None:
    """Start over, if need be, with one thread in every library.

    With two, OpenBLAS waits for itself, and the reference, whose cell filter solves many
    6×6 systems, looks ten times slower than it is.
    """
    torch.set_num_threads(1)
    if any(os.environ.get(name) != "1" for name in THREADS):
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def measure(structures: list[Structure]) -> dict[str, float]:
    """Relax with both; see the module's docstring."""
    model = load_potential("chgnet-0.3.0")
    crystals = [Crystal.from_structure(s) for s in structures]
    settings = RelaxConfig(fmax=FMAX, smax=SMAX)
    relax(crystals[:2], RelaxConfig(max_steps=2), model=model)  # kernels compile once
    rows, ours = timed(lambda: relax(crystals, settings, model=model))
    energies, steps, theirs = struct_optimizer(structures, settings.max_steps)
    return {
        "ratio": theirs / ours,
        "cpu_per_structure": ours / len(rows),
        "reference_cpu_per_structure": theirs / len(rows),
        "steps": float(np.mean([row.steps + 1 for row in rows])),
        "reference_steps": float(np.mean(steps)),
        "converged_share": float(np.mean([row.converged for row in rows])),
        "reference_converged_share": float(np.mean([s < settings.max_steps for s in steps])),
        "overhead_share": overhead_share(model, structures),
        "energy_agreement_share": agreement(rows, energies, steps, settings.max_steps),
        "n": len(rows),
    }


def timed[T](action: Callable[[], T]) -> tuple[T, float]:
    """Result and CPU seconds of an action."""
    start = time.process_time()
    result = action()
    return result, time.process_time() - start


def struct_optimizer(
    structures: list[Structure], max_steps: int
) -> tuple[list[float], list[int], float]:
    """Energies (eV/atom), model calls and total CPU seconds of chgnet's own relaxer."""
    from chgnet.model import CHGNet, StructOptimizer

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(use_device="cpu", verbose=False)
        optimizer = StructOptimizer(model=model, use_device="cpu")
    model.predict_structure(structures[0])
    energies, steps, total = [], [], 0.0
    for structure in structures:

        def run(structure: Structure = structure) -> dict[str, Any]:
            return optimizer.relax(
                structure.copy(), fmax=FMAX, steps=max_steps, verbose=False, assign_magmoms=False
            )

        result, seconds = timed(run)
        total += seconds
        energies.append(float(result["trajectory"].energies[-1]) / len(structure))
        steps.append(len(result["trajectory"]) - 1)
    return energies, steps, total


def agreement(
    rows: list[Relaxation], energies: list[float], steps: list[int], max_steps: int
) -> float:
    """Share of structures, of those that both converge, where ours is as low or lower."""
    both = [
        row.energy_per_atom - energy < AGREEMENT
        for row, energy, n in zip(rows, energies, steps, strict=True)
        if row.converged and row.energy_per_atom is not None and n < max_steps
    ]
    return float(np.mean(both)) if both else float("nan")


def overhead_share(model: CHGNetModel, structures: list[Structure]) -> float:
    """Share of a model call outside the network, from least times of repeated calls."""
    from torch_sim.io import structures_to_state

    state = structures_to_state(structures, model.device, model.dtype)
    graph = model.graph(state)
    layout, vectors = Layout.of(graph), graph.vectors.requires_grad_()

    def network() -> None:
        energies, _ = model.network(graph, layout, vectors, state.atomic_numbers)
        torch.autograd.grad(energies.sum(), vectors)

    whole = min(timed(lambda: model(state))[1] for _ in range(9))
    return 1 - min(timed(network)[1] for _ in range(9)) / whole


def made_up(n: int, rng: np.random.Generator) -> list[Structure]:
    """Disturbed prototypes and random Zn-P-S cells, half and half."""
    base = prototypes()
    known = [disturbed(base[i % len(base)], rng) for i in range(n // 2)]
    formulas = ["ZnP2S6", "Zn2P2S7"]
    return known + [random_cell(formulas[i % 2], 1 + i % 4 // 2, rng) for i in range(n - n // 2)]


def generated(n: int, rng: np.random.Generator) -> list[Structure]:
    """Unrelaxed structures of the shipped score network in sampled cells."""
    found: list[Structure] = []
    with tempfile.TemporaryDirectory() as folder:
        for formula in ("ZnP2S6", "Zn2P2S7"):
            shard = Shard("Zn-P-S", formula, int(rng.integers(1000)))
            cells = {"formula_units": [1], "lattices": n, "volume_per_atom": "auto"}
            path = Path(folder) / f"{formula}.parquet"
            generate(path, shard, cells, GenerateConfig(), 2025)
            rows = [r for r in tables.read(path, "generated") if r["status"] == "ok"]
            found += [Crystal.from_row(row).to_structure() for row in rows[: n - n // 2]]
    return found[:n]


def prototypes() -> list[Structure]:
    """Cells of 8 to 16 atoms of common structure types."""
    cubic = Lattice.cubic
    zero, quarter, half = [0.0] * 3, [0.25] * 3, [0.5] * 3
    cells = [
        Structure.from_spacegroup("Fm-3m", cubic(5.69), ["Na", "Cl"], [zero, half]),
        Structure.from_spacegroup("F-43m", cubic(5.41), ["Zn", "S"], [zero, quarter]),
        Structure.from_spacegroup("Fm-3m", cubic(4.62), ["Li", "O"], [quarter, zero]),
        Structure.from_spacegroup(
            "Pm-3m", cubic(3.91), ["Sr", "Ti", "O"], [zero, half, [0.5, 0.5, 0]]
        ),
        Structure.from_spacegroup(
            "P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [zero, [0.305, 0.305, 0]]
        ),
        Structure.from_spacegroup(
            "P6_3mc",
            Lattice.hexagonal(3.25, 5.21),
            ["Zn", "O"],
            [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]],
        ),
    ]
    return [cell * (1, 1, 2) if len(cell) < 8 else cell for cell in cells]  # noqa: PLR2004


def disturbed(structure: Structure, rng: np.random.Generator) -> Structure:
    """A crystal with strained cell (3 %) and displaced atoms (0.1 Å per coordinate)."""
    lattice = Lattice(structure.lattice.matrix @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))))
    shift = rng.normal(0, 0.1, (len(structure), 3)) @ np.linalg.inv(lattice.matrix)
    return Structure(lattice, structure.species, structure.frac_coords + shift)


def random_cell(formula: str, units: int, rng: np.random.Generator) -> Structure:
    """A cell of 24 Å³ per atom with atoms at random, no two closer than 1.6 Å."""
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
    """Disturbed crystals of a benchmark CSV, at most 40 atoms each."""
    table = pd.read_csv(path, usecols=["cif"])
    found: list[Structure] = []
    for place in rng.permutation(len(table)):
        structure = Structure.from_str(table["cif"][place], fmt="cif")
        if len(structure) <= MOST_ATOMS:
            found.append(disturbed(structure, rng))
        if len(found) == n:
            break
    return found


if __name__ == "__main__":
    main()
