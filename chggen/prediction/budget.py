"""How much time there is: ``10m``, ``90s``, ``1h30m``."""

import re
from typing import Final

from chggen.errors import ConfigError

_TEXT: Final = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", re.ASCII
)
_SECONDS: Final = (3600.0, 60.0, 1.0)
#: Longer than any job of a queue runs.
_MOST: Final = 30 * 24 * 3600.0


def parse_budget(text: str) -> float:
    """Seconds of a text such as ``10m``; raises :class:`ConfigError` naming it.

    Args:
        text: hours, minutes and seconds, each with its letter, in this order.
    """
    match = _TEXT.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise ConfigError(f"--budget '{text}': is no time such as 10m, 90s or 1h30m")
    seconds = sum(
        float(part) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True) if part
    )
    if not 0 < seconds <= _MOST:
        raise ConfigError(f"--budget '{text}': must be above zero and at most 30 days")
    return seconds


def in_words(seconds: float) -> str:
    """A time for people: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 100:  # noqa: PLR2004 - from there on minutes are precise enough
        return f"{seconds:.0f} s"
    if seconds < 7200:  # noqa: PLR2004
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
