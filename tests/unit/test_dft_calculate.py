"""Stage calculate: attempts, what is tried again, and that nothing is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chggen.config.contracts import Contract
from chggen.config.dft import DftConfig
from chggen.dft.engine import Result
from chggen.errors import Status, TableError, UnfinishedError
from chggen.run.job import working_time
from chggen.stages import calculate as stage
from chggen.stages.calculate import calculate
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

CRYSTAL = Crystal.of(3.0 * np.eye(3), [30], [[0, 0, 0]])
SETTINGS = DftConfig(command=["vasp"], attempts=2)
OK = Result(
    Status.OK,
    crystal=CRYSTAL,
    dft_energy_per_atom=-1.5,
    correction_per_atom=0.0,
    run_type="R2SCAN",
    finished=("relax", "static"),
    wall_time=12.0,
)
TIME = Result(Status.OUT_OF_TIME, "static: stopped", finished=("relax",))


class Engine:
    """Gives results in turn; only those for 0 seconds are from what is there."""

    name = "vasp"
    contract = Contract("r2SCAN", "none")
    recipe = ("relax", "static")

    def __init__(self, *results: Result, there: Result = TIME) -> None:
        self.results, self.there = list(results), there
        self.computed = 0

    def run(self, directory: Path, *, seconds: float | None) -> Result:
        assert directory.is_dir()
        if seconds == 0.0:
            return self.there
        self.computed += 1
        return self.results.pop(0)


@pytest.fixture
def submitted(tmp_path: Path) -> Path:
    row: dict[str, Any] = {
        "id": "a1", "parent_id": "b2", "system": "Zn", "composition": "Zn", "route": "inpainting",
        "seed": 3, "index": 0, "draw": 1, "random_seed": 9, "status": "ok", "reason": "",
        "formula_units": 1, "role": "candidate", "engine": "vasp", "directory": "dft/a1",
        **CRYSTAL.columns(),
    }  # fmt: skip
    (tmp_path / "dft" / "a1").mkdir(parents=True)
    failed = row | {"id": "a2", "directory": None, "status": "failed", "reason": "inputs: none"}
    parquet.write(tmp_path / "submitted.parquet", "submitted", [row, failed], {})
    return tmp_path / "submitted.parquet"


def run(
    submitted: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine, attempt: int
) -> parquet.Row:
    monkeypatch.setattr(stage, "load_engine", lambda _: engine)
    output = submitted.parent / "dft" / "a1" / "calculated.parquet"
    calculate(submitted, "a1", output, SETTINGS, attempt=attempt, seconds=60.0)
    (row,) = parquet.read(output, "calculated")
    return row


def test_a_row_of_a_good_calculation(submitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = run(submitted, monkeypatch, Engine(OK), 1)
    assert (row["status"], row["converged"], row["attempts"]) == (Status.OK, True, 1)
    assert (row["parent_id"], row["seed"], row["draw"]) == ("a1", 3, 1)
    assert (row["dft_functional"], row["dft_corrections"]) == ("r2SCAN", "none")
    assert row["dft_energy_per_atom"] == -1.5
    assert Crystal.from_row(row).cell == pytest.approx(CRYSTAL.cell)


def test_out_of_time_is_tried_again_and_then_a_row(
    submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnfinishedError, match="attempt 1 of 2"):
        run(submitted, monkeypatch, Engine(TIME), 1)
    assert not list(submitted.parent.rglob("calculated.parquet"))
    row = run(submitted, monkeypatch, Engine(TIME), 2)
    assert (row["status"], row["attempts"], row["finished"]) == (
        Status.OUT_OF_TIME, 2, ["relax"],
    )  # fmt: skip
    assert not row["converged"]


def test_what_no_attempt_mends_is_a_row_at_once(
    submitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = Result(Status.NOT_CONVERGED, "static: electronic steps did not converge")
    row = run(submitted, monkeypatch, Engine(bad), 1)
    assert (row["status"], row["reason"]) == (bad.status, bad.reason)


def test_killed_in_every_attempt(submitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both jobs die without a word; the third computes nothing and writes the row."""
    for attempt in (1, 2):
        engine = Engine()  # which has no result to give: IndexError stands for the kill
        with pytest.raises(IndexError):
            run(submitted, monkeypatch, engine, attempt)
    engine = Engine()
    row = run(submitted, monkeypatch, engine, 3)
    assert engine.computed == 0
    assert (row["status"], row["attempts"]) == (Status.INTERRUPTED, 2)
    assert row["reason"] == "no attempt finished; completed steps: relax"


def test_killed_when_all_was_done(submitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IndexError):
        run(submitted, monkeypatch, Engine(), 1)
    engine = Engine(there=OK)
    row = run(submitted, monkeypatch, engine, 2)
    assert (engine.computed, row["status"], row["attempts"]) == (0, Status.OK, 1)


def test_a_row_without_inputs_is_no_calculation(submitted: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no inputs"):
        calculate(submitted, "a2", tmp_path / "out.parquet", SETTINGS)
    with pytest.raises(TableError, match="no row"):
        calculate(submitted, "zz", tmp_path / "out.parquet", SETTINGS)


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 40), (60, 3420), (1440, 85_800)])
def test_a_margin_is_left_of_the_walltime(minutes: float, seconds: float) -> None:
    assert working_time(minutes) == pytest.approx(seconds)
