"""Seconds per step and peak memory of the relaxation against atoms per batch.

    python benchmarks/memory.py [--sizes 100,250,500,1000,2500,5000] [--device cpu]

Each size runs in a separate process: three steps of perturbed prototypes (4 to 38 atoms), as
many as needed for that number of atoms. Times are CPU seconds on one thread. Memory is the
peak resident size minus that before the first step (on a GPU, the peak allocation of
PyTorch).
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import cells
import numpy as np
import torch

from chggen.potential import CHGNetModel, load_potential
from chggen.relaxation.bfgs import BFGS
from chggen.structure.crystal import Crystal

STEPS = 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sizes", default="100,250,500,1000,2500,5000")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", type=int, help="measure this size here")
    args = parser.parse_args()
    if args.one:
        measure(args.one, args.device)
        return
    print(f"{'atoms':>8}{'s/step':>10}{'ms/atom':>10}{'MiB':>10}{'MiB/atom':>10}")
    for size in args.sizes.split(","):
        command = [sys.executable, str(Path(__file__)), "--one", size, "--device", args.device]
        subprocess.run(command, check=True)  # noqa: S603


def measure(atoms: int, device: str) -> None:
    """One line of the table."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    found = cells.known(1 + atoms // cells.LEAST_ATOMS, rng)
    sizes = np.cumsum([len(structure) for structure in found])
    crystals = [Crystal.from_structure(s) for s in found[: 1 + np.searchsorted(sizes, atoms)]]
    model = load_potential("chgnet-0.3.0", device=torch.device(device))
    steps(crystals[:1], model, 1)  # the first call compiles the kernels
    before = peak(device)
    began = time.process_time()
    steps(crystals, model, STEPS)
    seconds, memory = (time.process_time() - began) / STEPS, peak(device) - before
    n = sum(map(len, crystals))
    row = f"{n:8}{seconds:10.2f}{1e3 * seconds / n:10.2f}{memory:10.0f}{memory / n:10.2f}"
    print(row, flush=True)


def steps(crystals: list[Crystal], model: CHGNetModel, count: int) -> None:
    """Steps of a batch: graph, network, gradient, minimiser (with its initialisation)."""
    from torch_sim.io import structures_to_state

    bfgs = BFGS(relax_cell=True, device=model.device)
    bfgs.add(crystals)
    state = structures_to_state([c.to_structure() for c in crystals], model.device, model.dtype)
    for _ in range(count):
        state.positions = bfgs.positions().to(model.device, model.dtype)
        state.cell = bfgs.cells().mT.to(model.device, model.dtype)
        output = model(state)
        bfgs.advance(output["forces"], output["stress"])


def peak(device: str) -> float:
    """Peak memory so far, MiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
