"""Training structures: every kind of file, filters, what is left out and why, bad input."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.cli import app
from chggen.config.stages import TrainConfig
from chggen.diffusion import state
from chggen.diffusion.data import StructureData
from chggen.diffusion.reading import formulas_in, read, up_to, without
from chggen.errors import ChggenError, ConfigError
from chggen.stages.train import train
from chggen.structure.crystal import Crystal

ROCK = 5.6 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def salt(metal: int = 11, scale: float = 1.0) -> Crystal:
    return Crystal.of(ROCK * scale, [metal, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


SALTS = [salt(11), salt(19, 1.1), salt(3, 0.9)]
HULL = [0.0, 0.05, 0.3]


def columns(crystals: list[Crystal], hull: list[float | None] | None) -> dict[str, Any]:
    """The columns of a large public table: flat lists, small types."""
    table = {
        "cell": pa.array([c.cell.ravel().tolist() for c in crystals]),
        "atomic_numbers": pa.array(
            [c.atomic_numbers.tolist() for c in crystals], pa.list_(pa.uint8())
        ),
        "frac_coords": pa.array(
            [c.frac_coords.ravel().tolist() for c in crystals], pa.list_(pa.float32())
        ),
    }
    if hull is not None:
        table["e_above_hull"] = pa.array(hull, pa.float32())
    return table


def parquet(path: Path, crystals: list[Crystal], hull: list[float | None] | None = None) -> Path:
    pq.write_table(pa.table(columns(crystals, hull)), path, row_group_size=2)
    return path


def cif(crystal: Crystal) -> str:
    return str(crystal.to_structure().to(fmt="cif"))


def written(kind: str, folder: Path) -> Path:
    """The three salts, with energies above the hull where the kind can hold them."""
    folder.mkdir(exist_ok=True)
    texts = [cif(c) for c in SALTS]
    frame = pd.DataFrame({"cif": texts, "e_above_hull": HULL})
    match kind:
        case "csv":
            frame.to_csv(folder / "a.csv", index=False)
            return folder / "a.csv"
        case "csv.gz":
            frame.to_csv(folder / "a.csv.gz", index=False)
            return folder / "a.csv.gz"
        case "parquet of cifs":
            frame.to_parquet(folder / "a.parquet")
            return folder / "a.parquet"
        case "parquet":
            return parquet(folder / "b.parquet", SALTS, HULL)
        case "extxyz":
            with (folder / "a.extxyz").open("w") as file:
                for crystal, above in zip(SALTS, HULL, strict=True):
                    atoms = crystal.to_structure().to_ase_atoms()
                    atoms.info["e_above_hull"] = above
                    atoms.write(file, format="extxyz")
            return folder / "a.extxyz"
        case _:
            for number, text in enumerate(texts):
                (folder / f"{number}.cif").write_text(text)
            return folder


KINDS = ["csv", "csv.gz", "parquet of cifs", "parquet", "extxyz", "folder"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_structures(kind: str, tmp_path: Path) -> None:
    data = read([written(kind, tmp_path / "x")])
    assert data.formulas() == ["NaCl", "KCl", "LiCl"]
    expected = StructureData.of(SALTS, "")
    volumes = np.abs(np.linalg.det(data.cells))
    np.testing.assert_allclose(volumes, np.abs(np.linalg.det(expected.cells)), rtol=1e-4)
    shortest = [c.min_distance for c in data.batch(np.arange(3)).crystals()]
    np.testing.assert_allclose(shortest, [c.min_distance for c in SALTS], rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_filter_is_that_of_the_kind(kind: str, tmp_path: Path) -> None:
    data = read([written(kind, tmp_path / "x")], max_above_hull=0.1)
    if kind == "folder":
        assert (len(data), data.reasons) == (3, {})
        assert "no column 'e_above_hull'" in data.hull_filter
    else:
        assert data.formulas() == ["NaCl", "KCl"]
        assert data.reasons == {"more than 0.1 eV/atom above the hull": 1}
        assert data.hull_filter == "e_above_hull <= 0.1 eV/atom"


def test_several_sources_are_one(tmp_path: Path) -> None:
    table = parquet(tmp_path / "t.parquet", SALTS[:2], [0.2, None])
    folder = written("folder", tmp_path / "x")
    data = read([table, folder], max_above_hull=0.1)
    assert data.formulas() == ["NaCl", "KCl", "LiCl"]
    assert data.reasons == {"more than 0.1 eV/atom above the hull": 1, "no e_above_hull": 1}
    assert data.hull_filter == "e_above_hull <= 0.1 eV/atom; none in x: no column 'e_above_hull'"
    assert read([folder, table], max_above_hull=0.1).digest != data.digest


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    bad = [
        Crystal.of(ROCK, [11], [[0, 0, 0]]),
        Crystal.of(ROCK, [11, 17], [[0, 0, 0], [0, 0, 0.05]]),
        Crystal.of(np.zeros((3, 3)), [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Crystal.of(ROCK, [11, 200], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Crystal.of(ROCK, [], np.zeros((0, 3))),
    ]
    data = read([parquet(tmp_path / "t.parquet", [*SALTS, *bad])])
    assert len(data) == 3
    assert data.facts()["skipped_because"] == {
        "cell or coordinates not usable": 1,
        "no atoms": 1,
        "one atom": 1,
        "overlapping atoms": 1,
        "unknown element": 1,
    }


def test_the_digest_of_one_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    """Runs go on only with the same digest: it must not change by accident."""
    import hashlib

    path = parquet(tmp_path / "t.parquet", SALTS, HULL)
    for limit, text in ((0.1, "2 0.1"), (None, "2 None")):
        expected = hashlib.sha256(path.read_bytes() + text.encode()).hexdigest()[:16]
        assert read([path], max_above_hull=limit).digest == expected


def test_arrays_are_stored_and_a_damaged_store_is_made_anew(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", SALTS, HULL)
    data = read([path], tmp_path / "cache", max_above_hull=0.1)
    (stored,) = (tmp_path / "cache").iterdir()
    again = read([path], tmp_path / "cache", max_above_hull=0.1)
    assert again.facts() == data.facts()
    assert np.array_equal(again.frac_coords, data.frac_coords)
    stored.write_bytes(stored.read_bytes()[:200])
    assert read([path], tmp_path / "cache", max_above_hull=0.1).facts() == data.facts()


def test_formulas_and_large_cells_can_be_left_out(tmp_path: Path) -> None:
    double = Crystal.of(
        ROCK * [[2], [1], [1]],
        [11, 11, 17, 17],
        [[0, 0, 0], [0.5, 0, 0], [0.25, 0.5, 0.5], [0.75, 0.5, 0.5]],
    )
    data = read([parquet(tmp_path / "t.parquet", [*SALTS, double])])
    (tmp_path / "val").mkdir()
    # a formula is reduced: NaCl leaves out Na2Cl2; a damaged CIF that states its formula counts
    (tmp_path / "val" / "a.cif").write_text(cif(SALTS[0]))
    (tmp_path / "val" / "b.cif").write_text("data_b\n_chemical_formula_sum 'Li1 Cl1'\n")
    formulas = formulas_in([tmp_path / "val"], "train.exclude")
    assert formulas == {"NaCl", "LiCl"}
    rest = without(data, formulas)
    assert rest.formulas() == ["KCl"]
    assert rest.reasons == {"formula in train.exclude": 3}
    assert rest.digest != data.digest
    assert without(data, {"ZnS"}) is data
    small = up_to(data, 2)
    assert (len(small), small.n_atoms, small.reasons) == (3, 6, {"more than 2 atoms": 1})
    assert small.digest not in {data.digest, rest.digest}
    np.testing.assert_array_equal(small.cells[-1], data.cells[2])
    with pytest.raises(ChggenError, match=r"3 formula in train\.exclude"):
        without(small, {"NaCl", "KCl", "LiCl"})


def test_what_cannot_be_kept_out_is_said(tmp_path: Path) -> None:
    bad = parquet(tmp_path / "bad.parquet", [Crystal.of(ROCK, [200, 17], np.zeros((2, 3)))])
    with pytest.raises(ChggenError, match=r"train\.exclude = '.*bad\.parquet': row 0: has atoms"):
        formulas_in([bad], "train.exclude")


def lacking(path: Path) -> None:
    pq.write_table(pa.table({"cell": [[1.0] * 9], "atomic_numbers": [[1]]}), path)


def mistyped(path: Path) -> None:
    pq.write_table(pa.table(columns(SALTS, None) | {"cell": pa.array(["a", "b", "c"])}), path)


def cut(path: Path) -> None:
    data = parquet(path, SALTS, HULL).read_bytes()
    path.write_bytes(data[: len(data) - 50])


#: Name of a file that cannot be trained on, and what makes it.
BROKEN: dict[str, Callable[[Path], object]] = {
    "missing.parquet": lambda _path: None,
    "cut.parquet": cut,
    "foreign.parquet": lambda path: path.write_text("no table\n"),
    "lacking.parquet": lacking,
    "mistyped.parquet": mistyped,
    "empty.parquet": lambda path: parquet(path, []),
    "cut.csv.gz": lambda path: path.write_bytes(gzip.compress(b"cif\n" + b"x\n" * 99)[:-9]),
    "empty.csv": lambda path: path.write_text("cif\n"),
    "lacking.csv": lambda path: path.write_text("structure\nx\n"),
    "folder": lambda path: path.mkdir(),
    "unknown.json": lambda path: path.write_text("{}"),
    "no.extxyz": lambda path: path.write_text("none\n"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("key", ["data", "validation", "exclude"])
def test_bad_files_are_one_line_before_any_job(kind: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    BROKEN[kind](path)
    good = written("csv", tmp_path / "good")
    config = {
        "systems": {"S": {"compositions": ["ZnS"], "guests": ["Zn"]}},
        "train": {"data": str(good)} | {key: [str(good), str(path)]},
    }
    if kind != "cut.csv.gz":  # its start is well: what reads it through says so
        with pytest.raises(ConfigError) as caught:
            Campaign.load(config, "x")
        assert f"train.{key} = '{path}'" in str(caught.value)
        assert "\n" not in str(caught.value)
    given: dict[str, Any] = {"data": good} | {key: path}
    settings = TrainConfig(**given, output=tmp_path / "run", preset="tiny", compile=False)
    with pytest.raises(ChggenError) as found:
        train(settings, lambda _record: None)
    assert f"train.{key} = '{path}'" in str(found.value)
    assert "\n" not in str(found.value)


def test_a_training_from_parquet_says_what_it_left_out(tmp_path: Path) -> None:
    settings = TrainConfig(
        data=parquet(tmp_path / "t.parquet", SALTS, [0.0, 0.0, 0.0]),
        exclude=[written("folder", tmp_path / "x") / "0.cif"],
        output=tmp_path / "run",
        preset="tiny",
        compile=False,
        epochs=1,
        max_atoms=2,
    )
    path = train(settings, lambda _record: None)
    data = json.loads(path.with_suffix(".json").read_text())["data"]
    assert (data["structures"], data["skipped"]) == (2, 1)
    assert data["skipped_because"] == {"formula in train.exclude": 1}
    packed = CliRunner().invoke(
        app, ["train", "--output", str(tmp_path / "run"), "--pack", str(tmp_path / "carried")]
    )
    assert packed.exit_code == 0, packed.output
    assert state.read(tmp_path / "carried")[1]["step"] == 1


def test_paths_may_be_repeated_on_the_command_line(tmp_path: Path) -> None:
    table, folder = parquet(tmp_path / "t.parquet", SALTS), written("folder", tmp_path / "a b")
    run = tmp_path / "run"
    words = ["train", "--data", str(table), "--data", str(folder), "--output", str(run)]
    for setting in ("preset=tiny", "epochs=1", "compile=false"):
        words += ["--set", setting]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert json.loads((run / "score.json").read_text())["data"]["structures"] == 6
