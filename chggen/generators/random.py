"""Generator ``random``: uniform positions with minimum distances, as in AIRSS.

Atoms are added one by one, largest first. Each is placed at the first of a stream of uniform
points whose distance from all atoms placed before is at least a fraction of the sum of the
covalent radii (Cordero et al., Dalton Trans., 2832 (2008), from ASE). The fraction starts
at 1 and is lowered in steps if the cell is too small, so that the search always ends.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from chggen.structure.crystal import Crystal
from chggen.structure.distances import reduced_cell
from chggen.structure.outcome import LEAST_VOLUME
from chggen.structure.task import Placed, Progress, Task, place_each

Floats = NDArray[np.float64]

#: Fractions of the sum of radii; the largest is tried first.
FRACTIONS: Final = tuple(float(f) for f in np.round(np.arange(1.0, 0.49, -0.05), 2))
#: Restarts per fraction, and points per atom in each.
_STARTS: Final = 3
_POINTS: Final = 96
#: Translations to the nearest images in a reduced cell.
_IMAGES: Final = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))


class RandomGenerator:
    """Places atoms, or guests between hosts, at random positions."""

    name = "random"
    inputs: Mapping[str, str] = {}

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Place the atoms of every task, each task with its own seed."""
        return place_each(place, tasks, progress)


def place(task: Task) -> Placed:
    """Random structure of one task; hosts stay where they are."""
    crystal = task.crystal
    hosts = ~task.guest
    room = np.isfinite(crystal.cell).all() and crystal.volume_per_atom > LEAST_VOLUME
    if not (room and np.isfinite(crystal.frac_coords[hosts]).all()):
        return Placed(None, "the cell is not finite or too small", 0)
    cell = reduced_cell(crystal.cell)
    # integer up to rounding: transforms fractional coordinates to the reduced cell
    change = np.round(crystal.cell @ np.linalg.inv(cell))
    start = crystal.frac_coords @ change
    radii = covalent_radii[crystal.atomic_numbers]
    rng = np.random.default_rng(task.seed)
    for fraction, _ in itertools.product(FRACTIONS, range(_STARTS)):
        frac = _attempt(cell, start, task.guest, fraction * radii, rng)
        if frac is not None:
            found = crystal.frac_coords.copy()
            found[task.guest] = frac[task.guest] @ np.linalg.inv(change)
            found[task.guest] -= np.floor(found[task.guest])
            return Placed(Crystal.of(crystal.cell, crystal.atomic_numbers, found), "", 0)
    least = FRACTIONS[-1]
    return Placed(None, f"no placement with distances above {least} of the sum of radii", 0)


def _attempt(
    cell: Floats,
    start: Floats,
    guest: NDArray[np.bool_],
    radii: Floats,
    rng: np.random.Generator,
) -> Floats | None:
    """Fractional coordinates in a reduced cell; None if an atom cannot be placed."""
    frac = start.copy()
    placed = np.flatnonzero(~guest)
    guests = np.flatnonzero(guest)
    images = _IMAGES @ cell
    # random order among equal radii, so that no element is favoured
    order = guests[np.lexsort((rng.random(len(guests)), -radii[guests]))]
    for atom in order:
        points = rng.random((_POINTS, 3))
        least = radii[atom] + radii[placed]
        free = _free(points, frac[placed], cell, images, least)
        if not free.any():
            return None
        frac[atom] = points[free.argmax()]
        placed = np.append(placed, atom)
    return frac


def _free(points: Floats, others: Floats, cell: Floats, images: Floats, least: Floats) -> Floats:
    """[p] True where a point is at least ``least`` [k] Å from the others and their images."""
    delta = points[:, None] - others
    delta = (delta - np.round(delta)) @ cell
    # |d + t|² = |d|² + 2 d·t + |t|², smallest over the images t
    shift = 2 * delta @ images.T + np.einsum("ij,ij->i", images, images)
    squared = np.einsum("pki,pki->pk", delta, delta) + shift.min(axis=-1)
    return (squared >= least**2).all(axis=1)
