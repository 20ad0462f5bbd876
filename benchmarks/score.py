"""Score calls per second: chggen against the plain e3nn formulation, in one run.

    python benchmarks/score.py [--json] [--atoms 1200] [--repeats 5] [--preset paper] [--jit script]

Both sides evaluate the same network, weights and crystals (ZnP2S6 and Zn2P2S7, 9 to 22
atoms, random skewed cells) on one thread, the neighbour graph built at each call by the
same routine. The plain formulation is that of e3nn's examples and of NequIP: an edge list,
``o3.TensorProduct`` in mode ``uvu`` with weights of a radial network per edge, and
``index_add``; ``--jit`` says how e3nn compiles the product (``script`` is its default).
Calls of the two alternate; times are CPU seconds, the minimum over the calls of each.

Reported:
    ratio: calls per second over those of the plain formulation
    calls_per_second, reference_calls_per_second: per CPU second
    share_graph: share of the neighbour search in our call
    share_radial: share of the radial weights of all layers, from distances
    share_products: share of matrices per edge, messages and their sums
    agreement: largest difference of the two outputs over the largest output
    atoms, neighbours: atoms of the batch; neighbours per atom, mean
"""

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable

import e3nn
import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn
from torch.nn import functional

from chggen.diffusion.batch import Batch
from chggen.diffusion.convolution import Convolution, pieces
from chggen.diffusion.network import ScoreNetwork, envelope
from chggen.diffusion.settings import PRESETS
from chggen.structure.composition import SYMBOLS, parse_formula
from chggen.structure.crystal import Crystal

VOLUME = 20.0  # Å³ per atom
AGREEMENT = 1e-5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--atoms", type=int, default=1200, help="atoms of the batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--preset", default="paper", choices=sorted(PRESETS))
    parser.add_argument("--jit", default="script", choices=["script", "eager", "inductor"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    e3nn.set_optimization_defaults(jit_mode=args.jit)
    result = measure(args.preset, args.atoms, args.repeats)
    if args.json:
        print(json.dumps(result))
    else:
        print("\n".join(f"{key:28} {value:.4g}" for key, value in result.items()))


@torch.no_grad()
def measure(preset: str, atoms: int, repeats: int) -> dict[str, float]:
    """Both sides on one batch; see the module's docstring."""
    network = ScoreNetwork(PRESETS[preset].network).eval().requires_grad_(requires_grad=False)
    batch = Batch.of(random_cells(atoms, np.random.default_rng(0)))
    sigma = torch.full((len(batch.positions),), 0.3)
    graph, plain = network.graph(batch), PlainNetwork(network)
    calls: list[Callable[[], Tensor]] = [
        lambda: network(batch, network.graph(batch), sigma),
        lambda: plain(batch, sigma),
    ]
    mine, theirs = (call() for call in calls)
    agreement = float((mine - theirs).abs().max() / theirs.abs().max())
    if not agreement < AGREEMENT:
        raise SystemExit(f"the two formulations disagree: {agreement:.1e}")
    seconds = [min(t) for t in zip(*[[cpu(c) for c in calls] for _ in range(repeats)], strict=True)]
    harmonics, _ = geometry(network, graph.vectors, graph.reach)
    parts = {
        "share_graph": lambda: network.graph(batch),
        "share_radial": lambda: radial_part(network, graph.vectors, graph.reach, graph.neighbours),
        "share_products": lambda: product_part(network, harmonics, graph.neighbours),
    }
    used = (graph.vectors.norm(dim=-1) < graph.reach[:, None]).sum(1)
    return {
        "ratio": seconds[1] / seconds[0],
        "calls_per_second": 1 / seconds[0],
        "reference_calls_per_second": 1 / seconds[1],
        **{k: min(cpu(f) for _ in range(repeats + 1)) / seconds[0] for k, f in parts.items()},
        "agreement": agreement,
        "atoms": len(batch.positions),
        "neighbours": float(used.float().mean()),
    }


def cpu(action: Callable[[], object]) -> float:
    """CPU seconds of an action."""
    start = time.process_time()
    action()
    return time.process_time() - start


def random_cells(atoms: int, rng: np.random.Generator) -> list[Crystal]:
    """Crystals of the compositions of the demo in random cells, ``atoms`` or a few more."""
    crystals: list[Crystal] = []
    while sum(len(c) for c in crystals) < atoms:
        formula, units = ("ZnP2S6", "Zn2P2S7")[len(crystals) % 2], 1 + int(rng.integers(2))
        content = parse_formula(formula)
        z = [SYMBOLS.index(element) for element in content for _ in range(content[element] * units)]
        cell = np.eye(3) + rng.normal(0, 0.2, (3, 3))
        cell *= (VOLUME * len(z) / abs(np.linalg.det(cell))) ** (1 / 3)
        crystals.append(Crystal.of(cell, z, rng.random((len(z), 3))))
    return crystals


def convolutions(network: ScoreNetwork) -> list[Convolution]:
    """The convolutions of a network, first layer first."""
    return [m for m in network.modules() if isinstance(m, Convolution)]


def geometry(network: ScoreNetwork, vectors: Tensor, reach: Tensor) -> tuple[list[Tensor], Tensor]:
    """Harmonics per degree with the envelope on them, and radial basis, of edges [n, k, 3]."""
    distance = vectors.norm(dim=-1)
    weight = envelope(distance, reach)[..., None] / network.settings.neighbours**0.5
    degrees = list(range(len(network.settings.channels)))
    harmonics = o3.spherical_harmonics(degrees, vectors, True, "component")  # noqa: FBT003
    sizes = [2 * d + 1 for d in degrees]
    return [weight * y for y in harmonics.split(sizes, -1)], network.radial(distance)


def radial_part(network: ScoreNetwork, vectors: Tensor, reach: Tensor, neighbours: Tensor) -> None:
    """Part of our call from vectors to radial weights."""
    _, radial = geometry(network, vectors, reach)
    state = torch.zeros(len(neighbours), network.settings.condition)
    for number, convolution in enumerate(convolutions(network)):
        centre, far = convolution.centre_in(state), convolution.neighbour_in(state)
        for atoms in pieces(neighbours):
            weights = convolution.weights(radial[atoms], centre[atoms], far, neighbours[atoms])
            for _ in range(len(convolution.channels) if number else 1):
                next(weights)


def product_part(network: ScoreNetwork, harmonics: list[Tensor], neighbours: Tensor) -> None:
    """Part of our call for products and sums."""
    matrices = network.matrices(harmonics)
    n, k = neighbours.shape
    for number, convolution in enumerate(convolutions(network)):
        channels = convolution.channels[: None if number else 1]
        features = [torch.zeros(n, 2 * a + 1, c) for a, c in enumerate(channels)]
        table = convolution.repeated(features)
        # same shape as the real weights of one piece
        step = pieces(neighbours)[0].stop
        ready = [torch.ones(step, k, len(convolution.of(a)) * c) for a, c in enumerate(channels)]
        for atoms in pieces(neighbours):
            near = neighbours[atoms]
            local = [m[atoms] for m in matrices]
            convolution.products(table, local, [w[: len(near)] for w in ready], near)


class PlainConvolution(nn.Module):
    """A convolution's weights in the plain formulation over an edge list."""

    def __init__(self, inner: Convolution) -> None:
        super().__init__()
        self.inner = inner
        channels = inner.channels
        self.outputs = [(channels[a], (c, (-1) ** c)) for a, _, c in inner.paths]
        self.product = o3.TensorProduct(
            o3.Irreps([(m, (degree, (-1) ** degree)) for degree, m in enumerate(channels)]),
            o3.Irreps.spherical_harmonics(len(channels) - 1),
            o3.Irreps(self.outputs),
            [(a, b, i, "uvu", True) for i, (a, b, _) in enumerate(inner.paths)],
            shared_weights=False,
            internal_weights=False,
            irrep_normalization="component",
            path_normalization="none",
        )

    def forward(
        self,
        features: list[Tensor],
        condition: Tensor,
        edges: tuple[Tensor, Tensor],
        radial: Tensor,
        harmonics: Tensor,
    ) -> list[Tensor]:
        """As :meth:`Convolution.forward`, for edges (centre, neighbour), [e] each."""
        c, (centre, other), n = self.inner, edges, len(condition)
        hidden = functional.linear(radial, c.radial_in.weight)
        hidden = hidden + functional.linear(condition, c.centre_in.weight, c.centre_in.bias)[centre]
        hidden = hidden + functional.linear(condition, c.neighbour_in.weight)[other]
        weights = functional.linear(functional.silu(hidden), c.radial_out.weight)
        flat = torch.cat([x.transpose(1, 2).flatten(1) for x in features], -1)
        messages = self.product(flat[other], harmonics, weights)
        summed = messages.new_zeros(n, messages.shape[1]).index_add_(0, centre, messages)
        parts = summed.split([m * (2 * degree + 1) for m, (degree, _) in self.outputs], -1)
        sums: list[list[Tensor]] = [[] for _ in features]
        for part, (m, (degree, _)) in zip(parts, self.outputs, strict=True):
            sums[degree].append(part.view(n, m, 2 * degree + 1).transpose(1, 2))
        pairs = zip(c.mix, sums, strict=True)
        return [functional.linear(torch.cat(x, -1), mix.weight, mix.bias) for mix, x in pairs]


class PlainNetwork(nn.Module):
    """A score network's weights in the plain formulation over an edge list."""

    def __init__(self, network: ScoreNetwork) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        for layer in self.network.layers:
            layer.convolution = PlainConvolution(layer.convolution)

    def forward(self, batch: Batch, sigma: Tensor) -> Tensor:
        """Predict u [n, 3], graph included."""
        net = self.network
        graph = net.graph(batch)
        kept = graph.vectors.norm(dim=-1) < graph.reach[:, None]
        edges = kept.nonzero()[:, 0], graph.neighbours[kept]
        split, radial = geometry(net, graph.vectors[kept][:, None], graph.reach[edges[0]])
        harmonics = torch.cat(split, -1)[:, 0]
        embedding = net.embed(batch.atomic_numbers, sigma)
        features = [net.start(embedding)[:, None]] + [
            embedding.new_zeros(len(embedding), 2 * d + 1, c)
            for d, c in enumerate(net.settings.channels[1:], start=1)
        ]
        for layer in net.layers:
            features = layer(features, embedding, batch, edges, radial[:, 0], harmonics)
        gate = net.gate(torch.cat([features[0][:, 0], embedding], -1))
        return net.out(features[1] * gate[:, None]).squeeze(-1)


if __name__ == "__main__":
    main()
