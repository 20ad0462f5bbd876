"""``chggen predict`` on formulas of different systems: what it finds, in which time, as JSON.

python benchmarks/predict.py FOLDER [--budget 5m] [--cores 2] [FORMULA …]

One after the other, each in a folder of its own under FOLDER. To show that nothing is fetched
run it where there is no network: ``unshare -n python benchmarks/predict.py …`` (as root).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from chggen.prediction import answer
from chggen.prediction.budget import parse_budget
from chggen.structure.composition import canonical_formula

#: An oxide, a halide with a molecular ion, a sulfide, an intermetallic, a hydride.
FORMULAS = ["MgSiO3", "NaClO3", "Li3PS4", "MgCu2", "LiBH4"]


def main() -> None:
    """Ask for each formula and print one line of JSON for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("formulas", nargs="*", default=FORMULAS)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_intermixed_args()
    for formula in given.formulas:
        print(json.dumps(asked(formula, given), ensure_ascii=False), flush=True)


def asked(formula: str, given: argparse.Namespace) -> dict[str, Any]:
    """One formula: seconds, exit code and the best crystal."""
    folder = given.folder / formula
    words = ["predict", formula, "--budget", given.budget, "--cores", str(given.cores)]
    began = time.monotonic()
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        [sys.executable, "-m", "chggen.cli", *words, "-o", str(folder)],
        text=True,
        capture_output=True,
        check=False,
    )
    facts: dict[str, Any] = {
        "formula": formula,
        "seconds": round(time.monotonic() - began),
        "budget_s": parse_budget(given.budget),
        "exit_code": done.returncode,
    }
    screened = folder / "results" / canonical_formula(formula) / "screened.parquet"
    if done.returncode or not screened.is_file():
        return facts | {"message": (done.stderr.strip().splitlines() or [""])[-1]}
    first = next(iter(answer.best(screened, 1)), None)
    rows = answer.best(screened, 10_000)
    facts |= {"plan": next((line for line in done.stderr.splitlines() if ": " in line), "")}
    facts |= {"distinct": len(rows)}
    if first is not None:
        facts |= {
            "space_group": f"{first['space_group_symbol']} ({first['space_group_number']})",
            "E_d": answer.with_uncertainty(first),
            "known": answer.known(first),
            "from": first["route"],
        }
    return facts


if __name__ == "__main__":
    main()
