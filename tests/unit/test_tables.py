"""Tables: round trip, validation at both ends, atomic writing."""

import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.errors import Status, TableError
from chggen.tables import parquet
from chggen.tables.schema import REQUIRED, SCHEMA_VERSION, SCHEMAS

HEADER = {"config": "abc", "versions": {"numpy": "2"}, "seed": 3}
FINITE = st.floats(-1e6, 1e6)


def row(**changes):
    """A row of table ``generated``."""
    return {
        "id": "0123456789abcdef",
        "parent_id": None,
        "system": "Zn-P-S",
        "composition": "Zn2P2S7",
        "route": "unconditional",
        "seed": 0,
        "index": 4,
        "draw": 0,
        "framework": None,
        "random_seed": 2**62,
        "status": "ok",
        "reason": "",
        "n_atoms": 1,
        "formula_units": 1,
        "cell": [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.1, 0.0, 3.0]],
        "atomic_numbers": [30],
        "frac_coords": [[0.1, 0.2, 0.3]],
        "generator": "diffusion",
        "origin": None,
        "sampler": "fast",
        "checkpoint": "fedcba9876543210",
        "candidates": 16,
        "score_calls": 60,
        "imposed_space_group_number": 9,
        "imposed_sites": "Zn 4a",
        "bravais_type": "cubic",
        "cell_source": "known",
        "volume_per_atom": 6.0,
        "min_distance": 1.0,
        **changes,
    }


def failed(**changes):
    """A row without structure, as a failure leaves it."""
    kept = {k: row()[k] for k in REQUIRED}
    return {**kept, "status": "sampling_failed", "reason": "NaN", "n_atoms": 0, **changes}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "folder" / "generated.parquet"


def test_rows_come_back_as_they_went(path):
    rows = [row(), failed(id="other")]
    parquet.write(path, "generated", rows, HEADER)
    back = parquet.read(path, "generated")
    assert back[0] == row()
    assert {k: v for k, v in back[1].items() if v is not None} == {
        k: v for k, v in rows[1].items() if v is not None
    }
    assert set(back[1]) == set(SCHEMAS["generated"].names)
    assert parquet.read_header(path) == HEADER
    assert parquet.table_name(path) == "generated"


@given(
    st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(1, 94), FINITE, FINITE, FINITE), min_size=1, max_size=5),
    st.sampled_from(Status),
    st.text(),
)
@settings(max_examples=30, deadline=None)
def test_any_structure_comes_back_to_the_bit(tmp_path_factory, cell, atoms, status, reason):
    path = tmp_path_factory.mktemp("t") / "generated.parquet"
    written = row(
        cell=[list(v) for v in cell],
        atomic_numbers=[z for z, *_ in atoms],
        frac_coords=[list(x) for _, *x in atoms],
        status=status,
        reason=reason,
    )
    parquet.write(path, "generated", [written], {})
    assert parquet.read(path, "generated") == [written]


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_empty_table_of_each_kind(tmp_path, name):
    path = tmp_path / "table.parquet"
    parquet.write(path, name, [], {})
    assert parquet.read(path, name) == []
    assert parquet.table_name(path) == name


def test_units_and_meanings_travel_with_the_file(path):
    parquet.write(path, "generated", [row()], {})
    field = pq.read_schema(path).field("volume_per_atom")
    assert field.metadata[b"unit"] == "Å³".encode()
    assert field.metadata[b"description"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy": 1.0}, "energy"),
        ({"seed": "first"}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"seed": float("nan")}, "seed"),
        ({"seed": "3"}, "seed"),
        ({"atomic_numbers": [30.5]}, "atomic_numbers"),
        ({"random_seed": 2**63}, "random_seed"),
        ({"random_seed": 2**70}, "random_seed"),
        ({"index": 2**31}, "index"),
        ({"cell": [[1.0, 0.0], [0.0, 1.0]]}, "cell"),
        ({"frac_coords": [[0.1, 0.2]]}, "frac_coords"),
        ({"frac_coords": "none"}, "frac_coords"),
        ({"atomic_numbers": [70000]}, "atomic_numbers"),
        ({"composition": 3}, "composition"),
        ({"status": "fine"}, "fine"),
        ({"id": None}, "id"),
        ({"reason": None}, "reason"),
        ({"status": None}, "status"),
    ],
)
def test_a_bad_row_is_refused_and_nothing_is_written(path, changes, message):
    parquet.write(path, "generated", [row()], HEADER)
    before = path.read_bytes()
    with pytest.raises(TableError, match=message):
        parquet.write(path, "generated", [row(id="x"), row(**changes)], {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("column", REQUIRED)
def test_required_columns_are_never_empty(path, column):
    with pytest.raises(TableError, match=column):
        parquet.write(path, "generated", [row(**{column: None})], {})


def test_an_id_stands_once(path):
    with pytest.raises(TableError, match="unique"):
        parquet.write(path, "generated", [row(), row(index=5)], {})
    assert not path.exists()


def test_a_write_that_fails_half_way_leaves_the_old_file(path, monkeypatch):
    parquet.write(path, "generated", [row()], HEADER)
    before = path.read_bytes()

    def torn(_table, file, **_options):
        file.write(b"PAR1 half of a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(parquet.pq, "write_table", torn)
    with pytest.raises(OSError, match="space"):
        parquet.write(path, "generated", [row(id="new")], {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_file_appears_only_when_it_is_whole(path, monkeypatch):
    seen = []
    original = parquet.pq.write_table

    def watched(table, file, **options):
        original(table, file, **options)
        seen.append(path.exists())

    monkeypatch.setattr(parquet.pq, "write_table", watched)
    parquet.write(path, "generated", [row()], {})
    assert seen == [False]
    assert path.exists()


def test_files_are_readable_by_others(path):
    parquet.write(path, "generated", [row()], {})
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_the_same_rows_give_the_same_bytes(tmp_path):
    files = [tmp_path / name for name in ("a.parquet", "b.parquet")]
    for file in files:
        parquet.write(file, "generated", [row(), failed(id="other")], HEADER)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_another_table_than_expected(path):
    parquet.write(path, "generated", [row()], {})
    with pytest.raises(TableError, match=r"generated.*relaxed"):
        parquet.read(path, "relaxed")


def test_another_schema_version(path):
    schema = SCHEMAS["generated"]
    path.parent.mkdir(parents=True)
    metadata = {**schema.metadata, b"schema_version": str(SCHEMA_VERSION + 1).encode()}
    pq.write_table(schema.empty_table().replace_schema_metadata(metadata), path)
    with pytest.raises(TableError, match="version"):
        parquet.read(path, "generated")


def test_a_file_whose_columns_were_changed(path):
    parquet.write(path, "generated", [row()], {})
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["bravais_type"]), path)
    with pytest.raises(TableError, match="columns"):
        parquet.read(path, "generated")


def test_contents_are_checked_when_read(path):
    path.parent.mkdir(parents=True)
    schema = SCHEMAS["generated"]
    for bad, message in ((row(status="fine"), "fine"), (row(id=None), "id")):
        pq.write_table(pa.Table.from_pylist([bad], schema=schema), path)
        with pytest.raises(TableError, match=message):
            parquet.read(path, "generated")


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_a_truncated_file_is_one_clear_line(path, keep):
    parquet.write(path, "generated", [row()], {})
    path.write_bytes(path.read_bytes()[:keep])
    for reader in (
        lambda: parquet.read(path, "generated"),
        lambda: parquet.table_name(path),
        lambda: parquet.read_header(path),
    ):
        with pytest.raises(TableError, match=r"generated\.parquet") as caught:
            reader()
        assert "\n" not in str(caught.value)


def test_a_file_that_is_missing(path):
    for reader in (
        lambda: parquet.read(path, "generated"),
        lambda: parquet.table_name(path),
        lambda: parquet.read_header(path),
    ):
        with pytest.raises(TableError, match=r"generated\.parquet"):
            reader()


def test_a_parquet_file_of_someone_else(tmp_path):
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(TableError, match="generated"):
        parquet.read(path, "generated")
    with pytest.raises(TableError, match="chggen"):
        parquet.table_name(path)


def test_numbers_of_numpy_are_taken(path):
    changes = {
        "seed": np.int64(3),
        "index": 4.0,
        "volume_per_atom": np.float32(1.5),
        "atomic_numbers": np.array([30]),
        "status": Status.OK,
    }
    parquet.write(path, "generated", [row(**changes)], {})
    (back,) = parquet.read(path, "generated")
    assert (back["seed"], back["volume_per_atom"], back["status"]) == (3, 1.5, "ok")
    assert back["atomic_numbers"] == [30]
