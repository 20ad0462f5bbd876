"""What Snakemake would do, and what it refuses to start."""

import time
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import ROOT, Run


def test_lint(snakemake: Run, tmp_path: Path) -> None:
    result = snakemake("--lint", cwd=tmp_path)
    assert result.returncode == 0, result.stdout


def test_demo_has_every_step(snakemake: Run, tmp_path: Path) -> None:
    result = snakemake("--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    for rule, count in {
        "generate": 4,
        "relax": 4,
        "refine": 4,
        "inpaint": 4,
        "rerelax": 4,
        "screen": 1,
        "submit": 1,
        "report": 1,
        "all": 1,
    }.items():
        assert any(line.split() == [rule, str(count)] for line in result.stdout.splitlines()), rule
    assert not {"train", "choose"} & set(result.stdout.split())


def test_guests_auto_are_chosen_once_per_system(snakemake: Run, tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    content["systems"]["Zn-P-S"]["guests"] = "auto"
    content["systems"]["Li-Si"] = {"compositions": ["Li2Si"], "guests": ["Li"]}
    path = tmp_path / "auto.yaml"
    path.write_text(yaml.safe_dump(content))
    result = snakemake("--dry-run", "--configfile", path, cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    jobs = {tuple(line.split()) for line in result.stdout.splitlines()}
    assert ("choose", "1") in jobs
    assert ("refine", "6") in jobs
    inputs = [line for line in result.stdout.splitlines() if line.strip().startswith("input:")]
    chosen = [line for line in inputs if "results/Zn-P-S/chosen.parquet" in line]
    assert len(chosen) == 4  # every shard of the system waits for it


def test_papers_campaign_is_planned_in_seconds(snakemake: Run, tmp_path: Path) -> None:
    began = time.process_time()
    result = snakemake(
        "--dry-run",
        "--quiet",
        "all",
        "--configfile",
        ROOT / "config" / "paper.yaml",
        cwd=tmp_path,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout
    assert time.process_time() - began < 60


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"symprek": 0.1}, "symprek"),
        ({"screen": {"threshold": -1}}, "screen.threshold = -1"),
        ({"generate": {"checkpoint": "none.safetensors"}}, "none.safetensors"),
    ],
)
def test_mistakes_stop_before_any_job(
    snakemake: Run, tmp_path: Path, change: dict[str, object], named: str
) -> None:
    content = yaml.safe_load((ROOT / "config" / "test.yaml").read_text()) | change
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(content))
    result = snakemake("--configfile", path, cwd=tmp_path)
    assert result.returncode != 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("chggen:")]
    assert len(lines) == 1
    assert named in lines[0]
    assert "Traceback" not in result.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["local", "slurm"])
def test_profiles_are_understood(snakemake: Run, tmp_path: Path, name: str) -> None:
    profile = ROOT / "profiles" / name
    result = snakemake("--profile", profile, "--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stdout


def test_profile_slurm_is_found_by_its_name() -> None:
    """``snakemake --profile slurm`` looks in the working directory, not in profiles/."""
    link = ROOT / "slurm"
    assert link.is_symlink()
    assert (link / "config.yaml").samefile(ROOT / "profiles" / "slurm" / "config.yaml")
