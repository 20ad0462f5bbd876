#!/usr/bin/env python3
"""The stand-in for VASP, with one fault per structure, each for another structure.

Runs in ``CAMPAIGN/results/SYSTEM/dft/ID/STEP``. Every run is a line in
``CAMPAIGN/runs.txt``; the first time that a structure comes to its last step, it takes one
of the faults that nobody has, if there is one left, and says so in ``CAMPAIGN/faults/``.
"""

import os
import sys
from pathlib import Path

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "vasp.py"
#: Those that the test brings about from outside only need time.
FAULTS = {
    "cancelled": "slow:600",
    "late": "slow:600",
    "killed": "slow:600",
    "greedy": "memory:3500",
}


def fault(identity: str, folder: Path) -> str:
    """What goes wrong in this run."""
    if (folder / f"{identity}.hit").exists():
        return "ok"
    (folder / f"{identity}.hit").touch()
    for name, mode in FAULTS.items():
        try:
            (folder / name).symlink_to(identity)
        except FileExistsError:
            continue
        return mode
    return "ok"


def main() -> None:
    """Note the run, and become the stand-in."""
    here = Path.cwd()
    campaign, identity = here.parents[4], here.parent.name
    with (campaign / "runs.txt").open("a") as runs:
        runs.write(f"{identity} {here.name}\n")
    last = here.name == "static"
    mode = fault(identity, campaign / "faults") if last else "ok"
    environment = os.environ | {"VASP_STAND_IN": mode}
    os.execve(sys.executable, [sys.executable, str(STAND_IN), *sys.argv[1:]], environment)  # noqa: S606


if __name__ == "__main__":
    main()
