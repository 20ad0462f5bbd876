"""Go on where a driver was killed, and notice one that hangs.

A driver of Snakemake that is killed leaves locks, marks of incomplete files and, on
SLURM, jobs that go on. Started again beside them it would run the same jobs a second
time into the same files. So: no driver may be alive, what it left must be over, then
the lock is removed and Snakemake starts again.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chggen.errors import DriverError
from chggen.run import processes
from chggen.run import slurm_queue as queue

Say = Callable[[str], None]

_DRY = frozenset({"-n", "--dry-run", "--dryrun"})

#: Steps of CPU time, in seconds, that count as a sign of life: planning takes many of them,
#: while waiting takes next to nothing.
_PLANNING = 10.0


@dataclass(frozen=True)
class Start:
    """How Snakemake is started: its directory, its arguments, seconds between two looks."""

    directory: Path
    arguments: tuple[str, ...] = ()
    interval: float = 5.0

    def command(self, *more: str) -> list[str]:
        """Argument list of one call of Snakemake."""
        given = ("--directory", str(self.directory), *self.arguments, *more)
        return [sys.executable, "-m", "snakemake", *given]


def resume(
    start: Start, say: Say, *, wait: bool = True, watch: float | None = None, rounds: int = 5
) -> int:
    """Clear what a killed driver left in the directory, and run Snakemake to its end.

    Args:
        start: how Snakemake is started, and where.
        say: prints a line.
        wait: SLURM jobs that have begun run to their end and their results are kept;
            otherwise they are cancelled.
        watch: minutes without jobs and output after which a driver counts as hanging and is
            ended; the next round then begins. Never, if not given.
        rounds: most drivers that are started.

    Returns:
        Snakemake's exit code.

    Raises:
        DriverError: a driver is alive, SLURM does not answer, the rounds are used up, or the
            arguments ask Snakemake for a dry run, which resumes nothing.
    """
    dry = _DRY.intersection(start.arguments)
    if dry:
        raise DriverError(f"'{min(dry)}' cannot be resumed; run snakemake directly")
    for turn in range(1, rounds + 1):
        clear(start, say, wait=wait)
        unlock(start)
        say(f"starting Snakemake{f', round {turn} of at most {rounds}' if watch else ''}")
        code, why = _drive(start, watch)
        if why is None:
            return code
        say(f"{why}; finished results are kept")
    raise DriverError(f"gave up after {rounds} restarts with --watch; see .snakemake/log")


def clear(start: Start, say: Say, *, wait: bool) -> None:
    """Make sure that nothing of an earlier driver is still running.

    Args:
        start: how Snakemake is started, and where.
        say: prints what was found.
        wait: wait for SLURM jobs that have begun; otherwise they are cancelled.

    Raises:
        DriverError: a driver is alive in the directory.
    """
    here = start.directory
    alive = processes.drivers(here)
    if alive:
        raise DriverError(
            f"a driver is still running in '{here}' (pid {alive[0]}); nothing was done"
        )
    jobs = queue.queued(here)
    # one that has not begun loses nothing, and would be submitted again anyway
    unwanted = [job for job in jobs if job.pending or not wait]
    kept = [job for job in jobs if job not in unwanted]
    if unwanted:
        queue.cancel(unwanted)
        say(f"cancelled {_count(unwanted, 'SLURM job')} of a killed driver")
    if kept:
        say(f"waiting for {_count(kept, 'SLURM job')} of a killed driver (--cancel ends them)")
    while queue.queued(here):
        time.sleep(start.interval)
    if jobs:
        say("no SLURM job of a killed driver is left")
    orphans = processes.jobs(here)
    if orphans:
        # without their driver nobody records that they are complete: they would run again
        processes.end(orphans)
        say(f"ended {_count(orphans, 'local process', 'es')} of a killed driver")


def _count(found: Sequence[object], noun: str, plural: str = "s") -> str:
    return f"{len(found)} {noun}{'' if len(found) == 1 else plural}"


def unlock(start: Start) -> None:
    """Remove the lock of a killed driver; does nothing if there is none."""
    done = subprocess.run(  # noqa: S603 - an argument list, no shell
        start.command("--unlock"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise DriverError(f"snakemake --unlock: {lines[-1].strip() if lines else 'failed'}")


def _drive(start: Start, watch: float | None) -> tuple[int, str | None]:
    """Run Snakemake; its exit code, and why it must be started again if it must."""
    driver = subprocess.Popen(start.command("--rerun-incomplete"))  # noqa: S603 - no shell
    try:
        if watch is None:
            return driver.wait(), None
        code = _watch(driver, start, 60 * watch)
    except KeyboardInterrupt:
        # Snakemake got the same signal: it cancels its jobs and tidies up
        return driver.wait(), None
    if code is None:
        driver.kill()
        return (
            driver.wait(),
            f"the driver hung (no jobs and no output for {watch:g} minutes) and was stopped",
        )
    return code, f"the driver was killed by signal {-code}" if code < 0 else None


def _watch(driver: subprocess.Popen[bytes], start: Start, seconds: float) -> int | None:
    """Exit code of the driver; None once it has neither jobs nor a word for that long."""
    signs: Sequence[object] = ()
    quiet_since = time.monotonic()
    while True:
        try:
            return driver.wait(timeout=start.interval)
        except subprocess.TimeoutExpired:
            seen = _signs(start.directory, driver.pid)
            if seen != signs or _busy(start.directory):
                signs, quiet_since = seen, time.monotonic()
            elif time.monotonic() - quiet_since > seconds:
                return None


def _signs(directory: Path, driver: int) -> Sequence[object]:
    """What changes while a driver lives: its log, and its CPU time while it plans."""
    newest = queue.logs(directory)[-1:]
    planning = int(processes.cpu_seconds(driver) / _PLANNING)
    return [planning, *((path.name, path.stat().st_size) for path in newest)]


def _busy(directory: Path) -> bool:
    """True if there are jobs, or if SLURM cannot be asked."""
    try:
        return bool(processes.jobs(directory) or queue.queued(directory))
    except DriverError:
        return True
