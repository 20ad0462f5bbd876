"""The free engine: GPAW (Mortensen et al., doi:10.1063/5.0182685), in plane waves.

A PBE relaxation if ``dft.gpaw.relax`` requests one, then the energy with r²SCAN or PBE. The
structure is reduced to its primitive cell and symmetrised with the tolerance
:data:`SYMPREC`, so that GPAW can use the symmetry. GPAW runs in a process of its own
(:mod:`chggen.dft.gpaw_runner`) and is not imported here.

Its absolute energies depend on its PAW data sets (those of PBE, also for r²SCAN). They are
compared with GPAW energies of the competing phases, never with those of VASP.
"""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from chggen.config.contracts import NONE, Contract
from chggen.config.dft import DftConfig, cannot_run
from chggen.dft import gpaw_job as files
from chggen.dft.attempts import read_json, write_json
from chggen.dft.engine import Result
from chggen.dft.gpaw_job import Job, StepResult
from chggen.errors import Status
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal

#: Tolerance (Å) of the symmetrisation; its energy change is below 1 meV/atom.
SYMPREC: Final = 0.01
#: Seconds before the walltime limit of a job that are reserved for stopping.
_MARGIN: Final = 10.0
#: Seconds between the request to stop a calculation and its kill.
_GRACE: Final = 5.0
#: File with the total seconds of all attempts.
_SPENT: Final = "wall_time.json"


@dataclass(frozen=True)
class Gpaw:
    """GPAW as an engine (:class:`chggen.dft.engine.Engine`).

    Args:
        settings: section ``dft``.
    """

    settings: DftConfig

    @property
    def name(self) -> str:
        """As in ``dft.engine``."""
        return "gpaw"

    @property
    def contract(self) -> Contract:
        """Functional, code and cutoff; never equal to that of another code."""
        settings = self.settings
        return Contract(f"{settings.functional} with GPAW, {settings.gpaw.cutoff:g} eV", NONE)

    @property
    def recipe(self) -> tuple[str, ...]:
        """Steps in order."""
        relaxed = self.settings.gpaw.relax != "none"
        return (files.RELAX, files.SINGLE_POINT) if relaxed else (files.SINGLE_POINT,)

    @property
    def input_set(self) -> str:
        """Short text of the settings that affect the energy: 'gpaw pw500 k4', 'gpaw … cell'."""
        own = self.settings.gpaw
        words = ["gpaw", f"pw{own.cutoff:g}", f"k{own.kpoint_density:g}"]
        return " ".join(words if own.relax == "none" else [*words, own.relax])

    def problem(self) -> str | None:
        """Why nothing can be run here, in one line; None if everything is available."""
        return cannot_run(self.settings)

    def prepare(self, crystal: Crystal, directory: Path) -> dict[str, str]:
        """Write ``gpaw.json``: primitive structure and settings.

        The input of a calculation that has begun is kept if method and atoms are the same;
        if nothing was computed it is replaced.

        Raises:
            FileExistsError: the directory contains a calculation with other inputs.
            ValueError: an element has no data set, or atoms overlap.
            OSError: the directory is not writable.
        """
        unknown = without_data_set(crystal.atomic_numbers.tolist())
        if unknown:
            raise ValueError(f"GPAW has no PBE data set of {', '.join(unknown)}")
        primitive = primitive_cell(crystal)
        own = self.settings.gpaw
        job = Job(
            functional=self.settings.functional,
            cutoff=own.cutoff,
            kpoint_density=own.kpoint_density,
            smearing=own.smearing,
            relax=own.relax,
            fmax=own.fmax,
            max_steps=own.max_steps,
            cell=primitive.cell.tolist(),
            atomic_numbers=primitive.atomic_numbers.tolist(),
            frac_coords=primitive.frac_coords.tolist(),
        )
        if directory.exists():
            foreign = sorted(p.name for p in directory.iterdir() if p.name != files.INPUT)
            if foreign and not _same(job, directory):
                raise FileExistsError(f"{directory} contains {foreign[0]}; it is not overwritten")
            if foreign:
                return {"input_set": self.input_set}
        job.write(directory)
        return {"input_set": self.input_set}

    def run(self, directory: Path, *, seconds: float | None) -> Result:
        """Run every unfinished step; see :class:`chggen.dft.engine.Engine`."""
        began = time.monotonic()
        try:
            job = Job.read(directory)
        except ValueError as error:
            return Result(Status.FAILED, f"inputs: {error}")
        before = _spent(directory)
        ended = _Ended(out_of_time=True)
        if seconds != 0 and _finished(directory, job) != job.recipe:
            ended = self._start(directory, seconds)
            before += time.monotonic() - began
            write_json(directory / _SPENT, before)
        return result_of(directory, job, ended, before)

    def _start(self, directory: Path, seconds: float | None) -> "_Ended":
        """Start the runner and wait for it, at most ``seconds``."""
        module = ["-m", "chggen.dft.gpaw_runner", str(directory.resolve())]
        command = [*self.settings.command, sys.executable, *module]
        limit = None if seconds is None else seconds - min(_MARGIN, 0.1 * seconds)
        for step in self.recipe:  # results of earlier attempts
            last = files.read_result(directory, step)
            if last is not None and last.status != Status.OK:
                (directory / step / files.RESULT).unlink()
        with (directory / files.LOG).open("w", encoding="utf-8") as log:
            try:
                process = subprocess.Popen(  # noqa: S603 - words of the config, no shell
                    command,
                    # a pipe that closes when this process ends; the runner monitors it
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment(),
                    start_new_session=True,
                )
            except OSError as error:
                return _Ended(problem=f"{command[0]}: {error.strerror}")
            try:
                return _Ended(code=process.wait(limit))
            except subprocess.TimeoutExpired:
                return _Ended(out_of_time=True)
            finally:
                _stop(process)

    def _environment(self) -> dict[str, str]:
        """Environment of the runner: this package, and MPI only if requested."""
        home = str(Path(files.__file__).parents[2])
        path = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path)}
        environment.setdefault("OMP_NUM_THREADS", "1")
        if self.settings.command:
            environment["GPAW_MPI_BACKEND"] = "cgpaw"
        return environment


@dataclass(frozen=True)
class _Ended:
    """End of the runner's process: exit code, or why there is none."""

    code: int = 0
    out_of_time: bool = False
    problem: str = ""


def without_data_set(atomic_numbers: Iterable[int]) -> list[str]:
    """Elements without a PAW data set of GPAW; empty if no data sets are found."""
    package = importlib.util.find_spec("gpaw_data")
    places = (package.submodule_search_locations if package else None) or []
    folders = [Path(place, "setups") for place in places]
    given = os.environ.get("GPAW_SETUP_PATH", "")
    folders += [Path(folder) for folder in given.split(os.pathsep) if folder]
    known = {path.name.split(".")[0] for folder in folders for path in folder.glob("*.PBE*")}
    symbols = {comp.SYMBOLS[z] for z in atomic_numbers}
    return sorted(symbols - known) if known else []


def primitive_cell(crystal: Crystal) -> Crystal:
    """Primitive cell, symmetrised with the tolerance :data:`SYMPREC`.

    Raises:
        ValueError: spglib finds no cell (overlapping atoms).
    """
    import spglib

    given = (crystal.cell, crystal.frac_coords, crystal.atomic_numbers)
    found = spglib.standardize_cell(given, to_primitive=True, symprec=SYMPREC)
    if found is None:
        raise ValueError("spglib finds no primitive cell")
    cell, positions, numbers = found
    return Crystal.of(cell, numbers, np.mod(positions, 1.0))


def result_of(directory: Path, job: Job, ended: _Ended, wall_time: float) -> Result:
    """Result from the files of a directory, or from the process if it left none.

    Args:
        directory: directory of the calculation.
        job: the requested calculation.
        ended: end of the process.
        wall_time: seconds of all attempts.
    """
    finished = _finished(directory, job)
    steps = [r for s in job.recipe if (r := files.read_result(directory, s)) is not None]
    latest = StepResult.read(directory / files.RELAX / files.LATEST)
    places = [r for r in (*steps[::-1], latest) if r is not None and r.cell is not None]
    crystal = places[0].crystal(job.atomic_numbers) if places else None
    last = steps[-1] if steps else None
    if finished == job.recipe and last is not None:
        return Result(
            Status.OK,
            crystal=crystal,
            dft_energy_per_atom=last.energy_per_atom,
            correction_per_atom=0.0,
            run_type=last.run_type,
            fmax=last.fmax,
            smax=last.smax,
            finished=finished,
            wall_time=wall_time,
        )
    if last is not None and last.status != Status.OK:
        status, reason = Status(last.status), last.reason
    else:
        status, reason = _verdict(directory, ended, job.recipe[len(finished)])
    return Result(status, reason, crystal=crystal, finished=finished, wall_time=wall_time)


def _verdict(directory: Path, ended: _Ended, step: str) -> tuple[Status, str]:
    """Status and reason of a run that ended before a step wrote its result."""
    if ended.out_of_time:
        return Status.OUT_OF_TIME, f"{step}: walltime limit reached"
    if ended.problem:
        return Status.FAILED, ended.problem
    if ended.code < 0 or ended.code == 128 + signal.SIGKILL:
        number = -ended.code if ended.code < 0 else ended.code - 128
        name = signal.Signals(number).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return Status.INTERRUPTED, f"{step}: killed by {name}{hint}"
    return Status.FAILED, f"{step}: {_last_error(directory / files.LOG)}"


def _last_error(log: Path) -> str:
    """Line of a traceback that names the error, or the last line."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "no log"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # with MPI, GPAW writes rank and line number before each line
    found = (re.search(r"(^|: )([\w.]*(Error|Exception):.*)", line) for line in lines)
    errors = [match[2] for match in found if match]
    return (errors or lines or ["ended without a message"])[-1][:300]


def _finished(directory: Path, job: Job) -> tuple[str, ...]:
    """Steps that finished successfully, up to the first that did not."""
    done: list[str] = []
    for step in job.recipe:
        result = files.read_result(directory, step)
        if result is None or result.status != Status.OK:
            break
        done.append(step)
    return tuple(done)


def _same(job: Job, directory: Path) -> bool:
    """True if a directory holds the same method and atoms: its name says the rest.

    Coordinates are not compared: what a structure relaxes to depends on its batch in the
    last digits.
    """
    try:
        return _method(Job.read(directory)) == _method(job)
    except ValueError:
        return False


def _method(job: Job) -> tuple[Job, str]:
    bare = replace(job, cell=[], atomic_numbers=[], frac_coords=[])
    return bare, comp.formula_of(job.atomic_numbers)


def _spent(directory: Path) -> float:
    """Seconds of earlier attempts."""
    return float(read_json(directory / _SPENT) or 0.0)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Terminate a running process and its child processes."""
    if process.stdin is not None:
        process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
