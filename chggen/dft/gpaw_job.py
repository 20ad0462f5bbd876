"""What is asked of GPAW and what came of it: the files that engine and runner share.

A directory holds ``gpaw.json`` (structure and settings), and per step of the recipe a
folder with ``result.json`` (written when it ended, well or not), GPAW's own text and, for
a relaxation, ``latest.json`` after each of its steps. No file is ever half written.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from chggen.dft.attempts import read_json, write_json
from chggen.errors import Status
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

INPUT: Final = "gpaw.json"
RESULT: Final = "result.json"
LATEST: Final = "latest.json"
#: Everything that the runner says outside GPAW's own text.
LOG: Final = "gpaw.log"
RELAX: Final = "relax"
SINGLE_POINT: Final = "single_point"

#: Functional of the config: GPAW's (libxc's) name of it.
XC: Final = {"r2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN", "PBE": "PBE"}

#: Reciprocal vectors whose lengths differ by less, relatively, get as many k-points.
_EQUAL_LENGTH: Final = 0.01

#: Rows of the periodic table's d and f blocks, ends included.
_OPEN_BLOCKS: Final = ((21, 30), (39, 48), (57, 80), (89, 112))


@dataclass(frozen=True)
class Job:
    """One structure and what to do with it; ``gpaw.json``.

    Args:
        functional: of the last step, a key of :data:`XC`.
        cutoff: plane-wave cutoff, eV.
        kpoint_density: see :func:`kpoint_mesh`.
        smearing: Fermi-Dirac width, eV.
        relax: none, positions or cell.
        fmax: force criterion of the relaxation, eV/Å.
        max_steps: its step limit, all attempts together.
        cell: 3×3 row vectors, Å.
        atomic_numbers: [n].
        frac_coords: [n][3].
    """

    functional: str
    cutoff: float
    kpoint_density: float
    smearing: float
    relax: str
    fmax: float
    max_steps: int
    cell: list[list[float]]
    atomic_numbers: list[int]
    frac_coords: list[list[float]]

    @property
    def recipe(self) -> tuple[str, ...]:
        """Steps in order."""
        return (SINGLE_POINT,) if self.relax == "none" else (RELAX, SINGLE_POINT)

    @property
    def crystal(self) -> Crystal:
        """Structure to begin with."""
        return Crystal.of(self.cell, self.atomic_numbers, self.frac_coords)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Job of a directory; raises ``ValueError`` if there is none."""
        return cls(**_read(directory / INPUT, [f.name for f in fields(cls)]))

    def write(self, directory: Path) -> None:
        """Write ``gpaw.json``; the directory is made."""
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / INPUT, asdict(self))


@dataclass(frozen=True)
class StepResult:
    """How a step ended; ``result.json``, and ``latest.json`` on the way there.

    Args:
        status: a :class:`Status`; ``ok`` only if it converged.
        reason: one line if not.
        run_type: functional as GPAW names it, in the config's spelling if it has one.
        energy_per_atom: extrapolated to zero smearing, eV/atom.
        fmax: largest force, eV/Å.
        smax: largest absolute stress component, GPa.
        cell: 3×3 row vectors at the end, Å.
        frac_coords: [n][3] at the end.
        steps: optimiser steps so far (relaxation).
        magnetic_moment: of the cell, μB; 0 without spin.
        wall_time: seconds.
    """

    status: str = Status.OK.value
    reason: str = ""
    run_type: str | None = None
    energy_per_atom: float | None = None
    fmax: float | None = None
    smax: float | None = None
    cell: list[list[float]] | None = None
    frac_coords: list[list[float]] | None = None
    steps: int = 0
    magnetic_moment: float = 0.0
    wall_time: float = 0.0

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Result in a file; None if there is none that can be read."""
        try:
            return cls(**_read(path, [f.name for f in fields(cls)]))
        except ValueError:
            return None

    def write(self, path: Path) -> None:
        """Write it; the folder is made."""
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(self))

    def crystal(self, atomic_numbers: list[int]) -> Crystal | None:
        """Structure at the end, if there is one."""
        if self.cell is None or self.frac_coords is None:
            return None
        return Crystal.of(self.cell, atomic_numbers, self.frac_coords)


def read_result(directory: Path, step: str) -> StepResult | None:
    """How a step ended, None if it has not."""
    return StepResult.read(directory / step / RESULT)


def kpoint_mesh(cell: Floats, density: float) -> tuple[int, int, int]:
    """Points of the Γ-centred mesh along each reciprocal vector.

    Their number is the vector's length (2π included) times ``density``, rounded up, even
    or odd as it comes: a mesh that holds Γ keeps the symmetry of every lattice with
    either, one shifted off Γ does not (hexagonal, face-centred). Vectors of about one
    length get the same number, so that noise in a cell does not break its symmetry.

    Args:
        cell: 3×3 row vectors, Å.
        density: points per Å⁻¹.
    """
    lengths = 2.0 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
    same = np.abs(lengths[:, None] / lengths[None, :] - 1.0) < _EQUAL_LENGTH
    longest = np.where(same, lengths[None, :], 0.0).max(axis=1)
    first, second, third = (max(1, int(np.ceil(x - 1e-6))) for x in longest * density)
    return first, second, third


def initial_moments(atomic_numbers: list[int]) -> list[float] | None:
    """Moments in μB that a spin-polarised calculation starts from; None: without spin.

    Elements of the d and f blocks whose free atoms have a moment start with it, all
    pointing the same way; other orders of the spins are not looked for.
    """
    from ase.data import ground_state_magnetic_moments as free

    moments = [
        float(free[z]) if any(low <= z <= high for low, high in _OPEN_BLOCKS) else 0.0
        for z in atomic_numbers
    ]
    return moments if any(moments) else None


def _read(path: Path, names: list[str]) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not set(content) <= set(names):
        raise ValueError(f"{path.name}: missing, or written by another version")
    return content
