"""Structures from files, plug-ins, the stage and its configuration."""

import csv
import gzip
import itertools
from importlib import metadata
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chggen.campaign.plan import Campaign
from chggen.campaign.seeds import Shard
from chggen.config.stages import GENERATOR_GROUP, GenerateConfig
from chggen.errors import ConfigError, Status
from chggen.generators import make_generator
from chggen.generators.base import Order
from chggen.generators.file import FileSource
from chggen.generators.random import RandomGenerator
from chggen.stages.generate import generate
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.structure.task import Placed, Task
from chggen.tables import parquet
from tests.unit.test_generators import good, tasks_of

# -- file ----------------------------------------------------------------------------------


def structures(formula: str = "ZnS", count: int = 5) -> list[Crystal]:
    return good(RandomGenerator()(tasks_of(formula, 2, count)))


def cif(crystal: Crystal) -> str:
    return str(crystal.to_structure().to(fmt="cif"))


def write(kind: str, folder: Path, crystals: list[Crystal]) -> Path:
    match kind:
        case "folder":
            path = folder / "cifs"
            for i, crystal in enumerate(crystals):
                place = path / f"part{i // 3}"
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{i:03d}.cif").write_text(cif(crystal))
        case "extxyz":
            path = folder / "all.extxyz"
            atoms = [
                ase.Atoms(c.atomic_numbers, scaled_positions=c.frac_coords, cell=c.cell, pbc=True)
                for c in crystals
            ]
            ase.io.write(path, atoms)
        case "own":
            path = folder / "own.parquet"
            rows = [
                {
                    "id": row_id(i), "system": "Zn-S", "composition": "ZnS", "draw": 0,
                    "route": "unconditional", "seed": 0, "index": i, "random_seed": i,
                    "status": Status.OK, "reason": "", **c.columns(),
                }
                for i, c in enumerate(crystals)
            ]  # fmt: skip
            for row, c in zip(rows, crystals, strict=True):
                row["composition"] = comp.formula_of(c.atomic_numbers)
            parquet.write(path, "generated", rows, {})
        case "cif column":
            path = folder / "cifs.parquet"
            pq.write_table(pa.table({"cif": [cif(c) for c in crystals]}), path)
        case _:
            path = folder / "cifs.csv.gz"
            with gzip.open(path, "wt", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["material_id", "cif"])
                writer.writerows((i, cif(c)) for i, c in enumerate(crystals))
    return path


def ordered(count: int = 20, seed: int = 0, seeds: int = 1, composition: str = "ZnS") -> Order:
    return Order(composition, seed, seeds, list(range(count)))


KINDS = ["folder", "extxyz", "own", "cif column", "csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_file_gives_the_structures_of_a_composition(kind: str, tmp_path: Path) -> None:
    mine, others = structures("ZnS", 5), structures("ZnP2S6", 2)
    path = write(kind, tmp_path, [mine[0], others[0], *mine[1:], others[1]])
    source = FileSource(path)
    brought = source.structures(ordered())
    assert len(brought) == 5
    for before, after in zip(mine, brought, strict=True):
        crystal = after.placed.crystal
        assert crystal is not None
        assert after.origin
        assert crystal.volume == pytest.approx(before.volume, rel=1e-4)
        assert crystal.min_distance == pytest.approx(before.min_distance, abs=1e-3)
        assert np.linalg.det(crystal.cell) > 0
    assert len(source.structures(ordered(composition="ZnP2S6"))) == 2
    assert source.unreadable == []


def test_structures_are_dealt_out_to_the_seeds(tmp_path: Path) -> None:
    source = FileSource(write("extxyz", tmp_path, structures(count=7)))
    hands = [source.structures(ordered(seed=s, seeds=3)) for s in range(3)]
    origins = [[b.origin for b in hand] for hand in hands]
    assert origins[0] == ["frame 0", "frame 3", "frame 6"]
    assert sorted(itertools.chain(*origins)) == [f"frame {i}" for i in range(7)]
    assert len(source.structures(ordered(2, seeds=3))) == 2
    more = FileSource(write("extxyz", tmp_path, structures(count=2)))
    empty = more.structures(ordered(seed=2, seeds=3))
    assert len(empty) == 1
    assert "other seeds" in empty[0].placed.reason


def test_damaged_cifs(tmp_path: Path) -> None:
    crystals = structures(count=4)
    path = write("folder", tmp_path, crystals)
    files = sorted(path.rglob("*.cif"))
    whole = files[1].read_text()
    files[1].write_text(whole[: whole.index("_atom_site_type_symbol")])  # still states Zn2S2
    files[2].write_bytes(b"\x00\xff no structure at all")
    partial = files[3].read_text().rstrip().rsplit(" ", 1)[0] + "  0.5\n"
    files[3].write_text(partial)
    source = FileSource(path)
    brought = source.structures(ordered())
    assert [b.placed.crystal is None for b in brought] == [False, True, True]
    assert "part0/001.cif" in brought[1].placed.reason
    assert "partly occupied" in brought[2].placed.reason
    assert len(source.unreadable) == 1
    assert "part0/002.cif" in source.unreadable[0]
    nothing = source.structures(ordered(composition="ZnP2S6"))
    assert len(nothing) == 1
    assert "no structure of ZnP2S6" in nothing[0].placed.reason
    assert "002.cif" in nothing[0].placed.reason


def test_a_cif_that_says_one_thing_and_holds_another(tmp_path: Path) -> None:
    path = tmp_path / "a.cif"
    path.write_text(cif(structures(count=1)[0]).replace("'Zn2 S2'", "'Zn2 S3'"))
    result = FileSource(path).structures(ordered(composition="Zn2S3"))[0].placed
    assert "says Zn2S3 but its atoms are ZnS" in result.reason


def test_damaged_frames_leave_the_others_alone(tmp_path: Path) -> None:
    path = write("extxyz", tmp_path, structures(count=3))
    lines = path.read_text().splitlines()
    lines[8] = "Zn what ever this"
    path.write_text("\n".join([*lines, "garbage", "4"]) + "\n")
    source = FileSource(path)
    assert [b.origin for b in source.structures(ordered())] == ["frame 0", "frame 2"]
    assert [line.split(":")[0] for line in source.unreadable] == ["frame 1", "frame 3"]
    path.write_text('1\nProperties=species:S:1:pos:R:3 pbc="F F F"\nZn 0 0 0\n')
    assert "no cell" in FileSource(path).structures(ordered())[0].placed.reason


def test_left_handed_cells_are_turned(tmp_path: Path) -> None:
    crystal = structures(count=1)[0]
    swap = [1, 0, 2]
    mirrored = Crystal.of(crystal.cell[swap], crystal.atomic_numbers, crystal.frac_coords[:, swap])
    after = FileSource(write("own", tmp_path, [mirrored])).structures(ordered())[0].placed.crystal
    assert after is not None
    assert np.linalg.det(after.cell) > 0
    for one, two in ((crystal, after),):
        shift = two.cart_coords - one.cart_coords
        frac = shift @ np.linalg.inv(one.cell)
        assert np.abs(frac - np.round(frac)).max() < 1e-8


# -- the stage -----------------------------------------------------------------------------

CELLS = {"formula_units": [2], "lattices": 4, "volume_per_atom": "auto"}


def run(tmp_path: Path, settings: GenerateConfig, **cells: Any) -> list[parquet.Row]:
    output = tmp_path / "generated.parquet"
    generate(output, Shard("Zn-S", "ZnS", 0), CELLS | cells, settings, 5)
    return parquet.read(output, "generated")


@pytest.mark.parametrize("name", ["random", "pyxtal"])
def test_stage_without_a_network(tmp_path: Path, name: Any) -> None:
    rows = run(tmp_path, GenerateConfig(generator=name))
    assert len(rows) == 4
    for row in rows:
        assert row["generator"] == name
        assert (row["sampler"], row["checkpoint"], row["score_calls"]) == (None, None, None)
        assert row["formula_units"] == 2
        assert row["bravais_type"]
    assert [r["id"] for r in rows] == [
        r["id"] for r in run(tmp_path, GenerateConfig(generator=name))
    ]
    assert "checkpoint" not in parquet.read_header(tmp_path / "generated.parquet")["inputs"]


def test_stage_with_files(tmp_path: Path) -> None:
    folder = write("folder", tmp_path, structures(count=3))
    (folder / "zzz.cif").write_text("nothing")
    settings = GenerateConfig(generator="file", path=folder)
    # an element that no regression knows would not matter: no volume is asked
    rows = run(tmp_path, settings, lattice_seeds=1, volume_per_atom=None)
    assert [r["status"] for r in rows] == ["ok"] * 3
    assert [(r["formula_units"], r["bravais_type"]) for r in rows] == [(2, None)] * 3
    header = parquet.read_header(tmp_path / "generated.parquet")
    assert header["origins"][0] == "part0/000.cif"
    assert "zzz.cif" in header["unreadable"][0]
    assert header["inputs"]["structures"]
    rows = run(tmp_path, GenerateConfig(generator="file", path=folder / "zzz.cif"))
    assert [r["status"] for r in rows] == ["sampling_failed"]
    assert "no structure of ZnS" in rows[0]["reason"]


# -- configuration -------------------------------------------------------------------------


def line_of(**section: Any) -> str:
    content = {
        "systems": {"Zn-S": {"compositions": "ZnS", "guests": ["Zn"]}},
        "generate": section,
    }
    with pytest.raises(ConfigError) as caught:
        Campaign.load(content, "unused")
    text = str(caught.value)
    assert "\n" not in text
    return text


def load(**section: Any) -> Campaign:
    content = {
        "systems": {"Zn-S": {"compositions": "ZnS", "guests": ["Zn"]}},
        "generate": section,
    }
    return Campaign.load(content, "unused")


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    assert "generate.generator = 'rendom'" in line_of(generator="rendom")
    assert "path" in line_of(generator="file")
    assert "path" in line_of(generator="random", path="x.cif")
    assert "options" in line_of(generator="random", options={"a": 1})
    assert "no such file" in line_of(generator="file", path=str(tmp_path / "none"))
    assert "holds no .cif" in line_of(generator="file", path=str(tmp_path))
    for name, content, words in [
        ("a.txt", b"x", ["folder of CIFs"]),
        ("a.pkl", b"x", ["folder of CIFs"]),
        ("a.cif", b"", ["empty"]),
        ("a.extxyz", b"hello\n", ["number of atoms"]),
        ("a.csv", b"id,energy\n", ["cif"]),
        ("a.csv.gz", b"not gzip", ["not readable"]),
        ("a.parquet", b"not parquet", ["Parquet"]),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        text = line_of(generator="file", path=str(path))
        assert f"generate.path = '{path}'" in text
        for word in words:
            assert word in text, text
    pq.write_table(pa.table({"energy": [1.0]}), tmp_path / "b.parquet")
    assert "atomic_numbers" in line_of(generator="file", path=str(tmp_path / "b.parquet"))


def test_only_diffusion_needs_its_checkpoint() -> None:
    assert "generate.checkpoint" in line_of(checkpoint="none.safetensors")
    campaign = load(generator="random", checkpoint="none.safetensors")
    assert "network" not in campaign.settings("generate", "Zn-S")
    assert "network" in campaign.settings("inpaint", "Zn-S")
    assert "network" in load().settings("generate", "Zn-S")


def test_what_reruns_with_files(tmp_path: Path) -> None:
    path = write("folder", tmp_path, structures(count=2))

    def settings() -> dict[str, Any]:
        return load(generator="file", path=str(path)).settings("generate", "Zn-S")

    before = settings()
    assert before == settings()
    assert before["cells"]["lattice_seeds"] == 2
    (path / "new.cif").write_text("new")
    after = settings()
    assert before != after
    (path / "new.cif").write_text("changed")
    assert settings() != after
    assert "lattice_seeds" not in load(generator="random").settings("generate", "Zn-S")["cells"]


class Uniform:
    """The plug-in of docs/generators.md."""

    name = "mine"
    inputs: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, settings: GenerateConfig) -> None:
        self.shift = settings.options["shift"]

    def __call__(self, tasks: Any, progress: Any = None) -> list[Placed]:
        return [
            Placed(Crystal.of(t.crystal.cell, t.crystal.atomic_numbers, self._points(t)), "", 0)
            for t in tasks
        ]

    def _points(self, task: Task) -> Any:
        return np.random.default_rng(task.seed).random((len(task.crystal), 3)) + self.shift


def test_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        name: metadata.EntryPoint(name, f"{__name__}:{attribute}", GENERATOR_GROUP)
        for name, attribute in {"mine": "Uniform", "lost": "Nowhere"}.items()
    }
    assert "known: diffusion, prototypes, random, pyxtal, file)" in line_of(generator="mine")
    for module in ("chggen.config.stages", "chggen.campaign.plan", "chggen.generators"):
        monkeypatch.setattr(f"{module}.generator_plugins", lambda: points)
    assert "mine" in line_of(generator="yours")
    given = load(generator="mine", options={"shift": 0.5}).settings("generate", "Zn-S")
    assert given["plugin"] == f"{__name__}:Uniform"
    rows = run(tmp_path, GenerateConfig(generator="mine", options={"shift": 0.5}))
    assert [r["generator"] for r in rows] == ["mine"] * 4
    with pytest.raises(ConfigError, match=r"generator = 'lost'.*cannot be loaded"):
        make_generator(GenerateConfig(generator="lost"))
