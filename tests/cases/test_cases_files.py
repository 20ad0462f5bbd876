"""Cases of structure files and training data: cif-traps, csv-damaged, csv-bigfield,
extxyz-count, file-leftover, train-dummy; each asserts its right value."""

import csv
import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.cli import app
from chggen.diffusion import reading
from chggen.errors import ChggenError, ConfigError
from chggen.evaluation.structures import read_table
from chggen.reference.reference import coverage_problem
from chggen.structure import files
from chggen.structure.outcome import Outcome
from chggen.structure.readers import entries, load

ROCK_SALT = [("Na", 0, 0, 0, 1), ("Cl", 0.5, 0.5, 0.5, 1)]
WURTZITE = [("Zn", 0.333, 0.667, 0, 1), ("O", 0.333, 0.667, 0.382, 1)]


def cif(
    sites: list[Any],
    cell: tuple[float, ...] = (5.64, 5.64, 5.64, 90, 90, 90),
    name: str = "x",
    **items: object,
) -> str:
    lengths = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"data_{name}"]
    lines += [f"_cell_{key} {value}" for key, value in zip(lengths, cell, strict=True)]
    lines += [f"_{key} '{value}'" for key, value in items.items()]
    lines += ["loop_", "_atom_site_label", "_atom_site_type_symbol"]
    lines += [f"_atom_site_{key}" for key in ("fract_x", "fract_y", "fract_z", "occupancy")]
    lines += [" ".join(map(str, (f"{s[0]}{i}", *s))) for i, s in enumerate(sites)]
    return "\n".join(lines) + "\n"


def salt(sites: list[Any] = ROCK_SALT, name: str = "x", **items: object) -> str:
    return cif(sites, name=name, **({"symmetry_Int_Tables_number": 225} | items))


def read(path: Path) -> list[tuple[str, Outcome]]:
    files.check(path)
    return [(entry.origin, load(entry)) for entry in entries(path)]


def one(text: str, folder: Path) -> Outcome:
    path = folder / "one.cif"
    path.write_text(text)
    [(_, outcome)] = read(path)
    return outcome


def atoms(outcome: Outcome) -> int:
    assert outcome.crystal is not None, outcome.reason
    return len(outcome.crystal)


# -- cif-traps -----------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [2, 3, 4, 6])
@pytest.mark.parametrize("stated", [{}, {"chemical_formula_sum": "Zn2 O2"}])
def test_rounded_special_positions(digits: int, stated: dict[str, str], tmp_path: Path) -> None:
    sites = [
        (s, round(1 / 3, digits), round(2 / 3, digits), z, 1) for s, z in (("Zn", 0), ("O", 0.382))
    ]
    text = cif(sites, (3.25, 3.25, 5.2, 90, 90, 120), symmetry_Int_Tables_number=186, **stated)
    outcome = one(text, tmp_path)
    assert atoms(outcome) == 4
    assert outcome.crystal is not None
    assert outcome.crystal.min_distance == pytest.approx(1.974, abs=0.01)


def test_every_block_with_a_structure(tmp_path: Path) -> None:
    path = tmp_path / "multi.cif"
    second = cif(ROCK_SALT, (3.5, 3.5, 3.5, 90, 90, 90), "b", symmetry_Int_Tables_number=221)
    note = "data_global\n_publ_section_title\n;\ndata_not a block\n;\n"
    path.write_text(note + salt(name="a") + second)
    found = read(path)
    assert [origin for origin, _ in found] == ["multi.cif#a", "multi.cif#b"]
    assert [atoms(outcome) for _, outcome in found] == [8, 2]
    table = tmp_path / "multi.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["cif"], [path.read_text()], [salt()]])
    assert [origin for origin, _ in read(table)] == ["row 0#a", "row 0#b", "row 1"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings_and_gzip(encoding: str, tmp_path: Path) -> None:
    data = ("# Universit\u00e4t\n" + salt()).encode(encoding)
    (tmp_path / "a.cif").write_bytes(data)
    (tmp_path / "b.cif.gz").write_bytes(gzip.compress(data))
    found = read(tmp_path)
    assert [(origin, atoms(outcome)) for origin, outcome in found] == [
        ("a.cif", 8),
        ("b.cif.gz", 8),
    ]


@pytest.mark.parametrize("occupancy", ["1.01", "1.001(3)", "0.999"])
def test_occupancies_of_rounding(occupancy: str, tmp_path: Path) -> None:
    assert atoms(one(salt([("Na", 0, 0, 0, occupancy), ROCK_SALT[1]]), tmp_path)) == 8


@pytest.mark.parametrize(
    ("site", "words"),
    [
        (("Na", 0, 0, 0, 1.4), "occupied more than once"),
        (("Na", 0, 0, 0, 0.5), "partly occupied"),
        (("Na", 0, 0, 0, "."), "occupancy"),
        (("Na", 0, "?", 0, 1), "fract_y"),
        (("X", 0, 0, 0, 1), "no known element"),
    ],
)
def test_sites_that_are_refused_with_their_cause(site: Any, words: str, tmp_path: Path) -> None:
    outcome = one(salt([site, ROCK_SALT[1]]), tmp_path)
    assert outcome.crystal is None
    assert words in outcome.reason


@pytest.mark.parametrize(
    ("place", "stated", "count"),
    [
        (0.125, {"cell_formula_units_Z": 8, "chemical_formula_sum": "Si"}, 8),
        (0.125, {"chemical_formula_sum": "Si8"}, 8),
        (0.0, {"cell_formula_units_Z": 8, "chemical_formula_sum": "Si"}, 8),
        (0.125, {"symmetry_space_group_name_H-M": "F d -3 m :2"}, 8),
        (0.125, {"symmetry_space_group_name_H-M": "F d -3 m Z"}, 8),
        (0.0, {"symmetry_space_group_name_H-M": "F d -3 m S"}, 8),
        (0.125, {"symmetry_space_group_name_Hall": "-F 4vw 2vw 3"}, 8),
        (0.125, {"chemical_formula_sum": "Si"}, None),
        (0.125, {}, None),
    ],
)
def test_origin_choices(
    place: float, stated: dict[str, object], count: int | None, tmp_path: Path
) -> None:
    items = {"symmetry_Int_Tables_number": 227} | stated
    text = cif([("Si", place, place, place, 1)], (5.43, 5.43, 5.43, 90, 90, 90), **items)
    outcome = one(text, tmp_path)
    if count is None:
        assert outcome.crystal is None
        assert "origin choice" in outcome.reason
        return
    assert atoms(outcome) == count
    assert outcome.crystal is not None
    assert outcome.crystal.min_distance == pytest.approx(5.43 * np.sqrt(3) / 4, abs=0.01)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ({"chemical_formula_sum": "Na Cl", "cell_formula_units_Z": 3}, "formula and Z"),
        ({"symmetry_space_group_name_H-M": "F d -3 m"}, "not of number 225"),
        ({"symmetry_space_group_name_H-M": "P foo"}, "not known"),
        ({"symmetry_equiv_pos_as_xyz": "x,y,z", "chemical_formula_sum": "Na Cl"}, "states 225"),
    ],
)
def test_a_cif_that_disagrees_with_itself(
    items: dict[str, object], words: str, tmp_path: Path
) -> None:
    outcome = one(salt(**items), tmp_path)
    assert outcome.crystal is None
    assert words in outcome.reason


@pytest.mark.parametrize(
    ("symbol", "cell", "count"),
    [
        ("R -3 m", (3, 3, 15, 90, 90, 120), 18),
        ("R -3 m", (4.7, 4.7, 4.7, 57, 57, 57), 6),
        ("P 21/n", (5, 6, 7, 90, 100, 90), 4),
    ],
)
def test_settings_follow_symbol_and_cell(
    symbol: str, cell: tuple[float, ...], count: int, tmp_path: Path
) -> None:
    sites = [("Zn", 0.1, 0.9, 0.3, 1)] if symbol.startswith("P") else [("Zn", 0.2, 0.2, 0.45, 1)]
    items = {"symmetry_space_group_name_H-M": symbol}
    if cell[-1] == 120:
        sites = [("Zn", 0.2, 0.8, 0.3, 1)]
    assert atoms(one(cif(sites, cell, **items), tmp_path)) == count


def test_files_that_are_no_structures(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    (folder / "named.cif").mkdir(parents=True)
    (folder / "named.cif" / "good.cif").write_text(salt())
    (folder / "binary.cif").write_bytes(bytes(range(256)) * 20)
    (folder / "cut.cif.gz").write_bytes(gzip.compress(salt().encode())[:60])
    (folder / "empty.cif").write_bytes(b"")
    (folder / "loop.cif").symlink_to(folder / "loop.cif")
    (folder / "twice.cif").write_text(salt())
    found = dict(read(folder))
    assert sorted(o for o, r in found.items() if r.crystal) == ["named.cif/good.cif", "twice.cif"]
    assert sorted(o for o, r in found.items() if r.reason) == [
        "binary.cif",
        "cut.cif.gz",
        "empty.cif",
    ]
    assert Campaign.load(config(path=folder), "x").settings("generate", "S")


# -- csv-damaged, csv-bigfield -------------------------------------------------------------


def table(path: Path, rows: int = 300, label: str = "a") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "cif"], *([label, salt()] for _ in range(rows))])
    return path


def damaged(kind: str, folder: Path) -> Path:
    good = table(folder / "good.csv").read_bytes()
    path = folder / ("bad.csv.gz" if kind == "gz" else "bad.csv")
    match kind:
        case "latin":
            path.write_bytes(good + "\u00fc,x\n".encode("latin-1"))
        case "cut":
            path.write_bytes(good[:-40])
        case "fields":
            path.write_bytes(good + b"only one\n")
        case _:
            path.write_bytes(gzip.compress(good)[:-30])
    return path


def config(**generate: object) -> dict[str, Any]:
    system = {"compositions": ["ZnS"], "guests": ["Zn"], "lattice_seeds": 1}
    return {
        "systems": {"S": system | {"lattices_per_seed": 2}},
        "generate": {"generator": "file"} | {k: str(v) for k, v in generate.items()},
    }


@pytest.mark.parametrize("kind", ["latin", "cut", "fields", "gz"])
def test_a_damaged_table_is_one_line_before_any_job(kind: str, tmp_path: Path) -> None:
    path = damaged(kind, tmp_path)
    with pytest.raises(ConfigError) as caught:
        Campaign.load(config(path=path), "x")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    from chggen.config.energies import ReferenceConfig

    problem = coverage_problem(ReferenceConfig(source="potential"), {"Na", "Cl"}, path)
    assert problem is not None
    assert str(path) in problem
    for reader in (read_table, lambda place: reading.read([place])):
        with pytest.raises(ChggenError) as found:
            reader(path)  # type: ignore[operator]
        assert path.name in str(found.value)
        assert "\n" not in str(found.value)


def test_a_field_beyond_the_limit_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    long = "# " + "x" * 200_000 + "\n" + salt()
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["cif"], [long]])
    assert list(files.stated_formulas(path)) == [None]
    [(_, outcome)] = read(path)
    assert atoms(outcome) == 8
    assert len(read_table(path)) == 1


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"cif": [1, 2]}, "wrong type"),
        ({"energy": [1.0]}, "neither"),
        ({"cell": ["a"], "atomic_numbers": [[1]], "frac_coords": [[[0.0] * 3]]}, "'cell'"),
        ({"cell": [[[1.0]]], "atomic_numbers": [["Na"]], "frac_coords": [[[0.0]]]}, "numbers"),
    ],
)
def test_parquet_of_wrong_columns(columns: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(ConfigError, match=words):
        files.check(path)


# -- extxyz-count --------------------------------------------------------------------------

FRAME = '1\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3\nNa 0 0 0\n'


@pytest.mark.parametrize(
    "count", ["20000000", "3", "-2", "0", "\u00b2", "1.5", "99999999999999999999"]
)
def test_a_wrong_count_costs_its_own_frame_alone(count: str, tmp_path: Path) -> None:
    path = tmp_path / "h.extxyz"
    path.write_text(FRAME + FRAME.replace("1", count, 1) + FRAME, encoding="utf-8")
    start = time.perf_counter()
    found = read(path)
    assert time.perf_counter() - start < 5
    assert [outcome.crystal is not None for _, outcome in found][:: len(found) - 1] == [True, True]
    assert any(outcome.reason for _, outcome in found[1:-1])
    (tmp_path / "h.extxyz.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(read(tmp_path / "h.extxyz.gz")) == len(found)


# -- file-leftover -------------------------------------------------------------------------


def test_structures_that_no_shard_takes_are_counted(tmp_path: Path) -> None:
    other = FRAME.replace("Na 0 0 0", "Li 0 0 0")
    pair = FRAME.replace("1\n", "2\n", 1) + "S 2.5 2.5 2.5\n"
    pair = pair.replace("Na", "Zn")
    path = tmp_path / "all.extxyz"
    path.write_text(pair * 4 + other * 3)
    said = Campaign.load(config(path=path), "x").leftover()
    assert said is not None
    for words in ("5 of 7 structures", "2 of ZnS", "3 of Li"):
        assert words in said
    file = tmp_path / "c.yaml"
    file.write_text(json.dumps(config(path=path)))
    result = CliRunner().invoke(app, ["check", str(file)])
    assert result.exit_code == 0, result.output
    assert "5 of 7 structures are never used" in result.output
    path.write_text(pair * 2)
    assert Campaign.load(config(path=path), "x").leftover() is None


# -- train-dummy, and the filter of the training data --------------------------------------


def training(path: Path, rows: list[tuple[str, object]], *, hull: bool = True) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cif", "e_above_hull"] if hull else ["cif"])
        writer.writerows(row if hull else row[:1] for row in rows)
    return path


def test_bad_training_rows_are_counted_by_reason(tmp_path: Path) -> None:
    p1 = (5, 5, 5, 90, 90, 90)
    rows: list[tuple[str, object]] = [
        (salt(), 0.0),
        (salt(), 0.1),
        (salt(), 0.11),
        (salt(), ""),
        (salt([("X", 0, 0, 0, 1), ROCK_SALT[1]]), 0.0),
        (salt([("Na", 0, 0, 0, 0.5), ROCK_SALT[1]]), 0.0),
        (cif([("Na", 0, 0, 0, 1), ("Cl", 0, 0, 0.01, 1)], p1), 0.0),
        (cif([("Na", 0, 0, 0, 1), ROCK_SALT[1]], ("nan", *p1[1:])), 0.0),  # type: ignore[arg-type]
        ("", 0.0),
        ("no cif", 0.0),
    ]
    path = training(tmp_path / "t.csv", rows)
    data = reading.read([path], tmp_path, max_above_hull=0.1)
    assert len(data) == 2
    assert data.skipped == 8
    expected = {
        "more than 0.1 eV/atom above the hull": 1,
        "no e_above_hull": 1,
        "unknown element": 1,
        "partly occupied sites": 1,
        "overlapping atoms": 1,
        "no CIF": 1,
    }
    assert expected.items() <= data.reasons.items()
    again = reading.read([path], tmp_path, max_above_hull=0.1)
    assert again.facts() == data.facts()
    assert "e_above_hull <= 0.1" in data.hull_filter
    everything = reading.read([path], tmp_path)
    assert len(everything) == 4
    assert everything.digest != data.digest


def test_training_data_without_the_column_say_so(tmp_path: Path) -> None:
    path = training(tmp_path / "t.csv", [(salt(), 9.0)], hull=False)
    data = reading.read([path], max_above_hull=0.1)
    assert (len(data), data.skipped) == (1, 0)
    assert "no column 'e_above_hull'" in data.hull_filter
    with pytest.raises(ChggenError, match=r"no structures to train on \(1 not readable\)"):
        reading.read([training(tmp_path / "n.csv", [("x", 0)])])
