"""A second potential ranks what the first screen let through, and is never mixed with it."""

import json

import numpy as np
import pytest
import torch

from chggen.campaign.plan import Campaign
from chggen.config.contracts import POTENTIALS
from chggen.config.energies import PotentialConfig, ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import FinalConfig, RelaxConfig
from chggen.errors import ConfigError, ContractError
from chggen.potential import load_potential
from chggen.potential.energies import energies_per_atom
from chggen.screening.second import SecondLevel
from chggen.stages.screen import screen
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from chggen.tables.schema import SCHEMAS

torch.set_num_threads(1)

SECOND = [name for name in SCHEMAS["screened"].names if name.startswith("second_")]
WIDE = {"threshold": 5.0, "max_selected": 2}


def blende(a=5.4):
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Crystal.of(cell, [30, 16], [[0, 0, 0], [0.25, 0.25, 0.25]])


def salt(a=5.05):
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Crystal.of(cell, [30, 16], [[0, 0, 0], [0.5, 0.5, 0.5]])


def cesium(a=3.15):
    return Crystal.of(np.eye(3) * a, [30, 16], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture(scope="module")
def relaxed(tmp_path_factory):
    """Three structures of ZnS with CHGNet 0.3.0's energies; the third will not pass."""
    model, crystals = load_potential("chgnet-0.3.0"), [salt(), blende(), cesium()]
    energies = energies_per_atom(crystals, model, 100)
    contract = POTENTIALS["chgnet-0.3.0"]
    rows = [
        {"id": str(i), "parent_id": f"p{i}", "system": "Zn-S", "composition": "ZnS"}
        | {"route": "unconditional", "seed": 0, "index": i, "draw": 0, "random_seed": i}
        | {"status": "ok", "reason": "", "formula_units": 1, **crystal.columns()}
        | {"energy_per_atom": energy, "converged": True, "potential": "chgnet-0.3.0"}
        | {"potential_hash": model.hash, "functional": contract.functional}
        | {"corrections": contract.corrections, "min_distance": crystal.min_distance}
        for i, (crystal, energy) in enumerate(zip(crystals, energies, strict=True))
    ]
    path = tmp_path_factory.mktemp("t") / "relaxed.parquet"
    parquet.write(path, "relaxed", rows, {})
    return path


def screened(relaxed, folder, level=None, **settings):
    out = folder / "screened.parquet"
    screen(
        [relaxed],
        out,
        ReferenceConfig(),
        ScreenConfig(known="structures", **WIDE, **settings),
        second=level,
    )
    rows = sorted(parquet.read(out, "screened"), key=lambda row: row["index"])
    return rows, parquet.read_header(out)


def test_without_a_second_potential_the_columns_are_empty(relaxed, tmp_path):
    rows, header = screened(relaxed, tmp_path)
    assert sum(row["selected"] for row in rows) == 2
    assert all(row[name] is None for row in rows for name in SECOND)
    assert "second_potential" not in header


def test_another_functional_ranks_by_energy_alone(relaxed, tmp_path):
    plain, _ = screened(relaxed, tmp_path)
    rows, header = screened(relaxed, tmp_path, second_potential="chgnet-r2scan")
    model = load_potential("chgnet-r2scan")
    expected = energies_per_atom([salt(), blende()], model, 100)
    assert [row["second_energy_per_atom"] for row in rows[:2]] == pytest.approx(expected, abs=1e-5)
    assert [row["second_rank"] for row in rows] == [2, 1, None]
    for row in rows[:2]:
        assert row["second_potential"] == header["second_potential"] == "chgnet-r2scan"
        assert row["second_potential_hash"] == model.hash
        assert (row["second_functional"], row["second_corrections"]) == ("r2SCAN", "none")
        assert (row["second_status"], row["second_relaxed"]) == ("ok", False)
        # there is no r²SCAN reference, and the GGA one must not be taken
        assert row["second_decomposition_energy"] is None
        assert row["second_formation_energy_per_atom"] is None
        assert row["second_reference"] is None
    assert all(rows[2][name] is None for name in SECOND)
    for row, before in zip(rows, plain, strict=True):
        assert {k: v for k, v in row.items() if k not in SECOND} == {
            k: v for k, v in before.items() if k not in SECOND
        }


def test_the_same_contract_may_use_the_reference_again(relaxed, tmp_path):
    rows, _ = screened(relaxed, tmp_path, second_potential="chgnet-0.2.0")
    for row in rows[:2]:
        assert row["second_reference_hash"] == row["reference_hash"]
        shift = row["second_energy_per_atom"] - row["energy_per_atom"]
        change = row["second_decomposition_energy"] - row["decomposition_energy"]
        assert change == pytest.approx(shift, abs=1e-9)
        assert abs(shift) > 1e-5


def r2scan_entries(folder, energies):
    entries = [
        {
            "@module": "pymatgen.entries.computed_entries",
            "@class": "ComputedEntry",
            "energy": energy,
            "composition": composition,
            "entry_id": "-".join(composition),
            "parameters": {"run_type": "R2SCAN"},
            "correction": 0.0,
        }
        for composition, energy in energies
    ]
    path = folder / "r2scan.json"
    path.write_text(json.dumps(entries))
    return ReferenceConfig(source="file", path=path, functional="r2SCAN")


def test_a_reference_of_its_own_gives_decomposition_energies(relaxed, tmp_path):
    reference = r2scan_entries(
        tmp_path, [({"Zn": 1}, -10.0), ({"S": 1}, -9.0), ({"Zn": 1, "S": 1}, -22.0)]
    )
    level = SecondLevel(reference=reference)
    rows, header = screened(relaxed, tmp_path, level, second_potential="chgnet-r2scan")
    for row in rows[:2]:
        energy = row["second_energy_per_atom"]
        assert row["second_formation_energy_per_atom"] == pytest.approx(energy + 9.5)
        assert row["second_decomposition_energy"] == pytest.approx(energy + 11.0)
        assert row["second_reference"] == header["second_reference"] == "file r2scan.json"
    with pytest.raises(ContractError):
        screened(relaxed, tmp_path, level, second_potential="chgnet-0.2.0")


def test_relaxing_with_it_lowers_the_energy_and_keeps_the_structure(relaxed, tmp_path):
    single, _ = screened(relaxed, tmp_path, second_potential="chgnet-r2scan")
    level = SecondLevel(relax=RelaxConfig(fmax=0.02, smax=0.2))
    rows, _ = screened(
        relaxed, tmp_path, level, second_potential="chgnet-r2scan", second_relax=True
    )
    for row, before in zip(rows[:2], single[:2], strict=True):
        assert row["second_relaxed"]
        assert row["second_energy_per_atom"] < before["second_energy_per_atom"]
        assert row["cell"] == before["cell"]
    level = SecondLevel(relax=RelaxConfig(final=FinalConfig(smax=1e-9, max_steps=1)))
    rows, _ = screened(
        relaxed, tmp_path, level, second_potential="chgnet-r2scan", second_relax=True
    )
    assert [row["second_status"] for row in rows[:2]] == ["not_converged"] * 2
    assert [row["second_energy_per_atom"] for row in rows[:2]] == [None, None]
    assert [row["second_rank"] for row in rows[:2]] == [None, None]


def test_a_potential_of_ones_own(relaxed, tmp_path):
    own = PotentialConfig(
        kind="lennard-jones",
        functional="pairs",
        corrections="none",
        options={"sigma": 2.1, "epsilon": 0.2},
    )
    level = SecondLevel({"pairs": own})
    rows, _ = screened(relaxed, tmp_path, level, second_potential="pairs")
    assert rows[0]["second_functional"] == "pairs"
    assert {row["second_rank"] for row in rows[:2]} == {1, 2}


def campaign(tmp_path, reference=None, **screen_keys):
    system = {"compositions": ["ZnS"], "guests": ["Zn"]}
    if reference is not None:
        system["second_reference"] = reference.model_dump(mode="json")
    return Campaign.load({"systems": {"Zn-S": system}, "screen": screen_keys}, "x")


def test_what_is_known_to_fail_is_said_first(tmp_path):
    with pytest.raises(ConfigError, match=r"screen\.second_potential = 'r2': unknown potential"):
        campaign(tmp_path, second_potential="r2")
    reference = r2scan_entries(tmp_path, [({"Zn": 1}, -10.0), ({"S": 1}, -9.0)])
    assert campaign(tmp_path, reference, second_potential="chgnet-r2scan").shards
    with pytest.raises(ConfigError, match=r"Zn-S\.second_reference: chgnet-0\.2\.0 energies"):
        campaign(tmp_path, reference, second_potential="chgnet-0.2.0")
    r2scan_entries(tmp_path, [({"Zn": 1}, -10.0)])
    with pytest.raises(ConfigError, match=r"Zn-S\.second_reference: .* no entry of elemental S"):
        campaign(tmp_path, reference, second_potential="chgnet-r2scan")


def test_it_reruns_the_screen_and_no_earlier_stage(tmp_path):
    reference = r2scan_entries(tmp_path, [({"Zn": 1}, -10.0), ({"S": 1}, -9.0)])
    plain = campaign(tmp_path)
    first = campaign(tmp_path, reference, second_potential="chgnet-r2scan")
    given = first.settings("screen", "Zn-S")
    assert given != plain.settings("screen", "Zn-S")
    for stage in ("generate", "relax", "refine", "inpaint", "rerelax", "submit"):
        assert first.settings(stage, "Zn-S") == plain.settings(stage, "Zn-S")
    r2scan_entries(tmp_path, [({"Zn": 1}, -10.0), ({"S": 1}, -9.5)])
    assert (
        campaign(tmp_path, reference, second_potential="chgnet-r2scan").settings("screen", "Zn-S")
        != given
    )
