"""Random Wyckoff positions of a composition, with a prior from known crystals.

The number of combinations is too large to list in groups of low symmetry, so they are sampled
exactly. For each element the weights of all combinations with its number of sites are summed
by recursion over the positions (a generating function), and one combination is drawn
backwards. If two elements occupy the same position without free coordinates, the draw is
repeated. The weight of a combination depends on its number of orbits and free coordinates, as
fitted to known crystals, where orbits are few and have rather many free coordinates for their
group (otherwise the symmetry would be higher). ``docs/fit_symmetry_prior.py`` fitted the two
costs and counted the space groups.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from chggen.structure.composition import SYMBOLS
from chggen.symmetry import settings as spacegroups
from chggen.symmetry.settings import Setting

Floats = NDArray[np.float64]

PRIOR: Final = "symmetry_prior.json"
#: Largest number of draws to avoid conflicts of positions without free coordinates.
_TRIES: Final = 60


@dataclass(frozen=True)
class Position:
    """A Wyckoff position.

    Args:
        letter: Wyckoff letter as in International Tables.
        multiplicity: sites in the conventional cell.
        freedom: free coordinates, 0 to 3.
    """

    letter: str
    multiplicity: int
    freedom: int


#: Positions of every element, by atomic number; a position may occur more than once.
Combination = dict[int, list[Position]]


@cache
def positions(number: int) -> tuple[Position, ...]:
    """Wyckoff positions of a space group, the general one last."""
    found = [
        Position(str(w.letter), int(w.multiplicity), int(w.get_dof()))
        for w in spacegroups.group(number)
    ]
    return tuple(reversed(found))


@cache
def prior() -> Mapping[str, Any]:
    """Fitted parameters and frequencies; see ``chggen/data/SOURCES.md``."""
    text = (files("chggen") / "data" / PRIOR).read_text(encoding="utf-8")
    content: Mapping[str, Any] = json.loads(text)
    return content


def group_weight(number: int) -> float:
    """Frequency of a space group among known crystals; never zero."""
    return float(prior()["counts"].get(str(number), 0)) + 0.5


def ways(number: int, count: int, orbit: float, freedom: float) -> Floats:
    """Summed weights of combinations with 0 … ``count`` sites, by number of positions used.

    Args:
        number: space group.
        count: sites of one element in the conventional cell.
        orbit: cost of an orbit.
        freedom: cost of a free coordinate.

    Returns:
        [p + 1, count + 1]: row i uses the first i positions only.
    """
    table = np.zeros((len(positions(number)) + 1, count + 1))
    table[0, 0] = 1.0
    for i, position in enumerate(positions(number)):
        weight = math.exp(-orbit - freedom * position.freedom)
        table[i + 1] = table[i]
        for total in range(position.multiplicity, count + 1):
            # a position without free coordinates has at most one orbit
            source = table[i + 1] if position.freedom else table[i]
            table[i + 1, total] += weight * source[total - position.multiplicity]
    return table


@cache
def _ways(number: int, count: int) -> Floats:
    return ways(number, count, float(prior()["orbit"]), float(prior()["freedom"]))


def conventional_counts(
    setting: Setting, numbers: Sequence[int] | NDArray[np.int64]
) -> dict[int, int] | None:
    """Atoms of each element in the conventional cell; None if not integers."""
    species, counts = np.unique(np.asarray(numbers), return_counts=True)
    scaled = counts * setting.size
    if np.abs(scaled - np.rint(scaled)).max() > 1e-6:  # noqa: PLR2004
        return None
    return {int(z): round(float(c)) for z, c in zip(species, scaled, strict=True)}


def is_possible(setting: Setting, numbers: Sequence[int] | NDArray[np.int64]) -> bool:
    """True if each element alone fits on the positions of a setting."""
    counts = conventional_counts(setting, numbers)
    return counts is not None and all(_ways(setting.number, c)[-1, -1] > 0 for c in counts.values())


def draw(
    setting: Setting, numbers: Sequence[int] | NDArray[np.int64], rng: np.random.Generator
) -> Combination | None:
    """Draw positions for the atoms of a cell.

    Args:
        setting: space group in the cell.
        numbers: atomic numbers of the atoms to place, [n].
        rng: random numbers.

    Returns:
        A combination, or None if none was found (possibly because none exists).
    """
    counts = conventional_counts(setting, numbers)
    if counts is None or not is_possible(setting, numbers):
        return None
    for _ in range(_TRIES):
        chosen = {z: _draw_element(setting.number, count, rng) for z, count in counts.items()}
        fixed = [p.letter for some in chosen.values() for p in some if not p.freedom]
        if len(set(fixed)) == len(fixed):
            return chosen
    return None


def _draw_element(number: int, count: int, rng: np.random.Generator) -> list[Position]:
    """One combination of ``count`` sites, drawn with probability proportional to its weight."""
    table, every = _ways(number, count), positions(number)
    chosen: list[Position] = []
    i, left = len(every), count
    while left or i:
        position = every[i - 1]
        # either position i is not used (any more), or one of its orbits is selected
        if rng.random() * table[i, left] < table[i - 1, left]:
            i -= 1
            continue
        chosen.append(position)
        left -= position.multiplicity
        if not position.freedom:
            i -= 1
    return chosen[::-1]


def describe(combination: Combination) -> str:
    """Text of a combination: ``Zn 1a; P 2c; S 6i``."""
    return "; ".join(
        f"{SYMBOLS[z]} " + " ".join(f"{p.multiplicity}{p.letter}" for p in chosen)
        for z, chosen in sorted(combination.items())
    )


def site(number: int, position: Position, rng: np.random.Generator) -> Floats:
    """A random site [3] on a position, fractional in the conventional cell.

    Args:
        number: space group number.
        position: Wyckoff position of that group.
        rng: random stream of the structure.
    """
    wyckoff = next(w for w in spacegroups.group(number) if w.letter == position.letter)
    found: Floats = np.asarray(wyckoff.ops[0].operate(rng.random(3)), dtype=np.float64)
    return found
