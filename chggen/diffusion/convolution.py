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
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from chggen.compute.linear import has_onednn, onednn_linear

#: (degree of neighbour feature, of spherical harmonic, of output)
Path = tuple[int, int, int]
WORTH: Final = 1 << 21  # multiplications from which it is faster
EDGES: Final = 1536  # edges whose messages (4 kB each) fit into a CPU's cache
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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` as :func:`torch.nn.functional.linear`, by the fastest means.

    oneDNN knows no gradient, and is worth a call from :data:`WORTH` multiplications on.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], if there is one.
    """
    if not recorded() and x.numel() * len(weight) > WORTH and has_onednn(x):
        return onednn_linear(x, weight, bias)
    return functional.linear(x, weight, bias)


def pieces(neighbours: Tensor) -> list[slice]:
    """Atoms in groups whose edges stay in a CPU's cache; one group where that is no help.

    Fresh memory for all the edges of 1,200 atoms costs more time than the arithmetic.
    """
    n, k = neighbours.shape
    step = max(EDGES // k, 1)
    if recorded() or neighbours.device.type != "cpu":
        return [slice(0, n)]
    keep_memory()
    return [slice(start, start + step) for start in range(0, n, step)]


@cache
def keep_memory() -> None:
    """Have the C library keep freed memory for the next request, once per process.

    GNU's hands large blocks back to the system, which then has to clear them for every
    call again, until it has seen a large block (at most 32 MiB) being freed: from then on
    it keeps twice as much. Costs nothing, and saves 40 % of a call of 80 to 160 atoms.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def recorded() -> bool:
    """Whether gradients will be asked for, for which intermediates must be kept."""
    return torch.is_grad_enabled()


class Linear(nn.Linear):
    """Torch's layer by way of :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Values [..., in] to [..., out]."""
        return linear(input, self.weight, self.bias)


class EdgeMatrices(nn.Module):
    """Coupling contracted with the harmonics of every edge, per path.

    One matrix per edge takes components of a neighbour's feature to components of the
    output, so that the sum over neighbours becomes part of a matrix product. They depend
    on the geometry alone and serve all layers.
    """

    def __init__(self, l_max: int) -> None:
        super().__init__()
        self.paths = paths(l_max)
        for index, path in enumerate(self.paths):
            flat = coupling(path).permute(0, 2, 1).reshape(-1, 2 * path[1] + 1)
            self.register_buffer(f"coupling_{index}", flat.contiguous(), persistent=False)

    def forward(self, harmonics: list[Tensor]) -> list[Tensor]:
        """Harmonics per degree [n, k, 2l+1] to one [n, k · (2a+1), 2c+1] per path (a, b, c)."""
        n, k = harmonics[0].shape[:2]
        return [
            linear(harmonics[b], getattr(self, f"coupling_{index}")).view(n, k * (2 * a + 1), -1)
            for index, (a, b, _) in enumerate(self.paths)
        ]


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
        self.radial_in = Linear(radial_basis, radial_hidden, bias=False)
        self.centre_in = Linear(condition, radial_hidden)
        self.neighbour_in = Linear(condition, radial_hidden, bias=False)
        self.radial_out = Linear(radial_hidden, sum(self.path_channels), bias=False)
        self.mix = nn.ModuleList()
        for degree in range(l_max + 1):
            fan_in = sum(channels[p[0]] for p in self.paths if p[2] == degree)
            gates = sum(channels[GATED:]) if degree == 0 else 0
            self.mix.append(Linear(fan_in, channels[degree] + gates, bias=degree == 0))

    def weights(
        self, radial: Tensor, centre: Tensor, far: Tensor, neighbours: Tensor
    ) -> Iterator[Tensor]:
        """Radial weights, one degree after the other while they are still in the cache.

        Args:
            radial: [m, k, radial_basis] of m atoms.
            centre: [m, radial_hidden] what these atoms steer.
            far: [n, radial_hidden] what any atom steers as a neighbour.
            neighbours: [m, k] into the n atoms.

        Yields:
            Per degree a of neighbour features [m, k, paths from a · channels of a].
        """
        m, k = neighbours.shape
        hidden = linear(radial, self.radial_in.weight)
        hidden = hidden + far.index_select(0, neighbours.reshape(-1)).view(m, k, -1)
        hidden = functional.silu(hidden + centre[:, None])
        widths = [len(self.of(a)) * c for a, c in enumerate(self.channels)]
        for weight in torch.split(self.radial_out.weight, widths):
            yield linear(hidden, weight)

    def repeated(self, features: list[Tensor]) -> list[Tensor]:
        """Features [n, 2l+1, channels] side by side for each path that starts from them.

        Rows as long as those of the weights multiply several times faster than runs of 16
        or 32 channels, which is worth a longer gather.
        """
        return [x.repeat(1, 1, len(self.of(a))).flatten(1) for a, x in enumerate(features)]

    def of(self, degree: int) -> list[int]:
        """Indices of the paths that start from neighbour features of a degree."""
        return [index for index, path in enumerate(self.paths) if path[0] == degree]

    def products(
        self,
        features: list[Tensor],
        matrices: list[Tensor],
        weights: Iterable[Tensor],
        neighbours: Tensor,
    ) -> list[Tensor]:
        """Weighted products summed over neighbours, per output degree [m, 2l+1, fan_in].

        Args:
            features: per degree a [n, (2a+1) · paths from a · channels], from :meth:`repeated`.
            matrices: per path, of m atoms; see :class:`EdgeMatrices`.
            weights: per degree of the features; see :meth:`weights`.
            neighbours: [m, k] into the n atoms.
        """
        m, k = neighbours.shape
        flat = neighbours.reshape(-1)
        out: list[list[Tensor]] = [[] for _ in self.channels]
        for a, (x, weight) in enumerate(zip(features, weights, strict=False)):
            mine = self.of(a)
            near = x.index_select(0, flat).view(m, k, 2 * a + 1, -1)
            message = (torch.mul if recorded() else Tensor.mul_)(near, weight[:, :, None])
            parts = torch.split(message.view(m, k * (2 * a + 1), -1), self.channels[a], -1)
            for index, part in zip(mine, parts, strict=True):
                out[self.paths[index][2]].append(torch.bmm(matrices[index].mT, part))
        return [torch.cat(parts, -1) for parts in out]

    def forward(
        self,
        features: list[Tensor],
        condition: Tensor,
        neighbours: Tensor,
        radial: Tensor,
        matrices: list[Tensor],
    ) -> list[Tensor]:
        """Messages per degree; degree 0 carries the gates of the others behind it.

        Args:
            features: per degree l [n, 2l+1, channels].
            condition: scalars of each atom that shape the radial weights [n, condition].
            neighbours: [n, k] atom indices.
            radial: radial basis of each edge [n, k, basis].
            matrices: couplings contracted with the harmonics, one per path.
        """
        centre, far = self.centre_in(condition), self.neighbour_in(condition)
        table, sums = self.repeated(features), []
        for atoms in pieces(neighbours):
            near = neighbours[atoms]
            weights = self.weights(radial[atoms], centre[atoms], far, near)
            local = [matrix[atoms] for matrix in matrices]
            sums.append(self.products(table, local, weights, near))
        return [
            self.mixed(degree, torch.cat(x)) for degree, x in enumerate(zip(*sums, strict=True))
        ]

    def mixed(self, degree: int, x: Tensor) -> Tensor:
        """Channels of all paths to a degree, [n, 2l+1, fan_in], mixed."""
        mix = self.mix[degree]
        assert isinstance(mix, nn.Linear)  # noqa: S101
        # paths are sorted by the degree they start from, so that those of absent features
        # come last
        return linear(x, mix.weight[:, : x.shape[-1]].contiguous(), mix.bias)
