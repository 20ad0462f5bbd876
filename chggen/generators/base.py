"""Generators that provide whole structures instead of filling the cells of the campaign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from chggen.config.systems import Symmetry
from chggen.structure.task import Placed, Progress


@dataclass(frozen=True)
class Order:
    """Request of a shard.

    Args:
        composition: canonical reduced formula.
        seed: lattice seed of the shard, from 0.
        seeds: total number of lattice seeds (shards) of the composition.
        random_seeds: one per structure; their number is the largest number of structures.
        formula_units: numbers of formula units that a cell may have.
        volume_per_atom: Å³; None: as predicted from the composition.
        symmetry: space groups that are asked for, as in the system's config.
    """

    composition: str
    seed: int
    seeds: int
    random_seeds: Sequence[int]
    formula_units: tuple[int, ...] = (1,)
    volume_per_atom: float | None = None
    symmetry: Symmetry = "auto"


@dataclass(frozen=True)
class Loaded:
    """One structure or the reason of its failure, and its origin (a file, a line)."""

    placed: Placed
    origin: str = ""


@runtime_checkable
class Source(Protocol):
    """Provides structures with cells of their own."""

    @property
    def name(self) -> str:
        """Key of the generator in the config."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """Digests of the files that it depends on, for the header of the table."""

    def structures(self, order: Order, progress: Progress | None = None) -> list[Loaded]:
        """Return one to ``len(order.random_seeds)`` results; a failure is also a result."""
