"""Where each row of a batched graph gets its terms from, as multisets of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from chggen.potential.chgnet.graph import Graph
from chggen.potential.chgnet.ops import Multisets, padded


@dataclass(frozen=True)
class Layout:
    """Multisets of a batch.

    Shapes: N atoms, K short bonds, U bonds and A angles, the last two padded. Directed
    edges are [2, U]: all bonds seen from ``first``, then from ``second``. The two large multisets
    serve both branches of a gated MLP: tables hold (core, gate) per row, results are
    [core, gate] of all rows.
    """

    n_bonds: int
    n_angles: int
    #: [2N + K, 2] -> [2, 2, U], from a table of centres, neighbours and short bonds
    edges: Multisets
    #: [2, U] -> [N], by centre
    to_atoms: Multisets
    #: [2K + N, 2] -> [2, A], from a table of left bonds, right bonds and corners
    angles: Multisets
    #: [A] -> [K], by left bond
    to_bonds: Multisets
    #: [K] -> [A]
    right_bond: Multisets
    #: [N, 1] 1 for atoms of structures with an angle, else 0
    has_angle: Tensor

    @classmethod
    def of(cls, graph: Graph) -> "Layout":
        """Lay out a graph."""
        n, u, k = len(graph.system_idx), len(graph.first), len(graph.short)
        left, right = graph.left % max(k, 1), graph.right % max(k, 1)
        sides = torch.stack([left, right + k, graph.corner + 2 * k], 1)
        centre = torch.cat([graph.first, graph.second])
        edge = _ones(centre.view(2, u)).view(-1)
        angle = _ones(left)
        has_angle = graph.vectors.new_zeros(graph.n_systems, 1)
        has_angle[graph.system_idx[graph.corner]] = 1
        return cls(
            padded(u),
            padded(len(left)),
            _edges(graph, centre, 2 * edge).twofold(),
            Multisets.of(centre, edge, n).mT,
            Multisets.of(sides.view(-1), 3 * angle, 2 * k + n).twofold(),
            Multisets.of(left, angle, k).mT,
            Multisets.of(right, angle, k),
            has_angle[graph.system_idx],
        )


def _ones(index: Tensor) -> Tensor:
    """One entry for each of [..., R] rows, none for those that pad R."""
    rows = index.shape[-1]
    return F.pad(torch.ones_like(index), (0, padded(rows) - rows))


def _edges(graph: Graph, centre: Tensor, size: Tensor) -> Multisets:
    """Two entries per directed edge, three if its bond is short."""
    n, u, k = len(graph.system_idx), len(graph.first), len(graph.short)
    size.view(2, -1)[:, graph.short] = 3
    place = (size.cumsum(0) - size).view(2, -1)[:, :u]
    index = torch.empty(4 * u + 2 * k, dtype=torch.long, device=centre.device)
    index[place] = centre.view(2, u)
    index[place + 1] = torch.stack([graph.second, graph.first]) + n
    short = torch.arange(2 * n, 2 * n + k, device=centre.device)
    index[place[:, graph.short] + 2] = short.expand(2, k)
    return Multisets.of(index, size, 2 * n + k)
