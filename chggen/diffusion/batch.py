"""A batch of crystals as tensors, and its neighbour graph with a limited number of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from chggen.compute.packing import pack
from chggen.diffusion.waves import Waves, waves
from chggen.structure.crystal import Crystal


@dataclass(frozen=True)
class Batch:
    """A batch of crystals.

    Args:
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

    @classmethod
    def of(
        cls,
        crystals: Sequence[Crystal],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        """Pack crystals of any size and composition.

        Args:
            crystals: crystals of any size and composition.
            device: device of the tensors.
            dtype: type of positions and cells.
        """
        return cls(*pack(crystals, device, dtype))

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.sizes)

    def at(self, positions: Tensor, cells: Tensor | None = None) -> Self:
        """Return the same crystals with other positions, and other cells if given.

        Args:
            positions: [n, 3] Å.
            cells: [s, 3, 3] Å; None: as before.
        """
        return replace(self, positions=positions, cells=self.cells if cells is None else cells)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the atoms of each crystal, [n, k] -> [s, k]."""
        total = values.new_zeros(self.n_systems, *values.shape[1:])
        total.index_add_(0, self.system, values)
        return total / self.sizes.view(-1, *[1] * (values.dim() - 1)).to(values.dtype)

    def centred(self, values: Tensor) -> Tensor:
        """Values [n, k] minus their mean over each crystal."""
        return values - self.mean(values)[self.system]

    def crystals(self) -> list[Crystal]:
        """Unpack; fractional coordinates are computed from the positions in double precision."""
        positions = self.positions.detach().cpu().double().numpy()
        cells = self.cells.detach().cpu().double().numpy()
        numbers = self.atomic_numbers.cpu().numpy()
        ends = np.cumsum(self.sizes.cpu().numpy())[:-1]
        parts = zip(np.split(positions, ends), cells, np.split(numbers, ends), strict=True)
        return [Crystal.of(cell, z, x @ np.linalg.inv(cell)) for x, cell, z in parts]


@dataclass(frozen=True)
class Graph:
    """Nearest neighbours of each atom, as dense arrays.

    Args:
        neighbours: [n, k] atom indices; unused entries are 0.
        vectors: [n, k, 3] from atom to neighbour image, Å; unused entries are longer
            than the reach.
        reach: [n] radius at which the envelope of an atom ends, Å: the cutoff, or the
            distance of the first neighbour beyond the limit k. A shell of equal distances
            is therefore never split: all weights are zero at the reach, and the network
            is continuous and equivariant for any number of neighbours.
        waves: reciprocal lattice vectors, for networks that use them.
    """

    neighbours: Tensor
    vectors: Tensor
    reach: Tensor
    waves: Waves | None = None


def neighbour_graph(batch: Batch, cutoff: float, most: int, *, reciprocal: bool = False) -> Graph:
    """Graph of the ``most`` nearest neighbours within ``cutoff`` (Å) of each atom.

    Args:
        batch: the crystals.
        cutoff: radius, Å.
        most: largest number k of neighbours per atom.
        reciprocal: also list reciprocal lattice vectors.
    """
    # imported here: torch-sim takes seconds to import and training data need it late
    from chggen.compute.neighbours import neighbour_list

    with torch.no_grad():
        n = len(batch.positions)
        # the pairs of an atom are adjacent, so they fill the rows of a table
        centre, other, vectors = neighbour_list(batch.positions, batch.cells, batch.system, cutoff)
        count = torch.bincount(centre, minlength=n)
        first = torch.cumsum(count, 0) - count
        column = torch.arange(len(centre), device=centre.device) - first[centre]
        width = max(int(count.max()), most + 1)
        table = vectors.new_full((n, width), torch.inf)
        table[centre, column] = vectors.norm(dim=-1)
        distance, place = torch.topk(table, most + 1, largest=False)
        reach = distance[:, most].clamp_max(cutoff)
        distance, place = distance[:, :most], place[:, :most]
        used = distance < torch.inf
        # the last row represents all unused entries
        pair = torch.where(used, first[:, None] + place, len(centre))
        neighbours = torch.cat([other, other.new_zeros(1)])[pair]
        dense = torch.cat([vectors, vectors.new_full((1, 3), 2 * cutoff)])[pair]
    found = None
    if reciprocal:
        found = waves(batch.positions, batch.cells, batch.system, batch.sizes)
    return Graph(neighbours, dense, reach, found)
