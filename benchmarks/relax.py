"""CPU seconds per relaxed structure: chggen against chgnet's StructOptimizer, in one run.

    python benchmarks/relax.py [--json] [--n 96] [--seed 0] [--from mixed] [--table OUT.csv]

Both relax the same structures with CHGNet 0.3.0 on one thread, cells free, until no force
exceeds 0.1 eV/Å and no stress component 0.5 GPa. (These replace StructOptimizer's own criterion
on the cell, 0.1 eV per atom of virial; the test takes no additional time.)

``--from mixed``: half perturbed crystals of 4 to 38 atoms (3 % strain, 0.1 Å), half unrelaxed
structures of the packaged score network in the compositions of the demo, without candidates.
``made-up``: half perturbed prototypes, half random Zn-P-S cells. ``generated``: only structures
of the network. A CSV file (column ``cif``): like ``mixed``, with the crystals of the file.

Reported:
    ratio: CPU seconds of StructOptimizer over ours, for all structures
    cpu_per_structure, reference_cpu_per_structure: seconds
    steps, reference_steps: model calls per structure, mean
    overhead_share: share of one call of our model that is not the network's forward and
        backward pass: neighbours, graphs, sums
    energy_agreement_share: of the structures that both converge, the share whose energies
        agree within 2 meV/atom or where ours is lower
    equal_share, lower_share, higher_share: within 2 meV/atom, ours lower, ours higher
    known_agreement_share, generated_agreement_share: the agreement by kind
    median_difference: ours minus theirs, eV/atom, for structures that both converge
    n: structures
"""

import argparse
import contextlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import cells
import numpy as np
import pandas as pd
import torch
from pymatgen.core import Structure

from chggen.config.stages import RelaxConfig
from chggen.potential import CHGNetModel, load_potential
from chggen.potential.chgnet.layout import Layout
from chggen.relaxation.pool import relax
from chggen.structure.crystal import Crystal
from chggen.units import GPA_PER_EV_PER_A3

FMAX, SMAX = 0.1, 0.5  # eV/Å, GPa
AGREEMENT = 2e-3  # eV/atom
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--n", type=int, default=96, help="number of structures")
    parser.add_argument("--from", dest="source", default="mixed", help="see above")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write energies and steps of each structure there")
    args = parser.parse_args()
    use_one_thread()
    warnings.simplefilter("ignore")
    structures, kinds = choose(args.source, args.n, np.random.default_rng(args.seed))
    table, result = measure(structures, kinds)
    if args.table:
        table.to_csv(args.table, index=False)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:28} {value:.4g}" for key, value in result.items()))


def choose(source: str, n: int, rng: np.random.Generator) -> tuple[list[Structure], list[str]]:
    """Structures and the kind of each."""
    if source == "generated":
        return cells.generated(n, rng), ["generated"] * n
    if source == "made-up":
        return cells.made_up(n, rng), ["known"] * (n // 2) + ["random"] * (n - n // 2)
    known = cells.known(n // 2, rng, None if source == "mixed" else source)
    found = known + cells.generated(n - len(known), rng)
    return found, ["known"] * len(known) + ["generated"] * (len(found) - len(known))


def use_one_thread() -> None:
    """Restart the process, if necessary, with one thread in every library.

    With two threads OpenBLAS waits for itself, and the reference, whose cell filter solves
    many 6×6 systems, appears ten times slower than it is.
    """
    torch.set_num_threads(1)
    if any(os.environ.get(name) != "1" for name in THREADS):
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def measure(structures: list[Structure], kinds: list[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """Relax with both; returns rows per structure and the figures listed above."""
    model = load_potential("chgnet-0.3.0")
    crystals = [Crystal.from_structure(s) for s in structures]
    settings = RelaxConfig(fmax=FMAX, smax=SMAX)
    relax(crystals[:2], RelaxConfig(max_steps=2), model=model)  # compiles the kernels
    rows, ours = timed(lambda: relax(crystals, settings, model=model))
    reference = struct_optimizer(structures, settings.max_steps)
    table = pd.DataFrame(
        {
            "kind": kinds,
            "n_atoms": [len(s) for s in structures],
            "energy": [row.energy_per_atom for row in rows],
            "steps": [row.steps + 1 for row in rows],
            "converged": [row.converged for row in rows],
            "seconds": ours / len(rows),
        }
    ).join(reference)
    return table, summary(table) | {"overhead_share": overhead_share(model, structures)}


def summary(table: pd.DataFrame) -> dict[str, float]:
    """Figures of a table of relaxations; see the module's docstring."""
    both = table[table["converged"] & table["reference_converged"]]
    difference = both["energy"] - both["reference_energy"]
    agree = difference < AGREEMENT
    kinds = agree.groupby(both["kind"]).mean()
    ours, theirs = table["seconds"].mean(), table["reference_seconds"].mean()
    return {
        "ratio": theirs / ours,
        "cpu_per_structure": ours,
        "reference_cpu_per_structure": theirs,
        "steps": table["steps"].mean(),
        "reference_steps": table["reference_steps"].mean(),
        "converged_share": table["converged"].mean(),
        "reference_converged_share": table["reference_converged"].mean(),
        "energy_agreement_share": agree.mean(),
        "equal_share": (difference.abs() < AGREEMENT).mean(),
        "lower_share": (difference <= -AGREEMENT).mean(),
        "higher_share": (difference >= AGREEMENT).mean(),
        **{f"{kind}_agreement_share": share for kind, share in kinds.items()},
        "median_difference": difference.median(),
        "n": len(table),
    }


def timed[T](action: Callable[[], T]) -> tuple[T, float]:
    """Result and CPU seconds of an action."""
    start = time.process_time()
    result = action()
    return result, time.process_time() - start


def struct_optimizer(structures: list[Structure], max_steps: int) -> pd.DataFrame:
    """Results of the relaxer of chgnet with the same criteria."""
    from ase.optimize import FIRE
    from chgnet.model import CHGNet, StructOptimizer

    class SameCriteria(FIRE):  # type: ignore[misc]
        """Its default optimiser with our convergence criteria."""

        def gradient_converged(self, gradient: np.ndarray) -> bool:
            del gradient
            atoms = self.atoms.atoms  # behind the cell filter; values are cached
            stress = np.abs(atoms.get_stress()).max() * GPA_PER_EV_PER_A3
            force = np.linalg.norm(atoms.get_forces(), axis=1).max()
            return bool(force < FMAX and stress < SMAX)

    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(use_device="cpu", verbose=False)
        optimizer = StructOptimizer(model=model, optimizer_class=SameCriteria, use_device="cpu")
    model.predict_structure(structures[0])
    rows = []
    for structure in structures:

        def run(structure: Structure = structure) -> dict[str, Any]:
            return optimizer.relax(
                structure.copy(), fmax=FMAX, steps=max_steps, verbose=False, assign_magmoms=False
            )

        result, seconds = timed(run)
        path = result["trajectory"]
        steps = len(path) - 1  # the last one is recorded twice
        rows.append(
            {
                "reference_energy": float(path.energies[-1]) / len(structure),
                "reference_steps": steps,
                "reference_converged": steps <= max_steps,
                "reference_seconds": seconds,
            }
        )
    return pd.DataFrame(rows)


def overhead_share(model: CHGNetModel, structures: list[Structure]) -> float:
    """Share of a model call outside the network, from minimum times of repeated calls."""
    from torch_sim.io import structures_to_state

    state = structures_to_state(structures, model.device, model.dtype)
    graph = model.graph(state)
    layout, vectors = Layout.of(graph), graph.vectors.requires_grad_()

    def network() -> None:
        energies, _ = model.network(graph, layout, vectors, state.atomic_numbers)
        torch.autograd.grad(energies.sum(), vectors)

    whole = min(timed(lambda: model(state))[1] for _ in range(9))
    return 1 - min(timed(network)[1] for _ in range(9)) / whole


if __name__ == "__main__":
    main()
