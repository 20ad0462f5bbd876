"""Atom graph and bond graph of a whole batch of crystals, by tensor operations only.

CHGNet (Deng et al., doi:10.1038/s42256-023-00716-3) passes messages over two graphs:
bonds between atoms closer than the atom-graph cutoff, and angles between two bonds that
share an atom and are both shorter than the bond-graph cutoff. Both are laid out here so
that no index ever has to be searched for:

- a *bond* is undirected and stored once; its two directed edges are ``bond`` (seen from
  ``first``) and ``bond + n_bonds`` (seen from ``second``);
- *short* bonds (those of the bond graph) are numbered on their own;
- an *angle* is an ordered pair of distinct short directed edges with one centre.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from chggen.compute.neighbours import neighbour_list


@dataclass(frozen=True)
class Graph:
    """Indices of a batch; geometry enters only through :attr:`vectors`.

    Shapes: U bonds, K short bonds, A angles, S systems, N atoms.
    """

    #: [U] atom at each end of a bond
    first: Tensor
    second: Tensor
    #: [U, 3] from second to first, Å
    vectors: Tensor
    #: [U] system of each bond
    bond_system: Tensor
    #: [N] system of each atom
    system_idx: Tensor
    n_systems: int
    #: [K] bond of each short bond
    short: Tensor
    #: [A] directed short edge of each side of an angle: edge < K is seen from ``first``
    #: of short bond ``edge``, edge >= K from ``second`` of short bond ``edge - K``
    left: Tensor
    right: Tensor
    #: [A] atom at the corner of an angle
    corner: Tensor
    #: [N] true for atoms with no bond at all
    isolated_atoms: Tensor


def build_graph(
    positions: Tensor,
    cell: Tensor,
    system_idx: Tensor,
    *,
    atom_cutoff: float,
    bond_cutoff: float,
) -> Graph:
    """Both graphs of a batch.

    Args:
        positions: [N, 3] Å, any periodic image.
        cell: [S, 3, 3] row vectors, Å.
        system_idx: [N] system of each atom, ascending.
        atom_cutoff: longest bond, Å.
        bond_cutoff: longest bond of the bond graph, Å.

    Returns:
        The graph; no gradient is recorded.
    """
    second, first, vectors = neighbour_list(positions, cell, system_idx, atom_cutoff, once=True)
    length = torch.linalg.vector_norm(vectors, dim=1)
    short = (length < bond_cutoff).nonzero().squeeze(1)
    left, right, corner = _angles(first[short], second[short], len(positions))
    lonely = torch.ones(len(positions), dtype=torch.bool, device=positions.device)
    lonely[first] = False
    lonely[second] = False
    return Graph(
        first,
        second,
        vectors,
        system_idx[first],
        system_idx,
        len(cell),
        short,
        left,
        right,
        corner,
        lonely,
    )


def _angles(first: Tensor, second: Tensor, n_atoms: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ordered pairs of distinct directed edges with a common centre.

    Args:
        first: [K] atom at one end of each short bond.
        second: [K] atom at the other.
        n_atoms: number of atoms.

    Returns:
        left edge [A], right edge [A], corner atom [A]; sorted by left edge's atom.
    """
    centre = torch.cat([first, second])  # of the 2K directed edges
    order = torch.argsort(centre, stable=True)
    count = torch.bincount(centre, minlength=n_atoms)
    start = count.cumsum(0) - count
    # every edge meets as many partners as its centre has edges, itself among them
    corner = centre[order]
    partners = count[corner]
    left = torch.repeat_interleave(torch.arange(len(order), device=order.device), partners)
    before = partners.cumsum(0) - partners
    place = torch.arange(len(left), device=order.device) - before[left]
    right = start[corner[left]] + place
    distinct = left != right
    left, right = left[distinct], right[distinct]
    return order[left], order[right], corner[left]
