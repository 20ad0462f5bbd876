"""Prototypes: crystals as space group, Wyckoff sites and free parameters, and back.

An entry of the library holds the conventional cell in the setting of the Wyckoff tables, one
site per orbit, and the elements on the orbits. Coordinates are integers in units of 1/65536
(5·10⁻⁵ Å in a cell of 3 Å); when a crystal is made, each site is moved onto the point that its
site symmetry leaves in place, so that its space group is exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Self

import numpy as np
import spglib
from ase.geometry import cellpar_to_cell
from numpy.typing import NDArray

from chggen.structure.composition import SYMBOLS, canonical
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats, reduced_cell
from chggen.structure.similarity import anonymous
from chggen.symmetry.settings import standard_hall

Ints = NDArray[np.int64]

#: Steps of a coordinate per lattice vector, of an edge per cube root of the cell's volume, of
#: an angle per degree, and of the volume per Å³: what the table stores as 16-bit integers.
COORDINATE_STEPS: Final = 65536
EDGE_STEPS: Final = 2000
ANGLE_STEPS: Final = 256
VOLUME_STEPS: Final = 100
_MOST: Final = 65535

#: Tolerance (Å) of the space group of a crystal that enters the library.
SYMPREC: Final = 1e-2
#: Fractional distance of an image that counts as the site itself (rounding is 1.1e-5 at most).
_SAME: Final = 1e-3

#: Primitive vectors in units of the conventional ones, as rows, by centring.
_PRIMITIVE: Final[dict[str, Floats]] = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


@dataclass(frozen=True)
class Prototype:
    """One crystal of the library.

    Args:
        name: of its source (``mp-22862``).
        counts: [k] anonymous formula, rising; places of the formula have this order.
        elements: [k] atomic number on each place.
        n_atoms: of the primitive cell.
        space_group: number.
        hall: Hall number (spglib) of the setting.
        sites: [k] Wyckoff positions of each place: ``4a 8c``.
        cell: three edges and three angles, as integers.
        coordinates: one site per orbit, place by place, as integers [3 orbits].
        volume: Å³ per atom, as an integer.
        above_hull: meV/atom; None if not known.
    """

    name: str
    counts: tuple[int, ...]
    elements: tuple[int, ...]
    n_atoms: int
    space_group: int
    hall: int
    sites: tuple[str, ...]
    cell: tuple[int, ...]
    coordinates: tuple[int, ...]
    volume: int
    above_hull: int | None = None

    @property
    def formula(self) -> str:
        """Canonical reduced formula."""
        pairs = zip(self.elements, self.counts, strict=True)
        return canonical({SYMBOLS[z]: n for z, n in pairs})

    @property
    def label(self) -> str:
        """Name of the prototype: anonymous formula, space group and sites (``AB 225 4a|4b``)."""
        return f"{anonymous_name(self.counts)} {self.space_group} {'|'.join(self.sites)}"

    @property
    def kind(self) -> tuple[int, int, tuple[str, ...]]:
        """Same for settings that only differ in letters: atoms, group, multiplicities."""
        sizes = sorted(
            f"{count}:" + ",".join(sorted(multiplicities(sites)))
            for count, sites in zip(self.counts, self.sites, strict=True)
        )
        return self.n_atoms, self.space_group, tuple(sizes)

    @property
    def volume_per_atom(self) -> float:
        """Å³."""
        return self.volume / VOLUME_STEPS

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Entry of a row of table ``prototypes``."""
        return cls(
            row["name"],
            tuple(int(n) for n in row["anonymous"].split()),
            tuple(row["elements"]),
            row["n_atoms"],
            row["space_group_number"],
            row["hall_number"],
            tuple(row["sites"].split("|")),
            tuple(row["cell_parameters"]),
            tuple(row["coordinates"]),
            row["volume"],
            row["above_hull"],
        )

    def row(self) -> dict[str, Any]:
        """Row of table ``prototypes``."""
        return {
            "name": self.name,
            "anonymous": " ".join(map(str, self.counts)),
            "elements": list(self.elements),
            "n_atoms": self.n_atoms,
            "space_group_number": self.space_group,
            "hall_number": self.hall,
            "sites": "|".join(self.sites),
            "cell_parameters": list(self.cell),
            "coordinates": list(self.coordinates),
            "volume": self.volume,
            "above_hull": self.above_hull,
        }

    def crystal(
        self, elements: Sequence[int] | None = None, volume_per_atom: float | None = None
    ) -> Crystal:
        """The crystal in its reduced primitive cell, atoms grouped by place.

        Args:
            elements: [k] atomic number for each place; default: the entry's own.
            volume_per_atom: Å³; default: the entry's own.

        Raises:
            ValueError: sites and number of atoms contradict each other (a damaged library).
        """
        edges = np.array(self.cell[:3]) / EDGE_STEPS
        angles = np.array(self.cell[3:]) / ANGLE_STEPS
        rotations, translations = _operations(self.hall)
        primitive = _PRIMITIVE[centring(self.space_group)]
        inverse = np.linalg.inv(primitive)
        sites = np.array(self.coordinates).reshape(-1, 3) / COORDINATE_STEPS
        frac, numbers, orbit = [], [], 0
        for z, places in zip(elements or self.elements, self.sites, strict=True):
            for _ in places.split():
                images = expand(sites[orbit], rotations, translations) @ inverse
                images = distinct(images)
                frac.append(images)
                numbers += [z] * len(images)
                orbit += 1
        if len(numbers) != self.n_atoms or orbit != len(sites):
            raise ValueError(
                f"{self.name}: its sites give {len(numbers)}, not {self.n_atoms} atoms"
            )
        cell = primitive @ np.asarray(cellpar_to_cell([*edges, *angles]))
        per_atom = volume_per_atom or self.volume_per_atom
        cell *= np.cbrt(per_atom * self.n_atoms / abs(np.linalg.det(cell)))
        short = reduced_cell(cell)
        frac_coords = np.concatenate(frac) @ np.rint(cell @ np.linalg.inv(short))
        return Crystal.of(short, numbers, frac_coords - np.floor(frac_coords))


def anonymous_name(counts: Sequence[int]) -> str:
    """``AB3C4`` of (1, 3, 4)."""
    letters = (chr(ord("A") + i) if i < 26 else f"Z{i}" for i in range(len(counts)))  # noqa: PLR2004
    return "".join(a + (str(n) if n > 1 else "") for a, n in zip(letters, counts, strict=True))


def multiplicities(sites: str) -> list[str]:
    """Multiplicities in ``4a 8c``, without the letters."""
    return [site[:-1] for site in sites.split()]


def expand(site: Floats, rotations: Ints, translations: Floats) -> Floats:
    """Images [m, 3] of a site that is first moved onto its special position."""
    images = rotations @ site + translations
    away = images - site
    whole = np.rint(away)
    fixed = (np.abs(away - whole) < _SAME).all(axis=1)
    # the mean over the operations that leave the site in place is the point that they fix
    exact = (images[fixed] - whole[fixed]).mean(axis=0)
    found: Floats = rotations @ exact + translations
    return found


def distinct(frac: Floats) -> Floats:
    """Those of fractional coordinates [m, 3] that are not images of an earlier one."""
    delta = frac[:, None] - frac[None]
    same = (np.abs(delta - np.rint(delta)) < _SAME).all(axis=-1)
    return frac[same.argmax(axis=1) == np.arange(len(frac))]


@cache
def _operations(hall: int) -> tuple[Ints, Floats]:
    """Rotations [m, 3, 3] and translations [m, 3] in the conventional cell."""
    data = spglib.get_symmetry_from_database(hall)
    return data["rotations"].astype(np.int64), np.asarray(data["translations"], dtype=np.float64)


@cache
def centring(number: int) -> str:
    """Letter of the lattice of a space group: P, A, C, I, F or R."""
    from chggen.symmetry.settings import symbols

    return symbols()[number][0]


def described(crystal: Crystal, name: str, above_hull: float | None = None) -> Prototype | str:
    """Entry of a crystal, or why it can be none.

    Args:
        crystal: any setting.
        name: of its source.
        above_hull: eV/atom.
    """
    cell = (crystal.cell, crystal.frac_coords, crystal.atomic_numbers)
    try:
        data = spglib.get_symmetry_dataset(cell, SYMPREC)
        if data is not None:
            hall = standard_hall(int(data.number))
            if int(data.hall_number) != hall:
                data = spglib.get_symmetry_dataset(cell, SYMPREC, hall_number=hall)
    except spglib.SpglibError as error:
        return f"spglib: {error}"
    if data is None:
        return "spglib finds no space group"
    return _entry(data, hall, name, above_hull)


def _entry(
    data: spglib.SpglibDataset, hall: int, name: str, above_hull: float | None
) -> Prototype | str:
    number = int(data.number)
    types = np.asarray(data.std_types)
    share = round(1 / abs(np.linalg.det(_PRIMITIVE[centring(number)])))
    species, amounts = np.unique(types, return_counts=True)
    whole = {int(z): int(n) for z, n in zip(species, amounts, strict=True)}
    divisor = int(np.gcd.reduce(amounts))
    # atoms of the conventional cell that are images of each other, and their letters
    orbits = np.asarray(data.crystallographic_orbits)
    mapping = np.asarray(data.std_mapping_to_primitive)
    back = {int(p): i for i, p in enumerate(np.asarray(data.mapping_to_primitive))}
    places: dict[int, list[tuple[str, int]]] = {z: [] for z in whole}
    seen: dict[int, int] = {}
    members: dict[int, int] = {}
    for atom, image in enumerate(mapping):
        orbit = int(orbits[back[int(image)]])
        members[orbit] = members.get(orbit, 0) + 1
        seen.setdefault(orbit, atom)
    for orbit, atom in seen.items():
        letter = data.wyckoffs[orbit]
        places[int(types[atom])].append((f"{members[orbit]}{letter}", atom))
    for some in places.values():
        some.sort(key=lambda s: (s[0][-1], s[0], s[1]))
    order = sorted(whole, key=lambda z: (whole[z], [s for s, _ in places[z]], z))
    sites = np.array([data.std_positions[atom] for z in order for _, atom in places[z]])
    found = Prototype(
        name=name,
        counts=tuple(whole[z] // divisor for z in order),
        elements=tuple(order),
        n_atoms=len(types) // share,
        space_group=number,
        hall=hall,
        sites=tuple(" ".join(s for s, _ in places[z]) for z in order),
        cell=_parameters(np.asarray(data.std_lattice)),
        coordinates=tuple(
            (np.rint(sites * COORDINATE_STEPS).astype(int) % COORDINATE_STEPS).ravel().tolist()
        ),
        volume=round(abs(np.linalg.det(data.std_lattice)) / len(types) * VOLUME_STEPS),
        above_hull=None if above_hull is None else round(1000 * above_hull),
    )
    if max(*found.cell, found.volume) > _MOST or min(found.cell) < 1:
        return "its cell is flat or too long"
    return found


def _parameters(lattice: Floats) -> tuple[int, ...]:
    edges = np.linalg.norm(lattice, axis=1)
    cosines = [lattice[i] @ lattice[j] / edges[i] / edges[j] for i, j in ((1, 2), (0, 2), (0, 1))]
    scaled = edges / np.cbrt(abs(np.linalg.det(lattice))) * EDGE_STEPS
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1))) * ANGLE_STEPS
    return tuple(np.rint([*scaled, *angles]).astype(int).tolist())


def without_copies(found: Iterable[Prototype]) -> Iterator[Prototype]:
    """Entries without those of the same formula, prototype and shape, the first one kept.

    Cells that differ by less than 5 % in each edge and 4° count as copies.
    """
    seen: dict[tuple[object, ...], list[Floats]] = {}
    for entry in found:
        key = (entry.formula, *entry.kind)
        shape = np.array(entry.cell) / np.repeat([EDGE_STEPS * 0.05, ANGLE_STEPS * 4.0], 3)
        others = seen.setdefault(key, [])
        if all(np.abs(np.sort(shape[:3]) - np.sort(o[:3])).max() > 1 for o in others):
            others.append(shape)
            yield entry


def is_entry_of(entry: Prototype, counts: Mapping[int, int]) -> bool:
    """True if an entry has the anonymous formula of counts per atomic number."""
    return entry.counts == anonymous(counts)
