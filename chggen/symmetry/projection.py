"""Vector fields that are invariant under a space group, for sampling and relaxation.

For an operation that maps atom i to atom k(i) with the Cartesian rotation Q (row vectors:
v Q), a field v is invariant if v[k(i)] = v[i] Q. The mean over all operations of v[k(i)] Q⁻¹
is the orthogonal projection onto the invariant fields.
"""

import numpy as np
from numpy.typing import NDArray

from chggen.structure.distances import Floats


def cartesian(rotations: NDArray[np.int64], cell: Floats) -> Floats:
    """Rotations [m, 3, 3] for Cartesian row vectors: ``v @ Q``.

    Args:
        rotations: [m, 3, 3], for fractional coordinates as columns.
        cell: 3×3 row vectors, Å.
    """
    found: Floats = np.linalg.inv(cell) @ rotations.transpose(0, 2, 1) @ cell
    return found


def projection(turns: Floats, permutations: NDArray[np.int64]) -> Floats:
    """Matrix [3n, 3n] (row vectors) of the orthogonal projection onto invariant fields.

    Args:
        turns: [m, 3, 3] Cartesian rotations from :func:`cartesian`.
        permutations: [m, n] image of each atom under each operation.
    """
    count, n = permutations.shape
    matrix = np.zeros((n, 3, n, 3))
    atoms = np.arange(n)
    for turn, images in zip(np.linalg.inv(turns), permutations, strict=True):
        matrix[images, :, atoms, :] += turn / count
    return matrix.reshape(3 * n, 3 * n)
