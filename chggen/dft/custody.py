"""One VASP run under custodian: corrects known errors and stops before the walltime limit.

Loads the handlers of custodian (two seconds): import this module only where a run starts.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from custodian.custodian import Custodian, CustodianError
from custodian.vasp import handlers, validators
from custodian.vasp.jobs import VaspJob

from chggen.dft.attempts import read_json, write_json
from chggen.dft.outputs import STOP_ASKED

#: Corrected errors after which a step is aborted.
MAX_ERRORS: Final = 8
#: Seconds between polls of the process, and polls between checks of its files.
_POLL: Final = 0.5
_POLLS_PER_CHECK: Final = 600
#: Share of the walltime, and maximum in seconds, that VASP gets for a clean stop.
_GRACE_SHARE: Final = 0.1
_MOST_GRACE: Final = 600.0
#: Exit codes of a process that was killed by a signal, as a shell or srun reports them.
_KILLED: Final = frozenset({-signal.SIGKILL, -signal.SIGTERM, 128 + 9, 128 + 15})
#: Out-of-memory messages of the kernel, SLURM, MPI and Fortran.
_NO_MEMORY: Final = (
    "oom_kill", "oom-kill", "out of memory", "out-of-memory", "cannot allocate memory",
    "exceeded job memory limit", "exceeded step memory limit", "insufficient virtual memory",
    "insufficient memory",
)  # fmt: skip
#: Loggers that would print tracebacks, which can contain text of files.
_CHATTY: Final = ("custodian", "VasprunXMLValidator", "VaspFilesValidator")
_LOG: Final = "custodian.json"
#: File with the id of the process that runs in a folder.
_RUNNING: Final = "running.json"


class OutOfTimeError(Exception):
    """custodian tried to start VASP again after the walltime limit was reached."""


class Deadline:
    """Time limits of a job.

    Attributes:
        stop: clock time at which VASP is asked to stop; None for never.
        end: clock time at which it is killed.
    """

    def __init__(self, seconds: float | None) -> None:
        now = time.monotonic()
        self.end = None if seconds is None else now + seconds
        grace = min(_MOST_GRACE, _GRACE_SHARE * (seconds or 0.0))
        self.stop = None if self.end is None else self.end - grace

    @property
    def passed(self) -> bool:
        """True if nothing may be started any more."""
        return self.stop is not None and time.monotonic() >= self.stop


@dataclass(frozen=True)
class Ended:
    """End of a run, as far as it is known without its results.

    Args:
        killed: the run was killed, or ran out of memory.
        reason: why custodian aborted; empty if it did not.
    """

    killed: bool
    reason: str


class _Job(VaspJob):  # type: ignore[misc]
    """VASP, not started after the limit. No new arguments: custodian would record them."""

    deadline = Deadline(None)
    _vasp_process: Any = None

    def run(self, directory: str = "./") -> Any:  # noqa: ANN401 - a Popen
        if self.deadline.passed:
            raise OutOfTimeError
        process = super().run(directory=directory)
        write_json(Path(directory) / _RUNNING, {"host": socket.gethostname(), "pid": process.pid})
        return process

    def stop(self, directory: Path) -> None:
        """Kill the running process."""
        if self._vasp_process is not None and self._vasp_process.poll() is None:
            self.terminate(directory=str(directory))

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run; None if there was none."""
        return None if self._vasp_process is None else self._vasp_process.poll()


def run(folder: Path, command: Sequence[str], deadline: Deadline) -> Ended:
    """Run VASP in a folder with its inputs until it ends, fails or reaches the limit.

    VASP is terminated however this function ends (also by an exception, SIGINT or SIGTERM).

    Args:
        folder: folder with the inputs of one step.
        command: VASP with its launcher, as an argument list.
        deadline: when to stop cleanly.
    """
    _keep_log(folder)
    _end_orphan(folder)
    # auto_npar would write NPAR for the local machine, auto_gamma would parse POTCARs
    job = _Job(list(command), auto_npar=False, auto_gamma=False, backup=False)
    job.deadline = deadline
    custodian = Custodian(
        _handlers(),
        [job],
        validators=[validators.VasprunXMLValidator(), validators.VaspFilesValidator()],
        max_errors=MAX_ERRORS,
        polling_time_step=_POLL,
        monitor_freq=_POLLS_PER_CHECK,
        skip_over_errors=True,
        terminate_on_nonzero_returncode=False,
        directory=str(folder),
    )
    reason = ""
    with _quiet(), _exit_on_sigterm(), _watched(job, folder, deadline):
        try:
            custodian.run()
        except OutOfTimeError:
            reason = "walltime limit reached"
        except CustodianError as error:
            reason = _words(error, folder)
        except OSError as error:
            reason = f"VASP cannot be started ({error.strerror or error})"
        finally:
            job.stop(folder)
            (folder / _RUNNING).unlink(missing_ok=True)
    killed = job.exit_code in _KILLED or _memory_ended(folder)
    return Ended(killed, reason)


def corrected_errors(folder: Path) -> list[str]:
    """Errors that were corrected in a folder, over all runs, in order."""
    found = []
    logs = [*sorted(folder.glob("custodian.*.json"), key=_number), folder / _LOG]
    for log in logs:
        try:
            jobs = json.loads(log.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for job in jobs:
            for correction in job.get("corrections", []):
                if correction.get("actions"):
                    found += [str(error) for error in correction.get("errors", [])]
    return found


def _number(log: Path) -> int:
    return int(log.name.split(".")[1])


def _end_orphan(folder: Path) -> None:
    """Kill a VASP that survived its job (after SIGKILL) and still writes to this folder.

    Only on this machine, and only if the process works in this folder, because process ids
    are reused. The scheduler of a cluster terminates the processes of a job itself.
    """
    found = read_json(folder / _RUNNING)
    if not isinstance(found, dict) or found.get("host") != socket.gethostname():
        return
    try:
        if Path(f"/proc/{found['pid']}/cwd").resolve() == folder.resolve():
            # custodian starts it as the leader of its own process group
            os.killpg(found["pid"], signal.SIGKILL)
    except (OSError, KeyError, TypeError):
        return


def _keep_log(folder: Path) -> None:
    """Rename the log of an earlier run, which custodian would overwrite."""
    if (folder / _LOG).is_file():
        older = len(list(folder.glob("custodian.*.json")))
        (folder / _LOG).rename(folder / f"custodian.{older + 1}.json")


def _handlers() -> list[Any]:
    """The same handlers as atomate2."""
    return [
        handlers.VaspErrorHandler(),
        handlers.MeshSymmetryErrorHandler(),
        handlers.UnconvergedErrorHandler(),
        handlers.NonConvergingErrorHandler(),
        handlers.PotimErrorHandler(),
        handlers.PositiveEnergyErrorHandler(),
        handlers.FrozenJobErrorHandler(),
        handlers.StdErrHandler(),
        handlers.LargeSigmaHandler(),
        handlers.IncorrectSmearingHandler(),
        handlers.KspacingMetalHandler(),
    ]


def _words(error: CustodianError, folder: Path) -> str:
    """Why custodian aborted: the errors that it could not correct, or its message."""
    try:
        corrections = json.loads((folder / _LOG).read_text(encoding="utf-8"))[-1]["corrections"]
    except (OSError, ValueError, LookupError):
        corrections = []
    lost = [str(e) for c in corrections if not c.get("actions") for e in c.get("errors", [])]
    if lost:
        return f"not corrected: {', '.join(dict.fromkeys(lost))}"
    # "Validation failed: …", "Max errors reached: …": classes and numbers, no text of files
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _memory_ended(folder: Path) -> bool:
    for name in ("std_err.txt", "vasp.out"):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")[-20_000:]
        except OSError:
            continue
        if any(words in text.lower() for words in _NO_MEMORY):
            return True
    return False


@contextmanager
def _watched(job: _Job, folder: Path, deadline: Deadline) -> Iterator[None]:
    """Ask VASP to stop shortly before the walltime limit, and kill it at the limit.

    A separate clock, because custodian's WalltimeHandler reads OUTCAR every five minutes.
    """
    over = threading.Event()

    def watch(stop: float, end: float) -> None:
        if over.wait(max(0.0, stop - time.monotonic())):
            return
        (folder / STOP_ASKED).touch()
        (folder / "STOPCAR").write_text("LABORT = .TRUE.\n", encoding="utf-8")
        if over.wait(max(0.0, end - time.monotonic())):
            return
        job.stop(folder)

    if deadline.stop is None or deadline.end is None:
        yield
        return
    thread = threading.Thread(target=watch, args=(deadline.stop, deadline.end), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM (preemption, a cancelled job) into SystemExit, so that VASP also ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress custodian's messages on stderr, which can quote files."""
    nothing = logging.NullHandler()
    loggers = [logging.getLogger(name) for name in _CHATTY]
    states = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(nothing)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, state in zip(loggers, states, strict=True):
            logger.removeHandler(nothing)
            logger.propagate = state
