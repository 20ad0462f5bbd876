"""The largest campaign that fits into a time."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from chggen.prediction.cost import (
    DRIVER,
    Machine,
    Size,
    ending_seconds,
    framework_seconds,
    seconds,
)
from chggen.structure import composition as comp

#: Share of a budget that is planned; the rest is for what takes longer than expected.
PLANNED: Final = 0.75
#: Atoms of the largest cells, where the formula is not larger itself.
_MOST_ATOMS: Final = 24
_UNITS: Final = (1, 2, 4)
#: Structures of a shard: where there are more, a shard more is begun for every core.
_SHARD: Final = 60
#: Structures of a shard in the smallest campaign and in the largest.
_LEAST: Final = 4
_LARGEST: Final = 6000
#: (structures per core, candidates, share of prototypes, draws of guests per framework,
#: candidates of each, most selected), from that many structures on. Known prototypes cost next
#: to nothing, so that they are half of a small search.
_EFFORT: Final = (
    (0, 2, 0.5, 0, 4, 4),
    (6, 4, 0.5, 0, 4, 6),
    (10, 4, 0.5, 1, 4, 8),
    (16, 8, 0.25, 1, 4, 10),
    (28, 16, 0.25, 1, 8, 16),
    (45, 16, 0.25, 3, 8, 20),
)
#: Ways to place guests, from the cheapest: (draws per framework, candidates of each).
_FILLINGS: Final = ((0, 4), (1, 2), (1, 4), (2, 4), (2, 8), (3, 8))


def sizes(formula: str, cores: int) -> Iterator[Size]:
    """Campaigns of a composition, from the smallest to the largest.

    Args:
        formula: canonical.
        cores: jobs at a time.
    """
    atoms = sum(comp.parse_formula(formula).values())
    number = _LEAST
    while number <= _LARGEST:
        _, candidates, share, draws, fillings, selected = next(
            effort for effort in reversed(_EFFORT) if effort[0] <= number
        )
        # two structures of each size of cell at least
        fitting = [z for z in _UNITS if z == 1 or z * atoms <= _MOST_ATOMS]
        units = tuple(fitting[: max(1, number // 2)])
        turns = -(-number // _SHARD)
        yield Size(
            atoms=atoms,
            units=units,
            shards=cores * turns,
            lattices=-(-number // turns),
            candidates=candidates,
            share=share,
            draws=draws,
            fillings=fillings,
            selected=selected,
        )
        number = max(number + 1, round(number * 1.1))


def plan(formula: str, budget: float, machine: Machine) -> Size | None:
    """The largest campaign that fits into a time; None if not even the smallest does.

    Args:
        formula: canonical.
        budget: seconds.
        machine: that runs it.
    """
    best = None
    for size in sizes(formula, machine.cores):
        if seconds(size, machine) > PLANNED * budget:
            break
        best = size
    return best


def least_seconds(formula: str, machine: Machine) -> float:
    """The smallest budget that a campaign of a composition needs.

    Args:
        formula: canonical.
        machine: that runs it.
    """
    return seconds(next(sizes(formula, machine.cores)), machine) / PLANNED


def refit(size: Size, left: float, machine: Machine) -> Size:
    """The same campaign with as much inpainting as fits into the time that is left.

    Never more than was planned.

    Args:
        size: as planned; its structures are generated and relaxed.
        left: seconds.
        machine: as fast as it turned out to be.
    """
    best = replace(size, draws=0)
    for draws, fillings in _FILLINGS:
        if draws > size.draws or fillings > size.fillings:
            continue
        some = replace(size, draws=draws, fillings=fillings)
        cost = framework_seconds(some, machine) + ending_seconds(some, machine)
        if cost + DRIVER * machine.start <= left:
            best = some
    return best
