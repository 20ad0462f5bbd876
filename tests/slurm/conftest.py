"""Campaigns on a real SLURM of one node (tests/slurm/cluster.py, ``make test-slurm``)."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import psutil
import pytest
import yaml
from pymatgen.core import Structure

from chggen.run import processes
from tests.slurm import cluster
from tests.workflow.conftest import ROOT
from tests.workflow.test_generators import zincblende

#: Rules ask for what real campaigns need; a test's jobs fit into this.
SMALL = [
    f"{rule}:mem_mb=2500"
    for rule in ("relax", "refine", "inpaint", "rerelax", "screen", "submit", "collect", "report")
]

#: What differs from profiles/slurm: the cluster's names, and no waiting.
OVERRIDES = [
    *("--default-resources", "slurm_partition=cpu", "mem_mb=2500", "runtime=15"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--latency-wait", "10", "--retries", "3", "--jobs", "4"),
]

#: Snakemake ends on its own, or the test has failed.
PATIENCE = 1200


@pytest.fixture(scope="session", autouse=True)
def _cluster() -> None:
    if not (cluster.ours() and cluster.idle()):
        pytest.skip("no SLURM of tests/slurm/cluster.py is up: make test-slurm starts it")


@dataclass(frozen=True)
class Execution:
    """One job as SLURM remembers it: id, what it was for, how it ended."""

    id: str
    what: str
    state: str


class Campaign:
    """A working directory with a configuration, and Snakemake in it."""

    def __init__(self, folder: Path, resources: list[str]) -> None:
        self.folder = folder
        self.resources = resources
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.output = folder / "output.txt"

    def arguments(self, *more: str) -> list[str]:
        return [
            *("--snakefile", str(ROOT / "Snakefile")),
            *OVERRIDES,
            *("--set-resources", *SMALL, *self.resources),
            *more,
        ]

    def _launch(self, command: list[str]) -> subprocess.Popen[bytes]:
        command = ["timeout", "--signal=INT", "--kill-after=30", str(PATIENCE), *command]
        with self.output.open("a") as output:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                # timeout would stop itself where there is a terminal
                start_new_session=True,
            )

    def start(self, *more: str) -> subprocess.Popen[bytes]:
        """Snakemake with the project's profile."""
        given = ["--profile", str(ROOT / "profiles" / "slurm"), "--configfile", "mine.yaml"]
        return self._launch([sys.executable, "-m", "snakemake", *given, *self.arguments(*more)])

    def resume(self, *options: str, more: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """``chggen resume`` with the same."""
        given = ["--profile", str(ROOT / "profiles" / "slurm"), "--configfile", "mine.yaml"]
        command = [sys.executable, "-m", "chggen.cli", "resume", *given, *options]
        return self._launch([*command, "--", *self.arguments(*more)])

    def driver(self) -> psutil.Process:
        """The Snakemake process that is alive."""
        return psutil.Process(
            until(lambda: processes.drivers(self.folder), "a driver")[0],
        )

    def executions(self, what: str = "") -> list[Execution]:
        """Every job of this directory that SLURM has seen and whose purpose begins so."""
        command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%k|%Z"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        found = []
        for line in answer.stdout.splitlines():
            number, state, comment, folder = line.split("|", 3)
            if Path(folder) == self.folder and comment.startswith(what):
                found.append(Execution(number, comment, state))
        return sorted(found, key=lambda job: int(job.id))

    def states(self, what: str) -> list[str]:
        """How the executions of one thing ended, in order."""
        return [job.state for job in self.executions(what)]

    def running(self, what: str) -> Execution:
        """The job for this, once it runs."""
        return until(
            lambda: next((job for job in self.executions(what) if job.state == "RUNNING"), None),
            f"{what} to run",
        )

    def find(self, what: str) -> psutil.Process | None:
        """The Python process that does the work of a job, if it runs by now."""
        rule = what.removeprefix("rule_").partition("_wildcards_")[0]
        job = next((job.id for job in self.executions(what) if job.state == "RUNNING"), None)
        for process in processes.jobs(self.folder):
            try:
                words, environment = process.cmdline(), process.environ()
            except psutil.NoSuchProcess:
                continue
            python = words and PurePath(words[0]).name.startswith("python")
            ours = job is not None and environment.get("SLURM_JOB_ID") == job
            if python and ours and words[-1].endswith(f".{rule}.py"):
                return process
        return None

    def script(self, what: str) -> psutil.Process:
        """Same, once it runs."""
        self.running(what)
        return until(lambda: self.find(what), f"the script of {what}")


def until[T](look: Callable[[], T | None], what: str, patience: float = 180) -> T:
    """What ``look`` finds, as soon as it finds something."""
    limit = time.monotonic() + patience
    while time.monotonic() < limit:
        found = look()
        if found:
            return found
        time.sleep(0.3)
    raise AssertionError(f"waited {patience} s for {what}")


@pytest.fixture
def campaign(tmp_path: Path) -> Iterator[Callable[..., Campaign]]:
    """Make a campaign of zinc sulphide from files, with so many shards."""
    made = []

    def make(
        shards: int,
        *resources: str,
        structures: Mapping[str, Structure] | None = None,
        **sections: dict[str, object],
    ) -> Campaign:
        folder = tmp_path.resolve()
        (folder / "cifs").mkdir()
        given = structures or {
            str(number): zincblende(5.3 + 0.1 * number).to_structure() for number in range(shards)
        }
        for name, structure in given.items():
            (folder / "cifs" / f"{name}.cif").write_text(str(structure.to(fmt="cif")))
        content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
        content["generate"] = {"generator": "file", "path": "cifs"}
        content["systems"]["Zn-S"]["lattice_seeds"] = shards
        (folder / "mine.yaml").write_text(yaml.safe_dump(content | sections))
        made.append(Campaign(folder, list(resources)))
        return made[-1]

    yield make
    for one in made:
        for number in processes.drivers(one.folder):
            psutil.Process(number).kill()
        left = [job.id for job in one.executions() if job.state in {"RUNNING", "PENDING"}]
        if left:
            subprocess.run(["scancel", *left], check=True, timeout=60)
        # without cgroups SLURM loses sight of a process whose parent was killed
        for process in psutil.process_iter(["cwd"]):
            if (process.info["cwd"] or "").startswith(f"{one.folder}/"):
                process.kill()
