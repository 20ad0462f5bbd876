"""The rule ``train``: from a CSV file to a checkpoint that the package loads."""

import csv
from pathlib import Path

from chggen.diffusion.checkpoint import load_network
from tests.unit.test_training import crystals
from tests.workflow.conftest import Run


def test_the_rule_trains_on_a_csv_file(snakemake: Run, tmp_path: Path) -> None:
    with (tmp_path / "mini.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "cif"])
        for i, crystal in enumerate(crystals(12)):
            writer.writerow([i, crystal.to_structure().to(fmt="cif")])
    settings = (
        "train={data: mini.csv, validation: mini.csv, output: runs/mini, preset: tiny,"
        " epochs: 2, compile: false}"
    )
    result = snakemake("train", "--config", settings, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    _, card = load_network(tmp_path / "runs" / "mini" / "score.safetensors")
    assert card["elements"] == {"Na": 12, "Cl": 12}

    missing = snakemake("train", "--config", settings.replace("mini.csv", "none.csv"), cwd=tmp_path)
    assert missing.returncode != 0
    assert "train.data = 'none.csv': no such file or folder" in missing.stdout
