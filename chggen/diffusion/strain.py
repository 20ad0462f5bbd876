"""Noise of the cell: a log strain that deforms cell and atoms together.

A cell L (rows are vectors) becomes L exp(A) with A = σ_L S symmetric, fractional coordinates
kept. S has five traceless components of unit variance, in an orthonormal basis that
transforms as l = 2, and an isotropic one: the log volume has the standard deviation
:data:`VOLUME` σ_L, as volumes are far better known than shapes.
"""

from functools import cache
from typing import Final

import torch
from e3nn import o3
from torch import Tensor

from chggen.diffusion.batch import Batch

#: Standard deviation of the log volume over σ_L.
VOLUME: Final = 0.3


@cache
def basis() -> Tensor:
    """[6, 3, 3]: five orthonormal traceless matrices (e3nn's l = 2), then VOLUME/3 · identity."""
    traceless = o3.wigner_3j(1, 1, 2).permute(2, 0, 1) * 5**0.5
    return torch.cat([traceless, VOLUME / 3 * torch.eye(3)[None]])


def matrix(components: Tensor) -> Tensor:
    """Components [s, 6] of unit noise to symmetric matrices [s, 3, 3]."""
    return torch.einsum("sk,kij->sij", components, basis().to(components))


def deform(batch: Batch, log_strain: Tensor) -> Batch:
    """Cells and positions times exp(A), fractional coordinates kept.

    Args:
        batch: crystals.
        log_strain: [s, 3, 3] symmetric A, without unit.
    """
    factor = torch.linalg.matrix_exp(log_strain)
    positions = torch.einsum("ni,nij->nj", batch.positions, factor[batch.system])
    return batch.at(positions, batch.cells @ factor)
