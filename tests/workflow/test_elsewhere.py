"""Results that are copied to another folder, for another checkout of the same code."""

import shutil
from pathlib import Path

from tests.workflow.conftest import ROOT, Run

CONFIG = """\
systems:
  Zn-S: {compositions: [ZnS], guests: [Zn], lattice_seeds: 1, lattices_per_seed: 1}
generate: {candidates: 1}
"""
TARGET = "results/Zn-S/ZnS/0/generated.parquet"


def test_nothing_to_be_done_in_another_checkout(
    snakemake: Run, checkout: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    (here / "mine.yaml").write_text(CONFIG)
    done = snakemake(TARGET, "--configfile", "mine.yaml", cwd=here)
    assert done.returncode == 0, done.stdout
    shutil.copytree(here, there)
    for folder, root in ((here, ROOT), (there, ROOT), (there, checkout)):
        again = snakemake(TARGET, "--configfile", "mine.yaml", "--dry-run", cwd=folder, root=root)
        assert again.returncode == 0, again.stdout
        assert "Nothing to be done" in again.stdout, again.stdout
    twice = CONFIG + "seed: 1\nseed: 2\n"
    (there / "mine.yaml").write_text(twice)
    refused = snakemake(TARGET, "--configfile", "mine.yaml", "--dry-run", cwd=there)
    assert refused.returncode != 0
    assert "chggen: config" in refused.stdout
    assert "'seed' is given twice" in refused.stdout
