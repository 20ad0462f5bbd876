"""Small files that record the attempts of a calculation in its directory."""

import json
from pathlib import Path
from typing import Any, Final

from chggen.run.atomic import write_text

#: File with the number of attempts.
_ATTEMPTS: Final = "attempts.json"


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Content of a JSON file; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401
    """Write a JSON file atomically."""
    write_text(path, json.dumps(content))


def attempts(directory: Path) -> int:
    """Number of jobs that have computed in a directory, including killed ones."""
    found = read_json(directory / _ATTEMPTS)
    return int(found.get("attempts", 0)) if isinstance(found, dict) else 0


def count_attempt(directory: Path) -> int:
    """Record that a job starts to compute; returns the number of jobs so far."""
    number = attempts(directory) + 1
    write_json(directory / _ATTEMPTS, {"attempts": number})
    return number
