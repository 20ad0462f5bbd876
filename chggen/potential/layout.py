"""Where each row of a batched graph gets its terms from, as bags of rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from chggen.potential.graph import Graph
from chggen.potential.ops import Bags


@dataclass(frozen=True)
class Layout:
    """Bags of a batch.

    Shapes: N atoms, U bonds, K short bonds, A angles. Directed edges are [2, U]: all bonds
    seen from ``first``, then from ``second``. The two large bags serve both branches of a
    gated MLP: tables hold (core, gate) per row, results are [core, gate] of all rows.
    """

    #: [2N + K, 2] -> [2, 2, U], from a table of centres, neighbours and short bonds
    edges: Bags
    #: [2, U] -> [N], by centre
    to_atoms: Bags
    #: [2K + N, 2] -> [2, A], from a table of left bonds, right bonds and corners
    angles: Bags
    #: [A] -> [K], by left bond
    to_bonds: Bags
    #: [K] -> [A]
    right_bond: Bags
    #: [N, 1] 1 for atoms of structures with an angle, else 0
    has_angle: Tensor

    @classmethod
    def of(cls, graph: Graph) -> "Layout":
        """Lay out a graph."""
        n, k = len(graph.system_idx), len(graph.short)
        left, right = graph.left % max(k, 1), graph.right % max(k, 1)
        sides = torch.stack([left, right + k, graph.corner + 2 * k], 1)
        centre = torch.cat([graph.first, graph.second])
        has_angle = graph.vectors.new_zeros(graph.n_systems, 1)
        has_angle[graph.system_idx[graph.corner]] = 1
        return cls(
            _edges(graph, centre).twofold(),
            Bags.pick(centre, n).mT,
            Bags.of(sides.view(-1), torch.full_like(left, 3), 2 * k + n).twofold(),
            Bags.pick(left, k).mT,
            Bags.pick(right, k),
            has_angle[graph.system_idx],
        )


def _edges(graph: Graph, centre: Tensor) -> Bags:
    """Two entries per directed edge, three if its bond is short."""
    n, u, k = len(graph.system_idx), len(graph.first), len(graph.short)
    size = torch.full_like(centre, 2)
    size.view(2, u)[:, graph.short] = 3
    place = size.cumsum(0) - size
    index = torch.empty(4 * u + 2 * k, dtype=torch.long, device=centre.device)
    index[place] = centre
    index[place + 1] = torch.cat([graph.second, graph.first]) + n
    index[place.view(2, u)[:, graph.short] + 2] = torch.arange(
        2 * n, 2 * n + k, device=centre.device
    )
    return Bags.of(index, size, 2 * n + k)
