"""A whole campaign on SLURM, up to DFT, with all that can go wrong on the way."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pymatgen.core import Lattice, Structure

from chggen.errors import Status
from chggen.tables import parquet
from tests.slurm.conftest import Campaign, until
from tests.slurm.faulty_vasp import FAULTS
from tests.stand_ins.potcars import MARK, fake_potcars

FAULTY_VASP = Path(__file__).parent / "faulty_vasp.py"

#: Forms of zinc sulphide: space group, cell, positions of zinc and of sulphur.
FORMS = {
    "zincblende": ("F-43m", Lattice.cubic(5.4), [0, 0, 0], [0.25, 0.25, 0.25]),
    "rocksalt": ("Fm-3m", Lattice.cubic(5.1), [0, 0, 0], [0.5, 0.5, 0.5]),
    "cscl": ("Pm-3m", Lattice.cubic(3.2), [0, 0, 0], [0.5, 0.5, 0.5]),
    "nias": ("P6_3/mmc", Lattice.hexagonal(3.6, 5.8), [0, 0, 0], [1 / 3, 2 / 3, 0.25]),
    "wurtzite": (
        "P6_3mc",
        Lattice.hexagonal(3.83, 6.26),
        [1 / 3, 2 / 3, 0],
        [1 / 3, 2 / 3, 0.375],
    ),
}

#: What runs in a row before DFT, each once.
STEPS = ("generate", "relax", "refine", "inpaint", "rerelax", "screen", "submit")


def structures() -> dict[str, Structure]:
    found = {}
    for name, (group, lattice, *places) in FORMS.items():
        given = Structure.from_spacegroup(group, lattice, ["Zn", "S"], places)
        found[name] = given.get_primitive_structure()
    return found


def calculate(identity: str) -> str:
    """SLURM's comment on the calculation of one structure."""
    return f"rule_calculate_wildcards_Zn-S_{identity}"


def struck(given: Campaign, fault: str) -> str:
    """The structure that has this fault, once it has."""
    place = given.folder / "faults" / fault
    return str(until(lambda: place.is_symlink() and place.readlink(), fault, 500))


def strike(given: Campaign) -> dict[str, str]:
    """Bring every fault about, and at last kill the driver; gives who was struck by which."""
    run = given.start()
    hit = {"cancelled": struck(given, "cancelled")}
    job = given.running(calculate(hit["cancelled"]))
    subprocess.run(["scancel", job.id], check=True, timeout=60)
    hit["killed"] = struck(given, "killed")
    script = given.script(calculate(hit["killed"]))
    for process in [*script.children(recursive=True), script]:
        process.send_signal(signal.SIGKILL)
    hit["late"] = struck(given, "late")
    job = given.running(calculate(hit["late"]))
    # a minute is the least that SLURM counts
    limit = ["scontrol", "update", f"JobId={job.id}", "TimeLimit=1"]
    subprocess.run(limit, check=True, timeout=60)
    hit["greedy"] = struck(given, "greedy")
    assert hit.keys() == FAULTS.keys()
    given.driver().kill()
    run.wait()
    return hit


def judge(given: Campaign, hit: dict[str, str]) -> None:
    """Everything is there, and nothing that had finished was made again."""
    folder = given.folder / "results" / "Zn-S"
    submitted = {row["id"] for row in parquet.read(folder / "submitted.parquet", "submitted")}
    rows = parquet.read(folder / "collected.parquet", "collected")
    assert len(submitted) > len(FAULTS)
    assert len(rows) == len(submitted)
    assert {row["status"] for row in rows} == {Status.OK}
    # whoever was struck needed a second attempt, and made again only the step it was in
    runs = Counter((given.folder / "runs.txt").read_text().splitlines())
    expected = {f"{identity} relax": 1 for identity in submitted}
    expected |= {f"{i} static": 2 if i in hit.values() else 1 for i in submitted}
    assert runs == expected
    attempts = {}
    for identity in submitted:
        table = folder / "dft" / identity / "calculated.parquet"
        attempts[identity] = parquet.read(table, "calculated")[0]["attempts"]
        ends = [state == "COMPLETED" for state in given.states(calculate(identity))]
        assert ends[-1]
        # a job cancelled before it began may come first, whoever it was for
        assert sum(ends) == 1
        assert identity not in hit.values() or len(ends) > 1
    assert attempts == {i: 2 if i in hit.values() else 1 for i in submitted}
    for path in [*given.folder.glob("results/**/*.log"), *folder.glob("*.html")]:
        assert MARK not in path.read_text(errors="replace"), path


def test_nothing_is_lost_and_nothing_runs_twice(campaign: Callable[..., Campaign]) -> None:
    """Calculations cancelled, late, killed, too greedy, and then the driver killed too."""
    given = campaign(
        1,
        structures=structures(),
        screen={"threshold": 9.0},
        dft={
            "run": True,
            "pre_relax": False,
            "command": [sys.executable, str(FAULTY_VASP)],
            "mem_mb": 2500,
            "runtime": 15,
        },
    )
    given.environment["PMG_VASP_PSP_DIR"] = str(fake_potcars(given.folder / "psp", ("Zn", "S")))
    (given.folder / "faults").mkdir()
    hit = strike(given)
    again = given.resume()
    assert again.wait() == 0, given.output.read_text()
    for step in STEPS:
        assert given.states(f"rule_{step}_") == ["COMPLETED"], step
    judge(given, hit)
