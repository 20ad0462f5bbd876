"""Jobs of this campaign in SLURM's queue.

Snakemake's SLURM executor names every job of one run after the run, with an id that is
nowhere else, and writes that id into its log. A job is ours only if it has such a name,
belongs to this user and was submitted for this directory; no other job is ever touched.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chggen.errors import DriverError

#: How the executor plugin (2.8.0) announces the name of its jobs.
_RUN_ID = re.compile(r"SLURM run ID: (\S+)")

#: Job ids per call of scancel, so that no command line becomes too long.
_CHUNK = 200

#: Seconds after which SLURM counts as not answering.
_PATIENCE = 120


@dataclass(frozen=True)
class QueuedJob:
    """One job of the queue: id (``12`` or ``12_3``), state and name as SLURM writes them."""

    id: str
    state: str
    name: str

    @property
    def pending(self) -> bool:
        """True if it has not begun."""
        return self.state == "PENDING"


def logs(directory: Path) -> list[Path]:
    """Logs of all runs of Snakemake in ``directory``, oldest first."""
    return sorted((directory / ".snakemake" / "log").glob("*.snakemake.log"))


def run_ids(directory: Path) -> set[str]:
    """Names that the runs of Snakemake in ``directory`` gave their jobs."""
    found = set()
    for path in logs(directory):
        with path.open(encoding="utf-8", errors="replace") as lines:
            # one per run, long before the thousands of lines about jobs
            match = next(filter(None, map(_RUN_ID.search, lines)), None)
        if match:
            found.add(match[1])
    return found


def parse(answer: str, names: set[str], directory: Path) -> list[QueuedJob]:
    """Jobs in an answer of squeue.

    Args:
        answer: lines of id, state, name and working directory, separated by ``|``.
        names: job names (run ids) that are wanted.
        directory: working directory that is wanted.
    """
    here = directory.resolve()
    jobs = []
    for line in answer.splitlines():
        # the folder comes last: it may hold the separator
        fields = line.split("|", 3)
        if len(fields) != 4:  # noqa: PLR2004 - id, state, name, folder
            continue
        number, state, name, folder = (field.strip() for field in fields)
        if name in names and Path(folder).resolve() == here:
            jobs.append(QueuedJob(number, state, name))
    return jobs


def queued(directory: Path) -> list[QueuedJob]:
    """Jobs of all runs in ``directory`` that wait, run or are just ending.

    Raises :class:`DriverError` if there may be some and SLURM does not answer.
    """
    names = run_ids(directory)
    if not names:
        return []
    if not shutil.which("squeue"):
        raise DriverError(
            "runs in this directory submitted jobs to SLURM, but squeue is not available here;"
            " resume on a machine that has it"
        )
    user = str(os.getuid())
    answer = _call("squeue", "--noheader", "--array", f"--user={user}", "--format=%i|%T|%j|%Z")
    return parse(answer, names, directory)


def cancel(jobs: Sequence[QueuedJob]) -> None:
    """Cancel these jobs, by their ids."""
    for begin in range(0, len(jobs), _CHUNK):
        _call("scancel", *(job.id for job in jobs[begin : begin + _CHUNK]))


def _call(program: str, *arguments: str) -> str:
    """Standard output of one of SLURM's commands."""
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            [program, *arguments], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"{program} did not answer in {_PATIENCE} s") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise DriverError(f"{program}: {reason}")
    return done.stdout
