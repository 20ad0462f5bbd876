"""Generator ``pyxtal``: random symmetric crystals in the campaign's cells.

A space group is drawn among those that fit the lattice of the cell and can hold its atoms.
PyXtal (Fredericks et al., Comput. Phys. Commun. 261, 107810 (2021)) fills Wyckoff positions
of its conventional cell. The atoms are then transformed to the unchanged input cell.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from ase.geometry import cell_to_cellpar
from numpy.typing import NDArray

from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.outcome import LEAST_VOLUME
from chggen.structure.task import Placed, Progress, SpaceGroup, Task, place_each
from chggen.symmetry.settings import Setting, group, settings_of, symbols

if TYPE_CHECKING:
    from pyxtal.tolerance import Tol_matrix

Floats = NDArray[np.float64]

#: Minimum distances, as fractions of the sum of covalent radii; the largest is tried first.
FRACTIONS: Final = (0.8, 0.65, 0.5)
#: Trials with a space group at each fraction, and attempts of PyXtal in each.
_GROUPS: Final = 8
_ATTEMPTS: Final = 4
#: PyXtal's own minimum distance, as a fraction of the sum of covalent radii.
_PYXTAL_FRACTION: Final = 0.5
_ROUNDING: Final = 1e-4


class PyxtalGenerator:
    """Places all atoms of a cell on the Wyckoff positions of a random space group."""

    name = "pyxtal"
    inputs: Mapping[str, str] = {}

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Fill the cell of every task, each with its own seed."""
        return place_each(place, tasks, progress)


def place(task: Task) -> Placed:
    """Random symmetric structure of one task, in a space group above P1."""
    crystal = task.crystal
    if not task.guest.all():
        return Placed(None, "pyxtal cannot place guests in a framework", 0)
    if not (np.isfinite(crystal.cell).all() and crystal.volume_per_atom > LEAST_VOLUME):
        return Placed(None, "the cell is not finite or too small", 0)
    species, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    rng = np.random.default_rng(task.seed)
    ways: dict[int, list[Setting]] = {}
    for setting in settings_of(crystal.cell):
        ways.setdefault(setting.number, []).append(setting)
    fitting = [n for n, found in ways.items() if n > 1 and _holds(n, counts, found[0].size)]
    if not fitting:
        return Placed(None, "no space group of the cell's lattice can hold its atoms", 0)
    for fraction in FRACTIONS:
        # in turn if there are few: a triclinic cell has one
        for number in np.resize(rng.permutation(fitting), _GROUPS):
            found = ways[int(number)]
            setting = found[rng.integers(len(found))]
            frac = _fill(crystal, setting, species, counts, fraction, rng)
            if frac is not None:
                made = Crystal.of(crystal.cell, crystal.atomic_numbers, frac)
                kept = SpaceGroup(setting.number, symbols()[setting.number], "")
                return Placed(made, "", 0, kept)
    return Placed(None, f"pyxtal found no crystal in any of {len(fitting)} space groups", 0)


def _holds(number: int, counts: NDArray[np.int64], size: float) -> bool:
    """True if Wyckoff positions add up to the atoms of the conventional cell."""
    return _compatible(number, tuple(int(n) for n in np.rint(counts * size)))


@cache
def _compatible(number: int, counts: tuple[int, ...]) -> bool:
    return bool(group(number).check_compatible(list(counts))[0])


@cache
def _tolerance(fraction: float) -> "Tol_matrix":
    from pyxtal.tolerance import Tol_matrix

    return Tol_matrix(prototype="atomic", factor=fraction / _PYXTAL_FRACTION)


def _fill(
    crystal: Crystal,
    setting: Setting,
    species: NDArray[np.int64],
    counts: NDArray[np.int64],
    fraction: float,
    rng: np.random.Generator,
) -> Floats | None:
    """Fractional coordinates in the cell and order of the crystal; None if PyXtal fails."""
    from pyxtal.lattice import Lattice

    space_group = group(setting.number)
    parameters = cell_to_cellpar(setting.basis @ crystal.cell)
    lattice = Lattice.from_para(
        *parameters, ltype=space_group.lattice_type, random_state=rng.spawn(1)[0]
    )
    sites = _sites(
        dim=3,
        group=space_group,
        species=[comp.SYMBOLS[z] for z in species],
        numIons=np.rint(counts * setting.size).astype(int),
        lattice=lattice,
        tm=_tolerance(fraction),
        random_state=rng.spawn(1)[0],
    )
    if sites is None:
        return None
    frac = np.empty_like(crystal.frac_coords)
    for z in species:
        own = [site.coords for site in sites if comp.ATOMIC_NUMBERS[site.specie] == z]
        atoms = crystal.atomic_numbers == z
        kept = _distinct(np.concatenate(own) @ setting.basis + setting.origin)
        if len(kept) != atoms.sum():
            return None
        frac[atoms] = kept
    return frac


def _sites(**request: Any) -> list[Any] | None:  # noqa: ANN401
    """Occupied Wyckoff positions of a random crystal."""
    crystal = _quick()(**request)
    sites: list[Any] | None = crystal.atom_sites if crystal.valid else None
    return sites


@cache
def _quick() -> type[Any]:
    """PyXtal's random crystal with fewer attempts: another group is more likely to succeed."""
    from pyxtal.crystal import random_crystal

    class QuickCrystal(random_crystal):  # type: ignore[misc]
        def set_crystal(self) -> None:
            self.numattempts = 0
            self.set_volume()
            self.set_lattice(self.lattice0)
            for _ in range(_ATTEMPTS):
                found = self._set_coords()
                if found:
                    self.atom_sites = found
                    return

    return QuickCrystal


def _distinct(frac: Floats) -> Floats:
    """One of each set of points that differ by lattice vectors, in [0, 1)."""
    kept: list[Floats] = []
    for point in frac:
        others = np.array(kept).reshape(-1, 3)
        delta = others - point
        if not (np.abs(delta - np.round(delta)).max(axis=1) < _ROUNDING).any():
            kept.append(point - np.floor(point))
    return np.array(kept).reshape(-1, 3)
