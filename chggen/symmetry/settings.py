"""Space groups that fit a cell, and their operations in that cell.

A space group fits a cell if both have the same lattice: same crystal family, same centring.
spglib finds the conventional basis of the empty lattice. If a lattice can have a group in
several orientations (which axis of an orthorhombic cell is c, which vector of a monoclinic
cell is the glide direction), each orientation is a separate setting. Space groups, settings
and Wyckoff positions are those of International Tables A as in pyxtal (Fredericks et al.,
doi:10.1016/j.cpc.2020.107810).
"""

import itertools
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import spglib
from numpy.typing import NDArray

from chggen.config.stages import Bravais

if TYPE_CHECKING:
    from pyxtal.symmetry import Group

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Tolerance (Å) of the lattice symmetry of a cell.
SYMPREC: Final = 5e-3
_ROUNDING: Final = 1e-6

#: First and last space group of each crystal family.
_FAMILIES: Final[dict[str, tuple[int, int]]] = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "hexagonal": (143, 194),
    "cubic": (195, 230),
}


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group in a cell: ``frac_cell = frac_conventional @ basis + origin``.

    Args:
        number: space group number.
        basis: [3, 3] conventional vectors as rows, in units of the cell's vectors.
        origin: [3] origin of the conventional setting, fractional in the cell.
    """

    number: int
    basis: Floats
    origin: Floats

    @property
    def size(self) -> float:
        """Ratio of the volumes of the conventional cell and the cell."""
        return float(abs(np.linalg.det(self.basis)))


@cache
def group(number: int) -> "Group":
    """Pyxtal's tables of a space group (cached, because they are slow to make)."""
    from pyxtal.symmetry import Group

    return Group(number)


@cache
def symbols() -> dict[int, str]:
    """Hermann-Mauguin symbol of every space group number."""
    kinds = (spglib.get_spacegroup_type(hall) for hall in range(1, 531))
    found: dict[int, str] = {}
    for kind in kinds:
        found.setdefault(int(kind.number), str(kind.international_short))
    return found


@cache
def standard_hall(number: int) -> int:
    """Hall number (spglib) of the setting of the Wyckoff tables."""
    ours = {_key(op.rotation_matrix, op.translation_vector) for op in group(number)[0].ops}
    for hall in range(1, 531):
        if int(spglib.get_spacegroup_type(hall).number) == number:
            data = spglib.get_symmetry_from_database(hall)
            pairs = zip(data["rotations"], data["translations"], strict=True)
            if {_key(*pair) for pair in pairs} == ours:
                return hall
    raise ValueError(f"space group {number}: no setting of spglib is that of pyxtal")


def _key(rotation: Any, translation: Any) -> tuple[int, ...]:  # noqa: ANN401
    shift = np.rint(np.asarray(translation) * 24).astype(int) % 24
    return (*np.rint(rotation).astype(int).ravel().tolist(), *shift.tolist())


def family(number: int) -> str:
    """Crystal family of a space group; trigonal ones count as hexagonal."""
    return next(name for name, (low, high) in _FAMILIES.items() if low <= number <= high)


def bravais_type(number: int) -> Bravais:
    """Bravais type of a space group's lattice, as in ``chggen.config``."""
    if symbols()[number].startswith("R"):
        return "rhombohedral"
    name: Any = family(number)
    return name


def lattice_kind(number: int) -> tuple[Bravais, str]:
    """Bravais type and centring of a space group, as in :mod:`chggen.cells.lattice`."""
    return bravais_type(number), _centring(number).replace("R", "P")


def _centring(number: int) -> str:
    letter = symbols()[number][0]
    return "C" if letter == "A" else letter


@cache
def groups_of(holohedry: int) -> tuple[int, ...]:
    """Space groups whose lattice has the space group ``holohedry``."""
    low, high = _FAMILIES[family(holohedry)]
    return tuple(n for n in range(low, high + 1) if _centring(n) == _centring(holohedry))


def _ways(number: int) -> list[Ints]:
    """Bases of a group relative to the standard basis of its lattice, as rows."""
    name, letter = family(number), symbols()[number][0]
    if name == "orthorhombic":
        orders = list(itertools.permutations(range(3)))
        if letter == "C":  # the centred face remains between the first two axes
            orders = [(0, 1, 2), (1, 0, 2)]
        elif letter == "A":
            orders = [(2, 0, 1), (2, 1, 0)]
        ways = [np.eye(3, dtype=np.int64)[list(order)] for order in orders]
        return [way * round(np.linalg.det(way)) for way in ways]
    if name == "monoclinic" and letter == "P":  # a glide along c, a or a + c
        return [
            np.array(rows, dtype=np.int64)
            for rows in (
                [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
                [[0, 0, 1], [0, -1, 0], [1, 0, 0]],
                [[1, 0, 0], [0, 1, 0], [1, 0, 1]],
            )
        ]
    return [np.eye(3, dtype=np.int64)]


def settings_of(cell: Floats, symprec: float = SYMPREC) -> list[Setting]:
    """Every setting of every space group that fits a cell.

    Args:
        cell: 3×3 row vectors in Å, primitive for its lattice.
        symprec: tolerance (Å) of the lattice symmetry of the cell.

    Returns:
        Settings by space group number; empty if spglib fails on the cell.
    """
    try:
        data = spglib.get_symmetry_dataset((cell, [[0.0] * 3], [1]), symprec)
    except spglib.SpglibError:
        return []
    if data is None:
        return []
    standard = np.linalg.inv(np.asarray(data.transformation_matrix, dtype=np.float64)).T
    origin = np.zeros(3)
    return [
        Setting(number, way @ standard, origin)
        for number in groups_of(int(data.number))
        for way in _ways(number)
    ]


def operations(setting: Setting) -> tuple[Ints, Floats]:
    """All operations of a setting in its cell, one per coset of the cell's translations.

    Returns:
        Rotations [m, 3, 3] (fractional coordinates as columns) and translations [m, 3] in
        [0, 1); the identity is first.

    Raises:
        ValueError: the cell does not have the lattice of the group (e.g. a skewed supercell).
    """
    basis = setting.basis
    back = np.linalg.inv(basis)
    general = group(setting.number)[0].ops
    rotations = np.array([basis.T @ op.rotation_matrix @ back.T for op in general])
    whole = np.rint(rotations).astype(np.int64)
    if np.abs(rotations - whole).max() > _ROUNDING:
        raise ValueError("the cell does not keep the space group's rotations")
    shifts = np.array([op.translation_vector for op in general]) @ basis
    shifts = shifts + setting.origin - whole @ setting.origin
    moves = _lattice_translations(basis)
    rotations = np.repeat(whole, len(moves), axis=0)
    translations = (shifts[:, None] + moves).reshape(-1, 3)
    translations -= np.floor(translations + _ROUNDING)
    keys = np.concatenate([rotations.reshape(-1, 9), np.rint(translations * 1e5) % 100_000], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    first.sort()
    return rotations[first], translations[first]


def _lattice_translations(basis: Floats) -> Floats:
    """Translations of the conventional lattice that are not translations of the cell."""
    span = np.arange(-2, 3)
    steps = np.stack(np.meshgrid(span, span, span, indexing="ij"), -1).reshape(-1, 3) @ basis
    steps -= np.floor(steps + _ROUNDING)
    _, first = np.unique(np.rint(steps * 1e5) % 100_000, axis=0, return_index=True)
    found: Floats = steps[np.sort(first)]
    return found[np.argsort(np.abs(found).sum(axis=1), kind="stable")]
