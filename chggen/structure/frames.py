"""Frames of extxyz files, cut by their numbers of atoms; nothing in them is read yet."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

COUNT: Final = re.compile(r"\s*[0-9]{1,18}\s*", re.ASCII)
_COMMENT: Final = re.compile(r"\b(Lattice|Properties)\s*=", re.IGNORECASE)


def frames(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Frames of an extxyz file as (text, problem); the text is empty where there is a problem.

    A frame after a damaged one is found where its start can be told: a line that is a
    number, followed by one with ``Lattice=`` or ``Properties=``.
    """
    source = _Lines(lines)
    while line := source.take():
        if COUNT.fullmatch(line):
            yield _frame_of(source, line)
        elif line.strip():
            yield "", f"'{line.strip()[:40]}' is no number of atoms"
            while (line := source.take()) and not source.starts_frame(line):
                pass
            source.give_back(line)


class _Lines:
    """Lines that can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._source = iter(lines)
        self._ahead: list[str] = []

    def take(self) -> str:
        """Next line; empty at the end."""
        return self._ahead.pop() if self._ahead else next(self._source, "")

    def give_back(self, line: str) -> None:
        """Have a line come next."""
        if line:
            self._ahead.append(line)

    def starts_frame(self, line: str) -> bool:
        """True if a line just taken is a number and the one after it a comment of extxyz."""
        if not COUNT.fullmatch(line):
            return False
        following = self.take()
        self.give_back(following)
        return bool(_COMMENT.search(following))


def _frame_of(source: _Lines, first: str) -> tuple[str, str]:
    """Text of the frame that begins with a number of atoms, or what is wrong with it."""
    count, comment = int(first), source.take()
    atoms: list[str] = []
    while len(atoms) < count and (line := source.take()):
        if source.starts_frame(line):
            source.give_back(line)
            break
        atoms.append(line)
    if not comment or len(atoms) < count:
        return "", f"is cut short: {len(atoms)} of {count} atoms"
    return first + comment + "".join(atoms), ""
