"""What is said about DFT before any job starts, and what is planned then."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.cli import app
from chggen.config.dft import DftConfig, cannot_run
from chggen.errors import ConfigError
from chggen.structure.crystal import Crystal
from tests.stand_ins.potcars import fake_potcars

HERE = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMG_CONFIG_FILE", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VASP_PSP_DIR", raising=False)


def campaign(dft: dict[str, Any], **system: object) -> Campaign:
    given = {"compositions": ["ZnS"], "guests": ["Zn"], **system}
    return Campaign.load({"systems": {"Zn-S": given}, "dft": dft}, "none")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "dft.command = []"),
        ({"command": ["srun-none", "sh"]}, "program 'srun-none' not found"),
        ({"command": ["env", "-i", "vasp-none"]}, "program 'vasp-none' not found"),
        ({"command": ["sh"]}, "PMG_VASP_PSP_DIR is not set"),
        ({"command": ["sh"], "potcar": "spec"}, "dft.potcar = 'spec'"),
    ],
)
def test_why_nothing_can_run(settings: dict[str, Any], words: str) -> None:
    problem = cannot_run(DftConfig(**settings))
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


def test_potcars_by_environment_or_by_pymatgens_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DftConfig(command=["sh"])
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path / "psp"))
    assert "no such directory" in str(cannot_run(settings))
    (tmp_path / "psp").mkdir()
    assert cannot_run(settings) is None
    monkeypatch.delenv("PMG_VASP_PSP_DIR")
    (tmp_path / "none.yaml").write_text("PMG_VASP_PSP_DIR: ~/psp\n")
    assert cannot_run(settings) is None


def test_calculations_are_planned_only_where_they_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"run": True, "command": ["sh"]}
    without = campaign(asked)
    assert without.notice is not None
    assert not any("collected" in target for target in without.targets())
    assert any("submitted" in target for target in without.targets())
    inputs = without.settings("submit", "Zn-S")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(fake_potcars(tmp_path / "psp", ("Zn", "S"))))
    able = campaign(asked)
    assert able.notice is None
    assert "results/Zn-S/collected.parquet" in able.targets()
    assert campaign({}).notice is None
    # submit runs again when POTCARs have come
    assert able.settings("submit", "Zn-S") != inputs
    assert not campaign({}).collected("Zn-S")


@pytest.mark.parametrize(
    ("dft", "system", "words"),
    [
        ({"competing_phases": "calculate"}, {}, "systems.Zn-S.phases: dft.competing_phases"),
        ({"engine": "gpaw"}, {}, "systems.Zn-S.phases: dft.engine = 'gpaw'"),
        ({"competing_phases": "calculate"}, {"phases": "nowhere"}, "phases = 'nowhere'"),
        ({}, {"dft_reference": "builtin"}, "systems.Zn-S.dft_reference: dft energies (r2SCAN"),
        (
            {"functional": "GGA/GGA+U"},
            {"dft_reference": {"source": "file", "path": "none.json"}},
            "no such reference file 'none.json'",
        ),
    ],
)
def test_contradictions_stop_with_one_line(
    dft: dict[str, Any], system: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        campaign(dft, **system)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_gga_may_be_judged_against_the_corrected_tables() -> None:
    given = campaign({"functional": "GGA/GGA+U"}, dft_reference="builtin")
    assert given.settings("collect", "Zn-S")["dft_reference"]["source"] == "builtin"


def test_the_attempt_that_only_writes_a_row_asks_for_little() -> None:
    dft = DftConfig(attempts=2, mem_mb=100, runtime=10)
    assert [dft.memory(n) for n in (1, 2, 3)] == [100, 200, 100]
    assert [dft.minutes(n) for n in (1, 2, 3)] == [10, 20, 10]


def test_check_says_it_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "systems: {Zn-S: {compositions: [ZnS], guests: [Zn]}}\ndft: {run: true, command: [sh]}\n"
    )
    told = CliRunner().invoke(app, ["check", str(tmp_path / "mine.yaml")])
    assert told.exit_code == 0
    assert "PMG_VASP_PSP_DIR is not set" in told.stderr


def test_only_what_changes_an_energy_makes_another_calculation(tmp_path: Path) -> None:
    plain = DftConfig()
    for change in ({"runtime": 9}, {"command": ["x"]}, {"attempts": 9}, {"gpaw": {"ranks": 2}}):
        assert DftConfig.model_validate(change).method == plain.method
    for change in ({"pre_relax": False}, {"input_set": "MPScanRelaxSet"}):
        assert DftConfig.model_validate(change).method != plain.method
    gpaw = DftConfig(engine="gpaw")
    assert (
        DftConfig.model_validate(gpaw.model_dump() | {"gpaw": {"ranks": 2}}).method == gpaw.method
    )
    assert (
        DftConfig.model_validate(gpaw.model_dump() | {"gpaw": {"cutoff": 9}}).method != gpaw.method
    )
    structure = Crystal.of(3.0 * np.eye(3), [30], [[0, 0, 0]]).to_structure()
    (tmp_path / "Zn.cif").write_text(str(structure.to(fmt="cif")))
    phases = {"phases": str(tmp_path)}
    given = campaign({"competing_phases": "calculate"}, **phases).settings("submit", "Zn-S")
    assert given["phases"] == str(tmp_path)
