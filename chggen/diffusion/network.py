"""The O(3)-equivariant score network.

The network predicts u = σ s(x, σ), which denoising score matching drives towards -e,
the negative of the unit noise (Vincent 2011, doi:10.1162/NECO_a_00142; paper eq. 6).
The score is s = u / σ. With ``sigma_conditioning`` every atom has its own σ, so that
one cell can contain clean hosts and noisy guests; without it the network is the
paper's s = f(x) / σ.
"""

import math

import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from chggen.diffusion import reciprocal
from chggen.diffusion.batch import Batch, Graph, neighbour_graph
from chggen.diffusion.convolution import Convolution, EdgeMatrices, Linear
from chggen.diffusion.head import CellHead
from chggen.diffusion.settings import NetworkSettings
from chggen.structure.composition import SYMBOLS

#: Range of noise levels (Å); the network does not distinguish levels outside it.
SIGMA_FLOOR = 1e-3
SIGMA_CEILING = 20.0
_LEVELS = 16  # Gaussians on log σ
#: Norm of a feature that no layer exceeds before its update. The update scales features by
#: a function that grows with their norms, so that a layer squares what is large: features
#: ten times as large as usual (norms reach 58 in noisy crystals) gave losses of 2e13,
#: thirty times 8e27.
LARGEST = 200.0
#: Range of the noise of the cell (log strain); 0 is a clean cell.
CELL_FLOOR, CELL_CEILING = 1e-3, 0.5


def periodic_place() -> tuple[Tensor, Tensor]:
    """Row and column of the periodic table per atomic number; f block in column 0.

    Elements of one group share an initial vector, which rare elements rely on.
    """
    rows, columns = [0], [0]
    noble = (2, 10, 18, 36, 54, 86, 118)
    for z in range(1, len(SYMBOLS)):
        row = next(i for i, last in enumerate(noble) if z <= last)
        place = z - (noble[row - 1] if row else 0)
        length = noble[row] - (noble[row - 1] if row else 0)
        if length == 32:  # noqa: PLR2004 - rows with an f block
            column = place if place <= 2 else 0 if place <= 16 else place - 14  # noqa: PLR2004
        elif length == 18:  # noqa: PLR2004
            column = place
        else:
            column = place if place <= min(2, length - 1) else place + 18 - length
        rows.append(row)
        columns.append(column)
    return torch.tensor(rows), torch.tensor(columns)


class RadialBasis(nn.Module):
    """Bessel functions sin(nπr/r_c)/r (Gasteiger et al., arXiv:2003.03123)."""

    frequencies: Tensor

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__()
        self.norm = math.sqrt(2 / cutoff)
        frequencies = torch.arange(1, size + 1) * math.pi / cutoff
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, distance: Tensor) -> Tensor:
        """Distances [...] in Å to basis values [..., size]."""
        r = distance.clamp_min(1e-3)[..., None]
        return self.norm * torch.sin(r * self.frequencies) / r


def envelope(distance: Tensor, reach: Tensor) -> Tensor:
    """Polynomial cutoff (p = 6) that ends with two zero derivatives at each atom's reach."""
    x = distance / reach[:, None]
    return torch.where(x < 1, 1 - 28 * x**6 + 48 * x**7 - 21 * x**8, 0.0)


class Layer(nn.Module):
    """Convolution, then an update from scalars, norms and the crystal's mean."""

    def __init__(self, settings: NetworkSettings, embedding: int) -> None:
        super().__init__()
        channels = settings.channels
        scalars, gates = channels[0], sum(channels[1:])
        self.scalars, self.gate_sizes = scalars, list(channels[1:])
        self.norm_in, self.norm_out = nn.LayerNorm(scalars), nn.LayerNorm(scalars)
        self.condition = Linear(scalars + embedding, settings.condition)
        self.before = nn.ModuleList(Linear(c, c, bias=False) for c in channels)
        self.convolution = Convolution(
            channels, settings.radial_basis, settings.radial_hidden, settings.condition
        )
        self.after = nn.ModuleList(Linear(c, c, bias=False) for c in channels[1:])
        self.update = nn.Sequential(
            Linear(2 * scalars + gates + embedding, 2 * scalars),
            nn.SiLU(),
            Linear(2 * scalars, scalars + gates),
        )

    def forward(
        self,
        features: list[Tensor],
        embedding: Tensor,
        batch: Batch,
        neighbours: Tensor,
        radial: Tensor,
        matrices: list[Tensor],
    ) -> list[Tensor]:
        """New features per degree, [n, 2l+1, channels].

        Degrees that are absent in ``features`` are zero, as all above 0 are in the first layer.

        Args:
            features: per degree l [n, 2l+1, channels].
            embedding: species and noise level of each atom [n, width].
            batch: the crystals.
            neighbours: [n, k] atom indices.
            radial: radial basis of each edge [n, k, basis].
            matrices: couplings contracted with the harmonics, one per path.
        """
        scalars = self.norm_in(features[0][:, 0])
        condition = functional.silu(self.condition(torch.cat([scalars, embedding], -1)))
        inputs = [scalars[:, None], *features[1:]]
        inputs = [linear(x) for linear, x in zip(self.before, inputs, strict=False)]
        message = self.convolution(inputs, condition, neighbours, radial, matrices)
        mixed, gates = message[0][:, 0].split([self.scalars, sum(self.gate_sizes)], -1)
        gate = torch.sigmoid(gates).split(self.gate_sizes, -1)  # type: ignore[no-untyped-call]
        scalars = features[0][:, 0] + functional.silu(mixed)
        tensors = [m * g[:, None] for m, g in zip(message[1:], gate, strict=True)]
        if len(features) > 1:
            tensors = [x + t for x, t in zip(features[1:], tensors, strict=True)]
        # the mean over the crystal informs each atom of the rest of the cell, beyond the
        # cutoff; it is invariant, and the same for a supercell
        normed = self.norm_out(scalars)
        norms = [torch.sqrt(x.square().sum(1) + 1e-4) for x in tensors]
        limits = [(LARGEST / norm).clamp_max(1.0) for norm in norms]
        tensors = [x * limit[:, None] for x, limit in zip(tensors, limits, strict=True)]
        norms = [norm.clamp_max(LARGEST) for norm in norms]
        context = batch.mean(normed)[batch.system]
        change = self.update(torch.cat([normed, context, *norms, embedding], -1))
        shift, scales = change.split([self.scalars, sum(self.gate_sizes)], -1)
        scale = scales.split(self.gate_sizes, -1)
        return [
            (scalars + shift)[:, None],
            *[
                x + linear(x) * s[:, None]
                for x, linear, s in zip(tensors, self.after, scale, strict=True)
            ],
        ]


class ScoreNetwork(nn.Module):
    """u = σ s for every atom of a batch of crystals."""

    levels: Tensor
    cell_levels: Tensor
    row_of: Tensor
    column_of: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.embedding
        rows, columns = periodic_place()
        self.register_buffer("row_of", rows, persistent=False)
        self.register_buffer("column_of", columns, persistent=False)
        levels = torch.linspace(math.log(2 * SIGMA_FLOOR), math.log(12.0), _LEVELS)
        self.register_buffer("levels", levels, persistent=False)
        self.element = nn.Embedding(len(SYMBOLS), width)
        self.row = nn.Embedding(8, width)
        self.column = nn.Embedding(19, width)
        self.noise = nn.Sequential(Linear(_LEVELS, width), nn.SiLU(), Linear(width, width))
        self.radial = RadialBasis(settings.radial_basis, settings.cutoff)
        self.matrices = EdgeMatrices(len(settings.channels) - 1)
        self.start = Linear(2 * width, settings.channels[0])
        self.layers = nn.ModuleList(Layer(settings, 2 * width) for _ in range(settings.layers))
        self.gate = nn.Sequential(
            Linear(settings.channels[0] + 2 * width, 64),
            nn.SiLU(),
            Linear(64, settings.channels[1]),
        )
        self.out = Linear(settings.channels[1], 1, bias=False)
        if settings.cell:
            self.head = CellHead(settings)
        if settings.cell or settings.reciprocal:
            cell_levels = torch.linspace(math.log(CELL_FLOOR), math.log(CELL_CEILING), _LEVELS)
            self.register_buffer("cell_levels", cell_levels, persistent=False)
            self.whole = nn.Sequential(
                Linear(_LEVELS + 3, width), nn.SiLU(), _zero(Linear(width, width))
            )
        if settings.reciprocal:
            self.shape = reciprocal.Shape(settings.reciprocal)
            self.shape_scalars = _zero(Linear(settings.reciprocal, settings.channels[0]))
            self.shape_tensors = _zero(
                Linear(settings.reciprocal, settings.channels[2], bias=False)
            )
            self.waves = nn.ModuleList(
                reciprocal.Structure(settings.channels, settings.reciprocal, 2 * width)
                for _ in range(settings.layers)
            )

    def graph(self, batch: Batch) -> Graph:
        """Neighbour graph at this network's cutoff and neighbour cap."""
        settings = self.settings
        return neighbour_graph(
            batch, settings.cutoff, settings.neighbours, reciprocal=settings.reciprocal > 0
        )

    def embed(self, atomic_numbers: Tensor, sigma: Tensor) -> Tensor:
        """Species and noise level of each atom, [n, 2 · width]."""
        species = (
            self.element(atomic_numbers)
            + self.row(self.row_of[atomic_numbers])
            + self.column(self.column_of[atomic_numbers])
        )
        if not self.settings.sigma_conditioning:
            return torch.cat([species, torch.zeros_like(species)], -1)
        log_sigma = sigma.clamp(SIGMA_FLOOR, SIGMA_CEILING).log()
        bumps = torch.exp(-(((log_sigma[:, None] - self.levels) / 0.6) ** 2))
        return torch.cat([species, self.noise(bumps)], -1)

    def forward(self, batch: Batch, graph: Graph, sigma: Tensor) -> Tensor:
        """Predict u [n, 3] (unit noise, sign of the score) at noise levels ``sigma`` [n] in Å.

        Args:
            batch: crystals at noisy positions.
            graph: their neighbours, from :meth:`graph`.
            sigma: [n] noise level of each atom, Å; 0 on clean hosts.
        """
        features, embedding, _, _ = self._features(batch, graph, sigma, None)
        return self._vectors(features, embedding)

    def joint(
        self, batch: Batch, graph: Graph, sigma: Tensor, cell_sigma: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict the noise of positions and of the cell; that of cells is 0 without a head.

        Args:
            batch: crystals at noisy positions in noisy cells.
            graph: their neighbours, from :meth:`graph`.
            sigma: [n] noise level of each atom, Å; 0 on clean hosts.
            cell_sigma: [s] noise level of each cell (log strain); 0: clean.

        Returns:
            u [n, 3], and its counterpart for the cell [s, 6]: the five traceless components
            of the log strain (e3nn's basis of l = 2), then that of the log volume.
        """
        features, embedding, state, shape = self._features(batch, graph, sigma, cell_sigma)
        u = self._vectors(features, embedding)
        if not self.settings.cell:
            return u, u.new_zeros(batch.n_systems, 6)
        return u, self.head(features, state, shape, batch)

    def _vectors(self, features: list[Tensor], embedding: Tensor) -> Tensor:
        gate = self.gate(torch.cat([features[0][:, 0], embedding], -1))
        vector: Tensor = self.out(features[1] * gate[:, None]).squeeze(-1)
        return vector

    def _whole(self, batch: Batch, cell_sigma: Tensor | None) -> Tensor:
        """[s, width]: number of atoms, volume, noise of the cell."""
        sizes = batch.sizes.to(batch.cells.dtype)
        volume = torch.linalg.det(batch.cells).abs() / sizes
        if cell_sigma is None:
            cell_sigma = torch.zeros_like(sizes)
        noisy = (cell_sigma > 0).to(sizes.dtype)[:, None]
        level = cell_sigma.clamp(CELL_FLOOR, CELL_CEILING).log()
        bumps = torch.exp(-(((level[:, None] - self.cell_levels) / 0.4) ** 2)) * noisy
        plain = torch.stack([sizes.log() / 2 - 1, volume.log() - 2.7], -1)
        return self.whole(torch.cat([bumps, noisy, plain], -1))

    def _features(
        self, batch: Batch, graph: Graph, sigma: Tensor, cell_sigma: Tensor | None
    ) -> tuple[list[Tensor], Tensor, Tensor, Tensor | None]:
        """Features per degree, embedding [n, 2 · width], state [s, …], tensors of the shape."""
        distance = graph.vectors.norm(dim=-1)
        weight = envelope(distance, graph.reach)[..., None] / math.sqrt(self.settings.neighbours)
        degrees = list(range(len(self.settings.channels)))
        harmonics = o3.spherical_harmonics(degrees, graph.vectors, True, "component")  # noqa: FBT003
        sizes = [2 * d + 1 for d in degrees]
        matrices = self.matrices([weight * y for y in harmonics.split(sizes, -1)])
        radial = self.radial(distance)
        embedding = self.embed(batch.atomic_numbers, sigma)
        state = embedding.new_zeros(batch.n_systems, 0)
        if self.settings.cell or self.settings.reciprocal:
            whole = self._whole(batch, cell_sigma)
            species, noise = embedding.chunk(2, -1)
            embedding = torch.cat([species, noise + whole[batch.system]], -1)
            state = batch.mean(embedding)
        scalars = self.start(embedding)
        features = [scalars[:, None]]
        shape = None
        if self.settings.reciprocal:
            waves = graph.waves
            assert waves is not None  # noqa: S101
            turning = reciprocal.harmonics(waves)
            even, shape = self.shape(waves, turning[2])
            features = [features[0] + self.shape_scalars(even)[batch.system]]
        for number, layer in enumerate(self.layers):
            features = layer(features, embedding, batch, graph.neighbours, radial, matrices)
            if self.settings.reciprocal:
                change = self.waves[number](features[0][:, 0], state, batch, waves, turning)
                features = [x + y for x, y in zip(features, change, strict=True)]
                if number == 0:
                    features[2] = features[2] + self.shape_tensors(shape)[batch.system]
        return features, embedding, state, shape


def _zero(linear: Linear) -> Linear:
    """The layer with weights of zero: it changes nothing before it is trained."""
    nn.init.zeros_(linear.weight)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear
