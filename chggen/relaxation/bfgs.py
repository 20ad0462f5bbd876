"""Damped BFGS for a changing batch of crystals, positions and cells together.

torch-sim 0.6.2 has FIRE, BFGS and L-BFGS, and their rules were tried first, with CHGNet
0.3.0 to 0.1 eV/Å and 1 GPa. On 40 generated Zn-P-S cells of 9 to 22 atoms FIRE takes 59
steps, L-BFGS 37, the method here 25; on 80 random and disturbed ones, 97 (3 not converged
in 500 steps), 100 (5 not converged, by keeping pairs of negative curvature) and 48 (all
converged). Nor does torch-sim's BFGS ever move the cell of any but the largest system of a
batch, and the history of its L-BFGS is misaligned when systems of another size join. Here,
what a crystal does is independent of what else is in the batch.

Coordinates: the deformation gradient F, scaled, and the positions u pulled back to the
starting cell, so that ``cell = cell_0 F^T`` and ``positions = u F^T`` (the coordinates of
ASE's UnitCellFilter). The inverse Hessian B is updated after Nocedal & Wright, Numerical
Optimization (2006), eq. 6.17, with Powell's damping (procedure 18.2) where the curvature
along a step is small or negative: B stays positive and every step goes downhill.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from chggen.relaxation.springs import hessian
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats

#: Longest step of an atom, and of a row of the scaled deformation gradient, Å.
MAX_STEP = 0.2

#: Scale (Å) of the deformation gradient per square root of the number of atoms: makes the
#: stiffness of the cell (bulk moduli of tens of GPa) comparable to that of the atoms.
CELL_SCALE = 2.0

#: Share of the expected curvature below which the measured one is damped.
DAMPING = 0.2

_CELL = 9


@dataclass
class _Batch:
    """Tensors with one row per crystal; atoms padded to M, D = 9 + 3M coordinates."""

    cell: Tensor  # [S, 3, 3] at the start, row vectors
    real: Tensor  # [S, M] true for atoms, false for padding
    scale: Tensor  # [S, 1] of the deformation gradient
    x: Tensor  # [S, D]
    inverse: Tensor  # [S, D, D]
    gradient: Tensor  # [S, D] at the last step
    step: Tensor  # [S, D] the last step; zero before the first
    shortening: Tensor  # [S, 1] factor by which it was cut to MAX_STEP


class BFGS:
    """The minimiser.

    Args:
        relax_cell: move cells too.
        device: where to keep its tensors; they are in double precision.
    """

    def __init__(self, *, relax_cell: bool, device: torch.device) -> None:
        self.relax_cell = relax_cell
        self.device = device
        self._batch = self._start([], [])

    def add(
        self, crystals: Sequence[Crystal], projections: Sequence[Floats | None] | None = None
    ) -> None:
        """Append crystals, at their given geometry.

        Args:
            crystals: of any size.
            projections: [9 + 3n, 9 + 3n] on what may move, of each; None for all of it. See
                :mod:`chggen.relaxation.constraints`.
        """
        old, new = self._batch, self._start(crystals, projections or [None] * len(crystals))
        atoms = max(old.real.shape[1], new.real.shape[1])
        old, new = _pad(old, atoms), _pad(new, atoms)
        pairs = ((getattr(old, f.name), getattr(new, f.name)) for f in fields(_Batch))
        self._batch = _Batch(*(torch.cat(pair) for pair in pairs))

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all crystals but these."""
        index = torch.tensor(rows, dtype=torch.long, device=self.device)
        batch = _Batch(*(getattr(self._batch, f.name)[index] for f in fields(_Batch)))
        atoms = int(batch.real.sum(1).max()) if rows else 0
        self._batch = _pad(batch, atoms)

    def cells(self) -> Tensor:
        """Present cells [S, 3, 3], row vectors, Å."""
        return self._batch.cell @ self._deformation().mT

    def positions(self) -> Tensor:
        """Present Cartesian positions [N, 3] of all atoms, Å."""
        batch = self._batch
        pulled_back = batch.x[:, _CELL:].view(*batch.real.shape, 3)
        return (pulled_back @ self._deformation().mT)[batch.real]

    def fractional(self, row: int) -> Tensor:
        """Present fractional coordinates [n, 3] of one crystal."""
        batch = self._batch
        pulled_back = batch.x[row, _CELL:].view(-1, 3)[batch.real[row]]
        return torch.linalg.solve(batch.cell[row].T, pulled_back.T).T

    def advance(self, forces: Tensor, stress: Tensor) -> None:
        """One step of every crystal.

        Args:
            forces: [N, 3] eV/Å at the present geometry.
            stress: [S, 3, 3] eV/Å³.
        """
        batch = self._batch
        gradient = self._gradient(forces.to(batch.x), stress.to(batch.x))
        self._learn(gradient)
        full = -(batch.inverse @ gradient[..., None])[..., 0]
        longest = torch.linalg.vector_norm(full.view(len(full), -1, 3), dim=2).amax(1)
        batch.shortening = (MAX_STEP / longest.clamp(min=MAX_STEP))[:, None]
        batch.step = full * batch.shortening
        batch.gradient = gradient
        batch.x = batch.x + batch.step

    def _learn(self, gradient: Tensor) -> None:
        """Update the inverse Hessians by the last steps and what they did."""
        batch = self._batch
        s, y = batch.step, gradient - batch.gradient
        # B s' = -gradient defined the step, so the Hessian times the step is known
        hessian_s = -batch.shortening * batch.gradient
        expected, found = _dot(s, hessian_s), _dot(s, y)
        moved = expected > 0
        damped = found < DAMPING * expected
        mix = torch.where(damped, (1 - DAMPING) * expected / (expected - found), 1.0)
        y = mix * y + (1 - mix) * hessian_s
        found = torch.where(moved, _dot(s, y), 1.0)
        s = torch.where(moved, s, 0.0)
        along = (batch.inverse @ y[..., None])[..., 0]
        weight = (found + _dot(y, along)) / found.square()
        # B + w ss' - (Bys' + sy'B)/sy, as one symmetric product
        half = 0.5 * weight * s - along / found
        update = half[:, :, None] * s[:, None, :]
        batch.inverse += update + update.mT

    def _gradient(self, forces: Tensor, stress: Tensor) -> Tensor:
        """Energy gradient [S, D] in the minimiser's coordinates."""
        batch, deformation = self._batch, self._deformation()
        spread = forces.new_zeros(*batch.real.shape, 3)
        spread[batch.real] = forces
        atoms = -(spread @ deformation).view(len(spread), -1)
        cell = torch.zeros_like(stress)
        if self.relax_cell:
            volume = torch.linalg.det(self.cells()).abs()
            virial = stress * volume[:, None, None]
            cell = torch.linalg.solve(deformation, virial.mT).mT / batch.scale[..., None]
        return torch.cat([cell.reshape(-1, _CELL), atoms], dim=1)

    def _deformation(self) -> Tensor:
        batch = self._batch
        return (batch.x[:, :_CELL] / batch.scale).view(-1, 3, 3)

    def _start(self, crystals: Sequence[Crystal], projections: Sequence[Floats | None]) -> _Batch:
        s, m = len(crystals), max((len(c) for c in crystals), default=0)
        d = _CELL + 3 * m
        zeros = torch.zeros(s, d, dtype=torch.float64, device=self.device)
        batch = _Batch(
            cell=zeros.new_zeros(s, 3, 3),
            real=torch.zeros(s, m, dtype=torch.bool, device=self.device),
            scale=zeros.new_zeros(s, 1),
            x=zeros,
            inverse=zeros.new_zeros(s, d, d),
            gradient=torch.zeros_like(zeros),
            step=torch.zeros_like(zeros),
            shortening=zeros.new_ones(s, 1),
        )
        for row, (crystal, allowed) in enumerate(zip(crystals, projections, strict=True)):
            n = len(crystal)
            batch.cell[row] = torch.from_numpy(crystal.cell)
            batch.real[row, :n] = True
            batch.scale[row] = CELL_SCALE * n**0.5
            batch.x[row, :_CELL] = batch.scale[row] * torch.eye(3).to(zeros).view(-1)
            batch.x[row, _CELL : _CELL + 3 * n] = torch.from_numpy(crystal.cart_coords).view(-1)
            guess = hessian(crystal, CELL_SCALE * n**0.5, relax_cell=self.relax_cell)
            used, inverse = _CELL + 3 * n, np.linalg.inv(guess)
            if allowed is not None:
                inverse = allowed @ inverse @ allowed
            batch.inverse[row, :used, :used] = torch.from_numpy(inverse)
        return batch


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(1, keepdim=True)


def _pad(batch: _Batch, atoms: int) -> _Batch:
    """The batch with room for so many atoms; negative padding cuts room that is unused."""
    more = atoms - batch.real.shape[1]
    if more == 0:
        return batch

    def wider(t: Tensor) -> Tensor:
        return torch.nn.functional.pad(t, (0, 3 * more))

    return _Batch(
        batch.cell, torch.nn.functional.pad(batch.real, (0, more)), batch.scale,
        wider(batch.x), torch.nn.functional.pad(batch.inverse, (0, 3 * more, 0, 3 * more)),
        wider(batch.gradient), wider(batch.step), batch.shortening,
    )  # fmt: skip
