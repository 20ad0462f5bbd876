"""Generators: what they place, what they leave alone, and what they say when they cannot."""

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
import spglib
from ase.data import covalent_radii

from chggen import composition as comp
from chggen import config, spacegroups, tables
from chggen.campaign import Campaign, Shard
from chggen.config import GenerateConfig, LatticeConfig
from chggen.crystal import Crystal, row_id
from chggen.errors import ConfigError, Status
from chggen.generators import make_generator, pyxtal_starts
from chggen.generators.file import FileSource
from chggen.generators.random import FRACTIONS, RandomGenerator
from chggen.generators.source import Order
from chggen.lattice import sample_lattices
from chggen.placement import Placed, Task
from chggen.stages.generate import generate


def tasks_of(
    formula: str, units: int, count: int, volume: float = 18.0, seed: int = 3
) -> list[Task]:
    z = np.array(comp.atomic_numbers(formula, units))
    lattices = sample_lattices(count, volume * len(z), LatticeConfig(), np.random.SeedSequence(3))
    return [
        Task(Crystal.of(lattice.cell, z, np.zeros((len(z), 3))), np.ones(len(z), bool), index)
        for index, lattice in enumerate(lattices)
    ]


def closest(crystal: Crystal) -> float:
    """Smallest distance between two atoms over the sum of their covalent radii."""
    radii = covalent_radii[crystal.atomic_numbers]
    distances = crystal.to_structure().distance_matrix / (radii[:, None] + radii)
    return float(distances[np.triu_indices(len(crystal), 1)].min())


def good(placed: list[Placed]) -> list[Crystal]:
    return [p.crystal for p in placed if p.crystal is not None]


# -- random --------------------------------------------------------------------------------


def test_random_keeps_distances_cell_and_atoms() -> None:
    tasks = tasks_of("Zn2P2S7", 1, 21)
    placed = RandomGenerator()(tasks)
    for task, result in zip(tasks, placed, strict=True):
        crystal = result.crystal
        assert crystal is not None
        assert np.array_equal(crystal.cell, task.crystal.cell)
        assert np.array_equal(crystal.atomic_numbers, task.crystal.atomic_numbers)
        assert closest(crystal) > 0.9
        assert result.score_calls == 0


def test_random_in_a_skewed_cell_sees_all_images() -> None:
    """The same lattice in vectors that are far from reduced."""
    skew = np.array([[1, 0, 0], [2, 1, 0], [-3, 2, 1]])
    for task in tasks_of("ZnS", 3, 7):
        cell = skew @ task.crystal.cell
        crystal = RandomGenerator()(
            [Task(Crystal.of(cell, task.crystal.atomic_numbers, np.zeros((6, 3))), task.guest, 5)]
        )[0].crystal
        assert crystal is not None
        assert np.array_equal(crystal.cell, cell)
        plain = crystal.frac_coords @ skew
        assert closest(Crystal.of(task.crystal.cell, crystal.atomic_numbers, plain)) > 0.9


@pytest.mark.parametrize("make", [RandomGenerator, pyxtal_starts.PyxtalGenerator])
def test_seeds_decide_and_company_does_not_matter(make: Any) -> None:
    tasks = tasks_of("ZnS", 2, 6)
    together = make()(tasks)
    alone = [make()([task])[0] for task in reversed(tasks)][::-1]
    for one, two in zip(together, alone, strict=True):
        assert (one.crystal is None) == (two.crystal is None)
        if one.crystal is not None and two.crystal is not None:
            assert np.array_equal(one.crystal.frac_coords, two.crystal.frac_coords)
    triclinic = next(i for i, p in enumerate(together) if p.crystal is not None)
    other = make()([Task(tasks[triclinic].crystal, tasks[triclinic].guest, 999)])[0].crystal
    first = together[triclinic].crystal
    assert first is not None
    assert other is None or not np.allclose(first.frac_coords, other.frac_coords)


def test_random_places_guests_around_hosts() -> None:
    start = RandomGenerator()(tasks_of("Zn2P2S7", 1, 5))
    for crystal in good(start):
        guest = crystal.atomic_numbers == 30
        moved = crystal.frac_coords + 2.0  # any image will do
        task = Task(Crystal.of(crystal.cell, crystal.atomic_numbers, moved), guest, 77)
        again = RandomGenerator()([task])[0].crystal
        assert again is not None
        assert np.array_equal(again.frac_coords[~guest], moved[~guest])
        assert not np.allclose(again.frac_coords[guest], crystal.frac_coords[guest])
        assert closest(again) > 0.7


def test_random_gives_way_in_tight_cells_and_then_gives_up() -> None:
    tight = RandomGenerator()(tasks_of("ZnS", 4, 7, volume=9.0))
    assert len(good(tight)) == 7
    for crystal in good(tight):
        assert FRACTIONS[-1] <= closest(crystal) < 1.0
    hopeless = RandomGenerator()(tasks_of("ZnS", 4, 3, volume=1.5))
    assert not good(hopeless)
    assert all("no placement" in p.reason for p in hopeless)
    broken = Task(Crystal.of(np.full((3, 3), np.nan), [30], [[0, 0, 0]]), np.ones(1, bool), 0)
    assert RandomGenerator()([broken])[0].reason


# -- pyxtal --------------------------------------------------------------------------------


def test_pyxtal_crystals_have_the_space_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spglib finds what was drawn, or a group with more operations."""
    drawn = []
    fill = pyxtal_starts._fill

    def spy(crystal, setting, *rest):
        frac = fill(crystal, setting, *rest)
        if frac is not None:
            drawn.append(setting)
        return frac

    monkeypatch.setattr(pyxtal_starts, "_fill", spy)
    tasks = tasks_of("ZnS", 2, 14) + tasks_of("ZnP2S6", 1, 14)
    placed = pyxtal_starts.PyxtalGenerator()(tasks)
    made = [(t, p.crystal) for t, p in zip(tasks, placed, strict=True) if p.crystal is not None]
    assert len(made) >= 20
    assert len(drawn) == len(made)
    exact = 0
    for setting, (task, crystal) in zip(drawn, made, strict=True):
        assert np.array_equal(crystal.cell, task.crystal.cell)
        assert np.array_equal(crystal.atomic_numbers, task.crystal.atomic_numbers)
        assert closest(crystal) > 0.49
        cell = (crystal.cell, crystal.frac_coords, crystal.atomic_numbers)
        found = spglib.get_symmetry_dataset(cell, 1e-4)
        wanted = _operations(*spacegroups.operations(setting))
        assert wanted <= _operations(found.rotations, found.translations), setting.number
        assert len(wanted) > 1
        exact += found.number == setting.number
    assert exact >= len(made) / 2
    for placement in placed:
        assert (placement.crystal is None) == bool(placement.reason)


def _operations(rotations: Any, translations: Any) -> set[tuple[int, ...]]:
    """Operations that can be compared, translations in units of 1/1000."""
    return {
        (*np.rint(r).astype(int).ravel(), *(np.rint(t * 1000).astype(int) % 1000))
        for r, t in zip(rotations, translations, strict=True)
    }


def test_pyxtal_says_why_it_has_none() -> None:
    # one atom of each of nine elements has no place in a face-centred cell
    z = np.arange(3, 12)
    cell = 8.0 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    crystal = Crystal.of(cell, z, np.zeros((9, 3)))
    result = pyxtal_starts.PyxtalGenerator()([Task(crystal, np.ones(9, bool), 1)])[0]
    assert result.crystal is None
    assert "no space group" in result.reason
    guests = Task(crystal, z > 5, 1)
    assert "guests" in pyxtal_starts.PyxtalGenerator()([guests])[0].reason


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
            tables.write(path, "generated", rows, {})
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


def run(tmp_path: Path, settings: GenerateConfig, **cells: Any) -> list[tables.Row]:
    output = tmp_path / "generated.parquet"
    generate(output, Shard("Zn-S", "ZnS", 0), CELLS | cells, settings, 5)
    return tables.read(output, "generated")


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
    assert "checkpoint" not in tables.read_header(tmp_path / "generated.parquet")["inputs"]


def test_stage_with_files(tmp_path: Path) -> None:
    folder = write("folder", tmp_path, structures(count=3))
    (folder / "zzz.cif").write_text("nothing")
    settings = GenerateConfig(generator="file", path=folder)
    # an element that no regression knows would not matter: no volume is asked
    rows = run(tmp_path, settings, lattice_seeds=1, volume_per_atom=None)
    assert [r["status"] for r in rows] == ["ok"] * 3
    assert [(r["formula_units"], r["bravais_type"]) for r in rows] == [(2, None)] * 3
    header = tables.read_header(tmp_path / "generated.parquet")
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
    assert campaign.checkpoint("generate") == []
    assert len(campaign.checkpoint("inpaint")) == 1
    assert len(load().checkpoint("generate")) == 1


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
        name: metadata.EntryPoint(name, f"{__name__}:{attribute}", config.GENERATOR_GROUP)
        for name, attribute in {"mine": "Uniform", "lost": "Nowhere"}.items()
    }
    assert "known: diffusion, random, pyxtal, file)" in line_of(generator="mine")
    for module in ("chggen.config", "chggen.campaign", "chggen.generators"):
        monkeypatch.setattr(f"{module}.generator_plugins", lambda: points)
    assert "mine" in line_of(generator="yours")
    given = load(generator="mine", options={"shift": 0.5}).settings("generate", "Zn-S")
    assert given["plugin"] == f"{__name__}:Uniform"
    rows = run(tmp_path, GenerateConfig(generator="mine", options={"shift": 0.5}))
    assert [r["generator"] for r in rows] == ["mine"] * 4
    with pytest.raises(ConfigError, match=r"generator = 'lost'.*cannot be loaded"):
        make_generator(GenerateConfig(generator="lost"))
