"""Time and memory of planning a large campaign: ``snakemake --dry-run``, as JSON.

python benchmarks/plan.py [--compositions 100] [--seeds 100]
"""

import argparse
import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def formulas(count: int) -> list[str]:
    """The given number of different reduced formulas of Zn, P and S."""
    numbers = (n for n in itertools.product(range(1, 9), repeat=3) if math.gcd(*n) == 1)
    return [f"Zn{a}P{b}S{c}" for a, b, c in itertools.islice(numbers, count)]


def main() -> None:
    """Plan, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compositions", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=100)
    given = parser.parse_args()
    system = {
        "compositions": formulas(given.compositions),
        "formula_units": [1],
        "guests": ["Zn"],
        "lattice_seeds": given.seeds,
        "lattices_per_seed": 4,
        "reference": "builtin",
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mine.yaml").write_text(yaml.safe_dump({"systems": {"Zn-P-S": system}}))
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--cores", "2", "--configfile", "mine.yaml", "--dry-run", "--quiet", "all"]
        began = time.perf_counter()
        with (folder / "output.txt").open("w") as output:
            subprocess.run(command, cwd=folder, stdout=output, stderr=output, check=True)  # noqa: S603
        seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "shards": given.compositions * given.seeds,
        "wall_s": round(seconds, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_MiB": round(used.ru_maxrss / 1024),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
