"""Cells of known crystals: what is kept of them, which are chosen, what stands in for them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spglib
from ase.geometry import cellpar_to_cell
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.campaign.seeds import Shard
from chggen.cells.drawing import draw_cells, shortage
from chggen.cells.lattice import PEARSON, free_parameters, sample_lattices, symbol, unit_cell
from chggen.cells.library import (
    PACKAGED,
    SCHEMA,
    Library,
    about,
    known_cells,
    label,
    read,
    write,
)
from chggen.cells.library_building import lattice_of, row_of, table_of
from chggen.cli import app
from chggen.config.stages import BRAVAIS_TYPES, GenerateConfig, LatticeConfig
from chggen.errors import ConfigError
from chggen.stages.generate import generate
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.orbits import fitting_lattices, impose
from chggen.symmetry.settings import settings_of
from chggen.tables import parquet

KNOWN = LatticeConfig(source="known")


def seed(number: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(number)


def content(formula: str, units: int = 1) -> np.ndarray:
    return np.array(comp.atomic_numbers(formula, units))


def shape(cell: np.ndarray) -> np.ndarray:
    """Niggli parameters at volume 1: equal for all cells of one lattice and its multiples."""
    niggli = np.asarray(spglib.niggli_reduce(cell / np.cbrt(abs(np.linalg.det(cell)))))
    return np.sort(np.linalg.norm(niggli, axis=1))


def sources(rows: list[list[Any]]) -> set[str]:
    return {cell.source for row in rows for cell in row}


# -- what is kept of a crystal ---------------------------------------------------------------


@given(st.sampled_from(sorted(PEARSON)), st.integers(0, 2**32), st.floats(5, 500))
@settings(max_examples=150, deadline=None)
def test_a_cell_is_what_its_lattice_and_parameters_say(lattice, number, volume):
    config = LatticeConfig(types=[PEARSON[lattice][0]], source="bravais")
    cell = sample_lattices(1, volume, config, seed(number), [PEARSON[lattice]])[0].cell
    kind, ratios, angles = lattice_of(cell)
    assert (len(ratios), len(angles)) == free_parameters(kind[0])
    again = unit_cell(kind, np.array(ratios), np.array(angles))
    # within the tolerance of the lattice symmetry, 0.01 Å
    assert np.allclose(shape(again), shape(cell), atol=0.02 / np.cbrt(volume))
    found = spglib.get_symmetry_dataset((again * 4, [[0, 0, 0]], [1]), symprec=1e-4)
    assert symbol(*kind)[0] == {1: "a", 2: "a"}.get(found.number, symbol(*kind)[0])


def test_only_the_primitive_cell_counts():
    fcc = 3.6 * np.eye(3)
    copper = Crystal.of(fcc, [29] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    assert row_of(copper) == (1, "A", (29,), "cF", (None,) * 5)
    rutile = Crystal.of(
        np.diag([4.6, 4.6, 2.96]),
        [22, 22, 8, 8, 8, 8],
        [
            [0, 0, 0],
            [0.5, 0.5, 0.5],
            [0.3, 0.3, 0],
            [0.7, 0.7, 0],
            [0.8, 0.2, 0.5],
            [0.2, 0.8, 0.5],
        ],
    )
    assert row_of(rutile) == (6, "AB2", (22, 8), "tP", (None, 0.643, None, None, None))


def test_formulas_without_elements():
    assert [label(c) for c in [(1,), (1, 1, 3), (2, 7)]] == ["A", "ABC3", "A2B7"]


# -- the packaged table ----------------------------------------------------------------------


def test_the_packaged_table_is_small_and_says_what_it_is():
    assert PACKAGED.stat().st_size < 2_000_000
    told = about(PACKAGED)
    assert told["max_above_hull"] == 0.1
    assert told["kept"] == pq.read_metadata(PACKAGED).num_rows
    assert told["read"] == told["kept"] + sum(told["left_out"].values())
    assert "CC BY 4.0" in told["source"]
    assert len(told["structures_digest"]) == 16


def test_lithium_silicides_and_thiophosphates_of_zinc_are_not_in_it():
    library = known_cells(None)
    for held_out in ({3, 14}, {15, 16, 30}):
        assert not any(held_out == set(e) for e in library.elements)


# -- drawing ---------------------------------------------------------------------------------


@given(
    st.sampled_from(["ZnS", "Na2O", "SrTiO3", "MgAl2O4", "Zn2P2S7", "CoNiSn"]),
    st.integers(1, 3),
    st.sampled_from(["known", "mixed", "bravais"]),
    st.floats(5, 60),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_volumes_are_exact_whatever_the_source(formula, units, source, volume, number):
    z = content(formula, units)
    config = LatticeConfig(source=source)
    for row in draw_cells([z] * 2, volume, config, seed(number), 5):
        assert len(row) == 5
        for cell in row:
            assert np.linalg.det(cell.cell) == pytest.approx(volume * len(z), rel=1e-9)
            assert cell.bravais_type in BRAVAIS_TYPES


@pytest.mark.parametrize("source", ["known", "mixed", "bravais"])
def test_the_first_rows_of_many_are_those_of_few(source):
    config = LatticeConfig(source=source)
    contents = [content("SrTiO3"), content("SrTiO3", 2), content("ZnS", 2)] * 3
    few, many = (draw_cells(contents[:n], 15.0, config, seed(4), 6) for n in (4, 9))
    other = draw_cells(contents, 15.0, config, seed(5), 6)
    for one, two in zip(few, many, strict=False):
        for a, b in zip(one, two, strict=True):
            assert np.array_equal(a.cell, b.cell)
            assert a.source == b.source
    assert not all(np.allclose(a[0].cell, b[0].cell) for a, b in zip(many, other, strict=True))


def test_known_cells_are_those_of_like_crystals():
    # perovskites of five atoms: mostly cubic or nearly so, unlike random lattices
    rows = draw_cells([content("SrZrO3")] * 8, 12.0, KNOWN, seed(), 16)
    assert sources(rows) == {"known"}
    cubic = sum(cell.bravais_type == "cubic" for row in rows for cell in row)
    assert cubic > 8 * 16 / 3
    assert any(not np.array_equal(a.cell, b.cell) for a, b in zip(rows[0], rows[1], strict=True))


def test_mixed_is_half_and_half_with_and_without_a_space_group():
    rows = draw_cells([content("SrZrO3")] * 40, 12.0, LatticeConfig(source="mixed"), seed(), 16)
    for row in rows:
        for parity in range(2):  # odd candidates may have a space group imposed
            own = [cell.source for cell in row[parity::2]]
            assert own.count("known") == own.count("bravais") == 4
    single = draw_cells([content("SrZrO3")] * 40, 12.0, LatticeConfig(source="mixed"), seed(), 1)
    assert 8 < sum(row[0].source == "known" for row in single) < 32


def test_types_of_the_config_hold_for_known_cells_too():
    config = LatticeConfig(source="known", types=["tetragonal", "hexagonal"])
    rows = draw_cells([content("SrZrO3")] * 4, 12.0, config, seed(), 8)
    assert {cell.bravais_type for row in rows for cell in row} <= {"tetragonal", "hexagonal"}


@pytest.mark.parametrize("group", [225, 166, 62])
def test_cells_can_have_the_space_group_that_is_asked_for(group):
    z = content("NaCl", 4)
    kinds = fitting_lattices(group)
    for row in draw_cells([z] * 3, 20.0, KNOWN, seed(), 6, kinds):
        for cell in row:
            assert (cell.bravais_type, cell.centring) in kinds
            assert group in {s.number for s in settings_of(cell.cell)}
            task = Task(Crystal.of(cell.cell, z, np.zeros((8, 3))), np.ones(8, bool), 1)
            if group == 62:  # four-fold sites hold four of each
                assert not isinstance(impose(task, group), str)


# -- what the library lacks ------------------------------------------------------------------


def test_what_is_not_known_is_replaced_and_said():
    z = content("Zn5P9S6")  # no such formula type with 20 atoms
    rows = draw_cells([z] * 2, 15.0, KNOWN, seed(), 4)
    assert sources(rows) == {"known_size"}
    assert shortage([z, z], KNOWN) == [
        "no known cell of 20 atoms A5B6C9 fits: cells of other formulas instead"
    ]
    large = content("ZnS", 200)
    rows = draw_cells([large], 15.0, KNOWN, seed(), 4)
    assert sources(rows) == {"bravais"}
    assert "random lattices" in shortage([large], KNOWN)[0]
    assert shortage([content("ZnS")], KNOWN) == []
    assert shortage([large], LatticeConfig(source="bravais")) == []


def test_cells_of_few_crystals_are_not_repeated_without_end(tmp_path):
    # one crystal of a formula type, others of as many atoms
    own = tmp_path / "own.parquet"
    frac = np.random.default_rng(0).random((20, 3))
    one = Crystal.of(np.diag([3.0, 3.1, 9.0]), content("Zn5P9S6"), frac)
    write(own, table_of({row_of(one)}), {})
    config = LatticeConfig(source="known", library=own)
    (row,) = draw_cells([content("Cd5As9Se6")], 15.0, config, seed(), 16)
    assert [c.source for c in row].count("known") == 3
    assert [c.source for c in row].count("known_size") == 13
    found = next(c for c in row if c.source == "known")
    assert np.allclose(
        np.sort(np.linalg.norm(found.cell, axis=1)) * np.cbrt(83.7 / 300),
        [3.0, 3.1, 9.0],
        atol=0.01,
    )


# -- files -----------------------------------------------------------------------------------


def campaign(library: Path, **lattice: Any) -> Campaign:
    content = {
        "systems": {"Zn-S": {"compositions": "ZnS", "guests": ["Zn"]}},
        "generate": {"generator": "random", "lattice": {"library": str(library), **lattice}},
    }
    return Campaign.load(content, "unused")


def altered(column: str, values: pa.Array) -> pa.Table:
    good = read(PACKAGED).slice(0, len(values))
    return good.set_column(SCHEMA.get_field_index(column), SCHEMA.field(column), values)


def damage(kind: str, path: Path) -> None:
    good = read(PACKAGED).slice(0, 10)
    lattices = {"lattice": "cX", "parameters": "mC"}
    if kind == "text":
        path.write_text("cells")
    elif kind == "cut":
        path.write_bytes(PACKAGED.read_bytes()[:5000])
    elif kind == "foreign":
        pq.write_table(pa.table({"a": [1]}), path)
    elif kind == "columns":
        metadata = pq.read_schema(PACKAGED).metadata
        pq.write_table(good.drop_columns(["beta"]).replace_schema_metadata(metadata), path)
    elif kind == "empty":
        write(path, good.slice(0, 0), {})
    elif kind == "gaps":
        write(path, altered("n_atoms", pa.array([None] * 10, pa.uint16())), {})
    elif kind == "elements":
        write(path, altered("formula", pa.array(["ABCD4"] * 10).dictionary_encode()), {})
    elif kind in lattices:
        write(path, altered("lattice", pa.array([lattices[kind]] * 10).dictionary_encode()), {})


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("missing", "no such file"),
        ("text", "no readable Parquet file"),
        ("cut", "no readable Parquet file"),
        ("foreign", "made by 'chggen library'"),
        ("empty", "has no cells"),
        ("gaps", "column 'n_atoms' has empty values"),
        ("lattice", "unknown lattice 'cX'"),
        ("parameters", "free parameters"),
        ("elements", "do not fit their formula ABCD4"),
        ("columns", "columns are not those"),
    ],
)
def test_a_bad_library_is_one_line_before_any_job(tmp_path, kind, said):
    path = tmp_path / "own.parquet"
    damage(kind, path)
    with pytest.raises(ConfigError) as caught:
        campaign(path)
    text = str(caught.value)
    assert text.startswith(f"config: generate.lattice.library = '{path}': ")
    assert said in text
    assert "\n" not in text


def test_a_library_that_is_not_used_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match=r"'library' is not used by source 'bravais'"):
        campaign(tmp_path / "x.parquet", source="bravais")


def test_other_cells_rerun_the_campaign(tmp_path):
    path, parts = tmp_path / "own.parquet", []
    for size in (5, 6):
        write(path, read(PACKAGED).slice(0, size), {})
        parts.append(campaign(path).settings("generate", "Zn-S"))
    assert parts[0] != parts[1]


def crystals(path: Path) -> Path:
    """A table as that of crystals with flat lists, one of them far above the hull."""
    rng = np.random.default_rng(1)
    cells = [cellpar_to_cell([4, 4, c, 90, 90, 90]) for c in (5.0, 6.0, 7.0)]
    table = {
        "cell": [c.ravel().tolist() for c in cells],
        "atomic_numbers": [[11, 17, 17]] * 3,
        "frac_coords": [rng.random(9).tolist() for _ in range(3)],
        "e_above_hull": [0.0, 0.3, None],
    }
    pq.write_table(pa.table(table), path)
    return path


def command(source: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["library", str(source), "--cells", str(output), *more])


def test_the_command_makes_a_table_of_structures(tmp_path):
    source, path = crystals(tmp_path / "x.parquet"), tmp_path / "cells.parquet"
    run = command(source, path, "--source", "mine")
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)["cells"]
    assert told.items() <= about(path).items()
    assert about(path)["source"] == "mine"
    assert (told["read"], told["kept"], told["left_out"]["above the hull"]) == (3, 2, 1)
    library = Library.of_table(read(path))
    assert library.elements == [[11, 17]] * 2
    assert set(library.lattices) == {"tP"}
    assert np.allclose(library.parameters[:, 1], [1.25, 1.75])
    assert command(source, path, "--max-above-hull", "9").exit_code == 0
    assert len(read(path)) == 3
    assert command(source, path, "--max-atoms", "2").exit_code


def test_the_command_reads_tables_of_cifs(tmp_path):
    nacl = Crystal.of(4 * np.eye(3)[[1, 2, 0]], [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cif", "e_above_hull"])
        writer.writerow([nacl.to_structure().to(fmt="cif"), 0.02])
        writer.writerow([nacl.to_structure().to(fmt="cif"), 0.01])
        writer.writerow(["nothing", 0.0])
    run = command(tmp_path / "x.csv", tmp_path / "cells.parquet")
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["cells"]["left_out"] == {"copies": 1, "not readable": 1}
    library = Library.of_table(read(tmp_path / "cells.parquet"))
    assert (library.n_atoms.tolist(), library.lattices.tolist()) == ([2], ["cP"])


@pytest.mark.parametrize(
    ("source", "said"), [("x.csv", "no crystal for a library"), ("y.csv", "no such file")]
)
def test_the_command_says_in_one_line_what_it_cannot_read(tmp_path, source, said):
    (tmp_path / "x.csv").write_text("cif\nnothing\n")
    run = command(tmp_path / source, tmp_path / "cells.parquet")
    assert run.exit_code
    assert said in str(run.exception)
    assert "\n" not in str(run.exception)


# -- the stage -------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["known", "mixed", "bravais"])
def test_the_table_says_where_the_cell_of_each_row_comes_from(tmp_path, source):
    settings = GenerateConfig(generator="random", lattice=LatticeConfig(source=source))
    cells = {"formula_units": [2], "lattices": 12, "volume_per_atom": "auto"}
    generate(tmp_path / "g.parquet", Shard("Zn-S", "ZnS", 0), cells, settings, 5)
    rows = parquet.read(tmp_path / "g.parquet", "generated")
    expected = {"known": {"known"}, "mixed": {"known", "bravais"}, "bravais": {"bravais"}}
    assert {row["cell_source"] for row in rows} == expected[source]
    assert all(row["bravais_type"] for row in rows)
    assert parquet.read_header(tmp_path / "g.parquet")["cell_shortage"] == []


def test_a_shortage_is_in_the_header_and_the_log(tmp_path, caplog):
    settings = GenerateConfig(generator="random", lattice=KNOWN)
    cells = {"formula_units": [1], "lattices": 3, "volume_per_atom": 15.0}
    generate(tmp_path / "g.parquet", Shard("Zn-P-S", "Zn5P9S6", 0), cells, settings, 5)
    (line,) = parquet.read_header(tmp_path / "g.parquet")["cell_shortage"]
    assert "20 atoms A5B6C9" in line
    assert [r.message for r in caplog.records] == [f"Zn5P9S6: {line}"]
    rows = parquet.read(tmp_path / "g.parquet", "generated")
    assert {row["cell_source"] for row in rows} == {"known_size"}
