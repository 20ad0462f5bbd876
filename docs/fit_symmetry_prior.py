"""Fit the symmetry prior on known crystals; writes chggen/data/symmetry_prior.json.

    python docs/fit_symmetry_prior.py train.csv.gz

Space groups are counted with a tolerance of 0.01 Å. The costs of an orbit and of a free
coordinate maximise the likelihood of the Wyckoff positions of a sample of the structures, given
space group and composition.
"""

import hashlib
import json
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import spglib
from joblib import Parallel, delayed
from scipy.optimize import minimize

from chggen.diffusion.reading import read
from chggen.symmetry import wyckoff

SYMPREC = 0.01
SAMPLE = 4000
#: Numbers of orbits and free coordinates, space group, sites per element (conventional cell).
Record = tuple[int, int, int, tuple[int, ...]]


def record(cell: np.ndarray, frac: np.ndarray, numbers: np.ndarray) -> Record | None:
    """Data of a crystal for the fit."""
    try:
        data = spglib.get_symmetry_dataset((cell, frac, numbers), SYMPREC)
    except spglib.SpglibError:
        return None
    if data is None:
        return None
    letters = {p.letter: p for p in wyckoff.positions(int(data.number))}
    orbits: dict[int, list[wyckoff.Position]] = {}
    for atom in np.unique(data.crystallographic_orbits):
        orbits.setdefault(int(numbers[atom]), []).append(letters[data.wyckoffs[atom]])
    used = [p for some in orbits.values() for p in some]
    counts = tuple(sum(p.multiplicity for p in some) for some in orbits.values())
    return len(used), sum(p.freedom for p in used), int(data.number), counts


def main() -> None:
    """Count, fit and write."""
    path = Path(sys.argv[1])
    data = read([path], Path("runs/symmetry"))
    ends = np.cumsum(data.sizes)
    parts = (
        (cell, data.frac_coords[end - n : end], data.atomic_numbers[end - n : end])
        for cell, n, end in zip(data.cells, data.sizes, ends, strict=True)
    )
    records = [r for r in Parallel(-1, batch_size=512)(delayed(record)(*p) for p in parts) if r]
    rng = np.random.default_rng(0)
    sample = [records[i] for i in rng.permutation(len(records))[:SAMPLE]]

    def loss(prices: np.ndarray) -> float:
        @cache
        def log_z(number: int, count: int) -> float:
            return float(np.log(wyckoff.ways(number, count, *prices)[-1, -1]))

        total = sum(
            prices[0] * orbits + prices[1] * freedom + sum(log_z(number, c) for c in counts)
            for orbits, freedom, number, counts in sample
        )
        return total / len(sample)

    start = np.array([0.5, 0.2])
    best = minimize(loss, start, method="Nelder-Mead", options={"xatol": 0.01, "fatol": 1e-3})
    content = {
        "orbit": round(float(best.x[0]), 3),
        "freedom": round(float(best.x[1]), 3),
        "loss": {"fitted": round(float(best.fun), 3), "even": round(loss(np.zeros(2)), 3)},
        "structures": len(records),
        "sample": len(sample),
        "data": hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        "counts": {str(k): v for k, v in sorted(Counter(r[2] for r in records).items())},
    }
    target = Path(wyckoff.__file__).parent / "data" / wyckoff.PRIOR
    target.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: v for k, v in content.items() if k != "counts"}))


if __name__ == "__main__":
    main()
