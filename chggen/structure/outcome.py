"""A crystal, or why there is none: what every step hands on for one structure."""

from dataclasses import dataclass, field
from typing import Final

from chggen.errors import Status
from chggen.structure.crystal import Crystal

#: Å³ per atom under which a cell is taken for an error (the densest solids have 3).
LEAST_VOLUME: Final = 1.0


@dataclass(frozen=True)
class Outcome:
    """One structure, or why there is none.

    Args:
        crystal: the structure; None if there is none.
        reason: why there is none, in one line; empty otherwise.
        status: of a table row without a structure.
    """

    crystal: Crystal | None
    reason: str = ""
    status: Status = field(default=Status.FAILED, kw_only=True)


def has_room(crystal: Crystal) -> bool:
    """True if cell and coordinates are finite and there is more than 1 Å³ per atom."""
    return crystal.is_finite and crystal.volume_per_atom > LEAST_VOLUME
