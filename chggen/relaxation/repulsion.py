"""A repulsion that keeps atoms out of the distances where a potential knows nothing.

Below some 1.1 Å CHGNet's forces have a random sign (S-S: +79 eV/Å at 1.2 Å, -32 at 1.0, -74
at 0.6): trained on relaxations of known crystals, it has never seen an overlap. Generated
structures have some, and a minimiser left alone drives them into the holes. The repulsion is a
one-sided spring between atoms closer than a share of the sum of their covalent radii that is
shorter than any bond, triple bonds and uranyl included. It steers steps only: energies,
forces and verdicts are those of the potential, and a relaxed structure does not touch it.
"""

from typing import Final

import torch
from ase.data import covalent_radii
from torch import Tensor
from torch_sim.state import SimState

from chggen.compute.neighbours import neighbour_list

#: Distance at which the repulsion begins, as a share of the sum of covalent radii.
SHARE: Final = 0.6

#: Stiffness, eV/Å²: enough to turn the holes of CHGNet (-165 eV/Å at worst) into slopes.
STIFFNESS: Final = 200.0


def reach(atomic_numbers: Tensor) -> float:
    """Longest distance (Å) at which any two of these atoms feel the repulsion."""
    return float(2 * SHARE * covalent_radii[atomic_numbers.cpu().numpy()].max())


def forces_and_stress(state: SimState, least: float = 0.0) -> tuple[Tensor, Tensor]:
    """Forces [N, 3] (eV/Å) and stress [S, 3, 3] (eV/Å³, positive = tension) of the repulsion.

    Args:
        state: atoms and cells.
        least: shortest distance (Å) at which the repulsion may begin.
    """
    positions, cell = state.positions, state.row_vector_cell
    numbers = state.atomic_numbers
    cutoff = max(least, reach(numbers))
    second, first, vectors = neighbour_list(positions, cell, state.system_idx, cutoff)
    radii = torch.from_numpy(covalent_radii).to(positions)[numbers]
    length = torch.linalg.vector_norm(vectors, dim=1)
    begin = (SHARE * (radii[first] + radii[second])).clamp(min=least)
    depth = (begin - length).clamp(min=0)
    # the force on the first atom; every pair occurs in both directions
    push = (STIFFNESS * depth / length.clamp(min=1e-3))[:, None] * vectors
    forces = torch.zeros_like(positions).index_add_(0, first, push)
    products = (push[:, :, None] * vectors[:, None, :]).view(-1, 9)
    virial = (
        cell.new_zeros(len(cell), 9).index_add_(0, state.system_idx[first], products).view(-1, 3, 3)
    )
    return forces, -virial / (2 * torch.linalg.det(cell).abs()[:, None, None])
