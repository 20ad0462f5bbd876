"""Initial cells: all Bravais types, random free parameters, given volume.

The seven types have equal shares. The centrings of a type alternate, so that all 14 Bravais
lattices occur. Centred lattices are given as their (reduced) primitive cell, so that a
body-centred crystal with one formula unit per lattice point needs no doubled cell. The free
axis ratios b/a and c/a and angles of the conventional cell are distributed as in known
crystals of the same Bravais lattice (their 5 to 95 % quantiles, ``data/lattice_ranges.json``,
fitted by ``docs/fit_lattice_ranges.py``; each parameter by itself). If the config gives a
range, ratios are uniform in their logarithm in it, and angles uniform. Both come from a
scrambled Halton sequence for each Bravais lattice (Owen, arXiv:1706.02808), so that a few
lattices already cover the ranges.

A cubic lattice has no free parameter: at a given volume there are exactly three (P, I and
F), and only these repeat. All other lattices differ from each other.
"""

import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from ase.geometry import cellpar_to_cell
from numpy.typing import ArrayLike, NDArray
from scipy.stats import qmc

from chggen.config.stages import Bravais, LatticeConfig
from chggen.errors import ConfigError
from chggen.provenance import PACKAGE
from chggen.structure.distances import reduced_cell

Floats = NDArray[np.float64]

#: Minimum of 1 + 2 cosα cosβ cosγ - cos²α - cos²β - cos²γ = (V / abc)² of a conventional cell.
MIN_ANGLE_DETERMINANT: Final = 0.1
#: Minimum distance between opposite faces of the cell over V^(1/3). Cells with right angles
#: and axis ratios of 0.5 to 1.5 have at least 0.55, so this only rejects skewed cells.
MIN_HEIGHT: Final = 0.4

#: Points tried per requested lattice before the ranges are rejected.
_MAX_TRIES: Final = 1000
_ROUNDING: Final = 1e-9
#: Separates the streams of this module from children that a caller spawns from the same seed.
_STREAM: Final = 0x1A77

#: Primitive vectors in units of the conventional ones, as rows.
_PRIMITIVE: Final[dict[str, Floats]] = {
    "P": np.eye(3),
    "C": np.array([[0.5, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
}


#: Bravais type and centring.
Kind = tuple[Bravais, str]
#: Where a cell comes from: the cell of a known crystal with the same number of atoms and
#: anonymous formula, of one with the same number of atoms, or a random Bravais lattice.
CellSource = Literal["known", "known_size", "bravais"]


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
        source: where it comes from.
    """

    cell: Floats
    bravais_type: Bravais
    centring: str
    source: CellSource = "bravais"


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
    allowed = allowed_kinds(settings, kinds)
    types = list(allowed)
    turns = _rounds(types, child_seed(seed_sequence, 0))
    centrings = {
        t: _rounds(list(allowed[t]), child_seed(seed_sequence, 1, list(_KINDS).index(t)))
        for t in types
    }
    plan = [(t, next(centrings[t])) for t in itertools.islice(turns, n)]
    drawn = {
        key: iter(_shapes(*key, plan.count(key), settings, seed_sequence)) for key in set(plan)
    }
    return [
        Lattice(next(drawn[key]) * np.cbrt(size), *key)
        for key, size in zip(plan, sizes, strict=True)
    ]


def allowed_kinds(
    settings: LatticeConfig, kinds: Collection[Kind] | None = None
) -> dict[Bravais, str]:
    """Centrings of each Bravais type that may be drawn.

    Args:
        settings: types of the config.
        kinds: Bravais types with centrings that would fit; all if None, and also if
            ``settings`` allows none of them.
    """
    allowed = {t: _KINDS[t].centrings for t in dict.fromkeys(settings.types)}
    wanted = {t: "".join(c for c in cs if (t, c) in (kinds or ())) for t, cs in allowed.items()}
    return {t: cs for t, cs in wanted.items() if cs} or allowed


def free_parameters(bravais_type: Bravais) -> tuple[int, int]:
    """How many axis ratios and angles of a Bravais type are free (at most 2 and 3)."""
    return _KINDS[bravais_type].ratios, _KINDS[bravais_type].angles


def angle_determinant(angles: ArrayLike) -> float:
    """(V / abc)² of a cell with angles (α, β, γ) in degrees; ≤ 0 if there is no such cell."""
    cos = np.cos(np.radians(np.asarray(angles, dtype=np.float64)))
    return float(1.0 + 2.0 * np.prod(cos) - np.sum(cos**2))


def relative_height(cell: Floats) -> float:
    """Smallest distance between opposite faces of a cell over the cube root of its volume."""
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return float(heights.min() / np.cbrt(abs(np.linalg.det(cell))))


def child_seed(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """A stream of its own from a seed, which is not modified."""
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
    child = child_seed(seed, 2, *place)
    sequence = qmc.Halton(dimension, scramble=True, rng=np.random.default_rng(child))
    for _ in range(_MAX_TRIES):
        for point in sequence.random(max(count, 1)):
            ratios, free = _parameters((bravais_type, centring), point, settings)
            lengths, angles = _conventional(bravais_type, ratios, free)
            # a rhombohedral cell with small angles is a long one, and none that is flat
            long = bravais_type == "rhombohedral" and 10.0 < angles[0] < 90.0  # noqa: PLR2004
            if not long and angle_determinant(angles) < MIN_ANGLE_DETERMINANT:
                continue
            cell = _unit_cell(cellpar_to_cell([*lengths, *angles]), centring)
            if relative_height(cell) >= MIN_HEIGHT:
                found.append(cell)
        if len(found) >= count:
            return found[:count]
    given = {"ratio": settings.ratio, "angle": settings.angle}
    named = " and ".join(f"{key} {list(value)}" for key, value in given.items() if value)
    raise ConfigError(f"generate.lattice: {named} leave no {bravais_type} cell that is not flat")


@cache
def _fitted() -> tuple[Floats, dict[str, list[Floats]]]:
    """Shares, and for each Bravais lattice the quantiles of its free parameters at them."""
    content = json.loads((PACKAGE / "data/lattice_ranges.json").read_text(encoding="utf-8"))
    quantiles = {k: [np.array(q) for q in v] for k, v in content["quantiles"].items()}
    return np.array(content["shares"]), quantiles


def _parameters(kind: Kind, point: Floats, settings: LatticeConfig) -> tuple[Floats, Floats]:
    """Free ratios and angles (degrees) of a point of the unit cube."""
    split = _KINDS[kind[0]].ratios
    shares, quantiles = _fitted()
    at = shares[0] + (shares[-1] - shares[0]) * point
    known = quantiles.get(symbol(*kind), [])
    if settings.ratio is None:
        logs = [np.interp(u, shares, np.log(q)) for u, q in zip(at, known[:split], strict=False)]
        ratios = np.exp(logs)
    else:
        low, high = np.log(settings.ratio)
        ratios = np.exp(low + (high - low) * point[:split])
    if settings.angle is None:
        pairs = zip(at[split:], known[split:], strict=True)
        angles = np.array([np.interp(u, shares, q) for u, q in pairs])
    else:
        least, most = settings.angle
        angles = least + (most - least) * point[split:]
    return ratios, angles


def symbol(bravais_type: Bravais, centring: str) -> str:
    """Pearson symbol of a Bravais lattice: ``cF``, ``hR``, ``mC``."""
    if bravais_type == "rhombohedral":
        return "hR"
    letter = "a" if bravais_type == "triclinic" else bravais_type[0]
    return letter + centring


#: Bravais type and centring by Pearson symbol.
PEARSON: Final[dict[str, Kind]] = {
    symbol(t, c): (t, c) for t, kind in _KINDS.items() for c in kind.centrings
}


def unit_cell(kind: Kind, ratios: Floats, angles: Floats) -> Floats:
    """Primitive cell of volume 1 of a Bravais lattice.

    Args:
        kind: Bravais type and centring.
        ratios: its free ratios of the conventional axes, of b/a and c/a.
        angles: its free angles, degrees.
    """
    lengths, all_angles = _conventional(kind[0], ratios, angles)
    return _unit_cell(cellpar_to_cell([*lengths, *all_angles]), kind[1])


def _conventional(bravais_type: Bravais, ratios: Floats, free: Floats) -> tuple[Floats, Floats]:
    """Conventional lengths (a = 1) and angles (degrees)."""
    lengths = np.ones(3)
    lengths[3 - len(ratios) :] = ratios
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
    """Primitive cell of volume 1; centred and skewed ones are reduced."""
    cell = _PRIMITIVE[centring] @ conventional
    norms = np.linalg.norm(cell, axis=1)
    cosines = (cell @ cell.T / np.outer(norms, norms))[np.triu_indices(3, 1)]
    if centring != "P" or np.abs(cosines).max() > 0.5 + _ROUNDING:
        cell = reduced_cell(cell)
    scaled: Floats = cell / np.cbrt(abs(np.linalg.det(cell)))
    return scaled
