"""How far a long step is: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with (done, total); both may be fractions of a structure.
Progress = Callable[[float, int], None]

#: Seconds between two lines where there is no terminal.
LINE_EVERY = 10.0


def silent(_done: float, _total: int) -> None:
    """Say nothing."""


class LineProgress:
    """One line to stderr every ten seconds: ``relax ZnP2S6/0: 34 of 50 (1m12s)``."""

    def __init__(self, label: str, every: float = LINE_EVERY) -> None:
        self.label = label
        self.every = every
        self.began = self.last = time.monotonic()

    def __call__(self, done: float, total: int) -> None:
        """Say how far it is, if the last word is old enough."""
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        seconds = int(now - self.began)
        print(
            f"{self.label}: {int(done)} of {total} ({seconds // 60}m{seconds % 60:02d}s)",
            file=sys.stderr,
            flush=True,
        )


@contextmanager
def bar(label: str) -> Iterator[Progress]:
    """Progress bar on a terminal; lines where stderr is none."""
    if not sys.stderr.isatty():
        yield LineProgress(label)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(label, total=None)
        yield lambda done, total: display.update(task, completed=int(done), total=total)
