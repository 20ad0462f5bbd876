"""What may move in a relaxation: space groups kept, atoms held.

A constraint is an orthogonal projection P on the coordinates of the minimiser
(:mod:`chggen.relaxation.bfgs`: nine of the deformation gradient F, then the atoms in the
starting cell). It is laid on the first inverse Hessian alone, B → PBP. All steps are then
in the range of P, and BFGS updates keep it so: nothing has to be projected on the way, and
rounding does not build up. torch-sim's FixSymmetry acts on the steps of torch-sim's own
optimisers, and at each of them; ours is not one of those.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats
from chggen.symmetry.analysis import EXACT, SymmetrisationError, primitive_operations, symmetrise
from chggen.symmetry.projection import cartesian, projection

Mask = NDArray[np.bool_]

#: Angle tolerance (degrees) of the space group; that of the screening.
ANGLE_TOLERANCE: Final = 10.0


def made_symmetric(crystal: Crystal, symprec: float) -> Crystal:
    """The crystal with its space group made exact; as it is where that is impossible."""
    for tolerance in (symprec, EXACT):
        try:
            return symmetrise(crystal, tolerance, ANGLE_TOLERANCE).crystal
        except SymmetrisationError:
            continue
    return crystal


def symmetric(crystal: Crystal) -> Floats | None:
    """Projection on what the space group (at a tolerance of 0.001 Å) leaves invariant.

    Returns:
        [9 + 3n, 9 + 3n], or None if there is no space group to keep. Operations are those
        of the primitive cell: a supercell keeps its translations and the rotations under
        which its own shape is not invariant.
    """
    try:
        found = primitive_operations(crystal, EXACT)
    except SymmetrisationError:
        return None
    turns = cartesian(found.rotations, found.cell)
    n = found.permutations.shape[1]
    atoms = projection(turns, found.permutations).reshape(n, 3, n, 3)
    cell = np.stack([np.kron(turn.T, turn.T) for turn in turns]).mean(axis=0)  # F' = Q^T F Q
    copies = len(crystal) // n
    total = np.zeros((9 + 3 * len(crystal),) * 2)
    total[:9, :9] = cell
    lifted = atoms[np.ix_(found.parent, range(3), found.parent, range(3))] / copies
    total[9:, 9:] = lifted.reshape(3 * len(crystal), -1)
    return total


def holding(movable: Mask) -> Floats:
    """Projection that moves some atoms only, and not the cell."""
    free = np.concatenate([np.zeros(9), np.repeat(movable, 3)])
    found: Floats = np.diag(free.astype(np.float64))
    return found
