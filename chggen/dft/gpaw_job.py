"""GPAW job and its results: the files that engine and runner share.

A directory contains ``gpaw.json`` (structure and settings) and a folder for each step of the
recipe with ``result.json`` (written at its end, successful or not), GPAW's own output and,
for a relaxation, ``latest.json`` after each of its steps. All files are written atomically.
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
#: Output of the runner other than GPAW's own.
LOG: Final = "gpaw.log"
RELAX: Final = "relax"
SINGLE_POINT: Final = "single_point"

#: Functional of the config: its name in GPAW (libxc).
XC: Final = {"r2SCAN": "MGGA_X_R2SCAN+MGGA_C_R2SCAN", "PBE": "PBE"}

#: Reciprocal vectors with a smaller relative difference in length get as many k-points.
_EQUAL_LENGTH: Final = 0.01

#: Rows of the periodic table's d and f blocks, ends included.
_OPEN_BLOCKS: Final = ((21, 30), (39, 48), (57, 80), (89, 112))


@dataclass(frozen=True)
class Job:
    """One structure and its settings; ``gpaw.json``.

    Args:
        functional: functional of the last step, a key of :data:`XC`.
        cutoff: plane-wave cutoff, eV.
        kpoint_density: see :func:`kpoint_mesh`.
        smearing: Fermi-Dirac width, eV.
        relax: none, positions or cell.
        fmax: force criterion of the relaxation, eV/Å.
        max_steps: its step limit over all attempts.
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
        """Initial structure."""
        return Crystal.of(self.cell, self.atomic_numbers, self.frac_coords)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Job of a directory; raises ``ValueError`` if there is none."""
        return cls(**_read(directory / INPUT, [f.name for f in fields(cls)]))

    def write(self, directory: Path) -> None:
        """Write ``gpaw.json``; creates the directory."""
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / INPUT, asdict(self))


@dataclass(frozen=True)
class StepResult:
    """Result of a step; ``result.json``, and ``latest.json`` before its end.

    Args:
        status: a :class:`Status`; ``ok`` only if it converged.
        reason: one line if not.
        run_type: functional as named by GPAW, in the spelling of the config if it has one.
        energy_per_atom: extrapolated to zero smearing, eV/atom.
        fmax: largest force, eV/Å.
        smax: largest absolute stress component, GPa.
        cell: 3×3 row vectors at the end, Å.
        frac_coords: [n][3] at the end.
        steps: optimiser steps so far (relaxation).
        magnetic_moment: moment of the cell, μB; 0 without spin.
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
        """Result in a file; None if it is missing or unreadable."""
        try:
            return cls(**_read(path, [f.name for f in fields(cls)]))
        except ValueError:
            return None

    def write(self, path: Path) -> None:
        """Write the result; creates the folder."""
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(self))

    def crystal(self, atomic_numbers: list[int]) -> Crystal | None:
        """Final structure, or None."""
        if self.cell is None or self.frac_coords is None:
            return None
        return Crystal.of(self.cell, atomic_numbers, self.frac_coords)


def read_result(directory: Path, step: str) -> StepResult | None:
    """Result of a step; None if it has not ended."""
    return StepResult.read(directory / step / RESULT)


def kpoint_mesh(cell: Floats, density: float) -> tuple[int, int, int]:
    """Number of points of the Γ-centred mesh along each reciprocal vector.

    The number is the length of the vector (with 2π) times ``density``, rounded up. It may be
    even or odd: a Γ-centred mesh preserves the symmetry of every lattice with both, a shifted
    one does not (hexagonal, face-centred). Vectors of nearly equal length get the same
    number, so that noise in a cell does not break its symmetry.

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
    """Initial moments in μB of a spin-polarised calculation; None: without spin.

    Elements of the d and f blocks whose free atoms have a moment start with it, all
    parallel; other magnetic orders are not searched for.
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
