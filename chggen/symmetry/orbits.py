"""Tasks with an imposed space group: Wyckoff orbits, initial positions, operations.

The score is equivariant, so it is invariant at a configuration that is invariant under a
space group: a trajectory that starts on Wyckoff orbits remains on them if its noise preserves
them (method.md §6). This module makes the initial positions, for whole cells and for guests
in a framework.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import spglib
from numpy.typing import NDArray

from chggen.config.stages import Bravais
from chggen.structure.crystal import Crystal
from chggen.structure.task import ImposedSymmetry, Task
from chggen.symmetry import wyckoff
from chggen.symmetry.settings import (
    Setting,
    lattice_kind,
    operations,
    settings_of,
    standard_hall,
    symbols,
)

if TYPE_CHECKING:
    from chggen.symmetry.signatures import Signatures

Floats = NDArray[np.float64]

#: ``none``, ``auto`` (any group that fits), one space group number, or a range of them.
Symmetry = Literal["none", "auto"] | int | tuple[int, int]

#: Distance (Å) below which an image counts as the same site.
_SAME: Final = 1e-3
#: Minimum initial distance (Å) between atoms, so that images can be identified.
_APART: Final = 0.3
#: Draws of Wyckoff positions and of coordinates before a space group is abandoned.
_DRAWS: Final = 4
_PLACES: Final = 8
#: Settings tried before a cell is abandoned.
_SETTINGS: Final = 24
#: Tolerance (Å) at which a framework has its imposed space group.
_HOST_SYMPREC: Final = 1e-2


def wanted(number: int, symmetry: Symmetry) -> bool:
    """True if a space group is among those requested."""
    if isinstance(symmetry, str):
        return symmetry == "auto"
    low, high = (symmetry, symmetry) if isinstance(symmetry, int) else symmetry
    return low <= number <= high


def fitting_lattices(symmetry: Symmetry) -> set[tuple[Bravais, str]] | None:
    """Bravais types and centrings of the space groups asked for; None if all will do."""
    if isinstance(symmetry, str):
        return None
    low, high = (symmetry, symmetry) if isinstance(symmetry, int) else symmetry
    return {lattice_kind(number) for number in range(low, high + 1)}


def impose(task: Task, symmetry: Symmetry, known: "Signatures | None" = None) -> Task | str:
    """Assign a space group and symmetric initial positions to a task.

    Settings that fit the cell are tried in a random order, weighted by the frequency of their
    space groups among known crystals. With ``known``, the space groups and positions of known
    crystals of the same anonymous formula come first, where one fits the cell. For guests in
    a framework only the space group of the framework is used.

    Args:
        task: the structure to make; its seed determines the result.
        symmetry: allowed space groups.
        known: signatures of known crystals; None: the general statistics alone.

    Returns:
        The task with its symmetry, or why it has none.
    """
    rng = np.random.default_rng([task.seed, 0x5E77])
    hosts = not bool(task.guest.all())
    settings = _host_settings(task) if hosts else settings_of(task.crystal.cell)
    settings = [s for s in settings if wanted(s.number, symmetry)]
    numbers = task.crystal.atomic_numbers[task.guest]
    settings = [s for s in settings if wyckoff.is_possible(s, numbers)]
    if not settings:
        what = "framework's space group" if hosts else "space groups asked for"
        return f"no combination of Wyckoff positions of the {what} fits this cell and composition"
    if known is not None and not hosts:
        # of a stream of its own: what the general statistics draw does not depend on it
        mine = np.random.default_rng([task.seed, 0x516])
        for setting, combination in known.draw(settings, numbers, mine):
            found = _start(task, setting, mine, combination)
            if found is not None:
                return found
    for setting in _shuffled(settings, rng)[:_SETTINGS]:
        found = _start(task, setting, rng)
        if found is not None:
            return found
    return f"no start found in {len(settings)} settings of space groups that fit the cell"


def _shuffled(settings: Sequence[Setting], rng: np.random.Generator) -> list[Setting]:
    """Settings in random order, frequent space groups early (Gumbel's trick)."""
    share = {s.number: 0 for s in settings}
    for s in settings:
        share[s.number] += 1
    keys = [
        np.log(wyckoff.group_weight(s.number) / share[s.number]) + rng.gumbel() for s in settings
    ]
    return [settings[i] for i in np.argsort(keys)[::-1]]


def _host_settings(task: Task) -> list[Setting]:
    """Settings of the framework's own space group in its cell."""
    host = task.crystal.take(~task.guest)
    cell = (host.cell, host.frac_coords, host.atomic_numbers)
    try:
        data = spglib.get_symmetry_dataset(cell, _HOST_SYMPREC)
        if data is not None:
            # repeated in the setting (origin choice) of the Wyckoff tables
            hall = standard_hall(int(data.number))
            data = spglib.get_symmetry_dataset(cell, _HOST_SYMPREC, hall_number=hall)
    except spglib.SpglibError:
        data = None
    if data is None:
        return []
    basis = np.linalg.inv(np.asarray(data.transformation_matrix, dtype=np.float64)).T
    origin = -np.asarray(data.origin_shift, dtype=np.float64) @ basis
    return [Setting(int(data.number), basis, origin)]


def _start(
    task: Task,
    setting: Setting,
    rng: np.random.Generator,
    given: wyckoff.Combination | None = None,
) -> Task | None:
    """The task with its movable atoms on random orbits (of ``given`` positions), or None."""
    try:
        rotations, translations = operations(setting)
    except ValueError:
        return None
    numbers = task.crystal.atomic_numbers
    for _ in range(1 if given else _DRAWS):
        combination = given or wyckoff.draw(setting, numbers[task.guest], rng)
        if combination is None:
            return None
        for _ in range(_PLACES):
            placed = _place(task, setting, combination, (rotations, translations), rng)
            if placed is None:
                continue
            frac = task.crystal.frac_coords.copy()
            frac[task.guest] = placed
            crystal = Crystal.of(task.crystal.cell, numbers, frac)
            maps = _maps(crystal, rotations, translations)
            if maps is None:
                continue
            name = symbols()[setting.number]
            sites = wyckoff.describe(combination)
            kept = ImposedSymmetry(setting.number, name, sites, rotations, translations, *maps)
            return replace(task, crystal=crystal, symmetry=kept)
    return None


def _place(
    task: Task,
    setting: Setting,
    combination: wyckoff.Combination,
    ops: tuple[NDArray[np.int64], Floats],
    rng: np.random.Generator,
) -> Floats | None:
    """Coordinates of the movable atoms, in the task's order; None if sites coincide."""
    cell = task.crystal.cell
    numbers = task.crystal.atomic_numbers[task.guest]
    frac = np.empty((len(numbers), 3))
    for z, chosen in combination.items():
        orbits = []
        for position in chosen:
            site = wyckoff.site(setting.number, position, rng) @ setting.basis + setting.origin
            orbit = _orbit(site, *ops, cell)
            if len(orbit) != round(position.multiplicity / setting.size):
                return None
            orbits.append(orbit)
        frac[numbers == z] = np.concatenate(orbits)
    everyone = np.concatenate([task.crystal.frac_coords[~task.guest], frac])
    if Crystal.of(cell, np.ones(len(everyone)), everyone).min_distance < _APART:
        return None
    return frac


def _orbit(
    site: Floats, rotations: NDArray[np.int64], translations: Floats, cell: Floats
) -> Floats:
    """Distinct images of a site in the cell."""
    images = site @ rotations.transpose(0, 2, 1) + translations
    images -= np.floor(images)
    found: list[Floats] = []
    for image in images:
        if not found or _misfit(image - np.array(found), cell).min() > _SAME:
            found.append(image)
    return np.array(found)


def _misfit(delta: Floats, cell: Floats) -> Floats:
    """Length of fractional vectors that are lattice vectors up to a small misfit, Å.

    Rounding does not give the shortest image in a skewed cell, but it does for vectors that
    are almost lattice vectors; for all others it is sufficient that the result is long.
    """
    return np.asarray(np.linalg.norm((delta - np.rint(delta)) @ cell, axis=-1))


def _maps(
    crystal: Crystal, rotations: NDArray[np.int64], translations: Floats
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Permutations [m, n] and offsets [m, n, 3] of the operations; None if not symmetric."""
    frac, z = crystal.frac_coords, crystal.atomic_numbers
    images = np.einsum("kij,nj->kni", rotations, frac) + translations[:, None]
    misfit = _misfit(images[:, :, None] - frac, crystal.cell)
    misfit[:, z[:, None] != z] = np.inf
    target = misfit.argmin(axis=2)
    if (
        misfit.min(axis=2).max() > 10 * _SAME
        or (np.sort(target, axis=1) != np.arange(len(z))).any()
    ):
        return None
    return target, np.rint(images - frac[target]).astype(np.int64)


def exact(crystal: Crystal, symmetry: ImposedSymmetry) -> Crystal:
    """Symmetrise a nearly symmetric crystal (any image of its atoms) up to rounding."""
    frac = crystal.frac_coords
    images = np.einsum("kij,nj->kni", symmetry.rotations, frac) + symmetry.translations[:, None]
    targets = frac[symmetry.permutations]
    offsets = np.rint(images - targets)
    back = np.linalg.inv(symmetry.rotations)
    moved = np.einsum("kij,knj->kni", back, targets + offsets - symmetry.translations[:, None])
    return Crystal.of(crystal.cell, crystal.atomic_numbers, moved.mean(axis=0))
