"""Processes of this campaign on this machine: its driver, and jobs that outlived one.

A process is ours only if its working directory is the campaign's and its command line is
Snakemake's or that of a script which Snakemake wrote there.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import psutil

#: Where Snakemake puts what it runs for a ``script:`` directive.
_SCRIPTS = ".snakemake/scripts/"


def is_snakemake(command: Sequence[str]) -> bool:
    """True for ``snakemake …`` and ``python [-m] …snakemake …``."""
    if not command:
        return False
    words = [PurePath(word).name for word in command[:3]]
    if words[0].startswith("python"):
        return words[1:2] == ["snakemake"] or list(command[1:3]) == ["-m", "snakemake"]
    return words[0] == "snakemake"


def is_job(command: Sequence[str]) -> bool:
    """True for a process that does one job of a driver: Snakemake within a job, or a script."""
    if is_snakemake(command):
        return "--mode" in command
    return any(_SCRIPTS in word for word in command)


def is_driver(command: Sequence[str]) -> bool:
    """True for the Snakemake process that plans and starts the jobs."""
    return is_snakemake(command) and not is_job(command)


def _here(directory: Path) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Processes whose working directory this is, with their command lines."""
    here = str(directory.resolve())
    for process in psutil.process_iter():
        try:
            if process.cwd() == here:
                yield process, process.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            # gone meanwhile, or of another user
            continue


def drivers(directory: Path) -> list[int]:
    """Process ids of drivers that are alive in ``directory``."""
    return [process.pid for process, command in _here(directory) if is_driver(command)]


def jobs(directory: Path) -> list[psutil.Process]:
    """Processes that do jobs of ``directory`` on this machine, of whatever driver."""
    return [process for process, command in _here(directory) if is_job(command)]


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far; 0 if it is gone."""
    try:
        return float(psutil.Process(pid).cpu_times().user)
    except psutil.NoSuchProcess:
        return 0.0


def end(processes: Iterable[psutil.Process], patience: float = 10) -> None:
    """End these processes and all that they started; kill after ``patience`` seconds."""
    family: dict[int, psutil.Process] = {}
    for process in processes:
        family[process.pid] = process
        try:
            family |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    for process in family.values():
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(list(family.values()), timeout=patience)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=patience)
