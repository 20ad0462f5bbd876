"""Space groups of crystals, and exact symmetrisation of crystals.

spglib (doi:10.1080/27660400.2024.2384822) finds the approximate operations of a structure.
:func:`symmetrise` then projects cell and coordinates onto the subspace that these operations
leave invariant, in the input setting: same axes, same atoms in the same order, same origin.
The displacement of every atom is therefore known exactly, which a change to the standard
setting would hide.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import spglib
from numpy.typing import NDArray

from chggen.errors import ChggenError
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

HostCell = Literal["input", "primitive", "conventional"]
Operations = tuple[NDArray[np.int64], Floats]  # rotations [m, 3, 3], translations [m, 3]

#: Tolerance (Å) at which the space group of a symmetrised structure must be found.
EXACT: Final = 1e-3
#: Largest misfit (Å) of a symmetrised atom under an operation, due to rounding only.
_ROUNDING: Final = 1e-6
#: Smallest height and longest edge (Å) of a cell passed to spglib. spglib terminates the
#: whole process on NaN, so invalid crystals must not reach it.
_LOWEST: Final = 0.1
_LONGEST: Final = 1e4
_P_MINUS_1: Final = 2  # number of the space group with inversion only


class SymmetrisationError(ChggenError):
    """The operations found at this tolerance cannot be imposed; the message states why."""


@dataclass(frozen=True)
class SpaceGroup:
    """Result of a space group search.

    Args:
        number: international number, 1 if none was found.
        symbol: Hermann-Mauguin symbol.
        reason: why the search failed; empty otherwise.
    """

    number: int
    symbol: str
    reason: str = ""

    @property
    def symmetric(self) -> bool:
        """True above P-1, the success criterion of the paper."""
        return self.number > _P_MINUS_1


@dataclass(frozen=True, eq=False)
class Symmetrised:
    """An exactly symmetrised crystal, and its difference from the input.

    Args:
        crystal: the symmetric crystal, in the requested cell.
        aligned: the same crystal with the atoms and in the setting of the input.
        number: its space group number, found at :data:`EXACT`.
        symbol: its Hermann-Mauguin symbol.
        displacement_rms: RMS displacement of the atoms in Å, homogeneous strain and
            mean translation removed.
        displacement_max: largest such displacement, Å.
        strain_max: largest absolute principal strain of the cell.
        multiplicity: atoms in ``crystal`` over atoms in the input.
        order: operations per cell of the input, including pure translations; a higher order
            means higher symmetry (a supergroup always has more).
    """

    crystal: Crystal
    aligned: Crystal
    number: int
    symbol: str
    displacement_rms: float
    displacement_max: float
    strain_max: float
    multiplicity: Fraction
    order: int


def space_group(crystal: Crystal, symprec: float, angle_tolerance: float) -> SpaceGroup:
    """Space group at a tolerance (Å, degrees); P1 with a reason if the search fails.

    Never raises for an invalid structure (not finite, flat, overlapping atoms).

    Args:
        crystal: any setting, primitive or not.
        symprec: distance tolerance, Å.
        angle_tolerance: degrees.
    """
    try:
        dataset = _dataset(_reduced(crystal)[0], symprec, angle_tolerance)
    except SymmetrisationError as error:
        return SpaceGroup(1, "P1", str(error))
    return SpaceGroup(int(dataset.number), str(dataset.international))


def space_groups(
    crystal: Crystal, tolerances: Iterable[float], angle_tolerance: float
) -> list[int]:
    """Space group number at each distance tolerance (Å), in that order.

    Args:
        crystal: any setting.
        tolerances: distance tolerances, Å.
        angle_tolerance: degrees.
    """
    return [space_group(crystal, t, angle_tolerance).number for t in tolerances]


def symmetry_dataset(
    crystal: Crystal, symprec: float, angle_tolerance: float = -1.0
) -> tuple[Crystal, spglib.SpglibDataset]:
    """The crystal in a reduced cell, atoms in their order, and spglib's dataset of that.

    Args:
        crystal: any setting, primitive or not.
        symprec: distance tolerance, Å.
        angle_tolerance: degrees; -1: as spglib derives it from the other.

    Raises:
        SymmetrisationError: no space group is found.
    """
    reduced, _ = _reduced(crystal)
    return reduced, _dataset(reduced, symprec, angle_tolerance)


def symmetrise(
    crystal: Crystal, symprec: float, angle_tolerance: float, cell: HostCell = "input"
) -> Symmetrised:
    """The nearest crystal with the space group found at a tolerance.

    The metric tensor G and the displacements are averaged over the operations (W, w):
    G' = ⟨WᵀGW⟩ and x'ᵢ = xᵢ + ⟨W⁻¹(x_σ(i) - w) - xᵢ⟩, where σ is the permutation of the
    atoms by the operation. Both are orthogonal projections onto the invariant subspace, so
    no symmetric structure of this group is nearer. The new cell is the old one times a
    symmetric stretch (no rotation), at the old volume. The mean translation of the atoms is
    removed, which is the best choice of the origin of the group.

    Args:
        crystal: any setting, primitive or not.
        symprec: distance tolerance in Å.
        angle_tolerance: angle tolerance in degrees.
        cell: setting of the result: that of the input, or spglib's standard primitive or
            conventional cell of the symmetrised structure (with new atoms, but
            displacements and strain still refer to the input cell).

    Raises:
        SymmetrisationError: spglib finds no space group, an operation is not one-to-one on
            the atoms, the operations are not a group, or the result does not have them
            at :data:`EXACT`. Occurs at tolerances near interatomic distances.
    """
    primitive, number = _primitive(crystal, symprec, angle_tolerance)
    dataset = _dataset(primitive.crystal, symprec, angle_tolerance)
    if dataset.number != number:
        raise SymmetrisationError("the primitive cell has another space group")
    operations = dataset.rotations.astype(np.int64), np.asarray(dataset.translations)
    small, strain = _project_cell(primitive.crystal.cell, operations[0])
    shift, _ = _project_positions(primitive.crystal, small, operations)
    ideal = Crystal.of(
        small, primitive.crystal.atomic_numbers, primitive.crystal.frac_coords + shift
    )
    exact = _dataset(ideal, EXACT, -1.0)
    if len(exact.rotations) < len(operations[0]):
        raise SymmetrisationError(
            f"{dataset.international} found, but only {exact.international} after imposing it"
        )
    shift = primitive.shift + shift[primitive.parent] @ np.linalg.inv(primitive.multiples)
    shift -= shift.mean(axis=0)
    large = primitive.multiples @ small
    moved = np.linalg.norm(shift @ large, axis=1)
    aligned = Crystal.of(large, crystal.atomic_numbers, crystal.frac_coords + shift)
    order = len(exact.rotations) * len(crystal) // len(ideal)
    ideal = aligned if cell == "input" else _standard(ideal, primitive=cell == "primitive")
    return Symmetrised(
        crystal=ideal,
        aligned=aligned,
        number=int(exact.number),
        symbol=str(exact.international),
        displacement_rms=float(np.sqrt(np.mean(moved**2))),
        displacement_max=float(moved.max()),
        strain_max=strain,
        multiplicity=Fraction(len(ideal), len(crystal)),
        order=order,
    )


class PrimitiveOperations(NamedTuple):
    """Space group operations of a crystal in its primitive cell."""

    cell: Floats  # primitive cell, Å
    rotations: NDArray[np.int64]  # [m, 3, 3] in its axes, fractional coordinates as columns
    permutations: NDArray[np.int64]  # [m, n] image of each of its atoms under each operation
    parent: NDArray[np.int64]  # [n] primitive atom that each atom of the crystal is a copy of


def primitive_operations(crystal: Crystal, symprec: float) -> PrimitiveOperations:
    """Operations of a symmetric crystal; raises the same errors as :func:`symmetrise`."""
    primitive, _ = _primitive(crystal, symprec, -1.0)
    small = primitive.crystal
    dataset = _dataset(small, symprec, -1.0)
    operations = dataset.rotations.astype(np.int64), np.asarray(dataset.translations)
    _, permutations = _project_positions(small, small.cell, operations)
    return PrimitiveOperations(small.cell, operations[0], permutations, primitive.parent)


@dataclass(frozen=True, eq=False)
class _Primitive:
    """A crystal averaged over its primitive cell, and its relation to the input.

    ``multiples @ crystal.cell`` is the input cell; input atom i was moved by ``shift[i]``
    (fractions of the input cell) onto a copy of atom ``parent[i]`` of ``crystal``.
    """

    crystal: Crystal
    multiples: Floats
    parent: NDArray[np.int64]
    shift: Floats


def _primitive(crystal: Crystal, symprec: float, angle_tolerance: float) -> tuple[_Primitive, int]:
    """Average over the pure translations found; also returns the space group number.

    This is the first step because a supercell (2×1×1 of a cubic cell) is not invariant under
    all rotations of its crystal, and spglib returns only those under which it is.
    """
    crystal, back = _reduced(crystal)
    dataset = _dataset(crystal, symprec, angle_tolerance)
    pure = (dataset.rotations == np.eye(3, dtype=int)).all(axis=(1, 2))
    rotations, translations = dataset.rotations[pure], np.asarray(dataset.translations)[pure]
    inverse = np.linalg.inv(np.asarray(dataset.primitive_lattice, dtype=np.float64))
    multiples = np.rint(crystal.cell @ inverse)
    if round(abs(np.linalg.det(multiples))) != len(rotations):
        raise SymmetrisationError("the translations found do not fit the primitive cell")
    shift, permutations = _project_positions(crystal, crystal.cell, (rotations, translations))
    first, parent = np.unique(permutations.min(axis=0), return_inverse=True)
    frac = (crystal.frac_coords + shift)[first] @ multiples
    cell = np.linalg.solve(multiples, crystal.cell)
    found = Crystal.of(cell, crystal.atomic_numbers[first], frac)
    if len(found) * len(rotations) != len(crystal):
        raise SymmetrisationError("the translations found do not form a group on the atoms")
    shift = shift @ np.linalg.inv(back)
    return _Primitive(found, back @ multiples, parent, shift), int(dataset.number)


def _reduced(crystal: Crystal) -> tuple[Crystal, Floats]:
    """The crystal in its Niggli cell, and the integer matrix of the inverse transformation.

    In skewed cells spglib finds wrong translations if the atoms are disordered, so it is
    only called with reduced cells; the result is then the same in every setting.
    """
    if not len(crystal):
        raise SymmetrisationError("no atoms")
    if not crystal.is_finite:
        raise SymmetrisationError("cell or coordinates are not finite")
    faces = np.linalg.norm(np.cross(crystal.cell, np.roll(crystal.cell, 1, axis=0)), axis=1)
    longest = np.linalg.norm(crystal.cell, axis=1).max()
    if longest > _LONGEST or crystal.volume < _LOWEST * faces.max():
        raise SymmetrisationError("the cell is flat or too long")
    cell = spglib.niggli_reduce(crystal.cell)
    if cell is None:
        raise SymmetrisationError("the cell cannot be reduced")
    back = np.rint(crystal.cell @ np.linalg.inv(cell))
    # spglib loses precision on large coordinates
    frac = (crystal.frac_coords - np.floor(crystal.frac_coords)) @ back
    return Crystal.of(np.linalg.solve(back, crystal.cell), crystal.atomic_numbers, frac), back


def _dataset(crystal: Crystal, symprec: float, angle_tolerance: float) -> spglib.SpglibDataset:
    """Dataset of spglib for a reduced crystal; raises if spglib finds no space group."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its error handling changes
            dataset = spglib.get_symmetry_dataset(_cell(crystal), symprec, angle_tolerance)
    except spglib.SpglibError as error:
        raise SymmetrisationError(f"spglib: {error}") from error
    if dataset is None:
        raise SymmetrisationError(f"spglib finds no space group at symprec {symprec:g} Å")
    return dataset


def _cell(crystal: Crystal) -> tuple[Any, Any, Any]:
    """The crystal as input of spglib."""
    frac = crystal.frac_coords - np.floor(crystal.frac_coords)
    return crystal.cell, frac, crystal.atomic_numbers


def _project_cell(cell: Floats, rotations: NDArray[np.int64]) -> tuple[Floats, float]:
    """Cell with a metric tensor invariant under the rotations; largest principal strain."""
    distinct = np.unique(rotations, axis=0)
    products = np.einsum("aij,bjk->abik", distinct, distinct).reshape(-1, 9)
    if len(np.unique(products, axis=0)) != len(distinct):
        raise SymmetrisationError("the rotations found do not form a group")
    metric = cell @ cell.T
    mean = np.einsum("mki,kl,mlj->ij", distinct, metric, distinct) / len(distinct)
    # averaging metric tensors expands the cell by second order in the strain; the relaxed
    # volume is a physical result, so it is preserved
    mean *= np.cbrt(np.linalg.det(metric) / np.linalg.det(mean))
    inverse = np.linalg.inv(cell)
    squares, axes = np.linalg.eigh(inverse @ mean @ inverse.T)
    stretches = np.sqrt(squares)
    return cell @ (axes * stretches) @ axes.T, float(np.abs(stretches - 1.0).max())


def _project_positions(
    crystal: Crystal, cell: Floats, operations: Operations
) -> tuple[Floats, NDArray[np.int64]]:
    """Fractional displacements [n, 3] that make the coordinates invariant.

    Distances are measured in ``cell``. Also returns the image of each atom under each
    operation, [m, n].
    """
    wrap = _Wrap(cell)
    frac, z = crystal.frac_coords, crystal.atomic_numbers
    foreign = z[:, None] != z[None]
    shift = np.zeros_like(frac)
    permutations = []
    for rotation, translation in zip(*operations, strict=True):
        mapped = frac @ rotation.T + translation
        distance = np.linalg.norm(wrap(mapped[:, None] - frac[None]) @ cell, axis=-1)
        distance[foreign] = np.inf
        sigma = distance.argmin(axis=1)
        if len(np.unique(sigma)) != len(sigma):
            raise SymmetrisationError("an operation maps two atoms onto one")
        shift += wrap((frac[sigma] - translation) @ np.linalg.inv(rotation).T - frac)
        permutations.append(sigma)
    shift /= len(permutations)
    # permutations and images were chosen one by one: only the final structure shows if they
    # are consistent
    ideal = frac + shift
    for rotation, translation, sigma in zip(*operations, permutations, strict=True):
        misfit = wrap(ideal @ rotation.T + translation - ideal[sigma])
        if np.linalg.norm(misfit @ cell, axis=1).max() > _ROUNDING:
            raise SymmetrisationError("the operations found do not form a group on the atoms")
    return shift, np.array(permutations)


class _Wrap:
    """Callable that maps fractional vectors to their image nearest to zero.

    Rounding is done in the Niggli-reduced cell, where it gives the shortest image of every
    vector shorter than half the smallest height, even if the input cell is skewed. Longer
    vectors are ambiguous and are detected later.
    """

    def __init__(self, cell: Floats) -> None:
        reduced = spglib.niggli_reduce(cell)
        if reduced is None:
            raise SymmetrisationError("the cell cannot be reduced")
        self.forth = np.rint(cell @ np.linalg.inv(reduced))
        self.back = np.rint(np.linalg.inv(self.forth))

    def __call__(self, vectors: Floats) -> Floats:
        inside = vectors @ self.forth
        wrapped: Floats = (inside - np.rint(inside)) @ self.back
        return wrapped


def _standard(ideal: Crystal, *, primitive: bool) -> Crystal:
    """Standard cell (by spglib) of an exactly symmetric crystal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.standardize_cell(_cell(ideal), to_primitive=primitive, symprec=EXACT)
    if found is None:
        raise SymmetrisationError("spglib has no standard cell for the symmetrised structure")
    lattice, positions, numbers = found[:3]
    return Crystal.of(lattice, numbers, positions)
