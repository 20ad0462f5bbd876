"""Crystals packed as tensors of a batch, and division into batches."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from chggen.structure.crystal import Crystal


class Packed(NamedTuple):
    """A batch of crystals.

    Attributes:
        positions: [n, 3] Cartesian, Å, unwrapped.
        cells: [s, 3, 3] row vectors, Å.
        atomic_numbers: [n].
        system: [n] index of the crystal of each atom, ascending.
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
    """Pack crystals of any size and composition, at least one.

    Args:
        crystals: crystals to pack.
        device: device of the tensors.
        dtype: type of positions and cells.
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
    """End of the range of items from ``first`` on that fits into a batch; at least one item.

    Args:
        weights: weight of each item: its number of atoms, or more if it costs more.
        most: largest sum of weights in a batch.
        first: first item of the batch.
    """
    last, load = first + 1, weights[first]
    while last < len(weights) and load + weights[last] <= most:
        load += weights[last]
        last += 1
    return last


def groups(weights: Sequence[float], most: float) -> list[range]:
    """Indices of batches with a weight of at most ``most``, in order; heavier items alone."""
    found, first = [], 0
    while first < len(weights):
        last = fitting(weights, most, first)
        found.append(range(first, last))
        first = last
    return found
