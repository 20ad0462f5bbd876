"""Equivariant convolution over a dense neighbour graph (NequIP type).

Features of degree l are tensors [n, 2l+1, channels] in e3nn's basis with natural
parity (-1)^l, so that a set of channels (64, 32, 16) is the e3nn representation
``64x0e+32x1o+16x2e``. One convolution is e3nn's ``TensorProduct`` in mode ``uvu`` of
neighbour features with spherical harmonics, weighted by a radial network and summed
over neighbours (Batzner et al., doi:10.1038/s41467-022-29939-5, eqs. 5-8). A test
compares it with that of e3nn. It is written as batched matrix products over the dense
neighbour axis, which is several times cheaper than gather, product and scatter over an
edge list, because no message is stored per edge and component.
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
WORTH: Final = 1 << 21  # number of multiplications above which it is faster
EDGES: Final = 1536  # edges whose messages (4 kB each) fit into a CPU's cache
GATED: Final = 1  # degrees from here on are scaled by scalars, with no nonlinearity of their own


def paths(l_max: int) -> list[Path]:
    """All couplings up to ``l_max`` that conserve natural parity: l1 + l2 + l3 even."""
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
    """``x @ weight.T + bias`` as :func:`torch.nn.functional.linear`, by the faster library.

    oneDNN has no gradient; it is faster from :data:`WORTH` multiplications on.

    Args:
        x: [..., in].
        weight: [out, in].
        bias: [out], or None.
    """
    if not recorded() and x.numel() * len(weight) > WORTH and has_onednn(x):
        return onednn_linear(x, weight, bias)
    return functional.linear(x, weight, bias)


def pieces(neighbours: Tensor) -> list[slice]:
    """Groups of atoms whose edges fit into the CPU cache; one group if that does not help.

    Allocating memory for all edges of 1,200 atoms takes more time than the arithmetic.
    """
    n, k = neighbours.shape
    step = max(EDGES // k, 1)
    if recorded() or neighbours.device.type != "cpu":
        return [slice(0, n)]
    keep_memory()
    return [slice(start, start + step) for start in range(0, n, step)]


@cache
def keep_memory() -> None:
    """Make the C library keep freed memory for the next request; called once per process.

    The GNU C library returns large blocks to the system, which must clear them again for
    each call. After a large block (at most 32 MiB) has been freed once, it keeps twice as
    much. This costs nothing and saves 40 % of the time of a call with 80 to 160 atoms.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def recorded() -> bool:
    """True if gradients are recorded, so that intermediates must be kept."""
    return torch.is_grad_enabled()


class Linear(nn.Linear):
    """The layer of torch, evaluated by :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Values [..., in] to [..., out]."""
        return linear(input, self.weight, self.bias)


class EdgeMatrices(nn.Module):
    """Coupling contracted with the harmonics of every edge, per path.

    One matrix per edge maps components of a neighbour's feature to components of the
    output, so that the sum over neighbours is part of a matrix product. The matrices depend
    only on the geometry and are shared by all layers.
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
        channels: multiplicity per degree, of input and output.
        radial_basis: width of the radial basis.
        radial_hidden: width of the radial network.
        condition: width of the per-atom state (species, noise level and surroundings)
            that conditions the radial network, from both ends of an edge.
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
        """Radial weights, degree by degree, so that they are still in the cache when used.

        Args:
            radial: [m, k, radial_basis] of m atoms.
            centre: [m, radial_hidden] condition of these atoms as centres.
            far: [n, radial_hidden] condition of all atoms as neighbours.
            neighbours: [m, k] indices of the n atoms.

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
        """Features [n, 2l+1, channels], repeated for each path that starts from them.

        Rows as long as those of the weights are multiplied several times faster than runs
        of 16 or 32 channels, which outweighs the longer gather.
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
            neighbours: [m, k] indices of the n atoms.
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
        """Messages per degree; degree 0 also contains the gates of the others, as last channels.

        Args:
            features: per degree l [n, 2l+1, channels].
            condition: scalars of each atom that condition the radial weights [n, condition].
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
        # paths are sorted by their input degree, so that those of absent features are last
        return linear(x, mix.weight[:, : x.shape[-1]].contiguous(), mix.bias)
