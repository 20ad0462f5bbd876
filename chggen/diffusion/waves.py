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
        places: [n] place of each atom in arrays [s · a, …], a the size of the largest crystal.
        cosine: [s, a, g] cos(G·r), zero where padded.
        sine: [s, a, g] sin(G·r), zero where padded.
    """

    vectors: Tensor
    length: Tensor
    used: Tensor
    volume: Tensor
    places: Tensor
    cosine: Tensor
    sine: Tensor

    def padded(self, values: Tensor) -> Tensor:
        """[n, k] to [s, a, k]."""
        systems, atoms = self.cosine.shape[:2]
        flat = values.new_zeros(systems * atoms, values.shape[-1])
        return flat.index_copy(0, self.places, values).view(systems, atoms, values.shape[-1])

    def unpadded(self, values: Tensor) -> Tensor:
        """[s, a, k] to [n, k]."""
        return values.flatten(0, 1).index_select(0, self.places)


def waves(positions: Tensor, cells: Tensor, system: Tensor, sizes: Tensor) -> Waves:
    """Reciprocal lattice vectors within the cutoffs; the same set for any choice of vectors.

    Args:
        positions: [n, 3] Å.
        cells: [s, 3, 3] row vectors, Å.
        system: [n] index of the crystal of each atom, ascending.
        sizes: [s] atoms per crystal.
    """
    vectors, used, volume = _vectors(cells)
    with torch.no_grad():
        inside = torch.arange(len(system), device=system.device)
        inside = inside - (torch.cumsum(sizes, 0) - sizes)[system]
        most = int(sizes.max())
        there = torch.arange(most, device=sizes.device) < sizes[:, None]
        places = system * most + inside
        padded = positions.new_zeros(len(sizes) * most, 3).index_copy(0, places, positions)
        angle = torch.bmm(padded.view(len(sizes), most, 3), vectors.mT)
        mask = there[..., None] & used[:, None]
        cosine, sine = torch.cos(angle) * mask, torch.sin(angle) * mask
    return Waves(vectors, vectors.norm(dim=-1), used, volume, places, cosine, sine)


def _vectors(cells: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors [s, g, 3], which of them are used [s, g], and volumes [s]."""
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
    return vectors, used, volume
