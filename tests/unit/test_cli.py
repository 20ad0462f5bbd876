"""``chggen VERB``: what it says, what it writes, and how it fails."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chggen.cli import app
from chggen.errors import ChggenError, ConfigError, Status, TableError
from chggen.run.job import job
from chggen.run.progress import LineProgress
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


def row(index: int, status: Status = Status.OK) -> parquet.Row:
    crystal = Crystal.of(4 * np.eye(3), [30, 16], [[0, 0, 0], [0.5, 0.5, 0.5]])
    good = status == Status.OK
    return {
        "id": f"row{index}",
        "parent_id": None,
        "system": "Zn-S",
        "composition": "ZnS",
        "route": "unconditional",
        "seed": 0,
        "index": index,
        "draw": 0,
        "random_seed": index,
        "status": status,
        "reason": "" if good else "because",
        "formula_units": 1,
        "n_atoms": 0,
        "energy_per_atom": -3.0 - index,
        "converged": good,
        **(crystal.columns() if good else {}),
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "relaxed.parquet"
    rows = [row(0), row(1), row(2, Status.EXPLODED)]
    parquet.write(path, "relaxed", rows, {})
    return path


def run(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_export_cif(table: Path, tmp_path: Path) -> None:
    from pymatgen.core import Structure

    output = run("export", table, "-o", tmp_path / "cifs")
    assert "2 of 3 rows" in output
    files = sorted((tmp_path / "cifs").iterdir())
    assert [f.name for f in files] == ["ZnS-row0.cif", "ZnS-row1.cif"]
    assert Structure.from_file(files[0]).composition.reduced_formula == "ZnS"


def test_export_extxyz_keeps_the_energies(table: Path, tmp_path: Path) -> None:
    from ase.io import read

    run("export", table, "-f", "extxyz", "-o", tmp_path / "all")
    frames = read(tmp_path / "all.extxyz", ":")
    assert [frame.info["energy_per_atom"] for frame in frames] == [-3.0, -4.0]
    assert frames[0].info["status"] == "ok"


def test_export_some(table: Path, tmp_path: Path) -> None:
    assert "1 of 3" in run("export", table, "--id", "row1", "-o", tmp_path / "a")
    assert "2 of 3" in run("export", table, "--where", "converged", "-o", tmp_path / "b")
    for arguments, named in [
        (["--id", "row9"], "row9"),
        (["--where", "shiny"], "shiny"),
        (["-f", "pdb"], "pdb"),
    ]:
        with pytest.raises(ChggenError, match=named):
            run("export", table, *arguments, "-o", tmp_path / "c")


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("converged", 2),
        ("energy_per_atom<-3.5", 1),
        ("index=1", 1),
        ("index >= 0 and energy_per_atom > -3.5", 1),
        ("status=ok", 2),
        ("status != 'ok'", 0),  # it has no structure
        ("converged=false", 0),
        ("fmax<1", 0),  # no value
    ],
)
def test_export_where(table: Path, tmp_path: Path, where: str, count: int) -> None:
    assert f"{count} of 3" in run("export", table, "--where", where, "-o", tmp_path / "a")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("index", "compare it with a value"),
        ("status", "compare it with a value"),
        ("index=x", "is a number"),
        ("index<nan", "is a number"),
        ("status<ok", "is text"),
        ("status=ok or index=1", "is text"),
        ("index=1 or index=2", "is a number"),
        ("converged=1", "is true or false"),
        ("cell=1", "holds lists"),
        ("shiny=1", "no column 'shiny'"),
        ("", "no condition"),
        ("index=", "is a number"),
    ],
)
def test_export_where_unclear(table: Path, tmp_path: Path, where: str, words: str) -> None:
    with pytest.raises(ChggenError, match=words) as caught:
        run("export", table, "--where", where, "-o", tmp_path / "a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_output_that_is_taken(table: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.extxyz").mkdir()
    for arguments in (
        ["export", table, "-o", tmp_path / "file"],
        ["export", table, "-o", tmp_path / "file" / "x"],
        ["export", table, "-f", "extxyz", "-o", tmp_path / "folder.extxyz"],
        ["relax", table, "-o", tmp_path / "folder.extxyz"],
        ["relax", table, "-o", tmp_path / "file" / "x.parquet"],
    ):
        with pytest.raises(ChggenError, match="--output"):
            run(*arguments)


def test_show_fits_and_never_cuts_a_number(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = run("show", table)
    assert max(map(len, output.splitlines())) <= 80
    assert "-3.0000" in output
    assert "row2" in output
    assert "exploded" in output
    monkeypatch.setenv("COLUMNS", "30")
    output = run("show", table, "-k", "reason", "-k", "energy_per_atom", "-k", "random_seed")
    assert "-3.0000" in output
    assert "\N{HORIZONTAL ELLIPSIS}" not in output
    wide = run("show", table, "--wide")
    assert "formula_" in wide
    assert max(map(len, wide.splitlines())) > 200


def test_show_csv(table: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(run("show", table, "--csv"))))
    assert [line["id"] for line in lines] == ["row0", "row1", "row2"]
    assert float(lines[0]["energy_per_atom"]) == -3.0
    assert json.loads(lines[0]["atomic_numbers"]) == [30, 16]
    assert lines[2]["cell"] == ""
    assert run("show", table, "--csv", "-k", "id", "-n", "1") == "id\nrow0\n"


def test_show_where_the_terminal_has_no_such_letter(tmp_path: Path) -> None:
    path = tmp_path / "relaxed.parquet"
    parquet.write(
        path,
        "relaxed",
        [row(0) | {"reason": "0.4 \N{ANGSTROM SIGN} apart \N{GREEK SMALL LETTER SIGMA}"}],
        {},
    )
    for encoding in ("latin-1", "ascii"):
        result = subprocess.run(
            [sys.executable, "-m", "chggen.cli", "show", str(path), "-k", "reason"],
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": encoding},
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        assert b"apart ?" in result.stdout


def test_show(table: Path) -> None:
    output = run("show", table, "-k", "id", "-k", "status", "--sort", "energy_per_atom")
    assert "3 rows" in output
    assert "exploded 1" in output
    assert output.index("row2") < output.index("row1") < output.index("row0")
    with pytest.raises(ChggenError, match="shiny"):
        run("show", table, "-k", "shiny")
    with pytest.raises(TableError, match="readable"):
        run("show", ROOT / "README.md")


def test_check_says_what_would_be_made() -> None:
    output = run("check", ROOT / "config" / "config.yaml")
    assert "Zn-P-S: 2 compositions" in output
    assert "elements: P S Zn" in output
    assert "ZnP2S6 Zn2P2S7" in " ".join(output.split())
    assert json.loads(run("check", "unused.yaml", "--schema"))["title"] == "Config"
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        run("check", "nowhere.yaml")


def test_errors_of_the_user_are_one_line(tmp_path: Path) -> None:
    for arguments in (["show", "nowhere.parquet"], ["generate", "Zx2"], ["relax", "none.parquet"]):
        result = subprocess.run(
            [sys.executable, "-m", "chggen.cli", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=300,
        )
        assert result.returncode == 1, arguments
        assert result.stderr.startswith("chggen: ")
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_generate_and_refine_of_files(tmp_path: Path) -> None:
    path = tmp_path / "generated.parquet"
    run("generate", "ZnS", "-o", path, "--lattices", "3", "-u", "1", "-u", "2")
    rows = parquet.read(path, "generated")
    assert {r["n_atoms"] for r in rows} == {2, 4}
    assert [r["route"] for r in rows] == ["prototypes", "unconditional", "unconditional"]
    assert all(r["status"] == Status.OK for r in rows)
    again = tmp_path / "again.parquet"
    run("generate", "ZnS", "-o", again, "--lattices", "3", "-u", "1", "-u", "2")
    assert path.read_bytes() == again.read_bytes()


def test_job_logs_and_names_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "x.log"
    with job("relax x", log):
        pass
    assert "relax x: done" in log.read_text()
    with pytest.raises(SystemExit, match="chggen relax x: no such thing"), job("relax x", log):
        raise ChggenError("no such thing")
    assert "no such thing" in log.read_text()
    with pytest.raises(ZeroDivisionError), job("relax x", log):
        1 / 0  # noqa: B018
    assert "ZeroDivisionError" in log.read_text()
    assert "done in" in capsys.readouterr().err


def test_progress_speaks_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, loud = LineProgress("a", every=1000), LineProgress("b", every=0)
    for done in range(3):
        quiet(done, 3)
        loud(done, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1].startswith("b: 2 of 3")
