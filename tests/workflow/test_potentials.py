"""A campaign with weights of one's own, and a second opinion on what it selects."""

from pathlib import Path

import yaml

from chggen.tables import parquet
from tests.unit.test_named_potentials import chgnet, fine_tuned
from tests.workflow.conftest import ROOT, Run
from tests.workflow.test_generators import zincblende


def test_own_weights_and_a_second_potential(snakemake: Run, tmp_path: Path) -> None:
    (tmp_path / "cifs").mkdir()
    for name, a in (("a", 5.3), ("b", 5.6)):
        text = str(zincblende(a).to_structure().to(fmt="cif"))
        (tmp_path / "cifs" / f"{name}.cif").write_text(text)
    fine_tuned(tmp_path)
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text())
    content["generate"] = {"generator": "file", "path": "cifs"}
    content["potentials"] = {"mine": chgnet("mine.safetensors")}
    content["relax"]["potential"] = "mine"
    content["screen"] = {"threshold": 5.0, "second_potential": "chgnet-r2scan"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    given = ("--configfile", tmp_path / "mine.yaml")
    result = snakemake(*given, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    rows = parquet.read(tmp_path / "results" / "Zn-S" / "screened.parquet", "screened")
    relaxed = [row for row in rows if row["energy_per_atom"] is not None]
    assert {row["potential"] for row in relaxed} == {"mine"}
    chosen = [row for row in rows if row["selected"]]
    assert chosen
    for row in chosen:
        assert row["second_potential"] == "chgnet-r2scan"
        assert row["second_potential_hash"] != row["potential_hash"]
        assert row["second_energy_per_atom"] is not None
        assert row["second_decomposition_energy"] is None
    assert "By chgnet-r2scan" in (tmp_path / "results" / "Zn-S" / "report.html").read_text()

    fine_tuned(tmp_path, 2e-3)
    result = snakemake(*given, "--dry-run", cwd=tmp_path)
    planned = {line.split()[0] for line in result.stdout.splitlines() if line.split()[1:] == ["1"]}
    assert {"relax", "rerelax", "screen"} <= planned
    assert "generate" not in planned
