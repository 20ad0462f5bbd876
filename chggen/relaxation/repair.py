"""Atoms on top of each other pushed apart, by the repulsion alone, before a relaxation."""

from typing import Final

import numpy as np
import torch

from chggen.potential.interface import MAX_NEIGHBOURS, density_neighbours, state_of
from chggen.relaxation import repulsion
from chggen.structure.crystal import Crystal

#: The repulsion begins at least this far (Å) beyond the limit, so that it is passed in the end.
MARGIN: Final = 0.05

#: Most steps; what has not come apart by then has no room.
MAX_STEPS: Final = 200

#: Longest move of an atom in a step, Å.
MAX_MOVE: Final = 0.1

#: Moves (Å) below which nothing touches any more, or all is stuck.
AT_REST: Final = 1e-3

#: Atoms closer than this (Å) have no direction to part in; all are shaken by as much.
COINCIDENCE: Final = 0.02


def repaired(crystal: Crystal, limit: float) -> Crystal | None:
    """A crystal with a distance below the limit, pushed apart until no repulsion is left.

    (At the limit itself, 0.5 Å, the potential still pulls the wrong way.) Every atom follows
    the force of the repulsion at its own stiffness; the cell and all atoms that touch
    nothing stay. Where there is no room for that, being above the limit is enough. Where atoms
    coincide, the direction comes from random numbers that depend on the number of atoms only.

    Args:
        crystal: what is relaxed.
        limit: shortest distance that it may start with, Å.

    Returns:
        None if nothing was to be repaired, or it cannot be: not a number, too dense, a cell
        shorter than the limit.
    """
    if not len(crystal) or not crystal.is_finite or density_neighbours(crystal) > MAX_NEIGHBOURS:
        return None
    if crystal.min_distance >= limit:
        return None
    frac = crystal.frac_coords
    inverse = np.linalg.inv(crystal.cell)
    if crystal.min_distance < COINCIDENCE:
        rng = np.random.default_rng(len(crystal))
        frac = frac + rng.normal(0, COINCIDENCE, frac.shape) @ inverse
    cell = torch.from_numpy(crystal.cell)[None]
    numbers = torch.from_numpy(crystal.atomic_numbers).long()
    for _ in range(MAX_STEPS):
        positions = torch.from_numpy(frac @ crystal.cell)
        state = state_of(positions, cell, numbers)
        forces, _ = repulsion.forces_and_stress(state, limit + MARGIN)
        move = forces.numpy() / (2 * repulsion.STIFFNESS)  # a pair closes its gap at once
        longest = float(np.linalg.norm(move, axis=1).max())
        if longest < AT_REST:
            break
        frac = frac + move * min(1.0, MAX_MOVE / longest) @ inverse
    moved = Crystal.of(crystal.cell, crystal.atomic_numbers, frac)
    return moved if moved.min_distance >= limit else None
