"""Equivariant convolution over a dense neighbour graph (NequIP type).

Features of degree l are tensors [n, 2l+1, channels] in e3nn's basis with natural
parity (-1)^l, so that a set of channels (64, 32, 16) is the e3nn representation
``64x0e+32x1o+16x2e``. One convolution is e3nn's ``TensorProduct`` in mode ``uvu`` of
neighbour features with spherical harmonics, weighted by a radial network and summed
over neighbours (Batzner et al., doi:10.1038/s41467-022-29939-5, eqs. 5-8). A test
compares it with e3nn's own. It is written as batched matrix products over the dense
neighbour axis because that is several times cheaper than gather, product and scatter
over an edge list: no message is ever stored per edge and component.
"""

import math
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

#: (degree of neighbour feature, of spherical harmonic, of output)
Path = tuple[int, int, int]
GATED: Final = 1  # degrees from here on are scaled by scalars, never bent by a nonlinearity


def paths(l_max: int) -> list[Path]:
    """All couplings up to ``l_max`` that keep natural parity: l1 + l2 + l3 even."""
    degrees = range(l_max + 1)
    return [
        (a, b, c)
        for a in degrees
        for b in degrees
        for c in degrees
        if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0
    ]


def coupling(path: Path) -> Tensor:
    """Wigner 3j [2l1+1, 2l2+1, 2l3+1] in e3nn's component normalisation."""
    tensor: Tensor = o3.wigner_3j(*path) * math.sqrt(2 * path[2] + 1)
    return tensor


class Convolution(nn.Module):
    """Sum over neighbours of radially weighted tensor products.

    Args:
        channels: multiplicity per degree, in and out.
        radial_basis: width of the radial basis.
        radial_hidden: width of the radial network.
        condition: width of the per-atom state that, from both ends of an edge, steers
            the radial network (species, noise level and surroundings).
    """

    def __init__(
        self, channels: tuple[int, ...], radial_basis: int, radial_hidden: int, condition: int
    ) -> None:
        super().__init__()
        self.channels = channels
        l_max = len(channels) - 1
        self.paths = paths(l_max)
        self.path_channels = [channels[path[0]] for path in self.paths]
        self.radial_in = nn.Linear(radial_basis, radial_hidden, bias=False)
        self.centre_in = nn.Linear(condition, radial_hidden)
        self.neighbour_in = nn.Linear(condition, radial_hidden, bias=False)
        self.radial_out = nn.Linear(radial_hidden, sum(self.path_channels), bias=False)
        for index, path in enumerate(self.paths):
            self.register_buffer(f"coupling_{index}", coupling(path), persistent=False)
        self.mix = nn.ModuleList()
        for degree in range(l_max + 1):
            fan_in = sum(channels[p[0]] for p in self.paths if p[2] == degree)
            gates = sum(channels[GATED:]) if degree == 0 else 0
            self.mix.append(nn.Linear(fan_in, channels[degree] + gates, bias=degree == 0))

    def weights(self, radial: Tensor, condition: Tensor, neighbours: Tensor) -> list[Tensor]:
        """Radial weights per path, each [n, k, channels of the neighbour's degree]."""
        n, k = neighbours.shape
        far = self.neighbour_in(condition)[neighbours.reshape(-1)].view(n, k, -1)
        hidden = functional.silu(self.radial_in(radial) + self.centre_in(condition)[:, None] + far)
        return list(self.radial_out(hidden).split(self.path_channels, -1))

    def products(
        self,
        features: list[Tensor],
        harmonics: list[Tensor],
        weights: list[Tensor],
        neighbours: Tensor,
    ) -> list[Tensor]:
        """Weighted products summed over neighbours, per output degree [n, 2l+1, fan_in].

        Args:
            features: per degree [n, 2l+1, channels].
            harmonics: per degree [n, k, 2l+1], envelope included.
            weights: per path [n, k, channels].
            neighbours: [n, k].
        """
        n, k = neighbours.shape
        flat = neighbours.reshape(-1)
        near = [x.flatten(1)[flat].view(n, k, *x.shape[1:]) for x in features]
        out: list[list[Tensor]] = [[] for _ in features]
        for index, (a, b, c) in enumerate(self.paths):
            wigner = getattr(self, f"coupling_{index}")
            # contracting harmonics with the coupling first leaves one small matrix per
            # edge, and the sum over neighbours becomes part of a matrix product
            matrix = torch.einsum("nkb,abc->ncka", harmonics[b], wigner)
            message = near[a] * weights[index][:, :, None, :]
            out[c].append(
                torch.bmm(
                    matrix.reshape(n, 2 * c + 1, k * (2 * a + 1)),
                    message.reshape(n, k * (2 * a + 1), self.channels[a]),
                )
            )
        return [torch.cat(parts, -1) for parts in out]

    def forward(
        self,
        features: list[Tensor],
        condition: Tensor,
        neighbours: Tensor,
        radial: Tensor,
        harmonics: list[Tensor],
    ) -> list[Tensor]:
        """Messages per degree; degree 0 carries the gates of the others behind it."""
        weights = self.weights(radial, condition, neighbours)
        sums = self.products(features, harmonics, weights, neighbours)
        return [mix(x) for mix, x in zip(self.mix, sums, strict=True)]
