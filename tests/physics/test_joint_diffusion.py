"""Joint diffusion of cell and positions: symmetries of the network, strains, the sampler."""

import numpy as np
import pytest
import spglib
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from chggen.cells.drawing import tasks_of
from chggen.cells.lattice import Lattice
from chggen.config.stages import GenerateConfig
from chggen.diffusion.batch import Batch
from chggen.diffusion.card import read_card, require_cell_head
from chggen.diffusion.constraint import Constraint, strain_projection
from chggen.diffusion.generation import sample
from chggen.diffusion.joint import JointSampler
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.noise import NoiseStream
from chggen.diffusion.objective import add_noise, sample_cell_sigma
from chggen.diffusion.sampler import FastSampler
from chggen.diffusion.settings import NetworkSettings, TrainingSettings
from chggen.diffusion.strain import VOLUME, basis, deform, matrix
from chggen.errors import ConfigError
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.orbits import impose

TOLERANCE = 2e-5
JOINT = NetworkSettings(
    channels=(12, 8, 6),
    layers=2,
    neighbours=14,
    radial_hidden=16,
    condition=16,
    embedding=8,
    cell=True,
    reciprocal=6,
)


@pytest.fixture(scope="module")
def network() -> ScoreNetwork:
    torch.manual_seed(1)
    net = ScoreNetwork(JOINT).eval().requires_grad_(requires_grad=False)
    for parameter in net.parameters():  # zero at the start, where everything is equivariant
        parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
    return net


def crystal(seed: int, n: int = 6) -> Crystal:
    rng = np.random.default_rng(seed)
    cell = 4.5 * np.eye(3) + rng.normal(0, 0.5, (3, 3))
    return Crystal.of(cell, rng.choice([3, 15, 16, 30], n), rng.random((n, 3)))


def predict(network: ScoreNetwork, crystals: list[Crystal]) -> tuple[Tensor, Tensor]:
    batch = Batch.of(crystals)
    sigma = torch.full((len(batch.positions),), 0.3)
    return network.joint(batch, network.graph(batch), sigma, torch.full((len(crystals),), 0.1))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), inverted=st.booleans())
def test_strain_turns_with_the_crystal(network: ScoreNetwork, seed: int, *, inverted: bool) -> None:
    base = crystal(seed)
    torch.manual_seed(seed)
    rotation = o3.rand_matrix()
    full = (-rotation if inverted else rotation).numpy().astype(float)
    turned = Crystal.of(base.cell @ full.T, base.atomic_numbers, base.frac_coords)
    (u, strain), (u_turned, strain_turned) = predict(network, [base]), predict(network, [turned])
    assert strain[:, :5].abs().max() > 1e-2
    torch.testing.assert_close(
        u_turned, u @ torch.as_tensor(full.T, dtype=u.dtype), atol=2e-5, rtol=1e-4
    )
    # as matrices: S becomes R S Rᵀ
    expected = rotation @ matrix(strain)[0] @ rotation.T
    torch.testing.assert_close(matrix(strain_turned)[0], expected, atol=TOLERANCE, rtol=1e-4)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.tuples(*[st.floats(-3, 3)] * 3))
def test_cell_vectors_images_and_origin_are_a_choice(
    network: ScoreNetwork, seed: int, shift: tuple[float, float, float]
) -> None:
    base = crystal(seed)
    rng = np.random.default_rng(seed)
    change = np.eye(3, dtype=int)
    for _ in range(3):
        i, j = rng.choice(3, 2, replace=False)
        change[i] += rng.choice([-1, 1]) * change[j]
    images = rng.integers(-2, 3, base.frac_coords.shape)
    frac = (base.frac_coords + images + shift) @ np.linalg.inv(change)
    other = Crystal.of(change @ base.cell, base.atomic_numbers, frac)
    for before, after in zip(predict(network, [base]), predict(network, [other]), strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-3)


def test_crystals_of_a_batch_do_not_see_each_other(network: ScoreNetwork) -> None:
    first, second = crystal(1, 4), crystal(2, 9)
    u, strain = predict(network, [first, second])
    parts = [predict(network, [c]) for c in (first, second)]
    torch.testing.assert_close(u, torch.cat([p[0] for p in parts]), atol=TOLERANCE, rtol=1e-4)
    torch.testing.assert_close(strain, torch.cat([p[1] for p in parts]), atol=TOLERANCE, rtol=1e-4)


def test_continuous_in_the_cell(network: ScoreNetwork) -> None:
    """Reciprocal lattice vectors enter and leave the cutoffs without a jump."""
    base = crystal(4)
    found = []
    for step in np.linspace(0, 0.05, 51):
        cell = base.cell * np.array([[1 + step], [1], [1]])
        found.append(predict(network, [Crystal.of(cell, base.atomic_numbers, base.frac_coords)]))
    for values in zip(*found, strict=True):
        steps = torch.stack(list(values)).diff(dim=0).abs().amax(dim=(1, 2))
        assert steps.max() < 6 * steps.median() + 1e-4


def test_a_new_head_leaves_the_old_outputs(network: ScoreNetwork) -> None:
    """Networks without a head can be trained on: new layers change nothing at first."""
    plain = JOINT.model_copy(update={"cell": False, "reciprocal": 0})
    torch.manual_seed(3)
    old = ScoreNetwork(plain).eval()
    new = ScoreNetwork(JOINT).eval()
    missing = new.load_state_dict(old.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert missing.missing_keys
    batch = Batch.of([crystal(7)])
    sigma = torch.full((len(batch.positions),), 0.3)
    with torch.no_grad():
        torch.testing.assert_close(
            new(batch, new.graph(batch), sigma), old(batch, old.graph(batch), sigma)
        )


def test_strains_have_the_stated_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    components = torch.randn(20_000, 6, generator=generator)
    found = matrix(0.1 * components)
    torch.testing.assert_close(found, found.mT)
    traceless = found - torch.eye(3) * found.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    assert float(traceless.square().sum((1, 2)).mean()) == pytest.approx(5 * 0.1**2, rel=0.03)
    volumes = torch.linalg.det(torch.linalg.matrix_exp(found)).log()
    assert float(volumes.std()) == pytest.approx(VOLUME * 0.1, rel=0.03)
    overlaps = torch.einsum("kij,lij->kl", basis()[:5], basis()[:5])
    torch.testing.assert_close(overlaps, torch.eye(5), atol=1e-5, rtol=0)


def test_deformation_keeps_fractional_coordinates() -> None:
    batch = Batch.of([crystal(1), crystal(2, 3)], dtype=torch.float64)
    deformed = deform(batch, matrix(0.2 * torch.randn(2, 6, dtype=torch.float64)))
    for before, after in zip(batch.crystals(), deformed.crystals(), strict=True):
        np.testing.assert_allclose(after.frac_coords, before.frac_coords, atol=1e-10)
        assert not np.allclose(after.cell, before.cell, atol=0.05)


def test_clean_hosts_have_clean_cells() -> None:
    rng = np.random.default_rng(0)
    free = torch.tensor([True, False] * 200)
    chosen = TrainingSettings()
    levels = sample_cell_sigma(torch.full((400,), 0.5), free, chosen, rng)
    assert (levels[~free] == 0).all()
    share = float((levels[free] > 0).float().mean())
    assert share == pytest.approx(chosen.cell_share, abs=0.1)
    assert levels.max() <= chosen.cell_most
    assert chosen.cell_most < 0.5


def test_noise_of_the_cell_is_what_is_predicted() -> None:
    """Undoing the noise of cell and positions gives the clean crystal back."""
    batch = Batch.of([crystal(1), crystal(2, 3)], dtype=torch.float64)
    everyone = torch.ones(len(batch.positions), dtype=torch.bool)
    noise = torch.randn(batch.positions.shape, dtype=torch.float64)
    cell_noise = torch.randn(2, 6, dtype=torch.float64)
    cell_sigma = torch.tensor([0.1, 0.0], dtype=torch.float64)
    noised = add_noise(batch, torch.full((2,), 0.3), everyone, noise, cell_sigma, cell_noise)
    back = noised.batch.at(noised.batch.positions - noised.sigma[:, None] * noised.noise)
    back = deform(back, matrix(-noised.cell_sigma[:, None] * noised.cell_noise))
    torch.testing.assert_close(back.cells, batch.cells)
    torch.testing.assert_close(back.positions, batch.positions)
    assert noised.cell_residual(-cell_noise).abs().max() == 0
    assert len(noised.cell_residual(-cell_noise)) == 1


def test_strain_projection_is_that_of_the_point_group() -> None:
    quarter = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    group = np.stack([np.linalg.matrix_power(quarter, k) for k in range(4)])
    found = strain_projection(group)
    np.testing.assert_allclose(found @ found, found, atol=1e-6)  # a projection …
    assert np.linalg.matrix_rank(found, tol=1e-4) == 2  # … on two strains: a = b, and c
    kept = matrix(torch.as_tensor(np.ones((1, 6)) @ found, dtype=torch.float32))[0].numpy()
    np.testing.assert_allclose(quarter.T @ kept @ quarter, kept, atol=1e-5)


class _Gaussian:
    """Exact predictions for one atom and a cell whose log strain is Gaussian.

    Every component of the log strain has the variance ``width``²; strains are small, so that
    they add up.
    """

    def __init__(self, width: float, reference: Tensor) -> None:
        self.width, self.reference = width, reference

    def __call__(self, batch: Batch, sigma: Tensor, cell_sigma: Tensor) -> tuple[Tensor, Tensor]:
        strain = self.components(batch)
        variance = self.width**2 + cell_sigma**2
        return torch.zeros_like(batch.positions), -(cell_sigma / variance)[:, None] * strain

    def components(self, batch: Batch) -> Tensor:
        factor = torch.linalg.solve(self.reference, batch.cells)
        small = (factor + factor.mT) / 2 - torch.eye(3, dtype=factor.dtype)
        sizes = basis().to(small).square().sum((1, 2))
        return torch.einsum("sij,kij->sk", small, basis().to(small)) / sizes


def test_sampler_draws_the_density_of_cells() -> None:
    """With the exact score and drift 1 the strains drawn have the density's variance."""
    count, width = 3000, 0.03
    cell = 4.0 * torch.eye(3, dtype=torch.float64)
    cells = cell.repeat(count, 1, 1)
    density = _Gaussian(width, cells)
    batch = Batch(
        torch.zeros(count, 3, dtype=torch.float64),
        cells,
        torch.ones(count, dtype=torch.long),
        torch.arange(count),
        torch.ones(count, dtype=torch.long),
    )
    noise = NoiseStream(list(range(count)), [1] * count, batch.positions)
    cell_noise = NoiseStream([[k, 1] for k in range(count)], [1] * count, batch.positions, 6)
    start = 0.05
    spread = torch.sqrt(torch.tensor(width**2 + start**2, dtype=torch.float64))
    first = deform(batch, matrix(spread * cell_noise()))
    inner = FastSampler(levels=40, drift=1.0)
    sampler = JointSampler(inner, torch.full((count,), start, dtype=torch.float64))
    drawn = sampler.generate(first, density, noise, cell_noise)
    found = density.components(drawn).std(dim=0)
    np.testing.assert_allclose(found.numpy(), width, rtol=0.06)


def test_a_clean_cell_stays(network: ScoreNetwork) -> None:
    kept = Task(crystal(1), np.ones(6, bool), 5)
    moved = Task(crystal(2), np.ones(6, bool), 6, cell_sigma=0.1)
    first, second = sample([kept, moved], network, FastSampler(levels=4), 1000)
    assert first.crystal is not None
    assert second.crystal is not None
    np.testing.assert_array_equal(first.crystal.cell, kept.crystal.cell)
    assert not np.allclose(second.crystal.cell, moved.crystal.cell, atol=1e-3)


def test_joint_draws_keep_an_imposed_space_group(network: ScoreNetwork) -> None:
    a = 4.2
    cell = np.diag([a, a, 1.4 * a])
    task = Task(
        Crystal.of(cell, [30, 16, 16, 16], np.zeros((4, 3))), np.ones(4, bool), 3, cell_sigma=0.15
    )
    imposed = impose(task, (75, 142))
    assert isinstance(imposed, Task)
    assert imposed.symmetry is not None
    (placed,) = sample([imposed], network, FastSampler(levels=6), 1000)
    assert placed.crystal is not None
    drawn = placed.crystal
    assert not np.allclose(drawn.cell, cell, atol=1e-3)
    dataset = spglib.get_symmetry_dataset(
        (drawn.cell, drawn.frac_coords, drawn.atomic_numbers), 1e-3
    )
    assert dataset is not None
    # the group itself or one above it
    assert len(dataset.rotations) >= len(imposed.symmetry.rotations)
    batch = Batch.of([drawn])
    strain = torch.randn(1, 6)
    kept = Constraint([imposed], batch).project_strain(strain)
    torch.testing.assert_close(Constraint([imposed], batch).project_strain(kept), kept)


def test_one_lost_cell_does_not_stop_the_batch(network: ScoreNetwork) -> None:
    tasks = [Task(crystal(k), np.ones(6, bool), k, cell_sigma=0.1) for k in (1, 2)]
    tasks.append(Task(crystal(3), np.ones(6, bool), 3, cell_sigma=float("inf")))
    found = sample(tasks, network, FastSampler(levels=4), 1000)
    assert [p.crystal is not None for p in found[:2]] == [True, True]
    alone = sample(tasks[:1], network, FastSampler(levels=4), 1000)[0]
    assert alone.crystal is not None
    assert found[0].crystal is not None
    np.testing.assert_allclose(found[0].crystal.frac_coords, alone.crystal.frac_coords, atol=1e-4)


def test_tasks_say_how_wrong_a_cell_may_be() -> None:
    cells = [Lattice(4 * np.eye(3), "cubic", "P", source) for source in ("bravais", "known")]
    numbers = np.array([11, 17])
    random, known = tasks_of(numbers, cells, 1)
    assert random.cell_sigma > known.cell_sigma > 0
    assert {t.cell_sigma for t in tasks_of(numbers, cells, 1, joint=False)} == {0.0}


def test_joint_draws_need_a_head() -> None:
    """One line before any job, where the shipped network cannot draw cells."""
    settings = GenerateConfig.model_validate({"lattice": {"joint": True}})
    card = read_card(settings.checkpoint)
    if card["network"].get("cell"):
        card["network"] = card["network"] | {"cell": False}
    with pytest.raises(ConfigError, match=r"generate.checkpoint = 'x': has no head for the cell"):
        require_cell_head(card, "generate.checkpoint = 'x'")
    with pytest.raises(ValidationError, match=r"lattice.joint: sampler 'paper' keeps cells"):
        GenerateConfig.model_validate({"lattice": {"joint": True}, "sampler": "paper"})
