"""The frame around a stage when a workflow runs it: log, threads, progress, errors."""

import logging
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chggen.errors import ChggenError
from chggen.run.progress import LineProgress, Progress

LOGGER = logging.getLogger("chggen")


def set_environment(home: str) -> None:
    """What every job inherits: the package of this checkout, and quiet libraries."""
    path = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    # spglib reports every structure that it can do nothing with at a large tolerance
    os.environ.setdefault("SPGLIB_WARNING", "OFF")


def limit_threads(threads: int) -> None:
    """Keep to the threads that the scheduler gave, also in libraries already loaded."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def working_time(minutes: float) -> float:
    """Seconds of a job's time limit that its work may take.

    The rest, 5 % of it but 20 s at least and 10 minutes at most, is for the start and for
    writing down how it ended.
    """
    seconds = 60.0 * minutes
    return seconds - min(600.0, max(20.0, 0.05 * seconds))


@contextmanager
def job(label: str, log: str | Path, threads: int = 1) -> Iterator[Progress]:
    """Run a stage: messages and tracebacks go to ``log``, progress to stderr.

    A :class:`ChggenError` ends the process with its one line; anything else leaves its
    traceback in the log and is raised again.

    Args:
        label: names the job in messages.
        log: file to write; its folder is made.
        threads: most that the numerical libraries may use.
    """
    warnings.simplefilter("ignore")
    limit_threads(threads)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    began = time.monotonic()
    LOGGER.info("%s: started with %d thread(s)", label, threads)
    try:
        yield LineProgress(label)
    except ChggenError as error:
        LOGGER.error("%s: %s", label, error)  # noqa: TRY400 - the line is the message
        sys.exit(f"chggen {label}: {error}")
    except BaseException:
        LOGGER.error("%s\n%s", label, traceback.format_exc())  # noqa: TRY400
        raise
    else:
        seconds = time.monotonic() - began
        LOGGER.info("%s: done in %.1f s", label, seconds)
        print(f"{label}: done in {seconds:.0f} s", file=sys.stderr, flush=True)
    finally:
        LOGGER.removeHandler(handler)
        handler.close()
