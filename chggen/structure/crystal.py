"""A crystal as three arrays, and its way to table rows, pymatgen and files.

Inside chggen a structure is a :class:`Crystal`: cell (row vectors, Å), atomic numbers
and fractional coordinates. pymatgen is imported only where it is needed.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from chggen.errors import TableError
from chggen.structure.distances import Floats, reduced_cell, shortest_distance

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Steps of the grids of :func:`structure_key`, per lattice vector and per Å, and their
#: shift in steps. The first is prime, so that simple fractions are no multiples of a step.
_FRAC_STEPS = 9973
_CELL_STEPS = 997.0
_SHIFT = math.sqrt(2) - 1


@dataclass(frozen=True, eq=False)
class Crystal:
    """A periodic structure.

    Args:
        cell: 3×3 row vectors in Å.
        atomic_numbers: [n] integers.
        frac_coords: [n, 3] fractional coordinates (any image).
    """

    cell: Floats
    atomic_numbers: NDArray[np.int64]
    frac_coords: Floats
    info: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cell: ArrayLike, atomic_numbers: ArrayLike, frac_coords: ArrayLike) -> Self:
        """Build from anything array-like; raises ``ValueError`` on wrong shapes.

        Args:
            cell: 3×3 row vectors, Å.
            atomic_numbers: [n].
            frac_coords: [n, 3].
        """
        z = np.asarray(atomic_numbers, dtype=np.int64).reshape(-1)
        return cls(
            np.asarray(cell, dtype=np.float64).reshape(3, 3),
            z,
            np.asarray(frac_coords, dtype=np.float64).reshape(len(z), 3),
        )

    def __len__(self) -> int:
        """Return the number of atoms."""
        return len(self.atomic_numbers)

    @cached_property
    def volume(self) -> float:
        """Cell volume in Å³."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def volume_per_atom(self) -> float:
        """Cell volume over number of atoms, Å³."""
        return self.volume / max(len(self), 1)

    @property
    def cart_coords(self) -> Floats:
        """Cartesian coordinates [n, 3] in Å."""
        return self.frac_coords @ self.cell

    @cached_property
    def min_distance(self) -> float:
        """Shortest interatomic distance in Å, periodic images included."""
        return shortest_distance(self.cell, self.frac_coords)

    @property
    def is_finite(self) -> bool:
        """True if cell and coordinates are numbers."""
        return bool(np.isfinite(self.cell).all() and np.isfinite(self.frac_coords).all())

    def columns(self) -> dict[str, Any]:
        """Structure columns of a table row, coordinates wrapped into [0, 1)."""
        frac = self.frac_coords - np.floor(self.frac_coords)
        frac[frac >= 1.0] = 0.0  # -1e-17 wraps to exactly 1
        return {
            "n_atoms": len(self),
            "cell": self.cell.tolist(),
            "atomic_numbers": self.atomic_numbers.tolist(),
            "frac_coords": frac.tolist(),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Crystal of a table row; raises :class:`TableError` if the row has none."""
        if not row.get("n_atoms") or row.get("cell") is None:
            raise TableError(f"row {row.get('id')}: has no structure")
        return cls.of(row["cell"], row["atomic_numbers"], row["frac_coords"])

    def to_structure(self) -> "Structure":
        """Pymatgen ``Structure`` with the same atom order."""
        from pymatgen.core import Lattice, Structure

        return Structure(
            Lattice(self.cell), [int(z) for z in self.atomic_numbers], self.frac_coords
        )

    @classmethod
    def from_structure(cls, structure: "Structure") -> Self:
        """Crystal of an ordered pymatgen ``Structure``, whose arrays are read-only."""
        cell, frac = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
        return cls.of(cell, structure.atomic_numbers, frac)

    def take(self, index: ArrayLike) -> Self:
        """Only the atoms picked by an index or boolean mask."""
        pick = np.asarray(index)
        return type(self)(self.cell, self.atomic_numbers[pick], self.frac_coords[pick])


def in_reduced_cell(crystal: Crystal) -> Crystal:
    """The same atoms in the same order and places, in the Minkowski-reduced cell.

    Raises:
        ValueError: the cell has no volume.
    """
    cell = reduced_cell(crystal.cell)
    # integer up to rounding: takes fractional coordinates to the reduced cell
    change = np.round(crystal.cell @ np.linalg.inv(cell))
    return Crystal.of(cell, crystal.atomic_numbers, crystal.frac_coords @ change)


def has_structure(row: Mapping[str, Any]) -> bool:
    """True if a table row holds a structure."""
    return bool(row.get("n_atoms")) and row.get("cell") is not None


def row_id(*parts: object) -> str:
    """Hash of whatever makes a row what it is: 16 hex digits of sha256.

    Structures enter by their :func:`structure_key`, never by their exact numbers.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def structure_key(crystal: Crystal) -> str:
    """Digest of a structure that rounding errors do not change: 16 hex digits of sha256.

    Cell vectors and fractional coordinates are placed on grids of some 0.001 Å and 0.0001.
    The grids are shifted so that no special position (0, 1/2, 1/3, 1/8, ...) lies near
    the border of two of their steps, where a difference of 1e-12 would be seen.
    """
    frac = np.floor(crystal.frac_coords * _FRAC_STEPS + _SHIFT).astype(np.int64) % _FRAC_STEPS
    cell = np.floor(crystal.cell * _CELL_STEPS + _SHIFT).astype(np.int64)
    content = (cell.tolist(), crystal.atomic_numbers.tolist(), frac.tolist())
    return hashlib.sha256(repr(content).encode()).hexdigest()[:16]
