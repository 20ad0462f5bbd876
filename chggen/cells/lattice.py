"""Initial cells: all Bravais types, random free parameters, given volume.

The seven types have equal shares. The centrings of a type alternate, so that all 14 Bravais
lattices occur. Centred lattices are given as their (reduced) primitive cell, so that a
body-centred crystal with one formula unit per lattice point needs no doubled cell. The free
axis ratios b/a and c/a of the conventional cell are uniform in their logarithm, the free
angles are uniform. Both come from a scrambled Halton sequence for each Bravais lattice
(Owen, arXiv:1706.02808), so that a few lattices already cover the ranges.

A cubic lattice has no free parameter: at a given volume there are exactly three (P, I and
F), and only these repeat. All other lattices differ from each other.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc

from chggen.config.stages import Bravais, LatticeConfig
from chggen.errors import ConfigError
from chggen.structure.distances import reduced_cell

Floats = NDArray[np.float64]

#: Minimum of 1 + 2 cosα cosβ cosγ - cos²α - cos²β - cos²γ = (V / abc)² of a conventional cell.
MIN_ANGLE_DETERMINANT: Final = 0.1
#: Minimum distance between opposite faces of the cell over V^(1/3). Cells with right angles
#: and axis ratios of 0.5 to 1.5 have at least 0.55, so this only rejects skewed cells.
MIN_HEIGHT: Final = 0.4

#: Points tried per requested lattice before the ranges are rejected.
_MAX_TRIES: Final = 1000
#: Separates the streams of this module from children that a caller spawns from the same seed.
_STREAM: Final = 0x1A77

#: Primitive vectors in units of the conventional ones, as rows.
_PRIMITIVE: Final[dict[str, Floats]] = {
    "P": np.eye(3),
    "C": np.array([[0.5, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
}


@dataclass(frozen=True)
class _Kind:
    """Free parameters and centrings of a Bravais type."""

    ratios: int
    angles: int
    centrings: str


_KINDS: Final[dict[Bravais, _Kind]] = {
    "cubic": _Kind(0, 0, "PIF"),
    "tetragonal": _Kind(1, 0, "PI"),
    "orthorhombic": _Kind(2, 0, "PCIF"),
    "hexagonal": _Kind(1, 0, "P"),
    "rhombohedral": _Kind(0, 1, "P"),
    "monoclinic": _Kind(2, 1, "PC"),
    "triclinic": _Kind(2, 3, "P"),
}


@dataclass(frozen=True, eq=False)
class Lattice:
    """A cell and its Bravais lattice.

    Args:
        cell: 3×3 row vectors in Å, right-handed, primitive.
        bravais_type: one of ``chggen.config.stages.BRAVAIS_TYPES``.
        centring: of the conventional cell: P, C, I or F (rhombohedral: P, its own axes).
    """

    cell: Floats
    bravais_type: Bravais
    centring: str


def sample_lattices(
    n: int,
    volumes: ArrayLike,
    settings: LatticeConfig,
    seed_sequence: np.random.SeedSequence,
    kinds: Collection[tuple[Bravais, str]] | None = None,
) -> list[Lattice]:
    """Draw ``n`` lattices of given volumes.

    The Bravais types alternate in rounds, each in a random order given by the seed, so that
    their shares differ by at most one and average out over shards; the same holds for the
    centrings of a type. (A fixed order could correlate with a quantity that the caller
    alternates, such as the number of formula units.) Lattice ``i`` depends only on the seed,
    the settings, ``i`` and its volume; its shape does not depend on the volume. The first k
    of n lattices are those of a call for k.

    Args:
        n: number of lattices.
        volumes: cell volumes in Å³, one number or [n].
        settings: types and ranges.
        seed_sequence: source of all random numbers; not modified (nothing is spawned).
        kinds: allowed Bravais types with centrings; all if None, and also if ``settings``
            allows none of them.

    Returns:
        ``n`` lattices, whose volumes are exact up to rounding.

    Raises:
        ConfigError: the ranges contain (almost) only flat cells.
        ValueError: the volumes are not positive, or there are not n of them.
    """
    sizes = np.broadcast_to(np.asarray(volumes, dtype=np.float64), (n,))
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError("volumes must be positive numbers")
    allowed = {t: _KINDS[t].centrings for t in dict.fromkeys(settings.types)}
    wanted = {t: "".join(c for c in cs if (t, c) in (kinds or ())) for t, cs in allowed.items()}
    allowed = {t: cs for t, cs in wanted.items() if cs} or allowed
    types = list(allowed)
    turns = _rounds(types, _child(seed_sequence, 0))
    centrings = {
        t: _rounds(list(allowed[t]), _child(seed_sequence, 1, list(_KINDS).index(t))) for t in types
    }
    plan = [(t, next(centrings[t])) for t in itertools.islice(turns, n)]
    drawn = {
        key: iter(_shapes(*key, plan.count(key), settings, seed_sequence)) for key in set(plan)
    }
    return [
        Lattice(next(drawn[key]) * np.cbrt(size), *key)
        for key, size in zip(plan, sizes, strict=True)
    ]


def angle_determinant(angles: ArrayLike) -> float:
    """(V / abc)² of a cell with angles (α, β, γ) in degrees; ≤ 0 if there is no such cell."""
    cos = np.cos(np.radians(np.asarray(angles, dtype=np.float64)))
    return float(1.0 + 2.0 * np.prod(cos) - np.sum(cos**2))


def relative_height(cell: Floats) -> float:
    """Smallest distance between opposite faces of a cell over the cube root of its volume."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return float(heights.min() / np.cbrt(abs(np.linalg.det(cell))))


def _child(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    # spawn() would change the state of the caller's sequence
    return np.random.SeedSequence(
        seed.entropy, spawn_key=(*seed.spawn_key, _STREAM, *key), pool_size=seed.pool_size
    )


def _rounds[T](items: Sequence[T], seed: np.random.SeedSequence) -> Iterator[T]:
    """Endless rounds over ``items``, each round in a random order."""
    rng = np.random.default_rng(seed)
    while True:
        for i in rng.permutation(len(items)):
            yield items[i]


def _shapes(
    bravais_type: Bravais,
    centring: str,
    count: int,
    settings: LatticeConfig,
    seed: np.random.SeedSequence,
) -> list[Floats]:
    """First ``count`` cells of volume 1 of the sequence of a Bravais lattice."""
    kind = _KINDS[bravais_type]
    dimension = kind.ratios + kind.angles
    found: list[Floats] = []
    if dimension == 0:
        return [_unit_cell(cellpar_to_cell([1, 1, 1, 90, 90, 90]), centring)] * count
    # also one sequence per centring: every other point of a sequence is not uniform
    place = list(_KINDS).index(bravais_type), "PCIF".index(centring)
    child = _child(seed, 2, *place)
    sequence = qmc.Halton(dimension, scramble=True, rng=np.random.default_rng(child))
    for _ in range(_MAX_TRIES):
        for point in sequence.random(max(count, 1)):
            lengths, angles = _parameters(bravais_type, point, settings)
            if angle_determinant(angles) < MIN_ANGLE_DETERMINANT:
                continue
            cell = _unit_cell(cellpar_to_cell([*lengths, *angles]), centring)
            if relative_height(cell) >= MIN_HEIGHT:
                found.append(cell)
        if len(found) >= count:
            return found[:count]
    raise ConfigError(
        f"generate.lattice: ratio {list(settings.ratio)} and angle {list(settings.angle)}"
        f" leave no {bravais_type} cell that is not flat"
    )


def _parameters(
    bravais_type: Bravais, point: Floats, settings: LatticeConfig
) -> tuple[Floats, Floats]:
    """Conventional lengths (a = 1) and angles (degrees) of a point of the unit cube."""
    kind = _KINDS[bravais_type]
    low, high = np.log(settings.ratio)
    ratios = np.exp(low + (high - low) * point[: kind.ratios])
    least, most = settings.angle
    free = least + (most - least) * point[kind.ratios :]
    lengths = np.ones(3)
    lengths[3 - kind.ratios :] = ratios
    angles = np.full(3, 90.0)
    match bravais_type:
        case "hexagonal":
            angles[2] = 120.0
        case "rhombohedral":
            angles[:] = free[0]
        case "monoclinic":
            angles[1] = free[0]
        case "triclinic":
            angles[:] = free
    return lengths, angles


def _unit_cell(conventional: Floats, centring: str) -> Floats:
    """Primitive cell of volume 1; centred ones are reduced, as their vectors may be skewed."""
    cell = _PRIMITIVE[centring] @ conventional
    if centring != "P":
        cell = reduced_cell(cell)
    scaled: Floats = cell / np.cbrt(abs(np.linalg.det(cell)))
    return scaled
