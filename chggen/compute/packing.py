"""Crystals as tensors of one batch, and which of them fit into a batch."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from chggen.structure.crystal import Crystal


class Packed(NamedTuple):
    """Crystals side by side.

    Attributes:
        positions: [n, 3] Cartesian, Å, unwrapped.
        cells: [s, 3, 3] row vectors, Å.
        atomic_numbers: [n].
        system: [n] which crystal an atom belongs to, ascending.
        sizes: [s] atoms per crystal.
    """

    positions: Tensor
    cells: Tensor
    atomic_numbers: Tensor
    system: Tensor
    sizes: Tensor


def pack(
    crystals: Sequence[Crystal],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Packed:
    """Pack crystals of any size and content, at least one.

    Args:
        crystals: what to pack.
        device: where the tensors are to lie.
        dtype: of positions and cells.
    """
    sizes = torch.tensor([len(c) for c in crystals], device=device)

    def joined(arrays: Iterable[np.ndarray], kind: torch.dtype) -> Tensor:
        return torch.as_tensor(np.concatenate(list(arrays)), dtype=kind, device=device)

    return Packed(
        joined((c.cart_coords for c in crystals), dtype),
        joined((c.cell[None] for c in crystals), dtype),
        joined((c.atomic_numbers for c in crystals), torch.long),
        torch.repeat_interleave(torch.arange(len(crystals), device=device), sizes),
        sizes,
    )


def fitting(weights: Sequence[float], most: float, first: int = 0) -> int:
    """End of the run of items from ``first`` on that fits into a batch, one item at least.

    Args:
        weights: of each item: its atoms, or more where it costs more.
        most: largest sum of a batch.
        first: where the batch begins.
    """
    last, load = first + 1, weights[first]
    while last < len(weights) and load + weights[last] <= most:
        load += weights[last]
        last += 1
    return last


def groups(weights: Sequence[float], most: float) -> list[range]:
    """Places in batches of at most ``most``, in order; heavier items alone."""
    found, first = [], 0
    while first < len(weights):
        last = fitting(weights, most, first)
        found.append(range(first, last))
        first = last
    return found
