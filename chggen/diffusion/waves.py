"""Reciprocal lattice vectors of the crystals of a batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

#: 1/Å: waves shorter than 2π/3 Å are left to the neighbours.
CUTOFF = 3.0
#: Reach of the description of the lattice: |G| V^(1/3), V the volume of the cell.
REACH = 15.0


@dataclass(frozen=True)
class Waves:
    """Reciprocal lattice vectors of the crystals of a batch, one of each pair ±G.

    Args:
        vectors: [s, g, 3] 1/Å, padded with zeros.
        length: [s, g] 1/Å.
        used: [s, g] False where padded.
        volume: [s] of the cell, Å³.
    """

    vectors: Tensor
    length: Tensor
    used: Tensor
    volume: Tensor


def waves(cells: Tensor) -> Waves:
    """Reciprocal lattice vectors within the cutoffs; the same set for any choice of vectors.

    Args:
        cells: [s, 3, 3] row vectors, Å.
    """
    with torch.no_grad():
        volume = torch.linalg.det(cells).abs()
        most = (REACH / volume ** (1 / 3)).clamp_min(CUTOFF)
        # |n_i| = |G·a_i| / 2π is at most |G| |a_i| / 2π
        reach = most[:, None] * cells.norm(dim=-1) / (2 * math.pi)
        whole = torch.floor(reach.amax(0)).long().tolist()
        axes = [torch.arange(-n, n + 1, device=cells.device) for n in whole]
        grid = torch.cartesian_prod(*axes)
        # n and -n mirror each other in this order: the second half has one of each pair
        grid = grid[len(grid) // 2 + 1 :].to(cells.dtype)
        inverse = 2 * math.pi * torch.linalg.inv(cells)  # columns are the reciprocal vectors
        lengths = torch.einsum("gi,sji->sgj", grid, inverse).norm(dim=-1)
        inside = lengths < most[:, None]
        count = inside.sum(1)
        width = int(count.max())
        # those inside first, without a sort of the whole grid
        order = torch.topk(inside.to(torch.int8), width, dim=1).indices
        used = torch.arange(width, device=cells.device) < count[:, None]
        chosen = grid[order]
    vectors = torch.einsum("sgi,sji->sgj", chosen, inverse) * used[..., None]
    return Waves(vectors, vectors.norm(dim=-1), used, volume)
