"""A tiny campaign from end to end: tables that add up, reruns that do what they should."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from chggen.errors import Status
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.workflow.conftest import ROOT, Run

TEST_CONFIG = ("--configfile", ROOT / "config" / "test.yaml")


@pytest.fixture(scope="module")
def campaign(snakemake: Run, checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Working directory of a finished campaign."""
    folder = tmp_path_factory.mktemp("campaign")
    result = snakemake(*TEST_CONFIG, cwd=folder, root=checkout)
    assert result.returncode == 0, result.stdout
    return folder


def would_run(snakemake: Run, folder: Path, root: Path, *more: str) -> Counter[str]:
    result = snakemake(*TEST_CONFIG, "--dry-run", *more, cwd=folder, root=root)
    assert result.returncode == 0, result.stdout
    rules = Counter[str]()
    for line in result.stdout.splitlines():
        words = line.split()
        if (
            len(words) == 2
            and words[0].isidentifier()
            and words[1].isdigit()
            and words[0] != "total"
        ):
            rules[words[0]] += int(words[1])
    return rules


def read(folder: Path, name: str) -> list[parquet.Row]:
    shard = folder / "results" / "Zn-S" / "ZnS" / "0"
    place = shard if (shard / f"{name}.parquet").exists() else folder / "results" / "Zn-S"
    return parquet.read(place / f"{name}.parquet", name)


def test_every_table_is_there_and_descends_from_the_one_before(campaign: Path) -> None:
    chain = ["generated", "relaxed", "refined", "inpainted", "rerelaxed"]
    rows = {name: read(campaign, name) for name in [*chain, "screened", "submitted"]}
    assert len(rows["generated"]) == len(rows["relaxed"]) == 4
    assert [r["index"] for r in rows["refined"] if r["framework"] == 0] == [0, 1, 2, 3]
    assert len(rows["inpainted"]) == len(rows["rerelaxed"]) >= 4
    for before, after in itertools.pairwise(chain):
        ids = {row["id"] for row in rows[before]}
        assert {row["parent_id"] for row in rows[after]} <= ids
    assert len(rows["screened"]) == len(rows["relaxed"]) + len(rows["rerelaxed"])
    assert (campaign / "results" / "Zn-S" / "report.html").stat().st_size > 10_000


def test_every_relaxed_row_has_e_d_with_its_contract(campaign: Path) -> None:
    judged = [row for row in read(campaign, "screened") if row["energy_per_atom"] is not None]
    assert judged
    for row in judged:
        for column in (
            "decomposition_energy",
            "decomposition_products",
            "potential",
            "potential_hash",
            "functional",
            "corrections",
            "reference",
            "reference_date",
            "space_group_number",
        ):
            assert row[column] is not None, column
        assert (row["functional"], row["corrections"]) == ("GGA/GGA+U", "MP2020")


def test_composition_is_kept_all_the_way(campaign: Path) -> None:
    for name in ("generated", "relaxed", "inpainted", "rerelaxed", "screened"):
        for row in read(campaign, name):
            if row["n_atoms"]:
                crystal = Crystal.from_row(row)
                counts = Counter(crystal.atomic_numbers.tolist())
                assert counts[30] == counts[16] == row["formula_units"]


def test_selected_rows_have_inputs(campaign: Path) -> None:
    selected = {row["id"] for row in read(campaign, "screened") if row["selected"]}
    submitted = read(campaign, "submitted")
    assert {row["parent_id"] for row in submitted} == selected
    for row in submitted:
        if row["status"] == Status.OK:
            folder = campaign / "results" / "Zn-S" / row["directory"] / "relax"
            assert {"INCAR", "POSCAR", "POTCAR.spec"} <= {p.name for p in folder.iterdir()}


def test_nothing_is_done_twice(snakemake: Run, campaign: Path, checkout: Path) -> None:
    result = snakemake(*TEST_CONFIG, cwd=campaign, root=checkout)
    assert result.returncode == 0
    assert "Nothing to be done" in result.stdout


def test_a_changed_parameter_reruns_what_depends_on_it(
    snakemake: Run, campaign: Path, checkout: Path
) -> None:
    changed = would_run(snakemake, campaign, checkout, "--config", "screen={threshold: 0.02}")
    assert set(changed) == {"all", "screen", "submit", "report"}


def test_changed_code_reruns_its_stage(snakemake: Run, campaign: Path, checkout: Path) -> None:
    module = checkout / "chggen" / "symmetry" / "framework.py"
    before = module.read_text()
    try:
        module.write_text(before + "\n# a change\n")
        changed = would_run(snakemake, campaign, checkout)
    finally:
        module.write_text(before)
    assert {"refine", "inpaint", "rerelax", "screen"} <= set(changed)
    assert not {"generate", "relax"} & set(changed)


def test_a_changed_input_reruns_what_follows(
    snakemake: Run, campaign: Path, checkout: Path
) -> None:
    table = campaign / "results" / "Zn-S" / "ZnS" / "0" / "refined.parquet"
    kept, times = table.read_bytes(), table.stat()
    try:
        rows = parquet.read(table, "refined")
        parquet.write(table, "refined", rows[::-1], {"touched": True})
        changed = would_run(snakemake, campaign, checkout)
    finally:
        table.write_bytes(kept)
        os.utime(table, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert {"inpaint", "rerelax", "screen"} <= set(changed)
    assert not {"generate", "relax"} & set(changed)


def test_a_killed_run_goes_on(snakemake: Run, checkout: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: what was finished stays, the rest is made."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(checkout / "Snakefile"),
        "--directory",
        str(tmp_path),
        "--cores",
        "1",
        *map(str, TEST_CONFIG),
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    first = tmp_path / "results" / "Zn-S" / "ZnS" / "0" / "generated.parquet"
    started = tmp_path / "results" / "logs" / "Zn-S" / "ZnS" / "0" / "relax.log"
    deadline = time.monotonic() + 300
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert first.exists()
    made = first.stat().st_mtime_ns
    snakemake(*TEST_CONFIG, "--unlock", cwd=tmp_path, root=checkout)
    result = snakemake(*TEST_CONFIG, "--rerun-incomplete", cwd=tmp_path, root=checkout)
    assert result.returncode == 0, result.stdout
    assert first.stat().st_mtime_ns == made
    assert read(tmp_path, "screened")
    assert not list(tmp_path.rglob(".*.parquet.*"))
