"""In which cell a structure is exported, and with which symmetry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import SymmetrisationError, symmetrise

CellChoice = Literal["as-is", "primitive", "conventional"]
CELLS: Final[tuple[CellChoice, ...]] = ("as-is", "primitive", "conventional")


@dataclass(frozen=True)
class Tolerance:
    """Cell that is asked for, and tolerances of the symmetry.

    Args:
        cell: ``as-is`` is the table's own, unchanged; the others are standard cells of the
            symmetrised crystal.
        symprec: distance tolerance, Å.
        angle: angle tolerance, degrees.
    """

    cell: CellChoice
    symprec: float = 0.1
    angle: float = 10.0


@dataclass(frozen=True, eq=False)
class Placed:
    """A structure in the cell that was asked for.

    Args:
        crystal: the structure.
        symmetry: sentence on space group, tolerance and how far atoms were moved; why there is
            none where the crystal could not be symmetrised; empty for ``as-is``.
        number: space group of the symmetrised crystal; None if it is not symmetrised.
        standard: the cell is the conventional one of that space group.
    """

    crystal: Crystal
    symmetry: str = ""
    number: int | None = None
    standard: bool = False


def placed(row: Mapping[str, Any], wanted: Tolerance) -> Placed:
    """Structure of a row in the cell that is asked for.

    A crystal that cannot be symmetrised at this tolerance stays as it is.

    Args:
        row: of a table, with a structure.
        wanted: cell and tolerances.
    """
    crystal = Crystal.from_row(row)
    if wanted.cell == "as-is":
        return Placed(crystal)
    at = f"at {wanted.symprec:g} Å, {wanted.angle:g}°"
    try:
        found = symmetrise(crystal, wanted.symprec, wanted.angle, wanted.cell)
    except SymmetrisationError as error:
        return Placed(crystal, f"not symmetrised {at}: {error}")
    sentence = (
        f"space group {found.symbol} ({found.number}) {at}; symmetrised: atoms moved by at most"
        f" {found.displacement_max:.4f} Å, cell strained by at most {found.strain_max:.4f}"
    )
    return Placed(found.crystal, sentence, found.number, standard=wanted.cell == "conventional")
