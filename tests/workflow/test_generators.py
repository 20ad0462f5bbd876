"""A campaign that starts from files: bad ones stay visible, inpainting runs on the good ones."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from chggen.errors import Status
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.workflow.conftest import ROOT, Run


def zincblende(a: float) -> Crystal:
    cell = a / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal.of(cell, [30, 16], [[0, 0, 0], [0.25, 0.25, 0.25]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory with structures and configuration."""
    folder = tmp_path_factory.mktemp("files")
    cifs = folder / "cifs"
    cifs.mkdir()
    for name, a in (("a", 5.3), ("b", 5.6)):
        (cifs / f"{name}.cif").write_text(str(zincblende(a).to_structure().to(fmt="cif")))
    text = (cifs / "a.cif").read_text()
    (cifs / "c.cif").write_text(text[: text.index("_atom_site_type_symbol")])
    (cifs / "d.cif").write_text("lost")
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    content["generate"] = {"generator": "file", "path": "cifs"}
    # the network of generation is neither looked for nor used
    content["generate"]["checkpoint"] = "none.safetensors"
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_a_campaign_from_files(snakemake: Run, folder: Path) -> None:
    given = ("--configfile", folder / "mine.yaml")
    result = snakemake(*given, cwd=folder)
    assert result.returncode == 0, result.stdout
    shard = folder / "results" / "Zn-S" / "ZnS" / "0"
    generated = parquet.read(shard / "generated.parquet", "generated")
    assert [r["status"] for r in generated] == [Status.OK, Status.OK, Status.SAMPLING_FAILED]
    assert all(r["generator"] == "file" and r["checkpoint"] is None for r in generated)
    frameworks = parquet.read(shard / "refined.parquet", "refined")
    assert [r["space_group_number"] for r in frameworks[:2]] == [225, 225]
    inpainted = parquet.read(shard / "inpainted.parquet", "inpainted")
    assert [r["status"] for r in inpainted[:2]] == [Status.OK, Status.OK]
    assert all(r["generator"] == "diffusion" for r in inpainted)
    page = (folder / "results" / "Zn-S" / "report.html").read_text()
    assert "read from files" in page

    (folder / "cifs" / "b.cif").write_text((folder / "cifs" / "a.cif").read_text())
    result = snakemake(*given, "--dry-run", cwd=folder)
    assert any(line.split() == ["generate", "1"] for line in result.stdout.splitlines())


def test_a_path_that_is_not_there_stops_before_any_job(snakemake: Run, tmp_path: Path) -> None:
    changes = "generate={generator: file, path: nowhere.extxyz}"
    result = snakemake("--config", changes, cwd=tmp_path)
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("chggen:")]
    assert lines == ["chggen: config: generate.path = 'nowhere.extxyz': no such file or folder"]


def test_a_generator_without_a_network_needs_none(snakemake: Run, tmp_path: Path) -> None:
    changes = "generate={generator: random, checkpoint: none.safetensors}"
    result = snakemake("--dry-run", "--config", changes, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert any(line.split() == ["generate", "4"] for line in result.stdout.splitlines())
