"""Generators that bring whole structures instead of filling the campaign's cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from chggen.structure.task import Placed, Progress


@dataclass(frozen=True)
class Order:
    """What a shard asks for.

    Args:
        composition: canonical reduced formula.
        seed: lattice seed of the shard, from 0.
        seeds: lattice seeds (shards) of the composition in all.
        random_seeds: one per structure that is wanted at most.
    """

    composition: str
    seed: int
    seeds: int
    random_seeds: Sequence[int]


@dataclass(frozen=True)
class Loaded:
    """One structure, or why there is none, and where it comes from (a file, a line)."""

    placed: Placed
    origin: str = ""


@runtime_checkable
class Source(Protocol):
    """Gives structures with cells of their own."""

    @property
    def name(self) -> str:
        """Key of the generator in the config."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests of the files it rests on, for the header of the table."""

    def structures(self, order: Order, progress: Progress | None = None) -> list[Loaded]:
        """Give one to ``len(order.random_seeds)`` results; a failure is one of them."""
