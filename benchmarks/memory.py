"""Seconds per step and peak memory of the relaxation against atoms per batch.

    python benchmarks/memory.py [--sizes 100,250,500,1000,2500,5000] [--device cpu]

Each size runs in a process of its own: three steps of disturbed prototypes, as many as make
up that number of atoms. Memory is the largest resident size over that before the first step
(on a GPU, what PyTorch had allocated at most).
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

from chggen.config import RelaxConfig
from chggen.crystal import Crystal
from chggen.potential import load_potential
from chggen.relaxation import relax

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
    crystals: list[Crystal] = []
    while sum(map(len, crystals)) < atoms:
        crystals += [Crystal.from_structure(s) for s in cells.known(1, rng)]
    model = load_potential("chgnet-0.3.0", device=torch.device(device))
    relax(crystals[:1], RelaxConfig(max_steps=1), model=model)  # kernels compile once
    before = peak(device)
    began = time.process_time()
    # twice the atoms fit: dense cells count for more
    settings = RelaxConfig(max_steps=STEPS, fmax=1e-6, batch_atoms=10 * atoms)
    relax(crystals, settings, model=model)
    seconds, memory = (time.process_time() - began) / (STEPS + 1), peak(device) - before
    n = sum(map(len, crystals))
    row = f"{n:8}{seconds:10.2f}{1e3 * seconds / n:10.2f}{memory:10.0f}{memory / n:10.2f}"
    print(row, flush=True)


def peak(device: str) -> float:
    """Largest memory so far, MiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
