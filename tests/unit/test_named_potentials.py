"""Potentials that the config names: other weights, other models, one-line mistakes."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from chggen.campaign.plan import Campaign
from chggen.config import load as configfile
from chggen.config.energies import PotentialConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import CheckpointError, ConfigError, Status
from chggen.potential import load_named
from chggen.potential.energies import energies_per_atom
from chggen.potential.foreign import ForeignModel
from chggen.potential.load import read_checkpoint
from chggen.relaxation.pool import relax
from chggen.stages.relax import relax as relax_stage
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.unit.test_relaxation import BROKEN, salt

torch.set_num_threads(1)

SIGMA, EPSILON, CUTOFF = 3.405, 0.0104, 13.0
ARGON = {
    "kind": "lennard-jones",
    "functional": "Lennard-Jones",
    "corrections": "none",
    "options": {"sigma": SIGMA, "epsilon": EPSILON, "cutoff": CUTOFF},
}
ZNPS = {"systems": {"Zn-P-S": {"compositions": ["ZnP2S6"], "guests": ["Zn"]}}}


def definitions(**potentials):
    return {name: PotentialConfig(**values) for name, values in potentials.items()}


@pytest.fixture(scope="module")
def argon():
    return load_named("argon", definitions(argon=ARGON))


def fcc(a, seed=None):
    frac = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = np.eye(3) * a
    if seed is not None:
        rng = np.random.default_rng(seed)
        frac = frac + rng.normal(0, 0.02, frac.shape)
        cell = cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    return Crystal.of(cell, [18] * 4, frac)


def energy_of_fcc(a):
    """eV/atom by a plain sum over the lattice points within the cutoff."""
    grid = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), -1).reshape(-1, 3)
    points = grid[grid.sum(axis=1) % 2 == 0] * a / 2
    r = np.linalg.norm(points, axis=1)
    r = r[(r > 0) & (r < CUTOFF)]
    return 2 * EPSILON * ((SIGMA / r) ** 12 - (SIGMA / r) ** 6).sum()


def fine_tuned(folder: Path, shift=1e-3) -> Path:
    """CHGNet's weights slightly changed, as a user's files."""
    args, weights = read_checkpoint("chgnet-0.3.0")
    weights = {k: v.clone().contiguous() for k, v in weights.items()}
    weights["bond_embedding.weight"] += shift
    folder.mkdir(exist_ok=True, parents=True)
    save_file(weights, folder / "mine.safetensors")
    (folder / "mine.json").write_text(json.dumps({"model_args": args}))
    return folder / "mine.safetensors"


def chgnet(path, functional="GGA/GGA+U", corrections="MP2020"):
    return {
        "kind": "chgnet",
        "path": str(path),
        "functional": functional,
        "corrections": corrections,
    }


def campaign(potential="mine", **potentials) -> Campaign:
    content = copy.deepcopy(ZNPS)
    return Campaign.load(
        content | {"relax": {"potential": potential}, "potentials": potentials}, "x"
    )


def test_argon_relaxes_to_the_lattice_constant_of_its_parameters(argon):
    grid = np.linspace(5.0, 5.5, 5001)
    expected = grid[np.argmin([energy_of_fcc(a) for a in grid])]
    assert expected == pytest.approx(1.5418 * SIGMA, rel=0.01)  # the sum without a cutoff
    settings = RelaxConfig(fmax=1e-4, smax=1e-3)
    for row in relax([fcc(5.0), fcc(5.6, seed=1)], settings, model=argon):
        assert row.status == Status.OK
        lengths = np.linalg.norm(row.crystal.cell, axis=1)
        np.testing.assert_allclose(lengths, expected, rtol=1e-3)
        assert row.energy_per_atom == pytest.approx(energy_of_fcc(expected), abs=1e-5)


def test_broken_rows_leave_the_good_ones_alone_with_it_too(argon):
    settings = RelaxConfig(fmax=1e-3, smax=0.01)
    good = [fcc(5.2, seed=2), fcc(5.4, seed=3)]
    alone = relax(good, settings, model=argon)
    rows = relax([good[0], *(broken() for broken in BROKEN), good[1]], settings, model=argon)
    for row, expected in zip((rows[0], rows[-1]), alone, strict=True):
        assert row.status == Status.OK
        assert row.energy_per_atom == pytest.approx(expected.energy_per_atom, abs=1e-7)
    for row, status in zip(rows[1:-1], BROKEN.values(), strict=True):
        assert row.status == status
        assert row.reason


class Picky:
    """A torch-sim model that does not know helium, as those of other packages do."""

    def __init__(self, model):
        self.model, self.device, self.dtype = model, model.device, model.dtype

    def __call__(self, state):
        if (state.atomic_numbers == 2).any():
            raise KeyError("element 2")
        return self.model(state)


def test_an_unknown_element_fails_its_row_only(argon):
    model = ForeignModel("picky", Picky(argon), argon.contract, "0")
    helium = Crystal.of(fcc(5.2).cell, [2] * 4, fcc(5.2).frac_coords)
    rows = relax([fcc(5.2), helium, fcc(5.3)], RelaxConfig(), model=model)
    assert [row.status for row in rows] == [Status.OK, Status.FAILED, Status.OK]
    assert "element 2" in rows[1].reason
    energies = energies_per_atom([fcc(5.2), helium, fcc(5.3)], model, 100)
    np.testing.assert_allclose(energies[[0, 2]], [energy_of_fcc(5.2), energy_of_fcc(5.3)])
    assert np.isinf(energies[1])


def test_a_model_without_stress_ends_the_stage_with_one_line(argon):
    class Bare(Picky):
        def __call__(self, state):
            return {k: v for k, v in self.model(state).items() if k != "stress"}

    model = ForeignModel("bare", Bare(argon), argon.contract, "0")
    with pytest.raises(CheckpointError, match="'bare' returns no stress"):
        relax([fcc(5.2)], RelaxConfig(), model=model)


def test_settings_are_the_hash_of_a_potential_without_weights(argon):
    other = copy.deepcopy(ARGON)
    other["options"]["epsilon"] = 0.02
    again, changed = (
        load_named("a", definitions(a=values)) for values in (copy.deepcopy(ARGON), other)
    )
    assert again.hash == argon.hash != changed.hash
    assert str(argon.contract) == "Lennard-Jones without corrections"


def test_fine_tuned_weights_give_other_energies_and_another_hash(tmp_path):
    own = definitions(mine=chgnet(fine_tuned(tmp_path)))
    mine, base = load_named("mine", own), load_named("chgnet-0.3.0", own)
    ours, theirs = (energies_per_atom([salt()], m, 100)[0] for m in (mine, base))
    assert 1e-6 < abs(ours - theirs) < 1
    assert mine.hash != base.hash
    assert (mine.name, mine.contract) == ("mine", base.contract)
    moved = definitions(mine=chgnet(fine_tuned(tmp_path / "b", 2e-3)))
    assert load_named("mine", moved).hash != mine.hash
    same = definitions(mine=chgnet(fine_tuned(tmp_path / "c", 0.0)))
    unchanged = energies_per_atom([salt()], load_named("mine", same), 100)[0]
    assert unchanged == pytest.approx(theirs, abs=1e-6)


def test_a_checkpoint_that_chgnet_wrote(tmp_path):
    args, weights = read_checkpoint("chgnet-0.3.0")
    path = tmp_path / "bestE.pth.tar"
    torch.save({"model": {"model_args": args, "state_dict": weights}}, path)
    mine = load_named("mine", definitions(mine=chgnet(path)))
    base = load_named("chgnet-0.3.0")
    first, second = (energies_per_atom([salt()], m, 100)[0] for m in (mine, base))
    assert first == pytest.approx(second, abs=1e-6)


class Payload:
    """Anything but tensors and plain values."""


def test_code_in_a_checkpoint_is_refused(tmp_path):
    path = tmp_path / "bad.pth.tar"
    torch.save({"model": Payload()}, path)
    with pytest.raises(CheckpointError, match=r"'mine'.*bad\.pth\.tar") as caught:
        load_named("mine", definitions(mine=chgnet(path)))
    assert "\n" not in str(caught.value)


def test_tables_carry_the_name_hash_and_contract(tmp_path, argon):
    rows = [
        {"id": "a", "system": "Ar", "composition": "Ar", "route": "unconditional", "seed": 0}
        | {"index": 0, "draw": 0, "random_seed": 1, "status": "ok", "reason": ""}
        | {"formula_units": 4, **fcc(5.2).columns()}
    ]
    parquet.write(tmp_path / "g.parquet", "generated", rows, {})
    relax_stage(
        tmp_path / "g.parquet",
        tmp_path / "r.parquet",
        RelaxConfig(potential="argon"),
        potentials=definitions(argon=ARGON),
    )
    (row,) = parquet.read(tmp_path / "r.parquet", "relaxed")
    assert (row["potential"], row["potential_hash"]) == ("argon", argon.hash)
    assert (row["functional"], row["corrections"]) == ("Lennard-Jones", "none")
    assert row["energy_per_atom"] < 0


def test_energies_of_another_contract_are_not_compared(tmp_path):
    path = fine_tuned(tmp_path)
    assert campaign(mine=chgnet(path)).shards
    with pytest.raises(ConfigError, match=r"systems\.Zn-P-S\.reference: mine energies \(PBEsol"):
        campaign(mine=chgnet(path, "PBEsol", "none"))
    with pytest.raises(ConfigError, match="Lennard-Jones"):
        campaign("argon", argon=ARGON)


def test_another_functional_meets_a_reference_of_the_same(tmp_path):
    path = fine_tuned(tmp_path)
    entries = [
        {"@class": "ComputedEntry", "composition": {symbol: 1}, "energy": -3.0, "correction": 0.0}
        for symbol in ("Zn", "P", "S")
    ]
    (tmp_path / "entries.json").write_text(json.dumps(entries))
    content = copy.deepcopy(ZNPS)
    content["potentials"] = {"mine": chgnet(path, "PBEsol", "none")}
    content["relax"] = {"potential": "mine"}
    reference = {"source": "file", "path": str(tmp_path / "entries.json"), "functional": "PBEsol"}
    content["systems"]["Zn-P-S"]["reference"] = reference
    assert Campaign.load(content, "x").shards
    del reference["path"]
    reference["source"] = "materials-project"
    with pytest.raises(ConfigError, match="functional 'PBEsol'"):
        Campaign.load(content, "x")


def test_changed_weights_rerun_the_stages_that_use_them(tmp_path):
    path = fine_tuned(tmp_path)
    stages = ("generate", "relax", "refine", "inpaint", "rerelax", "screen", "submit")

    def facts():
        loaded = campaign(mine=chgnet(path))
        return {s: loaded.settings(s, "Zn-P-S") for s in stages}

    before = facts()
    fine_tuned(tmp_path, 2e-3)
    after = facts()
    assert [s for s in stages if before[s] != after[s]] == ["relax", "rerelax", "screen"]
    given = json.loads(json.dumps(before["relax"]["potentials"]))
    assert PotentialConfig(**given["mine"]) == PotentialConfig(**chgnet(path))


def wrong(tmp_path: Path):
    good = fine_tuned(tmp_path)
    text = tmp_path / "text.safetensors"
    text.write_text("no weights")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, other)
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(good.read_bytes())
    lone = tmp_path / "weights.pt"
    lone.write_bytes(b"weights")
    pickled = tmp_path / "old.pth.tar"
    pickled.write_bytes(b"\x80\x04N.")
    gga = {"functional": "GGA/GGA+U", "corrections": "MP2020"}
    lj = ARGON | {"options": {"sigma": -1, "epsilon": 1}}
    return [
        ({}, ["relax.potential = 'mine'", "unknown potential", "chgnet-r2scan"]),
        ({"mine": chgnet(tmp_path / "no.safetensors")}, ["potentials.mine.path", "no such file"]),
        ({"mine": chgnet(text)}, ["potentials.mine.path", "text.saf", "not a safetensors"]),
        ({"mine": chgnet(other)}, ["potentials.mine.path", "no CHGNet weights"]),
        ({"mine": chgnet(bare)}, ["potentials.mine.path", "bare.json", "model_args"]),
        ({"mine": chgnet(lone)}, ["potentials.mine.path", "neither .safetensors nor"]),
        ({"mine": chgnet(pickled)}, ["potentials.mine.path", "not a PyTorch checkpoint"]),
        (
            {"mine": {"kind": "mace", "path": str(good), **gga}},
            ["potentials.mine.kind = 'mace'", "'mace-torch' is not installed"],
        ),
        ({"mine": {"kind": "mace", **gga}}, ["potentials.mine", "'path'"]),
        ({"mine": {"kind": "gap", **gga}}, ["potentials.mine.kind = 'gap'"]),
        ({"mine": {"kind": "chgnet", "path": str(good)}}, ["potentials.mine.functional"]),
        ({"mine": chgnet(good, corrections="MP2021")}, ["potentials.mine.corrections", "MP2021"]),
        ({"mine": chgnet(good) | {"device": "gpu"}}, ["unknown key", "potentials.mine.device"]),
        ({"mine": chgnet(good) | {"options": {"head": 1}}}, ["potentials.mine", "options.head"]),
        ({"mine": lj}, ["potentials.mine", "options.sigma = -1"]),
        ({"chgnet-0.3.0": chgnet(good)}, ["potentials", "'chgnet-0.3.0'", "in the package"]),
    ]


@pytest.mark.parametrize("case", range(16))
def test_a_mistake_is_one_line(tmp_path, monkeypatch, case):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    potentials, named = wrong(tmp_path)[case]
    with pytest.raises(ConfigError) as caught:
        campaign(**potentials)
    text = str(caught.value)
    assert "\n" not in text
    for word in named:
        assert word in text, text


def test_a_single_step_takes_them_from_its_config_file(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({"potentials": {"argon": ARGON}, "relax": {"potential": "argon"}}))
    assert configfile.parse_potentials(path) == definitions(argon=ARGON)
    assert configfile.parse_potentials(None) == {}
    path.write_text(json.dumps({"potentials": {"argon": ARGON | {"kind": "morse"}}}))
    with pytest.raises(ConfigError, match=r"potentials\.argon\.kind = 'morse'"):
        configfile.parse_potentials(path)
    with pytest.raises(
        CheckpointError, match=r"unknown potential 'x', known: .*chgnet-r2scan, .*, argon"
    ):
        load_named("x", definitions(argon=ARGON))


def test_mace_where_it_is_installed(tmp_path):
    """A small MACE with random weights; whoever has the package runs this."""
    pytest.importorskip("mace")
    from e3nn import o3
    from mace import modules

    torch.manual_seed(0)
    block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
    mace = modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=2,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps("8x0e+8x1o"),
        MLP_irreps=o3.Irreps("8x0e"),
        atomic_energies=np.array([-1.0, -2.0]),
        avg_num_neighbors=20.0,
        atomic_numbers=[11, 17],
        correlation=2,
        filter=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    torch.save(mace, tmp_path / "random.model")
    own = chgnet(tmp_path / "random.model", corrections="none") | {"kind": "mace"}
    model = load_named("mine", definitions(mine=own))
    rows = relax([salt(seed=1), fcc(5.2), salt(seed=2)], RelaxConfig(max_steps=20), model=model)
    assert rows[1].status == Status.FAILED  # no argon in it
    alone = relax([salt(seed=1)], RelaxConfig(max_steps=20), model=model)
    assert rows[0].energy_per_atom == pytest.approx(alone[0].energy_per_atom, abs=1e-5)
    assert rows[2].energy_per_atom is not None
