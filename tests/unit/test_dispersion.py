"""``relax.dispersion``: names, hashes and contracts; what is refused before any job."""

import copy

import pytest
import torch

from chggen.campaign.plan import Campaign
from chggen.config import load as configfile
from chggen.config.contracts import Contract, require_same
from chggen.config.dispersion import DAMPING, Damping, joined, split
from chggen.config.energies import PotentialConfig, potential_contract, untrained_elements
from chggen.config.screening import ScreenConfig
from chggen.config.stages import FinalConfig, RelaxConfig
from chggen.errors import ConfigError, ContractError
from chggen.potential import load_named
from chggen.potential.dispersion import D3
from chggen.potential.interface import packed_state
from chggen.screening.second import SecondLevel
from chggen.stages.screen import screen
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.unit.test_references import (
    POTENTIAL,
    SETTINGS,
    caesium_chloride,
    fcc,
    layered,
    pairs,
    relaxed,
    run,
    write,
)

torch.set_num_threads(1)

LITHIUM = {"systems": {"Li-P-S": {"compositions": ["Li3PS4"], "guests": ["Li"]}}}
OWN = {
    "kind": "lennard-jones",
    "functional": "PBEsol",
    "corrections": "none",
    "options": {"sigma": 3.4, "epsilon": 0.01},
}


def checked(**sections):
    campaign = Campaign(configfile.parse(copy.deepcopy(LITHIUM) | sections))
    campaign.check()
    return campaign


def test_names():
    assert split("chgnet-0.3.0+d3bj") == ("chgnet-0.3.0", "d3bj")
    assert split("chgnet-0.3.0") == ("chgnet-0.3.0", "none")
    assert joined("a", "d3bj") == joined("a+d3bj", "d3bj") == "a+d3bj"
    assert RelaxConfig(dispersion="d3bj").potential_name == "chgnet-0.3.0+d3bj"
    assert RelaxConfig().potential_name == "chgnet-0.3.0"


def test_name_hash_and_contract_say_it():
    plain, both = load_named("chgnet-r2scan"), load_named("chgnet-r2scan+d3bj")
    assert both.name == "chgnet-r2scan+d3bj"
    assert both.hash != plain.hash
    assert len(both.hash) == len(plain.hash)
    assert both.contract == Contract("r2SCAN + D3(BJ)", "none")
    assert both.contract == potential_contract(both.name, {})
    assert both.elements == plain.elements


def test_the_hash_changes_with_parameters_and_potential(monkeypatch):
    hashes = {load_named(name).hash for name in ("chgnet-0.3.0+d3bj", "chgnet-0.2.0+d3bj")}
    for change in ({"a1": 0.43}, {"a2": 4.45}, {"s8": 0.79}):
        values = {"a1": 0.4289, "a2": 4.4407, "s8": 0.7875, "doi": ""} | change
        monkeypatch.setitem(DAMPING, "GGA/GGA+U", Damping(**values))
        hashes.add(load_named("chgnet-0.3.0+d3bj").hash)
    assert len(hashes) == 5


def test_a_functional_without_parameters_is_refused():
    own = {"mine": PotentialConfig(**OWN | {"functional": "Lennard-Jones"})}
    with pytest.raises(ConfigError, match=r"'Lennard-Jones' of 'mine' has no D3\(BJ\) parameters"):
        load_named("mine+d3bj", own)
    with pytest.raises(ConfigError, match=r"relax.potential = 'mine\+d3bj'.*Lennard-Jones"):
        checked(
            potentials={"mine": OWN | {"functional": "Lennard-Jones"}},
            relax={"potential": "mine", "dispersion": "d3bj"},
        )


def test_another_potential_gets_it_too():
    own = {"mine": PotentialConfig(**OWN)}
    model = load_named("mine+d3bj", own)
    assert model.contract.functional == "PBEsol + D3(BJ)"
    assert model.elements == frozenset(range(1, 95))
    assert model.d3.facts["a2"] == 6.1742
    assert untrained_elements("mine+d3bj", ["Li", "Am"], own) == ["Am"]
    assert untrained_elements("mine", ["Li", "Am"], own) == []


def test_mixing_is_refused_before_any_job():
    with pytest.raises(
        ConfigError, match=r"systems.Li-P-S.reference: .*dispersion must be in both"
    ):
        checked(relax={"dispersion": "d3bj"})
    checked(relax={"dispersion": "none"})


def test_the_same_potential_fits(tmp_path):
    write(tmp_path / "cifs", zinc=fcc("Zn"), sulphur=fcc("S"), compound=caesium_chloride())
    system = {"compositions": ["ZnS"], "guests": ["Zn"], "reference": "potential"}
    system["phases"] = str(tmp_path / "cifs")
    given = {"systems": {"Zn-S": system}, "relax": {"dispersion": "d3bj"}}
    stage = Campaign.load(given, "x").settings("reference", "Zn-S")["settings"]
    assert stage["dispersion"] == "d3bj"


def test_two_levels_with_it_may_be_compared():
    dispersed = Contract("GGA/GGA+U + D3(BJ)", "MP2020")
    require_same(dispersed, "a", dispersed, "b")
    with pytest.raises(ContractError, match=r"relax\.dispersion: none"):
        require_same(dispersed, "a", Contract("GGA/GGA+U", "MP2020"), "b")


def test_the_second_level_alone(tmp_path):
    """Every row has energies with it, the hull too; structures were first relaxed without."""
    own = {"pairs": pairs()["pairs"].model_copy(update={"functional": "PBEsol"})}
    final = {"dispersion": "d3bj", "margin": 5.0, "fmax": 0.01, "smax": 0.05}
    settings = SETTINGS.model_copy(update={"final": FinalConfig(**final)})
    write(tmp_path / "cifs", zinc=fcc("Zn"), sulphur=fcc("S"), compound=caesium_chloride())
    table = run(tmp_path / "cifs", tmp_path, settings=settings, potentials=own)
    # the first level of chggen relax has none
    source = relaxed(tmp_path, layered(), own=own)
    (first,) = parquet.read(source, "relaxed")
    assert first["functional"] == "PBEsol"
    level = SecondLevel(potentials=own)
    out = tmp_path / "screened.parquet"
    wide = ScreenConfig(threshold=5.0, known="structures")
    screen([source], out, POTENTIAL, wide, relax=settings, second=level, referenced=table)
    (row,) = parquet.read(out, "screened")
    assert row["final"]
    assert row["potential"] == "pairs+d3bj"
    assert row["functional"] == parquet.read_header(out)["reference_functional"]
    assert row["potential_hash"] == parquet.read_header(table)["potential_hash"]
    crystal = Crystal.from_row(first)
    d3 = D3(DAMPING["PBEsol"])(packed_state([crystal], torch.device("cpu"), torch.float64))
    expected = first["energy_per_atom"] + d3["energy"].item() / len(crystal)
    assert row["energy_per_atom_first"] == pytest.approx(expected, abs=1e-6)
    assert row["energy_per_atom"] < row["energy_per_atom_first"]
    # without the key the same table is refused
    with pytest.raises(ContractError, match="cannot be compared"):
        screen([source], out, POTENTIAL, wide, relax=SETTINGS, second=level, referenced=table)
