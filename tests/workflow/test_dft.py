"""From the screen to the verdict of DFT, with a stand-in where VASP would be."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chggen.config import load as configfile
from chggen.errors import Status
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.stand_ins.potcars import MARK, fake_potcars
from tests.unit.invented_campaign import Campaign as Invented
from tests.workflow.conftest import ROOT, Run
from tests.workflow.test_generators import zincblende

STAND_IN = ROOT / "tests" / "stand_ins" / "vasp.py"
#: What stands behind the screen: its table is given, nothing before it is asked for.
BEHIND = ("--allowed-rules", "submit", "calculate", "collect", "report", "all")


@pytest.fixture
def potcars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(fake_potcars(tmp_path / "psp", ("Zn", "S"))))


def configure(folder: Path, **dft: object) -> tuple[str, Path]:
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    content["systems"]["Zn-S"]["phases"] = "phases"
    content["screen"] = {"threshold": 5.0, "max_selected": 1}
    content["dft"] = {
        "run": True,
        "command": [sys.executable, str(STAND_IN)],
        "attempts": 2,
        "mem_mb": 1000,
        "pre_relax": False,
        **dft,
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    (folder / "phases").mkdir()
    cif(folder / "phases" / "ZnS.cif", zincblende(5.4))
    cif(folder / "phases" / "Zn.cif", Crystal.of(2.7 * np.eye(3), [30], [[0, 0, 0]]))
    cif(folder / "phases" / "S.cif", Crystal.of(3.0 * np.eye(3), [16], [[0, 0, 0]]))
    return "--configfile", folder / "mine.yaml"


def cif(path: Path, crystal: Crystal) -> None:
    path.write_text(str(crystal.to_structure().to(fmt="cif")))


def rows(folder: Path, name: str) -> list[parquet.Row]:
    return parquet.read(folder / "results" / "Zn-S" / f"{name}.parquet", name)


def screened(folder: Path) -> Path:
    """Table of three structures, as the screen would leave it."""
    corners = [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0, 0]]
    crystals = {
        "ZnS": zincblende(5.4),
        "Zn3S": Crystal.of(4.0 * np.eye(3), [30, 30, 30, 16], corners),
        "ZnS3": Crystal.of(4.0 * np.eye(3), [16, 16, 16, 30], corners),
    }
    shared: dict[str, Any] = {
        "system": "Zn-S", "route": "inpainting", "seed": 0, "index": 0, "draw": 0,
        "random_seed": 0, "status": "ok", "reason": "", "formula_units": 1, "selected": True,
        "decomposition_energy": 0.01, "formation_energy_per_atom": -0.5, "energy_per_atom": -3.0,
    }  # fmt: skip
    found = [
        {"id": f"screened{i}", "composition": name, **shared, **crystal.columns()}
        for i, (name, crystal) in enumerate(crystals.items())
    ]
    path = folder / "results" / "Zn-S" / "screened.parquet"
    parquet.write(path, "screened", found, {})
    return path


@pytest.mark.usefixtures("potcars")
def test_a_campaign_up_to_the_report(snakemake: Run, tmp_path: Path) -> None:
    given = configure(tmp_path, competing_phases="calculate")
    config = configfile.parse(yaml.safe_load((tmp_path / "mine.yaml").read_text()))
    Invented(tmp_path / "results" / "Zn-S", config, "Zn-S", fail=0.0).write()
    result = snakemake(*given, *BEHIND, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    collected = rows(tmp_path, "collected")
    assert {r["label"] for r in collected if r["role"] == "competing"} == {
        "Zn.cif", "S.cif", "ZnS.cif",
    }  # fmt: skip
    candidates = [r for r in collected if r["role"] == "candidate"]
    assert candidates
    for row in collected:
        assert (row["status"], row["run_type"], row["attempts"]) == (Status.OK, "R2SCAN", 1)
        assert row["dft_reference"] == "3 competing phases calculated with vasp"
    page = (tmp_path / "results" / "Zn-S" / "report.html").read_text()
    assert '<section id="dft">' in page
    assert "Accuracy of the potential" in page
    kept = {"POTCAR"}
    told = [
        p
        for p in (tmp_path / "results").rglob("*")
        if p.is_file() and p.name not in kept and MARK.encode() in p.read_bytes()
    ]
    assert not told
    assert MARK not in result.stdout
    result = snakemake(*given, *BEHIND, cwd=tmp_path)
    assert "Nothing to be done" in result.stdout


@pytest.mark.usefixtures("potcars")
def test_failures_are_rows_and_finished_work_is_kept(
    snakemake: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = configure(tmp_path)
    table = screened(tmp_path)
    target = "results/Zn-S/collected.parquet"
    monkeypatch.setenv("VASP_STAND_IN", "ZnS3/*=crash,Zn3S/relax=killed")
    result = snakemake(target, *given, *BEHIND, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    found = {r["composition"]: r for r in rows(tmp_path, "collected")}
    assert (found["ZnS"]["status"], found["ZnS"]["attempts"]) == (Status.OK, 1)
    assert (found["ZnS3"]["status"], found["ZnS3"]["attempts"]) == (Status.FAILED, 1)
    assert (found["Zn3S"]["status"], found["Zn3S"]["attempts"]) == (Status.INTERRUPTED, 2)
    assert "attempt 1 of 2 ended" in result.stdout
    header = parquet.read_header(tmp_path / target)
    assert "dft_reference is not set" in header["warning"]

    # another threshold: submitted again, but nothing is computed again
    results = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("calculated.parquet")}
    assert len(results) == 3
    chosen = parquet.read(table, "screened")
    chosen[2]["selected"] = False
    parquet.write(table, "screened", chosen, {})
    result = snakemake(target, *given, *BEHIND, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert len(rows(tmp_path, "submitted")) == len(rows(tmp_path, "collected")) == 2
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("calculated.parquet")} == results


def test_without_potcars_inputs_are_written_and_nothing_is_planned(
    snakemake: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMG_CONFIG_FILE", str(tmp_path / "none.yaml"))
    given = configure(tmp_path)
    screened(tmp_path)
    result = snakemake("results/Zn-S/submitted.parquet", *given, *BEHIND, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    told = [line for line in result.stdout.splitlines() if line.startswith("chggen: ")]
    assert told[0].startswith("chggen: PMG_VASP_PSP_DIR is not set")
    assert [r["potcar"] for r in rows(tmp_path, "submitted")] == ["spec"] * 3
    result = snakemake(*given, "--dry-run", cwd=tmp_path)
    assert not any(line.split()[:1] in (["calculate"], ["collect"]) for line in
                   result.stdout.splitlines())  # fmt: skip
