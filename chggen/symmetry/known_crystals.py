"""Known crystals: which of them a structure is, by what is known of it without coordinates.

The packaged table, ``chggen/data/known_crystals.parquet``, has every crystal of a release of
the Materials Project (``chggen/data/SOURCES.md``): formula, labels (:mod:`.labels`), volume
per atom, and for most of them the mean distances of each element to its neighbours.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from chggen import provenance
from chggen.structure.crystal import Crystal
from chggen.structure.matching import mean_distances
from chggen.structure.similarity import anonymous, assign, contents, ordered
from chggen.symmetry.labels import Label, labels
from chggen.tables import parquet

PACKAGED: Final = Path(__file__).parents[1] / "data/known_crystals.parquet"
TABLE: Final = "known"
#: Steps of the volume per Å³ and of a distance per unit, which the table stores as integers.
VOLUME_STEPS: Final = 100
DISTANCE_STEPS: Final = 200
#: Distance that is stored as 0; those of the source are 0.51 to 1.82, 1.16 in the median.
DISTANCE_ZERO: Final = 0.5
#: Largest relative difference of volumes per atom (the greater over the smaller, minus 1).
VOLUME_WINDOW: Final = 0.15
#: Largest difference of the mean distances of an element, in cube roots of the volume per atom.
DISTANCE_WINDOW: Final = 0.015
#: The same for another chemistry in the same prototype.
PROTOTYPE_WINDOW: Final = 0.1
#: Label and distances of disordered structures in P1 and P-1 are much alike, so they tell nothing.
_P_MINUS_1: Final = 2


@dataclass(frozen=True)
class KnownCrystal:
    """One crystal of the table.

    Args:
        name: of its source (``mp-22862``).
        formula: canonical.
        labels: at the tolerances of :data:`.labels.TOLERANCES`.
        volume_per_atom: Å³.
        distances: of each element by atomic number, see :func:`.mean_distances`; None where
            the source has no coordinates.
    """

    name: str
    formula: str
    labels: frozenset[Label]
    volume_per_atom: float
    distances: tuple[float, ...] | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Crystal of a row of table ``known``."""
        first = _label(row["space_group_number"], row["orbits"])
        second = _label(row["space_group_number_loose"], row["orbits_loose"])
        distances = row["distances"]
        return cls(
            f"mp-{row['number']}",
            row["formula"],
            frozenset(found for found in (first, second) if found),
            row["volume"] / VOLUME_STEPS,
            None
            if distances is None
            else tuple(DISTANCE_ZERO + d / DISTANCE_STEPS for d in distances),
        )

    def __str__(self) -> str:
        """``mp-22862 (NaCl)``."""
        return f"{self.name} ({self.formula})"


def _label(number: int | None, orbits: str | None) -> Label | None:
    return None if number is None or orbits is None else Label(number, orbits)


@dataclass(frozen=True)
class Features:
    """What of a structure is compared with known crystals.

    Args:
        elements: atomic numbers, rising.
        labels: at both tolerances.
        volume_per_atom: Å³.
        distances: of each element; None for a cell without volume.
    """

    elements: tuple[int, ...]
    labels: frozenset[Label]
    volume_per_atom: float
    distances: tuple[float, ...] | None

    @classmethod
    def of(cls, crystal: Crystal) -> Self:
        """Features of a crystal in any setting."""
        return cls(
            tuple(np.unique(crystal.atomic_numbers).tolist()),
            labels(crystal),
            crystal.volume_per_atom,
            mean_distances(crystal),
        )


class KnownCrystals:
    """The table of known crystals, read a formula at a time.

    Args:
        path: table ``known``.

    Raises:
        TableError: not there, damaged or another table; one line.
    """

    def __init__(self, path: Path = PACKAGED) -> None:
        self._path = path
        self.digest = provenance.file_digest(path) if path.is_file() else ""
        parquet.require(path, TABLE)

    def of_formula(self, formula: str) -> list[KnownCrystal]:
        """Known crystals of a canonical formula, by number."""
        return _of_formula(self._path, self.digest, formula)

    def same(
        self, features: Features, formula: str, without: Collection[str] = ()
    ) -> KnownCrystal | None:
        """The known crystal that a structure is; None if it is none of them.

        Formula, a label at one of the tolerances, volume (:data:`VOLUME_WINDOW`) and distances
        (:data:`DISTANCE_WINDOW`) agree. Crystals in P1 and P-1 are not recognised.

        Args:
            features: of the structure.
            formula: its canonical formula.
            without: names of crystals that it is not.

        Returns:
            Of several the one of the nearest distances, then of the nearest volume.
        """
        near: list[tuple[float, float, str, KnownCrystal]] = []
        wanted = _telling(features.labels)
        for known in self.of_formula(formula):
            change = _ratio(known.volume_per_atom, features.volume_per_atom)
            if known.name in without or change > VOLUME_WINDOW or not known.labels & wanted:
                continue
            apart = _apart(known.distances, features.distances)
            if apart is None or apart <= DISTANCE_WINDOW:
                near.append((1.0 if apart is None else apart, change, known.name, known))
        return min(near)[-1] if near else None

    def prototype(self, features: Features, formula: str) -> KnownCrystal | None:
        """The chemically nearest crystal of another formula in the same prototype, or None.

        Anonymous formula and label agree, and so do the distances of the elements that take
        each other's places (:data:`PROTOTYPE_WINDOW`). P1 and P-1 are no prototypes.

        Args:
            features: of the structure.
            formula: its canonical formula.
        """
        own = contents(formula)
        counts, mine = anonymous(own), ordered(own)
        telling = sorted(_telling(features.labels))
        found = [
            known
            for known in _of_labels(self._path, self.digest, counts, tuple(telling))
            if known.formula != formula
        ]
        if not found:
            return None
        theirs = [ordered(contents(known.formula)) for known in found]
        distances, taken = assign(counts, mine, theirs)
        for place in np.argsort(distances, kind="stable"):
            pairs = zip(theirs[place], taken[place].tolist(), strict=True)
            if _alike(found[place], features, dict(pairs)):
                return found[place]
        return None


def _ratio(first: float, second: float) -> float:
    low, high = sorted((first, second))
    return high / low - 1 if low > 0 else float("inf")


def _apart(first: Sequence[float] | None, second: Sequence[float] | None) -> float | None:
    """Largest difference of distances; None where those of one are not known."""
    if first is None or second is None:
        return None
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


def _telling(found: Iterable[Label]) -> frozenset[Label]:
    return frozenset(one for one in found if one.space_group > _P_MINUS_1)


def _alike(known: KnownCrystal, features: Features, taken: Mapping[int, int]) -> bool:
    """Whether elements that take each other's places are as far from their neighbours."""
    if known.distances is None or features.distances is None:
        return True
    theirs = dict(zip(sorted(taken), known.distances, strict=True))
    own = dict(zip(features.elements, features.distances, strict=True))
    return all(abs(theirs[z] - own[taken[z]]) <= PROTOTYPE_WINDOW for z in taken)


@lru_cache(maxsize=4096)
def _of_formula(path: Path, digest: str, formula: str) -> list[KnownCrystal]:  # noqa: ARG001
    counts = anonymous_name(anonymous(contents(formula)))
    filters = [("anonymous", "=", counts), ("formula", "=", formula)]
    rows = parquet.read_table(path, TABLE, filters=filters).to_pylist()
    return [KnownCrystal.from_row(row) for row in rows]


@lru_cache(maxsize=4096)
def _of_labels(
    path: Path,
    digest: str,  # noqa: ARG001
    counts: tuple[int, ...],
    wanted: tuple[Label, ...],
) -> list[KnownCrystal]:
    name = [("anonymous", "=", anonymous_name(counts))]
    filters = [
        [
            *name,
            (f"space_group_number{tail}", "=", one.space_group),
            (f"orbits{tail}", "=", one.orbits),
        ]
        for one in wanted
        for tail in ("", "_loose")
    ]
    if not filters:
        return []
    rows = parquet.read_table(path, TABLE, filters=filters).to_pylist()
    return [KnownCrystal.from_row(row) for row in rows]


def anonymous_name(counts: Sequence[int]) -> str:
    """Anonymous formula as the table has it: ``1 1 3``."""
    return " ".join(map(str, counts))
