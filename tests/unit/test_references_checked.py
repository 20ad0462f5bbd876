"""What is said of competing phases before any job starts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chggen.campaign.plan import Campaign
from chggen.errors import ConfigError
from chggen.reference.reference import coverage_problem
from chggen.reference.structures import given_phases
from tests.unit.test_references import (
    DAMAGED,
    POTENTIAL,
    SYSTEM,
    caesium_chloride,
    fcc,
    layered,
    write,
)


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        tmp_path_factory.mktemp("phases") / "cifs",
        zinc=fcc("Zn"),
        sulphur=fcc("S"),
        compound=caesium_chloride(),
        layers=layered(),
        oxide=caesium_chloride(second="O"),
        damaged=DAMAGED,
    )


def campaign(phases: Path | None, **system: Any) -> Campaign:
    chosen = {"compositions": ["ZnS"], "guests": ["Zn"], "reference": "potential"} | system
    if phases is not None:
        chosen["phases"] = str(phases)
    return Campaign.load({"systems": {"Zn-S": chosen}}, "x")


def test_the_campaign_relaxes_phases_only_where_it_needs_them(phases: Path) -> None:
    asked = campaign(phases)
    assert asked.referenced("Zn-S") == ["results/Zn-S/referenced.parquet"]
    given = asked.settings("reference", "Zn-S")
    assert given["elements"] == ["S", "Zn"]
    whole = asked.config.relax.model_dump(mode="json")  # the final criteria among them
    assert given["settings"] == whole
    before = given["phases_digest"]
    (phases / "zinc.cif").touch()
    assert campaign(phases).settings("reference", "Zn-S")["phases_digest"] == before
    assert campaign(phases, reference="builtin").referenced("Zn-S") == []


def test_its_contract_always_fits(phases: Path) -> None:
    for name in ("chgnet-r2scan", "chgnet-0.3.0"):
        system = {"compositions": ["ZnS"], "guests": ["Zn"], "reference": "potential"}
        system["phases"] = str(phases)
        assert Campaign.load({"systems": {"Zn-S": system}, "relax": {"potential": name}}, "x")
    # and a GGA reference never fits r2SCAN energies
    system["reference"] = "builtin"
    with pytest.raises(ConfigError, match=r"Zn-S\.reference: chgnet-r2scan energies") as error:
        Campaign.load({"systems": {"Zn-S": system}, "relax": {"potential": "chgnet-r2scan"}}, "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nowhere", "no such file"),
        ("empty", "holds no .cif"),
        ("bare", "hold no structure of elemental S"),
    ],
)
def test_phases_that_do_not_do_are_said_first(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "bare", zinc=fcc("Zn"), compound=caesium_chloride())
    with pytest.raises(ConfigError, match=says) as error:
        campaign(tmp_path / name)
    assert "systems.Zn-S.reference" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["extxyz", "csv", "parquet"])
def test_coverage_of_other_kinds_of_files(tmp_path: Path, kind: str) -> None:
    import pandas as pd
    from pymatgen.io.ase import AseAtomsAdaptor

    path = tmp_path / f"phases.{kind}"
    found = [fcc("Zn"), caesium_chloride()]
    for more, problem in (([], "elemental S"), ([fcc("S")], None)):
        structures = [*found, *more]
        frame = pd.DataFrame({"cif": [str(s.to(fmt="cif")) for s in structures]})
        if kind == "extxyz":
            from ase.io import write as write_ase

            write_ase(path, [AseAtomsAdaptor.get_atoms(s) for s in structures], format="extxyz")
        elif kind == "csv":
            frame.to_csv(path)
        else:
            frame.to_parquet(path)
        said = coverage_problem(POTENTIAL, SYSTEM, path)
        assert said is None if problem is None else problem in str(said)
    assert len(given_phases(POTENTIAL, SYSTEM, path).phases) == 3


def test_a_structure_that_does_not_say_what_it_is_leaves_the_question_open(tmp_path: Path) -> None:
    silent = str(fcc("S").to(fmt="cif"))
    silent = "\n".join(x for x in silent.splitlines() if "_chemical_formula" not in x)
    folder = write(tmp_path / "p", zinc=fcc("Zn"), unnamed=silent)
    assert coverage_problem(POTENTIAL, SYSTEM, folder) is None
    assert {p.composition for p in given_phases(POTENTIAL, SYSTEM, folder).phases} == {"Zn", "S"}


def test_parsing_needs_neither_pymatgen_nor_torch(phases: Path) -> None:
    code = (
        "import sys\n"
        "from chggen.config.energies import ReferenceConfig\n"
        "from chggen.reference.reference import coverage_problem\n"
        "from pathlib import Path\n"
        "config = ReferenceConfig(source='potential')\n"
        f"assert coverage_problem(config, {{'Zn', 'S'}}, Path({str(phases)!r})) is None\n"
        "assert not {'torch', 'pymatgen', 'scipy', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("key", ["second_reference", "dft_reference"])
def test_it_is_the_first_levels_only(phases: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.*'potential' is allowed for 'reference' only"):
        campaign(phases, **{key: "potential"})
