"""Snakemake for ``predict``: in its own folder, with a time limit, saying how far it is."""

import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chggen.errors import DriverError
from chggen.provenance import PACKAGE
from chggen.run import processes
from chggen.run.resume import Start, clear, unlock

#: Lines of Snakemake and of its jobs that say how far they are.
_NEWS: Final = re.compile(r"^\w+ \S+: (\d+ of \d+ \(|done in )|^\d+ of \d+ steps ")
#: Lines that say what went wrong.
_TROUBLE: Final = re.compile(r"^chggen[ :]|Error")
#: Seconds that Snakemake has to put things away when it is stopped.
_PATIENCE: Final = 60.0

Say = Callable[[str], None]


@dataclass
class Driver:
    """Runs targets of a campaign in a folder.

    Args:
        folder: working directory of Snakemake, with results and its own notes.
        config: of the campaign.
        cores: jobs at a time.
        say: prints a line.
    """

    folder: Path
    config: Path
    cores: int
    say: Say
    _last: deque[str] = field(default_factory=lambda: deque(maxlen=400))

    def run(self, targets: Sequence[str], limit: float | None) -> bool:
        """Make files; False if the time limit came first, and what ran was stopped.

        Args:
            targets: files, relative to the folder.
            limit: monotonic clock, s; None for no limit.

        Raises:
            DriverError: a job failed, another driver is at work in the folder, or the package
                has no workflow beside it.
            KeyboardInterrupt: from the terminal; Snakemake has put things away.
        """
        start = Start(self.folder.resolve(), self._arguments())
        if processes.drivers(start.directory):
            raise DriverError(f"another run is at work in '{self.folder}'; nothing was done")
        if (start.directory / ".snakemake" / "locks").is_dir():
            clear(start, self.say, wait=False)
            unlock(start)
        # what has no name of its own ends before options that take several
        command = [*start.command(), "--rerun-incomplete", "--", *targets]
        with subprocess.Popen(  # noqa: S603 - an argument list, no shell
            command,
            cwd=start.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            reader = threading.Thread(target=self._read, args=(process,), daemon=True)
            reader.start()
            try:
                ended = self._wait(process, limit)
            except KeyboardInterrupt:
                self._stop(process)
                raise
            reader.join(timeout=_PATIENCE)
        if not ended:
            return False
        if process.returncode != 0:
            trouble = [line for line in self._last if _TROUBLE.search(line)]
            line = (trouble or list(self._last) or ["no output"])[0]
            raise DriverError(f"the workflow failed: {line} (logs: {self.folder}/results/logs)")
        return True

    def _arguments(self) -> tuple[str, ...]:
        root = PACKAGE.parent
        if not (root / "Snakefile").is_file():
            raise DriverError(
                f"no workflow (Snakefile) beside the package in '{root}': predict runs from a"
                " checkout"
            )
        given = {
            "--snakefile": root / "Snakefile",
            "--profile": root / "profiles" / "local",
            "--cores": self.cores,
            "--configfile": self.config.resolve(),
        }
        return tuple(str(word) for pair in given.items() for word in pair)

    def _wait(self, process: subprocess.Popen[str], limit: float | None) -> bool:
        """Wait for the end of the process; False if it had to be stopped."""
        while True:
            left = None if limit is None else max(0.0, limit - time.monotonic())
            try:
                process.wait(timeout=left)
            except subprocess.TimeoutExpired:
                self._stop(process)
                return False
            return True

    def _stop(self, process: subprocess.Popen[str]) -> None:
        """End Snakemake and its jobs, and take its lock away."""
        process.send_signal(signal.SIGINT)
        processes.end(processes.jobs(self.folder.resolve()))
        try:
            process.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        processes.end(processes.jobs(self.folder.resolve()))
        unlock(Start(self.folder.resolve(), self._arguments()))

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            text = line.rstrip()
            if text:
                self._last.append(text)
            if _NEWS.match(text):
                self.say(text)
