"""The batched CHGNet gives what CHGNet gives, system by system."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from torch_sim.io import structures_to_state

from chggen.config.contracts import POTENTIALS, UNTRAINED
from chggen.errors import CheckpointError
from chggen.potential import load as checkpoints
from chggen.potential import load_potential
from chggen.potential.chgnet.ops import Gate, Linear, Multisets
from chggen.potential.load import read_checkpoint, trained_elements
from chggen.structure.composition import SYMBOLS
from chggen.units import GPA_PER_EV_PER_A3

torch.set_num_threads(1)

VERSIONS = {"chgnet-0.3.0": "0.3.0", "chgnet-0.2.0": "0.2.0", "chgnet-r2scan": "r2scan"}
HASHES = {
    "chgnet-0.3.0": "818dbd975187b2df",
    "chgnet-0.2.0": "d79fc1dde924a632",
    "chgnet-r2scan": "d8b3a99f7ad62a07",
}


@pytest.fixture(scope="module")
def model():
    return load_potential("chgnet-0.3.0")


def reference(name):
    from chgnet.model import CHGNet

    with contextlib.redirect_stdout(io.StringIO()):
        return CHGNet.load(model_name=VERSIONS[name], use_device="cpu", verbose=False)


def prototypes():
    cubic = Lattice.cubic
    return [
        Structure.from_spacegroup("Fm-3m", cubic(5.69), ["Na", "Cl"], [[0] * 3, [0.5] * 3]),
        Structure.from_spacegroup("F-43m", cubic(5.41), ["Zn", "S"], [[0] * 3, [0.25] * 3]),
        Structure.from_spacegroup("Fd-3m", cubic(5.43), ["Si"], [[0] * 3]),
        Structure.from_spacegroup(
            "Pm-3m", cubic(3.91), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
        ),
        Structure.from_spacegroup(
            "P6_3mc", Lattice.hexagonal(3.25, 5.21), ["Zn", "O"],
            [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.382]],
        ),
    ]  # fmt: skip


def one_atom_cells():
    return [
        Structure(Lattice.cubic(2.9), ["Fe"], [[0.3, 0.1, 0.9]]),
        Structure(Lattice.from_parameters(2.6, 2.6, 2.6, 60, 60, 60), ["Cu"], [[0, 0, 0]]),
        Structure(Lattice.cubic(4.5), ["Ar"], [[0, 0, 0]]),  # bonds, but no angle
    ]


def no_angles():
    return Structure(Lattice.cubic(5.4), ["K", "I"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def isolated():
    return Structure(Lattice.cubic(12.0), ["Li", "F", "He"], [[0] * 3, [0.13, 0, 0], [0.5] * 3])


def varied_cells():
    """Distorted, skewed and flat cells with forces of a few eV/Å."""
    rng = np.random.default_rng(7)
    cells = [*prototypes(), *one_atom_cells(), no_angles()]
    for structure in prototypes() * 4:
        distorted = structure.copy()
        distorted.perturb(0.12, seed=int(rng.integers(1000)))
        strain = np.eye(3) + rng.normal(0, 0.04, (3, 3))
        lattice = Lattice(distorted.lattice.matrix @ strain)
        frac_coords = distorted.frac_coords + rng.integers(-2, 3, (len(distorted), 3))
        cells.append(Structure(lattice, distorted.species, frac_coords))
    skewed = prototypes()[1].get_primitive_structure()
    skewed.make_supercell([[1, 0, 0], [3, 1, 0], [-2, 4, 1]], to_unit_cell=False)
    flat = prototypes()[0].get_primitive_structure()
    flat.make_supercell([[4, 0, 0], [0, 1, 0], [0, 0, 1]])
    return [*cells, skewed, flat]


def evaluate(model, structures):
    output = model(structures_to_state(structures, model.device, model.dtype))
    sizes = [len(s) for s in structures]
    forces = [f.numpy() for f in output["forces"].split(sizes)]
    moments = [m.numpy() for m in output["magmoms"].split(sizes)]
    return (
        (output["energy"] / torch.tensor(sizes)).numpy(),
        forces,
        output["stress"].numpy(),
        moments,
    )


@pytest.mark.parametrize("name", VERSIONS)
def test_agrees_with_chgnet(name):
    cells = varied_cells()
    cells = cells if name == "chgnet-0.3.0" else [*cells[::3], no_angles()]
    theirs = reference(name)
    energies, forces, stresses, moments = evaluate(load_potential(name), cells)
    for i, cell in enumerate(cells):
        expected = theirs.predict_structure(cell)
        # single precision: rounding grows with the numbers it comes from, and CHGNet 0.2.0,
        # without layer norms, is itself off its double-precision values by 1.6e-5 eV/atom
        large = max(1.0, np.abs(expected["f"]).max() / 5)
        assert abs(energies[i] - expected["e"]) < (3e-5 if name == "chgnet-0.2.0" else 1e-5)
        np.testing.assert_allclose(forces[i], expected["f"], rtol=0, atol=1e-4 * large)
        np.testing.assert_allclose(
            stresses[i] * GPA_PER_EV_PER_A3, expected["s"], rtol=1e-5, atol=1e-3
        )
        np.testing.assert_allclose(moments[i], expected["m"], atol=1e-4)


def test_agrees_with_chgnet_beyond_the_fast_neighbour_list(model):
    dense = Structure(Lattice.cubic(1.55), ["Fe"], [[0, 0, 0]])  # 240 neighbours
    energies, _, stresses, _ = evaluate(model, [dense, prototypes()[0]])
    expected = reference("chgnet-0.3.0").predict_structure(dense)
    assert abs(energies[0] - expected["e"]) < 2e-5
    large = np.abs(expected["s"]).max()  # thousands of GPa: rounding is relative to that
    np.testing.assert_allclose(
        stresses[0] * GPA_PER_EV_PER_A3, expected["s"], rtol=0, atol=1e-4 * large
    )


@pytest.mark.parametrize("name", VERSIONS)
def test_every_system_is_independent_of_its_batch(name):
    model = load_potential(name)
    cells = [*one_atom_cells(), isolated(), *varied_cells()[9:14], no_angles()]
    together = evaluate(model, cells)
    alone = [evaluate(model, [cell]) for cell in cells]
    for i, single in enumerate(alone):
        for batched, own in zip(together, single, strict=True):
            np.testing.assert_allclose(batched[i], own[0], rtol=1e-5, atol=2e-5)


def test_single_and_double_precision_agree(model):
    cells = varied_cells()[9:15]
    double = load_potential("chgnet-0.3.0", precision="float64")
    for single, exact in zip(evaluate(model, cells), evaluate(double, cells), strict=True):
        for a, b in zip(single, exact, strict=True):
            assert a.dtype == np.float32
            assert b.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_isolated_atoms_are_flagged_and_feel_nothing(model):
    output = model(
        structures_to_state(
            [isolated(), prototypes()[0], Structure(Lattice.cubic(9.0), ["Ne"], [[0] * 3])],
            model.device,
            model.dtype,
        )
    )
    assert output["isolated"].tolist() == [True, False, True]
    assert torch.isfinite(output["energy"]).all()
    assert output["forces"][2].abs().max() == 0  # the lone helium
    assert output["forces"][:2].abs().max() > 0.1
    assert output["stress"][2].abs().max() == 0


def test_shortest_bond_is_reported(model):
    state = structures_to_state(
        [prototypes()[1], one_atom_cells()[0], isolated()], model.device, model.dtype
    )
    expected = [5.41 * 3**0.5 / 4, 2.9, 12 * 0.13]
    assert model(state)["min_distance"].tolist() == pytest.approx(expected, rel=1e-5)


def test_weights_are_frozen_and_no_graph_survives(model):
    output = model(structures_to_state([prototypes()[0]], model.device, model.dtype))
    assert not any(t.requires_grad for t in model.network.state.values())
    assert not any(t.requires_grad for t in output.values())


@pytest.mark.parametrize("name", VERSIONS)
def test_identity(name):
    model = load_potential(name)
    assert (model.name, model.hash) == (name, HASHES[name])
    assert model.contract == POTENTIALS[name]


def test_digest_sees_every_weight():
    _, weights = checkpoints.read_checkpoint("chgnet-0.3.0")
    before = checkpoints.weights_digest(weights)
    changed = {k: v.clone() for k, v in weights.items()}
    changed["site_wise.bias"] += 1e-7
    assert checkpoints.weights_digest(changed) != before
    assert checkpoints.weights_digest(dict(reversed(weights.items()))) == before


def test_unknown_potential():
    with pytest.raises(CheckpointError, match="unknown potential 'mace'"):
        load_potential("mace")


class Payload:
    """Anything but tensors and plain values."""


@pytest.mark.parametrize("content", [Payload(), {"model": {}}, None])
def test_bad_weight_files_are_refused(tmp_path, monkeypatch, content):
    path = tmp_path / "weights.pth.tar"
    if content is not None:
        torch.save(content, path)
    monkeypatch.setitem(checkpoints.FILES, "chgnet-0.3.0", str(path))
    with pytest.raises(CheckpointError, match=r"cannot read the weights of chgnet-0\.3\.0"):
        load_potential("chgnet-0.3.0")


def test_bags_are_a_matrix_and_its_transpose():
    rng = np.random.default_rng(0)
    size = torch.tensor([2, 0, 3, 1, 0])
    index = torch.tensor(rng.integers(0, 4, 6))
    matrix = torch.zeros(5, 4, dtype=torch.float64)
    row = torch.repeat_interleave(torch.arange(5), size)
    matrix.index_put_((row, index), torch.ones(6, dtype=torch.float64), accumulate=True)
    multisets = Multisets.of(index, size, 4)
    table = torch.randn(4, 3, dtype=torch.float64)
    assert torch.allclose(multisets(table), matrix @ table)
    assert torch.allclose(multisets.mT(multisets(table)), matrix.T @ matrix @ table)
    pair = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = torch.einsum("rt,tbd->brd", matrix, pair).reshape(10, 3)
    twofold = multisets.twofold()
    assert torch.allclose(twofold(pair.view(8, 3)), expected)
    back = torch.einsum("rt,brd->tbd", matrix, expected.view(2, 5, 3)).reshape(8, 3)
    assert torch.allclose(twofold.mT(expected), back)


@pytest.mark.parametrize("name", ["chgnet-0.3.0", "chgnet-0.2.0"])
@pytest.mark.parametrize("kind", ["atom", "angle"])
def test_gradients_of_the_building_blocks(name, kind):
    network = load_potential(name, precision="float64").network
    mlp = (network.atom_mlps if kind == "atom" else network.angle_mlps)[0]
    torch.manual_seed(0)
    pre = torch.randn(2, 6, 64, dtype=torch.float64, requires_grad=True)
    if name == "chgnet-0.3.0" and kind == "angle":
        # a one-layer branch relies on centred rows, which its weights provide
        pre = (pre - pre.mean(-1, keepdim=True)).detach().requires_grad_()

        def gate(x, w):
            return Gate.apply(x - x.mean(-1, keepdim=True), w, mlp.core, mlp.gate)
    else:

        def gate(x, w):
            return Gate.apply(x, w, mlp.core, mlp.gate)

    weight = torch.rand(3, 64, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gate, (pre, weight), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: gate(x, None), (pre,), fast_mode=True)
    x = torch.randn(5, 64, dtype=torch.float64, requires_grad=True)
    matrix = torch.randn(7, 64, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: Linear.apply(x, matrix), (x,), fast_mode=True)


@pytest.mark.parametrize("rows", [128, 2176])
def test_padded_rows_multiply_like_any_others(rows):
    torch.manual_seed(0)
    x, weight = torch.randn(rows, 64), torch.randn(32, 64)
    np.testing.assert_allclose(Linear.apply(x, weight), x @ weight.T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(UNTRAINED.keys() & checkpoints.FILES.keys()))
def test_elements_without_training_are_those_that_the_weights_show(name: str) -> None:
    weights = read_checkpoint(name)[1]
    symbols = {SYMBOLS[z] for z in range(1, 95)} - UNTRAINED[name]
    assert {SYMBOLS[z] for z in trained_elements(weights)} == symbols
    assert load_potential(name).elements == trained_elements(weights)


def test_training_on_r2scan_left_the_rows_of_what_it_never_saw() -> None:
    key = "atom_embedding.embedding.weight"
    first, second = (read_checkpoint(name)[1][key] for name in ("chgnet-0.3.0", "chgnet-r2scan"))
    same = {SYMBOLS[z + 1] for z in range(94) if torch.equal(first[z], second[z])}
    assert same == UNTRAINED["chgnet-r2scan"]
    # rows of 64 numbers from a normal distribution, as at the start; all others are larger
    sizes = first.norm(dim=1)
    small = {SYMBOLS[int(z) + 1] for z in (sizes < 10).nonzero().flatten()}
    assert small == UNTRAINED["chgnet-0.3.0"]
