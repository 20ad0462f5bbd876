"""Space groups imposed during sampling: noise and score in the invariant subspace.

For an operation that maps atom i to atom k(i) with the Cartesian rotation Q (row vectors:
v Q), a displacement field v is invariant if v[k(i)] = v[i] Q. Three linear maps give
invariant fields:

- **project**: the mean over all operations of v[k(i)] Q⁻¹. This is the orthogonal
  projection. It is applied to the score of the network, so that rounding errors do not grow.
- **project_strain**: the mean over all operations of Qᵀ S Q, for the log strain S of the cell
  and for its noise. A strain that commutes with every Q keeps the space group.
- **replicate**: one atom of each orbit keeps the part of its vector that its site symmetry
  allows, the others get its images. It is applied to the noise: each atom then has the noise
  level that is passed to the network, along its free directions. (The projection would
  divide the variance by the size of the orbit.)
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chggen.diffusion.batch import Batch
from chggen.diffusion.strain import basis
from chggen.structure.task import ImposedSymmetry, Task
from chggen.symmetry.projection import cartesian, projection

Floats = NDArray[np.float64]


def replication(symmetry: ImposedSymmetry, cell: Floats) -> Floats:
    """Matrix [3n, 3n] (row vectors) that copies one atom of each orbit to its images."""
    turns = cartesian(symmetry.rotations, cell)
    images = symmetry.permutations
    n = images.shape[1]
    matrix = np.zeros((n, 3, n, 3))
    first = images.min(axis=0)
    for atom in np.unique(first):
        # its site symmetry allows the mean over the operations that leave the atom in place
        allowed = turns[images[:, atom] == atom].mean(axis=0)
        for image in np.unique(images[:, atom]):
            turn = turns[np.argmax(images[:, atom] == image)]
            matrix[atom, :, image, :] = allowed @ turn
    return matrix.reshape(3 * n, 3 * n)


def strain_projection(turns: Floats) -> Floats:
    """Matrix [6, 6] that projects components of a strain on those that keep a point group.

    Args:
        turns: [m, 3, 3] Cartesian rotations of the group.
    """
    matrices = basis().double().numpy()
    turned = np.einsum("mji,kjl,mln->kin", turns, matrices, turns) / len(turns)
    # the matrices are orthogonal, the isotropic one is not of unit length
    lengths = np.einsum("kij,kij->k", matrices, matrices)
    overlap: Floats = np.einsum("kin,lin->kl", turned, matrices) / lengths
    return overlap


class Constraint:
    """The maps of a batch; crystals without an imposed space group are unchanged.

    Args:
        tasks: the structures to sample.
        batch: the same structures, packed.
    """

    def __init__(self, tasks: Sequence[Task], batch: Batch) -> None:
        kept = [(s, task) for s, task in enumerate(tasks) if task.symmetry is not None]
        self.any = bool(kept)
        if not kept:
            return
        # maps of the constrained crystals only, padded to the largest of them
        most = max(len(task.crystal) for _, task in kept)
        maps = np.zeros((2, len(kept), 3 * most, 3 * most), dtype=np.float32)
        starts = np.cumsum(batch.sizes.cpu().numpy()) - batch.sizes.cpu().numpy()
        strains = np.zeros((len(kept), 6, 6))
        atoms, slots = [], []
        for row, (s, task) in enumerate(kept):
            n = len(task.crystal)
            symmetry, cell = task.symmetry, task.crystal.cell
            if symmetry is not None:
                turns = cartesian(symmetry.rotations, cell)
                maps[0, row, : 3 * n, : 3 * n] = projection(turns, symmetry.permutations)
                strains[row] = strain_projection(turns)
                maps[1, row, : 3 * n, : 3 * n] = replication(symmetry, cell)
            atoms.append(np.arange(starts[s], starts[s] + n))
            slots.append(np.arange(row * most, row * most + n))
        device = batch.positions.device
        self._maps = torch.from_numpy(maps).to(batch.positions)
        self._atoms = torch.as_tensor(np.concatenate(atoms), device=device)
        self._slots = torch.as_tensor(np.concatenate(slots), device=device)
        self._shape = (len(kept), most)
        self._strains = torch.from_numpy(strains).to(batch.positions)
        self._kept = torch.as_tensor([s for s, _ in kept], device=device)

    def _apply(self, which: int, vectors: Tensor) -> Tensor:
        if not self.any:
            return vectors
        systems, most = self._shape
        padded = vectors.new_zeros(systems * most, 3)
        padded[self._slots] = vectors[self._atoms]
        mapped = torch.bmm(padded.view(systems, 1, 3 * most), self._maps[which])
        result = vectors.clone()
        result[self._atoms] = mapped.view(-1, 3)[self._slots]
        return result

    def project(self, vectors: Tensor) -> Tensor:
        """Invariant part of a vector field [n, 3]."""
        return self._apply(0, vectors)

    def replicate(self, vectors: Tensor) -> Tensor:
        """Noise [n, 3] of unit variance per atom that preserves the space groups."""
        return self._apply(1, vectors)

    def project_strain(self, components: Tensor) -> Tensor:
        """Components of a strain, or of its noise, [s, 6], that keep the space groups."""
        if not self.any:
            return components
        result = components.clone()
        result[self._kept] = torch.einsum("sk,skl->sl", components[self._kept], self._strains)
        return result
