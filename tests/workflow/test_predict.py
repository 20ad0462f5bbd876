"""``chggen predict`` from end to end: stopped in the middle, continued, answered."""

import time
from pathlib import Path

import pytest
import yaml

from chggen.prediction import answer, calibrate, planning
from chggen.prediction.cost import Machine
from chggen.prediction.driver import Driver
from chggen.prediction.predict import predict, question
from chggen.run import processes
from chggen.tables import parquet

#: So slow that the smallest campaign is planned for a time in which it is surely done.
SLOW = Machine(start=120.0, scale=60.0, cores=2)


def test_predict_is_stopped_continued_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "measure", lambda _cores: SLOW)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    budget = 1.01 * planning.least_seconds("ZnS", SLOW)
    asked = question("ZnS", None, budget, 2, tmp_path / "zns")
    said: list[str] = []
    original, stopped = Driver.run, []

    def interrupted(driver: Driver, targets: list[str], limit: float | None) -> bool:
        """Time is up as soon as a job runs, then the user goes away."""
        if not stopped:
            stopped.append(original(driver, targets, time.monotonic() + 20.0))
            raise KeyboardInterrupt
        return original(driver, targets, limit)

    monkeypatch.setattr(Driver, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(asked, said.append)
    assert "8 structures of 2 to 4 atoms" in said[0]
    assert not processes.drivers(asked.folder)
    assert not processes.jobs(asked.folder)
    config = asked.config.read_text()
    screened = predict(question("ZnS", None, budget, 2, tmp_path / "zns"), said.append)
    assert asked.config.read_text() == config
    assert any("continuing" in line for line in said)
    assert any(line.endswith("steps (100%) done") for line in said)
    rows = parquet.read(screened, "screened")
    assert len(rows) == 8
    lines = answer.aligned(answer.table(answer.best(screened, 3)))
    assert 2 <= len(lines) <= 4
    assert "(" in lines[1]
    assert (asked.results / "report.html").is_file()
    written = yaml.safe_load(config)["systems"]["ZnS"]
    assert written["lattices_per_seed"] == 4
    assert not any(row["route"] == "inpainting" for row in rows)
