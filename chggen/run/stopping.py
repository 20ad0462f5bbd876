"""Long work that is told to end: SIGTERM is noticed, and what is under way is finished first."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def sigterm_noticed() -> Iterator[Callable[[], bool]]:
    """Give a function that is true once SIGTERM came (a walltime, a preemption, a cancelled job).

    Outside the main thread, where Python lets nobody handle signals, it stays false.
    """
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return

    def notice(_number: int, _frame: FrameType | None) -> None:
        came.set()

    before = signal.signal(signal.SIGTERM, notice)
    try:
        yield came.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
