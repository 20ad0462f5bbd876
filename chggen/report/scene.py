"""What a drawing of a crystal shows: which atoms, where, and which bonds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Final

import numpy as np

from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

#: Longest bond over the sum of covalent radii.
_BOND: Final = 1.2
#: Atoms this near (Å) to a face of the cell are repeated on the opposite one.
_ON_FACE: Final = 0.05
#: With more atoms than this nothing is repeated on opposite faces.
_MOST_REPEATED: Final = 60

_Atoms = tuple[Floats, list[int]]  # Cartesian coordinates [n, 3], atomic numbers


@dataclass(frozen=True)
class Scene:
    """Atoms and bonds to draw, in Å around the middle of the cell.

    Args:
        points: [n, 3] atoms.
        numbers: [n] atomic numbers.
        bonds: pairs of places in ``points``.
        inside: how many of the points belong to the cell; the rest are neighbours that
            complete the surroundings of these.
        cell: row vectors.
        middle: what was subtracted.
    """

    points: Floats
    numbers: list[int]
    bonds: list[tuple[int, int]]
    inside: int
    cell: Floats
    middle: Floats


def scene_of(crystal: Crystal) -> Scene:
    """What is drawn of a crystal: one cell with whole groups and whole surroundings."""
    near = _ON_FACE * np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)
    frac = crystal.frac_coords - np.floor(crystal.frac_coords + near / 2)
    units = [
        (unit, whole, _on_faces(whole.mean(axis=0), near)) for unit, whole in _units(crystal, frac)
    ]
    if sum(len(unit) * len(shifts) for unit, _, shifts in units) > _MOST_REPEATED:
        # copies on faces and corners would hide what is inside: one cell's content only
        units = [(unit, whole, shifts[:1]) for unit, whole, shifts in units]
    repeated = [
        (atom, place)
        for unit, whole, shifts in units
        for shift in shifts
        for atom, place in zip(unit, whole + shift, strict=True)
    ]
    atoms = [atom for atom, _ in repeated]
    places = [place for _, place in repeated]
    numbers = [int(crystal.atomic_numbers[a]) for a in atoms]
    points = np.array(places) @ crystal.cell
    beyond, beyond_numbers = _neighbours_beyond(points, numbers, crystal)
    inside = len(numbers)
    points, numbers = np.vstack([points, beyond]), numbers + beyond_numbers
    # atoms beyond are there for the centres inside; bonds among them say nothing
    bonds = [(i, j) for i, j in _bonds(points, numbers) if min(i, j) < inside]
    middle = crystal.cell.sum(axis=0) / 2
    return Scene(points - middle, numbers, bonds, inside, crystal.cell, middle)


def _on_faces(middle: Floats, near: Floats) -> list[Floats]:
    """Lattice translations that bring a point into the cell and, on a face, across."""
    home = -np.floor(middle + near / 2)
    steps = [
        (0, 1) if x < e else (0, -1) if x > 1 - e else (0,)
        for x, e in zip(middle + home, near, strict=True)
    ]
    return [home + shift for shift in product(*steps)]


def _units(crystal: Crystal, frac: Floats) -> Iterator[tuple[list[int], Floats]]:
    """Atoms that belong together, with coordinates that keep them together.

    A finite covalent group (PS4, P2S6, P2S7) is one unit and is not cut by the cell;
    every other atom, also in a network without end, is a unit of its own.
    """
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    z = crystal.atomic_numbers
    reach = np.array(
        [[_reach(int(a), int(b)) * _is_covalent(int(a), int(b)) for b in z] for a in z]
    )
    delta = (frac[None, None] + images[:, None, None] - frac[None, :, None]) @ crystal.cell
    bonded = np.linalg.norm(delta, axis=-1) < reach
    bonded[len(images) // 2, np.arange(len(z)), np.arange(len(z))] = False
    left = set(range(len(z)))
    while left:
        start = min(left)
        offsets = {start: np.zeros(3)}
        todo, endless = [start], False
        while todo:
            atom = todo.pop()
            for image, other in zip(*np.nonzero(bonded[:, atom]), strict=True):
                there = offsets[atom] + images[image]
                if int(other) not in offsets:
                    offsets[int(other)] = there
                    todo.append(int(other))
                endless |= bool((offsets[int(other)] != there).any())
        left -= set(offsets)
        if endless:
            yield from (([atom], frac[[atom]]) for atom in offsets)
        else:
            yield list(offsets), np.array([frac[a] + o for a, o in offsets.items()])


def _neighbours_beyond(points: Floats, numbers: list[int], crystal: Crystal) -> _Atoms:
    """Ligands of drawn centres that lie in other cells: their surroundings stay whole."""
    images = np.array(list(product((-1, 0, 1), repeat=3)))
    frac = crystal.frac_coords - np.floor(crystal.frac_coords)
    around = (frac[None] + images[:, None]).reshape(-1, 3) @ crystal.cell
    kinds = [int(z) for z in np.tile(crystal.atomic_numbers, len(images))]
    extra: list[Floats] = []
    extra_numbers: list[int] = []
    for point, z in zip(points, numbers, strict=True):
        reach = np.array([_reach(z, k) if _is_centre(z, k) else 0.0 for k in kinds])
        for j in np.flatnonzero(np.linalg.norm(around - point, axis=1) < reach):
            known = np.vstack([points, *extra])
            if np.linalg.norm(known - around[j], axis=1).min() > _ON_FACE:
                extra.append(around[j][None])
                extra_numbers.append(kinds[j])
    return np.vstack([np.zeros((0, 3)), *extra]), extra_numbers


def _bonds(points: Floats, numbers: list[int]) -> list[tuple[int, int]]:
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return [
        (i, j)
        for i in range(len(points))
        for j in range(i)
        if distance[i, j] < _reach(numbers[i], numbers[j])
    ]


@cache
def _reach(first: int, second: int) -> float:
    """Longest bond (Å) drawn between two elements; 0 where chemists draw none."""
    from ase.data import covalent_radii
    from pymatgen.core import Element

    a, b = Element.from_Z(first), Element.from_Z(second)
    ionic = any(e.is_alkali or e.is_alkaline for e in (a, b))
    if ionic or (a.is_metal and b.is_metal):
        return 0.0
    return float(_BOND * (covalent_radii[first] + covalent_radii[second]))


@cache
def _is_covalent(first: int, second: int) -> bool:
    """True if neither element is a metal."""
    from pymatgen.core import Element

    return not any(Element.from_Z(z).is_metal for z in (first, second))


@cache
def _is_centre(centre: int, ligand: int) -> bool:
    """True for a centre and its ligand, a more electronegative element and no metal."""
    from pymatgen.core import Element

    a, b = Element.from_Z(centre), Element.from_Z(ligand)
    return not b.is_metal and a.X < b.X
