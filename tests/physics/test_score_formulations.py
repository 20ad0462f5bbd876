"""The score network computes what the plain e3nn formulation does, however it is called."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from chggen.diffusion import convolution
from chggen.diffusion.batch import Batch, neighbour_graph
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.settings import PRESETS, NetworkSettings
from chggen.structure.crystal import Crystal

SMALL = NetworkSettings(
    channels=(12, 8, 6), layers=2, neighbours=14, radial_hidden=16, condition=16, embedding=8
)
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "score.py"


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's module, which has the plain formulation."""
    spec = importlib.util.spec_from_file_location("benchmark_score", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(settings: NetworkSettings = SMALL) -> ScoreNetwork:
    torch.manual_seed(2)
    net = ScoreNetwork(settings).eval()
    with torch.no_grad():  # fresh weights give outputs near zero
        for parameter in net.parameters():
            parameter.mul_(1.3).add_(0.02 * torch.randn_like(parameter))
    return net


def awkward() -> list[Crystal]:
    """Cells with one atom, smaller than the cutoff, skewed, and ordinary ones."""
    rng = np.random.default_rng(4)
    skewed = np.array([[3.1, 0, 0], [7.9, 3.0, 0], [-6.0, 8.2, 3.3]])
    return [
        Crystal.of(2.6 * np.eye(3), [3], [[0.2, 0.3, 0.4]]),
        Crystal.of(skewed, [30, 16], rng.random((2, 3)) * 5 - 2),
        Crystal.of(np.diag([2.9, 3.3, 14.0]), [15, 16, 16], rng.random((3, 3))),
        Crystal.of(30 * np.eye(3), [3, 8], [[0, 0, 0], [0.5, 0.5, 0.5]]),  # no neighbours
        *(
            Crystal.of(6.2 * np.eye(3), rng.choice([3, 15, 16], 11), rng.random((11, 3)))
            for _ in "ab"
        ),
    ]


def test_same_as_plain_e3nn(benchmark) -> None:
    net, batch = network(), Batch.of(awkward())
    sigma = torch.linspace(0.01, 2, len(batch.positions))
    with torch.no_grad():
        mine = net(batch, net.graph(batch), sigma)
        theirs = benchmark.PlainNetwork(net)(batch, sigma)
    assert theirs.abs().max() > 1e-2
    torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=1e-5)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_same_in_pieces_and_through_onednn(monkeypatch, preset: str) -> None:
    """The ways of a call without gradients and of one with them agree."""
    net, batch = network(PRESETS[preset].network), Batch.of(awkward())
    sigma, graph = torch.full((len(batch.positions),), 0.4), net.graph(batch)
    whole = net(batch, graph, sigma).detach()
    for edges, worth in [(1, 0), (200, 0), (10**9, 0), (1536, 10**12)]:
        monkeypatch.setattr(convolution, "EDGES", edges)
        monkeypatch.setattr(convolution, "WORTH", worth)
        with torch.no_grad():
            part = net(batch, graph, sigma)
        torch.testing.assert_close(part, whole, atol=1e-5 * float(whole.abs().max()), rtol=1e-5)


def test_gradients_are_those_of_the_plain_formulation(benchmark) -> None:
    net, batch = network(), Batch.of(awkward())
    plain = benchmark.PlainNetwork(net)
    sigma = torch.linspace(0.01, 2, len(batch.positions))
    net(batch, net.graph(batch), sigma).square().sum().backward()
    plain(batch, sigma).square().sum().backward()
    theirs = {k.replace(".inner", ""): p.grad for k, p in plain.network.named_parameters()}
    largest = max(float(g.abs().max()) for g in theirs.values() if g is not None)
    for name, parameter in net.named_parameters():
        mine, other = parameter.grad, theirs[name]
        if mine is None:  # the first layer has no features above degree 0
            assert other is None or not other.any()
        else:
            torch.testing.assert_close(mine, other, atol=2e-6 * largest, rtol=1e-4)


@pytest.mark.parametrize(("cutoff", "most"), [(5.0, 14), (5.0, 200), (7.0, 60)])
def test_graph_is_the_nearest_images(cutoff: float, most: int) -> None:
    """Against all images within reach, counted one by one."""
    crystals = awkward()[:4]
    batch = Batch.of(crystals, dtype=torch.float64)
    graph = neighbour_graph(batch, cutoff, most)
    start = 0
    for crystal in crystals:
        span = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(crystal.cell), axis=0)).astype(int) + 6
        shifts = np.stack(np.meshgrid(*[np.arange(-s, s + 1) for s in span]), -1).reshape(-1, 3)
        for i in range(len(crystal)):
            moved = crystal.frac_coords - crystal.frac_coords[i]
            vectors = (moved[:, None] + shifts) @ crystal.cell
            distance = np.linalg.norm(vectors, axis=-1)
            near = np.sort(distance[(distance > 1e-9) & (distance < cutoff)])
            row = graph.vectors[start + i].norm(dim=-1)
            used = int((row < cutoff).sum())
            assert used == min(len(near), most)
            np.testing.assert_allclose(row[:used], near[:used], atol=1e-9)
            assert (row[used:] > cutoff).all()
            reach = near[most] if len(near) > most else cutoff
            assert float(graph.reach[start + i]) == pytest.approx(reach)
            other = graph.neighbours[start + i, :used]
            offset = graph.vectors[start + i, :used] + batch.positions[start + i]
            whole = (offset - batch.positions[other]).numpy() @ np.linalg.inv(crystal.cell)
            np.testing.assert_allclose(whole, np.round(whole), atol=1e-9)
        start += len(crystal)
