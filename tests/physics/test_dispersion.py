"""D3(BJ): equal to the libraries, and a potential in every respect."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from chggen.compute.neighbours import torch_sim_list
from chggen.config.dispersion import DAMPING
from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import load_named
from chggen.potential.dispersion import D3, reference_table
from chggen.relaxation.pool import relax
from chggen.structure.crystal import Crystal
from tests.physics.test_potential_physics import crystal, moved, state_of

torch.set_num_threads(1)

PBE = DAMPING["PBE"]
MODEL = D3(PBE)
SHARP = D3(PBE, cutoff=12.0, switch=12.0, tail=False)


def salt(a=5.64):
    return Crystal.of(a / 2 * (1 - np.eye(3)), [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


def silicon(a=5.43):
    return Crystal.of(a / 2 * (1 - np.eye(3)), [14, 14], [[0, 0, 0], [0.25, 0.25, 0.25]])


def graphite(c=6.71, a=2.464):
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]]
    third = 1 / 3
    places = [[0, 0, 0.25], [0, 0, 0.75], [third, 2 * third, 0.25], [2 * third, third, 0.75]]
    return Crystal.of(cell, [6] * 4, places)


def energies(model, *crystals):
    return model(state_of(*crystals))["energy"]


#: eV/atom of torch-dftd 0.5.3 (edisp, bj, pbe, cutoff 12 Å, CODATA 2018 units).
TORCH_DFTD = {"salt": -0.21042334133, "silicon": -0.30851822723, "graphite": -0.15457899321}


@pytest.mark.parametrize("make", [salt, silicon, graphite])
def test_energies_of_torch_dftd(make):
    found = energies(SHARP, make()).item() / len(make())
    assert found == pytest.approx(TORCH_DFTD[make.__name__], abs=1e-7)


def test_torch_sims_model_says_the_same():
    from torch_sim.models.dispersion import D3DispersionModel, D3Parameters

    table = reference_table()
    there = torch.isfinite(table.cn)
    cn = torch.where(there, table.cn, 0.0)[:, None, :, None].expand_as(table.c6)
    parameters = D3Parameters(table.radius, table.r2r4, table.c6, cn.contiguous())
    library = D3DispersionModel(
        PBE.a1,
        PBE.a2,
        PBE.s8,
        d3_params=parameters.to(dtype=torch.float32),
        cutoff=12.0,
        device=torch.device("cpu"),
        neighbor_list_fn=torch_sim_list,
    )
    state = state_of(*(crystal(seed) for seed in range(6)), salt(), graphite())
    expected, found = library(state), SHARP(state)
    # the library computes in float32
    sizes = torch.bincount(state.system_idx)
    assert ((expected["energy"] - found["energy"]) / sizes).abs().max() < 2e-6
    assert (expected["forces"] - found["forces"]).abs().max() < 5e-6
    assert (expected["stress"] - found["stress"]).abs().max() < 2e-6


@pytest.mark.parametrize("seed", range(4))
def test_forces_and_stress_are_the_derivatives(seed):
    base, h = crystal(seed), 1e-4
    rng = np.random.default_rng(seed)
    output = MODEL(state_of(base))
    step = rng.normal(size=(len(base), 3))
    up, down = energies(MODEL, moved(base, h * step), moved(base, -h * step)).tolist()
    expected = -(output["forces"].numpy() * step).sum()
    assert (up - down) / (2 * h) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    strain = rng.normal(size=(3, 3))
    strain += strain.T
    strained = [
        Crystal.of(
            base.cell @ (np.eye(3) + sign * h * strain), base.atomic_numbers, base.frac_coords
        )
        for sign in (1, -1)
    ]
    up, down = energies(MODEL, *strained).tolist()
    volume = abs(np.linalg.det(base.cell))
    expected = (output["stress"][0].numpy() * strain).sum() * volume
    assert (up - down) / (2 * h) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    torch.testing.assert_close(output["stress"], output["stress"].mT, atol=1e-12, rtol=0)


def test_it_is_smooth_at_the_cutoff():
    # shells of neighbours cross 12 Å as the cell grows: with a sharp end the energy jumps
    series = [salt(a) for a in np.linspace(5.5, 5.8, 301)]
    sharp, smooth = (np.diff(energies(model, *series).numpy(), 2) for model in (SHARP, MODEL))
    assert abs(smooth).max() < 1e-5
    assert abs(sharp).max() > 1e-3


def test_what_lies_beyond_the_cutoff_is_there():
    far = D3(PBE, cutoff=30.0, switch=26.0)
    crystals = [salt(), silicon(), crystal(1)]
    sizes = torch.tensor([len(c) for c in crystals])
    expected = far(state_of(*crystals))
    for model, worst in ((MODEL, 3e-4), (SHARP, 1e-2)):
        found = model(state_of(*crystals))
        error = ((found["energy"] - expected["energy"]) / sizes).abs().max()
        assert worst / 100 < error < worst


def test_rotation_carries_forces_and_stress_along():
    base = crystal(3)
    turn = Rotation.from_euler("xyz", [0.3, 1.1, -0.4]).as_matrix()
    turned = Crystal.of(base.cell @ turn, base.atomic_numbers, base.frac_coords)
    first, second = MODEL(state_of(base)), MODEL(state_of(turned))
    turn = torch.from_numpy(turn)
    torch.testing.assert_close(first["energy"], second["energy"])
    torch.testing.assert_close(first["forces"] @ turn, second["forces"], atol=1e-9, rtol=0)
    torch.testing.assert_close(turn.T @ first["stress"][0] @ turn, second["stress"][0])


def test_supercells_have_the_energy_of_what_they_repeat():
    base = crystal(4, n=3)
    cell = np.diag([2, 1, 3]) @ base.cell
    shifts = np.array([[i, 0, k] for i in range(2) for k in range(3)])
    points = (base.frac_coords[None] + shifts[:, None]).reshape(-1, 3) / [2, 1, 3]
    large = Crystal.of(cell, np.tile(base.atomic_numbers, 6), points)
    one, six = MODEL(state_of(base)), MODEL(state_of(large))
    torch.testing.assert_close(6 * one["energy"], six["energy"])
    torch.testing.assert_close(one["stress"], six["stress"])
    torch.testing.assert_close(one["forces"].repeat(6, 1), six["forces"], atol=1e-10, rtol=0)


def test_the_batch_changes_nothing():
    crystals = [crystal(seed, n) for seed, n in ((5, 3), (6, 6), (7, 1))] + [salt(), graphite()]
    together = MODEL(state_of(*crystals))
    for i, one in enumerate(crystals):
        alone = MODEL(state_of(one))
        torch.testing.assert_close(alone["energy"][0], together["energy"][i])
        torch.testing.assert_close(alone["stress"][0], together["stress"][i])


def test_elements_beyond_plutonium_are_refused():
    heavy = Crystal.of(np.eye(3) * 5, [95], [[0, 0, 0]])
    with pytest.raises(RuntimeError, match="beyond element 94"):
        MODEL(state_of(heavy))


def test_graphite_gets_its_layers():
    """Experiment 3.355 Å; CHGNet alone leaves the layers anywhere."""
    start = graphite(c=8.0)
    alone, with_d3 = (
        relax([start], RelaxConfig(dispersion=dispersion, fmax=0.02, smax=0.1))[0]
        for dispersion in ("none", "d3bj")
    )
    assert alone.status == with_d3.status == Status.OK
    assert 3.2 < with_d3.crystal.cell[2, 2] / 2 < 3.55
    assert alone.crystal.cell[2, 2] / 2 > 3.7


def test_its_output_is_the_sum():
    inner, both = load_named("chgnet-0.3.0"), load_named("chgnet-0.3.0+d3bj")
    state = state_of(salt(), graphite(), dtype=torch.float32)
    first, second, d3 = inner(state), both(state), MODEL(state)
    for key in ("energy", "forces", "stress"):
        torch.testing.assert_close(second[key], first[key] + d3[key].float())
        assert second[key].dtype == torch.float32
    torch.testing.assert_close(both.energies(state), second["energy"], atol=1e-4, rtol=0)
    assert set(second) == set(first)
