"""Snakemake itself, on a copy of the checkout where a test changes the package."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def snakemake() -> Run:
    """Run Snakemake with the checkout's Snakefile; stdout and stderr together."""

    def run(
        *arguments: str | Path, cwd: Path, root: Path = ROOT, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--snakefile",
            root / "Snakefile",
            "--directory",
            cwd,
            "--cores",
            "2",
            *arguments,
        ]
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [str(c) for c in command],
            cwd=cwd,
            env=environment,
            text=True,
            timeout=timeout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy of what a campaign needs, free to be changed."""
    target = tmp_path_factory.mktemp("checkout")
    for name in ("chggen", "rules", "scripts", "config", "profiles", "envs"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", target)
    return target
