"""Largest deviations of the batched CHGNet from the original, over various cells.

    python benchmarks/agreement.py [--n 520] [--seed 0] [--batch 400]

Cells: disturbed prototypes and their supercells (up to 152 atoms), random solids of 1 to 40
atoms of the elements up to bismuth, skewed and flat settings, single atoms, cells without
angles. Cells with isolated atoms, for which chgnet raises an error, are counted separately:
the results of chggen must be finite there and are not compared.

Printed per kind: cells; largest difference of energy (eV/atom), force (eV/Å), stress (GPa),
magnetic moment (Bohr magnetons); and of force and stress relative to the largest value in the
cell, if that exceeds 1 eV/Å or 1 GPa, because rounding in single precision grows with it.
"""

import argparse
import contextlib
import io
import warnings
from collections import defaultdict
from collections.abc import Iterator

import cells
import numpy as np
import torch
from pymatgen.core import Element, Lattice, Structure

from chggen.potential import CHGNetModel, load_potential
from chggen.units import GPA_PER_EV_PER_A3

#: Elements of the random cells: hydrogen to bismuth without noble gases.
NUMBERS = [z for z in range(1, 84) if z not in {2, 10, 18, 36, 54}]
MOST_ATOMS = 152
HEADER = ("cells", "energy", "force", "stress", "moment", "rel. force", "rel. stress")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--n", type=int, default=520, help="number of cells")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=400, help="atoms per batch of ours")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = list(varied(args.n, np.random.default_rng(args.seed)))
    ours = evaluate(load_potential("chgnet-0.3.0"), [s for _, s in found], args.batch)
    table = compare(found, ours)
    print(f"{'':12}" + "".join(f"{name:>12}" for name in HEADER))
    for kind, rows in table.items():
        if kind == "isolated":
            finite = all(np.isfinite(row).all() for row in rows)
            print(f"{kind:12}{len(rows):12}   ours finite: {finite}")
        else:
            worst = np.max(rows, axis=0)
            print(f"{kind:12}{len(rows):12}" + "".join(f"{value:12.1e}" for value in worst))


def varied(n: int, rng: np.random.Generator) -> Iterator[tuple[str, Structure]]:
    """Cells of all kinds, alternating."""
    base = [*cells.prototypes(), *cells.prototypes()]
    for i in range(n):
        crystal = base[rng.integers(len(base))]
        kind = ("known", "random", "skewed", "flat", "one atom", "no angles", "large", "isolated")[
            (0, 1, 2, 0, 1, 3, 1, 4, 0, 5, 1, 6 if i % 26 == 11 else 2, 7)[i % 13]  # noqa: PLR2004
        ]
        if kind in {"known", "random", "one atom", "no angles", "isolated"}:
            yield kind, simple(kind, crystal, rng)
            continue
        if kind == "large":
            times = int(rng.integers(60, MOST_ATOMS + 1)) // len(crystal)
            yield kind, cells.disturbed(crystal * (1, 1, times), rng)
            continue
        small = cells.disturbed(crystal.get_primitive_structure(), rng)
        if kind == "flat":
            small = small * (int(rng.integers(3, 6)), 1, 1)
        else:
            a, b, c = rng.integers(-4, 5, 3)
            small.make_supercell([[1, 0, 0], [a, 1, 0], [b, c, 1]], to_unit_cell=False)
        yield kind, small


def simple(kind: str, crystal: Structure, rng: np.random.Generator) -> Structure:
    """A cell that needs no supercell."""
    if kind == "known":
        return cells.disturbed(crystal, rng)
    if kind == "random":
        return random_solid(int(rng.integers(2, 41)), rng)
    first, second = (Element.from_Z(int(rng.choice(NUMBERS))) for _ in range(2))
    if kind == "one atom":
        angles = rng.uniform(60, 110, 3)
        lattice = Lattice.from_parameters(*rng.uniform(2.2, 5.5, 3), *angles)
        return Structure(lattice, [first], rng.random((1, 3)))
    if kind == "no angles":  # neighbours between 3 and 6 Å only
        return Structure(Lattice.cubic(rng.uniform(4, 6)), [first, second], [[0] * 3, [0.5] * 3])
    return Structure(
        Lattice.cubic(rng.uniform(14, 16)),
        [first, second, second],
        [[0] * 3, [0.14, 0, 0], [0.5] * 3],
    )


def random_solid(n: int, rng: np.random.Generator) -> Structure:
    """Atoms of up to four elements at random, none closer than 1.5 Å."""
    numbers = rng.choice(rng.choice(NUMBERS, 4), n)
    while True:
        lattice = Lattice.from_parameters(
            *np.exp(rng.uniform(-0.4, 0.4, 3)), *rng.uniform(65, 115, 3)
        ).scale(rng.uniform(14, 30) * n)
        structure = Structure(
            lattice, [Element.from_Z(int(z)) for z in numbers], rng.random((n, 3))
        )
        for _ in range(60):  # atoms that are too close get new positions
            distance = structure.distance_matrix + 9 * np.eye(n)
            close = np.unique(np.argwhere(np.triu(distance < 1.5))[:, 0])  # noqa: PLR2004
            if not len(close):
                return structure
            for atom in close:
                structure[int(atom)] = structure[int(atom)].specie, rng.random(3)


def evaluate(
    model: CHGNetModel, structures: list[Structure], batch_atoms: int
) -> list[tuple[np.ndarray, ...]]:
    """Energy per atom, forces, stress (GPa) and moments of each structure, in batches."""
    from torch_sim.io import structures_to_state

    results, batch = [], []
    for i, structure in enumerate(structures):
        batch.append(structure)
        if sum(map(len, batch)) < batch_atoms and i < len(structures) - 1:
            continue
        sizes = [len(s) for s in batch]
        output = model(structures_to_state(batch, model.device, model.dtype))
        forces, moments = (output[key].split(sizes) for key in ("forces", "magmoms"))
        energies = output["energy"] / torch.tensor(sizes)
        stresses = output["stress"] * GPA_PER_EV_PER_A3
        rows = zip(energies, forces, stresses, moments, strict=True)
        results += [tuple(part.double().numpy() for part in row) for row in rows]
        batch = []
    return results


def compare(
    found: list[tuple[str, Structure]], ours: list[tuple[np.ndarray, ...]]
) -> dict[str, list[list[float]]]:
    """Deviations of every cell by kind, in the order of the header."""
    from chgnet.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        reference = CHGNet.load(use_device="cpu", verbose=False)
    table: dict[str, list[list[float]]] = defaultdict(list)
    for (kind, structure), own in zip(found, ours, strict=True):
        try:
            theirs = reference.predict_structure(structure)
        except ValueError:  # isolated atoms
            table["isolated"].append([float(np.abs(part).max()) for part in own])
            continue
        expected = [np.asarray(theirs[key], dtype=float) for key in "efsm"]
        worst = [float(np.abs(a - b).max()) for a, b in zip(own, expected, strict=True)]
        scale = [max(1.0, float(np.abs(part).max())) for part in expected[1:3]]
        table[kind].append([*worst, worst[1] / scale[0], worst[2] / scale[1]])
    return dict(table)


if __name__ == "__main__":
    main()
