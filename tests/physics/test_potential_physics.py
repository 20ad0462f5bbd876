"""Laws that any potential obeys: gradients, symmetries, extensivity, smoothness."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch_sim.state import SimState

from chggen.potential import load_potential
from chggen.relaxation import repulsion
from chggen.structure.crystal import Crystal

torch.set_num_threads(1)

#: Double precision, so that finite differences mean something.
MODEL = load_potential("chgnet-0.3.0", precision="float64")
FEW = settings(max_examples=5, deadline=None)
SEEDS = st.integers(0, 10_000)


def crystal(seed=0, n=5):
    """Random cell of sensible density without close contacts."""
    rng = np.random.default_rng(seed)
    while True:
        cell = np.eye(3) * (20 * n) ** (1 / 3) @ (np.eye(3) + rng.normal(0, 0.12, (3, 3)))
        z = rng.choice([3, 15, 16, 30], n)
        candidate = Crystal.of(cell, z, rng.random((n, 3)))
        if candidate.min_distance > 1.6:
            return candidate


def state_of(*crystals, dtype=torch.float64):
    sizes = torch.tensor([len(c) for c in crystals])
    return SimState(
        positions=torch.tensor(np.concatenate([c.cart_coords for c in crystals]), dtype=dtype),
        masses=torch.ones(int(sizes.sum()), dtype=dtype),
        cell=torch.tensor(np.stack([c.cell.T for c in crystals]), dtype=dtype),
        pbc=True,
        atomic_numbers=torch.tensor(np.concatenate([c.atomic_numbers for c in crystals])),
        system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes),
    )


def moved(base, displacement):
    return Crystal.of(
        base.cell, base.atomic_numbers, base.frac_coords + displacement @ np.linalg.inv(base.cell)
    )


def evaluate(*crystals):
    return MODEL(state_of(*crystals))


@FEW
@given(seed=SEEDS)
def test_forces_are_the_gradient_of_the_energy(seed):
    base, h = crystal(seed), 1e-5
    direction = np.random.default_rng(seed).normal(size=(len(base), 3))
    energy = evaluate(moved(base, h * direction), moved(base, -h * direction))["energy"]
    slope = float(energy[0] - energy[1]) / (2 * h)
    forces = evaluate(base)["forces"].numpy()
    assert -np.sum(forces * direction) == pytest.approx(slope, rel=1e-5, abs=1e-5)


@FEW
@given(seed=SEEDS)
def test_stress_is_the_strain_gradient_of_the_energy(seed):
    base, h = crystal(seed), 1e-5
    rng = np.random.default_rng(seed)
    strain = rng.normal(size=(3, 3))  # with a rotation in it, which must cost nothing

    def strained(amount):
        return Crystal.of(
            base.cell @ (np.eye(3) + amount * strain), base.atomic_numbers, base.frac_coords
        )

    energy = evaluate(strained(h), strained(-h))["energy"]
    slope = float(energy[0] - energy[1]) / (2 * h) / base.volume
    stress = evaluate(base)["stress"][0].numpy()
    np.testing.assert_allclose(stress, stress.T, atol=1e-12)
    assert np.sum(stress * strain) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_tension_is_positive():
    def salt(a):
        return Crystal.of(np.eye(3) * a, [11] * 4 + [17] * 4, SALT)

    stretched, squeezed = evaluate(salt(6.3), salt(5.0))["stress"].diagonal(dim1=1, dim2=2)
    assert (stretched > 0).all()
    assert (squeezed < 0).all()


SALT = [
    [0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0],
    [0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5],
]  # fmt: skip


@FEW
@given(seed=SEEDS)
def test_periodic_images_translations_and_origin_change_nothing(seed):
    rng = np.random.default_rng(seed)
    base = crystal(seed)
    images = Crystal.of(
        base.cell, base.atomic_numbers, base.frac_coords + rng.integers(-3, 4, (len(base), 3))
    )
    shifted = Crystal.of(base.cell, base.atomic_numbers, base.frac_coords + rng.random(3))
    output = evaluate(base, images, shifted)
    forces = output["forces"].view(3, len(base), 3)
    for k in (1, 2):
        assert output["energy"][k] == pytest.approx(output["energy"][0].item(), rel=1e-10)
        np.testing.assert_allclose(forces[k], forces[0], atol=1e-8)
        np.testing.assert_allclose(output["stress"][k], output["stress"][0], atol=1e-10)
    np.testing.assert_allclose(forces.sum(1), 0, atol=1e-9)


@FEW
@given(seed=SEEDS)
def test_rotation_carries_forces_and_stress_along(seed):
    base = crystal(seed)
    turn = Rotation.random(random_state=seed).as_matrix()
    turned = Crystal.of(base.cell @ turn.T, base.atomic_numbers, base.frac_coords)
    output = evaluate(base, turned)
    forces = output["forces"].view(2, len(base), 3).numpy()
    stress = output["stress"].numpy()
    assert output["energy"][1] == pytest.approx(output["energy"][0].item(), rel=1e-10)
    np.testing.assert_allclose(forces[1], forces[0] @ turn.T, atol=1e-8)
    np.testing.assert_allclose(stress[1], turn @ stress[0] @ turn.T, atol=1e-10)


@FEW
@given(seed=SEEDS)
def test_order_of_atoms_is_immaterial(seed):
    base = crystal(seed)
    order = np.random.default_rng(seed).permutation(len(base))
    output = evaluate(base, base.take(order))
    forces = output["forces"].view(2, len(base), 3)
    assert output["energy"][1] == pytest.approx(output["energy"][0].item(), rel=1e-10)
    np.testing.assert_allclose(forces[1], forces[0][order], atol=1e-8)


def test_supercells_and_other_cells_of_the_same_crystal():
    base = crystal(3)
    double = Crystal.of(
        base.cell * [[2], [1], [1]],
        np.tile(base.atomic_numbers, 2),
        np.concatenate([base.frac_coords + shift for shift in ([0] * 3, [1, 0, 0])]) / [2, 1, 1],
    )
    change = np.array([[1, 2, 0], [0, 1, -1], [0, 0, 1]])
    skewed = Crystal.of(
        change @ base.cell, base.atomic_numbers, base.frac_coords @ np.linalg.inv(change)
    )
    mirrored = Crystal.of(-base.cell, base.atomic_numbers, -base.frac_coords)  # left-handed
    output = evaluate(base, double, skewed, mirrored)
    per_atom = output["energy"] / torch.tensor([5, 10, 5, 5])
    np.testing.assert_allclose(per_atom, per_atom[0], rtol=1e-10)
    np.testing.assert_allclose(output["stress"], output["stress"][[0]].expand(4, 3, 3), atol=1e-9)


@pytest.mark.parametrize("cutoff", [3.0, 6.0])
def test_energy_and_force_are_smooth_where_a_bond_enters(cutoff):
    def pair(distance):
        return Crystal.of(np.eye(3) * 20, [3, 9, 9], np.array(
            [[0, 0, 0], [1.8, 0, 0], [0.2, distance, 0]]) / 20)  # fmt: skip

    distances = cutoff + np.array([-2e-4, -1e-4, 1e-4, 2e-4])
    output = evaluate(*[pair(d) for d in distances])
    energy, force = output["energy"].numpy(), output["forces"].view(4, 3, 3)[:, 2, 1].numpy()
    assert abs(force[2] - force[1]) < 1e-2
    for i in range(3):
        work = (force[i] + force[i + 1]) / 2 * (distances[i + 1] - distances[i])
        assert energy[i] - energy[i + 1] == pytest.approx(work, abs=1e-7)


def test_the_wall_is_a_potential_and_starts_below_every_bond():
    base = moved(crystal(1), np.zeros(3))
    close = Crystal.of(np.eye(3) * 4, [16, 16, 30], [[0, 0, 0], [0.2, 0.05, 0], [0.1, 0.9, 0.15]])
    state = state_of(close, base)
    forces, stress = repulsion.forces_and_stress(state)
    assert forces[3:].abs().max() == 0
    assert stress[1].abs().max() == 0
    assert forces[:3].abs().max() > 10
    np.testing.assert_allclose(forces[:3].sum(0), 0, atol=1e-9)

    def energy(crystal):
        """The spring's energy by brute force over images."""
        total = 0.0
        images = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3) @ crystal.cell
        radii = repulsion.SHARE * repulsion.covalent_radii[crystal.atomic_numbers]
        for i, ri in enumerate(crystal.cart_coords):
            for j, rj in enumerate(crystal.cart_coords):
                d = np.linalg.norm(ri - rj + images, axis=1)
                depth = np.clip(radii[i] + radii[j] - d[d > 1e-9], 0, None)
                total += repulsion.STIFFNESS * np.sum(depth**2) / 4
        return total

    h = 1e-5
    direction = np.random.default_rng(0).normal(size=(3, 3))
    slope = (energy(moved(close, h * direction)) - energy(moved(close, -h * direction))) / (2 * h)
    assert -np.sum(forces[:3].numpy() * direction) == pytest.approx(slope, rel=1e-6)
    wide, narrow = (
        Crystal.of(close.cell @ (np.eye(3) + s * h * direction), close.atomic_numbers,
                   close.frac_coords) for s in (1, -1)
    )  # fmt: skip
    slope = (energy(wide) - energy(narrow)) / (2 * h) / close.volume
    assert np.sum(stress[0].numpy() * direction) == pytest.approx(slope, rel=1e-5)
    # the shortest bonds known: N2, CO, uranyl, HF, vanadyl
    for z, bond in (([7, 7], 1.10), ([6, 8], 1.13), ([92, 8], 1.76), ([1, 9], 0.92),
                    ([23, 8], 1.57), ([1, 1], 0.74)):  # fmt: skip
        assert repulsion.SHARE * repulsion.covalent_radii[z].sum() < bond
