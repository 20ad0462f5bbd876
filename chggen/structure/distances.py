"""Reduced cells, and distances between atoms and their periodic images."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Volume of a cell over the product of its edges under which it has none.
_FLAT = 1e-12


def reduced_cell(cell: Floats) -> Floats:
    """Right-handed cell of the same lattice with vectors as short as possible (Minkowski).

    ASE's reduction (Nguyen and Stehle, ACM Trans. Algorithms 5, 46 (2009)), as often as
    it shortens a vector. Raises ``ValueError`` for a cell without volume.
    """
    from ase.geometry import minkowski_reduce

    if not abs(np.linalg.det(cell)) > 0:
        raise ValueError("a cell without volume cannot be reduced")
    reduced: Floats = np.asarray(minkowski_reduce(cell)[0], dtype=np.float64)
    return reduced if np.linalg.det(reduced) > 0 else -reduced


def nearest_distances(cell: Floats, frac_coords: Floats, k: int) -> Floats:
    """Distances in Å from each atom to its ``k`` nearest neighbours, sorted, [n, k].

    Exact for any cell, however skewed or flat. Periodic images count as neighbours.

    Args:
        cell: 3×3 row vectors, Å.
        frac_coords: [n, 3], any image.
        k: neighbours per atom.

    Raises:
        ValueError: the cell has no volume.
    """
    import spglib
    from scipy.spatial import KDTree

    if (
        not np.isfinite(cell).all()
        or abs(np.linalg.det(cell)) <= _FLAT * np.linalg.norm(cell, axis=1).prod()
    ):
        raise ValueError("cell is flat")
    # spglib's reduction is the faster one, but gives up on some skewed cells
    found = spglib.niggli_reduce(cell)
    reduced: Floats = reduced_cell(cell) if found is None else np.asarray(found)
    # integer up to rounding: takes fractional coordinates to the reduced cell
    frac = frac_coords @ np.round(cell @ np.linalg.inv(reduced))
    here = (frac - np.floor(frac)) @ reduced
    heights = 1.0 / np.linalg.norm(np.linalg.inv(reduced), axis=0)
    volume = abs(np.linalg.det(reduced)) / max(len(here), 1)
    # a sphere of this radius holds k atoms at the mean density, with a margin for voids;
    # the images along the shortest vector alone are k atoms within the second one
    shortest = np.linalg.norm(reduced, axis=1).min()
    radius = min(
        1.3 * np.cbrt((k + 1) * volume * 3 / (4 * np.pi)),
        (k + 1) // 2 * shortest * (1 + 1e-9),
    )
    while True:
        spans = [np.arange(-m, m + 1) for m in np.ceil(radius / heights + 1e-9).astype(int)]
        images = np.stack(np.meshgrid(*spans, indexing="ij"), -1).reshape(-1, 1, 3) @ reduced
        tree = KDTree((images + here).reshape(-1, 3))
        distances: Floats = np.asarray(tree.query(here, k + 1)[0])[:, 1:]
        if distances.size == 0 or distances.max() <= radius:
            return distances
        radius *= 1.3


def shortest_distance(cell: Floats, frac_coords: Floats) -> float:
    """Shortest distance in Å between atoms or between an atom and its own images.

    Returns infinity for a cell without atoms or with a value that is no number, zero for
    one without volume.
    """
    if not len(frac_coords) or not np.isfinite(cell).all() or not np.isfinite(frac_coords).all():
        return float("inf")
    try:
        return float(nearest_distances(cell, frac_coords, 1).min())
    except ValueError:
        return 0.0
