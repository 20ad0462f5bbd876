"""The score network respects the symmetries of space and of the crystal."""

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.diffusion.batch import Batch
from chggen.diffusion.convolution import Convolution, EdgeMatrices
from chggen.diffusion.network import ScoreNetwork, periodic_place
from chggen.diffusion.settings import NetworkSettings
from chggen.structure.crystal import Crystal

TOLERANCE = 2e-5  # single precision through three layers, outputs of order one
SMALL = NetworkSettings(
    channels=(12, 8, 6), layers=2, neighbours=14, radial_hidden=16, condition=16, embedding=8
)


@pytest.fixture(scope="module")
def network() -> ScoreNetwork:
    torch.manual_seed(1)
    net = ScoreNetwork(SMALL).eval().requires_grad_(requires_grad=False)
    # fresh weights give outputs near zero, where everything looks equivariant
    for parameter in net.parameters():
        parameter.mul_(1.5).add_(0.02 * torch.randn_like(parameter))
    return net


def crystal(seed: int, n: int = 6) -> Crystal:
    rng = np.random.default_rng(seed)
    cell = 4.5 * np.eye(3) + rng.normal(0, 0.5, (3, 3))
    return Crystal.of(cell, rng.choice([3, 15, 16, 30], n), rng.random((n, 3)))


def predict(network: ScoreNetwork, crystals: list[Crystal], sigma: float = 0.3) -> torch.Tensor:
    batch = Batch.of(crystals)
    levels = torch.full((len(batch.positions),), sigma)
    return network(batch, network.graph(batch), levels)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), inverted=st.booleans())
def test_rotation_and_inversion(network: ScoreNetwork, seed: int, *, inverted: bool) -> None:
    base = crystal(seed)
    torch.manual_seed(seed)
    rotation = o3.rand_matrix().numpy().astype(float) * (-1 if inverted else 1)
    turned = Crystal.of(base.cell @ rotation.T, base.atomic_numbers, base.frac_coords)
    before, after = predict(network, [base]), predict(network, [turned])
    expected = before @ torch.as_tensor(rotation.T, dtype=torch.float32)
    assert before.abs().max() > 1e-2
    torch.testing.assert_close(after, expected, atol=TOLERANCE, rtol=1e-4)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_permutation(network: ScoreNetwork, seed: int) -> None:
    base = crystal(seed)
    order = np.random.default_rng(seed).permutation(len(base))
    swapped = base.take(order)
    torch.testing.assert_close(
        predict(network, [swapped]), predict(network, [base])[order], atol=TOLERANCE, rtol=1e-4
    )


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.floats(-3, 3)] * 3))
def test_periodic_shift(
    network: ScoreNetwork, seed: int, shift: tuple[float, float, float]
) -> None:
    """A common translation and other periodic images change nothing."""
    base = crystal(seed)
    images = np.random.default_rng(seed).integers(-2, 3, base.frac_coords.shape)
    moved = Crystal.of(base.cell, base.atomic_numbers, base.frac_coords + images + shift)
    torch.testing.assert_close(
        predict(network, [moved]), predict(network, [base]), atol=5 * TOLERANCE, rtol=1e-3
    )


def test_supercell_is_the_same_crystal(network: ScoreNetwork) -> None:
    base = crystal(3)
    double = Crystal.of(
        base.cell * [[2], [1], [1]],
        np.tile(base.atomic_numbers, 2),
        np.concatenate([base.frac_coords, base.frac_coords + np.array([1, 0, 0])]) / [2, 1, 1],
    )
    once = predict(network, [base])
    torch.testing.assert_close(
        predict(network, [double]), torch.cat([once, once]), atol=TOLERANCE, rtol=1e-4
    )


def test_neighbours_in_a_batch_do_not_matter(network: ScoreNetwork) -> None:
    first, second = crystal(1, 4), crystal(2, 9)
    together = predict(network, [first, second])
    apart = torch.cat([predict(network, [first]), predict(network, [second])])
    torch.testing.assert_close(together, apart, atol=TOLERANCE, rtol=1e-4)


def test_symmetric_crystal_gets_a_symmetric_score(network: ScoreNetwork) -> None:
    """In rock salt every site is a centre of inversion, so the score must vanish.

    The neighbour cap (14) cuts through the second shell of 12 here; the shrinking reach
    must keep that from breaking the symmetry.
    """
    a = 5.6
    cell = a / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    rock_salt = Crystal.of(cell, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert predict(network, [rock_salt]).abs().max() < TOLERANCE


def test_continuous_where_neighbours_change_places(network: ScoreNetwork) -> None:
    base = crystal(5, 8)
    values = []
    for step in np.linspace(0, 0.02, 21):
        frac = base.frac_coords.copy()
        frac[0, 0] += step
        values.append(predict(network, [Crystal.of(base.cell, base.atomic_numbers, frac)]))
    jumps = (torch.stack(values).diff(dim=0)).abs().amax(dim=(1, 2))
    assert jumps.max() < 6 * jumps.median()


def test_noise_level_per_atom_is_an_input(network: ScoreNetwork) -> None:
    batch = Batch.of([crystal(4)])
    graph = network.graph(batch)
    levels = torch.full((len(batch.positions),), 0.3)
    mixed = levels.clone()
    mixed[0] = 0.0
    assert (network(batch, graph, levels) - network(batch, graph, mixed)).abs().max() > 1e-3


def test_paper_form_does_not_see_the_noise_level() -> None:
    torch.manual_seed(0)
    net = ScoreNetwork(SMALL.model_copy(update={"sigma_conditioning": False})).eval()
    batch = Batch.of([crystal(4)])
    graph = net.graph(batch)
    low, high = (torch.full((len(batch.positions),), s) for s in (0.01, 5.0))
    assert torch.equal(net(batch, graph, low), net(batch, graph, high))


def test_convolution_is_e3nns_tensor_product() -> None:
    """Same numbers as e3nn's own TensorProduct in mode uvu, summed over neighbours."""
    torch.manual_seed(0)
    channels, n, k = (5, 4, 3), 7, 6
    convolution = Convolution(channels, radial_basis=4, radial_hidden=8, condition=6)
    irreps_in = o3.Irreps("5x0e+4x1o+3x2e")
    irreps_sh = o3.Irreps.spherical_harmonics(2)
    neighbours = torch.randint(0, n, (n, k))
    harmonics = o3.spherical_harmonics([0, 1, 2], torch.randn(n, k, 3), True, "component")  # noqa: FBT003
    features = [torch.randn(n, 2 * d + 1, c) for d, c in enumerate(channels)]
    weights = [torch.randn(n, k, c) for c in convolution.path_channels]
    matrices = EdgeMatrices(2)(list(harmonics.split([1, 3, 5], -1)))
    grouped = [torch.cat([weights[i] for i in convolution.of(a)], -1) for a in range(3)]
    mine = convolution.products(convolution.repeated(features), matrices, grouped, neighbours)

    outputs = [(channels[a], (c, (-1) ** c)) for a, _, c in convolution.paths]
    instructions = [(a, b, i, "uvu", True) for i, (a, b, _) in enumerate(convolution.paths)]
    product = o3.TensorProduct(
        irreps_in,
        irreps_sh,
        o3.Irreps(outputs),
        instructions,
        shared_weights=False,
        internal_weights=False,
        irrep_normalization="component",
        path_normalization="none",
    )
    flat = torch.cat([x.transpose(1, 2).flatten(1) for x in features], -1)
    messages = product(
        flat[neighbours].flatten(0, 1),
        harmonics.flatten(0, 1),
        torch.cat(weights, -1).flatten(0, 1),
    )
    summed = messages.view(n, k, -1).sum(1)
    parts = summed.split([m * (2 * ir[0] + 1) for m, ir in outputs], -1)
    for degree in range(3):
        theirs = torch.cat(
            [
                part.view(n, m, 2 * degree + 1).transpose(1, 2)
                for part, (m, ir) in zip(parts, outputs, strict=True)
                if ir[0] == degree
            ],
            -1,
        )
        torch.testing.assert_close(mine[degree], theirs, atol=1e-5, rtol=1e-5)


def test_periodic_table() -> None:
    rows, columns = periodic_place()
    for z, row, column in [(1, 0, 1), (2, 0, 18), (5, 1, 13), (30, 3, 12), (57, 5, 0), (72, 5, 4)]:
        assert (int(rows[z]), int(columns[z])) == (row, column)
