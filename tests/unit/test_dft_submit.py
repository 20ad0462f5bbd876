"""Stage submit: what goes on, under which name, and that calculations are left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import SETTINGS

from chggen.campaign.calculations import calculations
from chggen.config.dft import DftConfig
from chggen.errors import ReferenceCoverageError, Status
from chggen.stages.submit import submit
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

FORMULA_UNIT = [[0, 0, 0], [0.25, 0.25, 0.25]]


@pytest.fixture(autouse=True)
def _no_potcars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)


def zincblende(a: float) -> Crystal:
    cell = a / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal.of(cell, [30, 16], FORMULA_UNIT)


def row(name: str, crystal: Crystal, **changes: Any) -> parquet.Row:
    return {
        "id": name, "system": "Zn-S", "composition": "ZnS", "route": "inpainting", "seed": 0,
        "index": 0, "draw": 0, "random_seed": 0, "status": "ok", "reason": "",
        "formula_units": 1, **crystal.columns(), **changes,
    }  # fmt: skip


@pytest.fixture
def screened(tmp_path: Path) -> Path:
    rows = [
        row("a", zincblende(5.3), selected=True, decomposition_energy=0.02),
        row("b", zincblende(5.4), selected=True, decomposition_energy=0.05),
        row("c", zincblende(5.5), selected=False),
    ]
    parquet.write(tmp_path / "screened.parquet", "screened", rows, {})
    return tmp_path / "screened.parquet"


def submitted(screened: Path, settings: DftConfig | None = None, **given: Any) -> list[parquet.Row]:
    output = screened.parent / "submitted.parquet"
    submit(screened, output, settings or DftConfig(), **given)
    return parquet.read(output, "submitted")


def test_selected_structures_get_inputs(screened: Path) -> None:
    rows = submitted(screened)
    assert [r["parent_id"] for r in rows] == ["a", "b"]
    for found in rows:
        assert (found["status"], found["role"], found["engine"]) == (
            Status.OK, "candidate", "vasp",
        )  # fmt: skip
        assert found["directory"] == f"dft/{found['id']}"
        assert (screened.parent / found["directory"] / "static" / "INCAR").is_file()
    paths = calculations(screened.parent / "submitted.parquet")
    assert paths == [f"{screened.parent}/{r['directory']}/calculated.parquet" for r in rows]


def test_submitted_again_it_finds_its_calculation(screened: Path) -> None:
    first = submitted(screened)
    place = screened.parent / first[0]["directory"]
    (place / "relax" / "OUTCAR").write_text("a calculation")
    (place / "calculated.parquet").write_text("a result")
    rows = parquet.read(screened, "screened")
    rows[1]["selected"] = False  # a lower threshold
    rows[2]["selected"] = True
    parquet.write(screened, "screened", rows, {})
    second = submitted(screened)
    assert second[0]["id"] == first[0]["id"]
    assert second[0]["status"] == Status.OK
    assert (place / "relax" / "OUTCAR").read_text() == "a calculation"
    assert (place / "calculated.parquet").read_text() == "a result"
    # what is not wanted any more is not deleted either
    assert (screened.parent / first[1]["directory"]).is_dir()


def test_another_structure_or_method_is_another_calculation(screened: Path) -> None:
    first = submitted(screened)
    assert submitted(screened, DftConfig(runtime=9))[0]["id"] == first[0]["id"]
    other = submitted(screened, DftConfig(pre_relax=False))
    assert not {r["id"] for r in other} & {r["id"] for r in first}
    rows = parquet.read(screened, "screened")
    rows[0] |= zincblende(5.31).columns()  # same lineage, relaxed with other settings
    parquet.write(screened, "screened", rows, {})
    second = submitted(screened)
    assert second[0]["id"] != first[0]["id"]
    assert second[1]["id"] == first[1]["id"]


def test_competing_phases_of_files(screened: Path, tmp_path: Path) -> None:
    folder = tmp_path / "phases"
    folder.mkdir()
    crystals = {
        "Zn": Crystal.of(2.7 * np.eye(3), [30], [[0, 0, 0]]),
        "S": Crystal.of(3.0 * np.eye(3), [16], [[0, 0, 0]]),
        "known": zincblende(5.41),
        "other": Crystal.of(3.0 * np.eye(3), [3], [[0, 0, 0]]),  # no element of the system
    }
    for name, crystal in crystals.items():
        (folder / f"{name}.cif").write_text(str(crystal.to_structure().to(fmt="cif")))
    settings = DftConfig(competing_phases="calculate")
    rows = submitted(screened, settings, phases=folder)
    competing = {r["label"]: r for r in rows if r["role"] == "competing"}
    assert set(competing) == {"Zn.cif", "S.cif", "known.cif"}
    assert competing["known.cif"]["composition"] == "ZnS"
    assert all(r["status"] == Status.OK for r in rows)
    assert len({r["id"] for r in rows}) == 5
    (folder / "S.cif").unlink()
    with pytest.raises(ReferenceCoverageError, match="elemental S"):
        submitted(screened, settings, phases=folder)


def test_competing_phases_as_the_potential_relaxed_them(screened: Path, tmp_path: Path) -> None:
    rows = [
        row("r1", zincblende(5.41), label="mp-1"),
        row("r2", zincblende(5.41), label="mp-2", status="exploded", n_atoms=0, cell=None),
    ]
    parquet.write(tmp_path / "referenced.parquet", "referenced", rows, {})
    settings = DftConfig(competing_phases="calculate")
    found = submitted(screened, settings, referenced=[tmp_path / "referenced.parquet"])
    assert [r["label"] for r in found if r["role"] == "competing"] == ["mp-1"]


def test_a_structure_without_inputs_keeps_its_row(screened: Path) -> None:
    rows = parquet.read(screened, "screened")
    rows[0] |= Crystal.of(3.0 * np.eye(3), [99], [[0, 0, 0]]).columns()
    parquet.write(screened, "screened", rows, {})
    found = submitted(screened)
    assert [r["status"] for r in found] == [Status.FAILED, Status.OK]
    assert found[0]["reason"].startswith("inputs: ")
    assert len(calculations(screened.parent / "submitted.parquet")) == 1


def test_another_phase_in_front_moves_no_calculation(screened: Path, tmp_path: Path) -> None:
    """In a table of structures the place of a phase is no part of what it is."""
    settings = DftConfig(competing_phases="calculate")

    def directories(crystals: list[Crystal], name: str) -> dict[str, list[str]]:
        path = tmp_path / name
        rows = [{"cif": str(c.to_structure().to(fmt="cif"))} for c in crystals]
        pd.DataFrame(rows).to_csv(path, index=False)
        found: dict[str, list[str]] = {}
        for row in submitted(screened, settings, phases=path):
            found.setdefault(row["composition"], []).append(row["directory"])
        return found

    zinc = Crystal.of(2.7 * np.eye(3), [30], [[0, 0, 0]])
    sulfur = Crystal.of(3.0 * np.eye(3), [16], [[0, 0, 0]])
    few = directories([zinc, sulfur, zincblende(5.41)], "few.csv")
    more = directories([zincblende(5.2), sulfur, zinc, sulfur, zincblende(5.41)], "more.csv")
    assert set(few["Zn"]) == set(more["Zn"])
    assert set(few["S"]) < set(more["S"])  # a copy of its own beside the one that was there
    assert set(few["ZnS"]) < set(more["ZnS"])


def test_rounding_moves_no_calculation(screened: Path) -> None:
    first = submitted(screened)
    rows = parquet.read(screened, "screened")
    noise = np.random.default_rng(1)
    for row in rows:
        row["cell"] = (np.array(row["cell"]) + 1e-12 * noise.standard_normal((3, 3))).tolist()
        frac = np.array(row["frac_coords"])
        row["frac_coords"] = (frac + 1e-12 * noise.standard_normal(frac.shape)).tolist()
    parquet.write(screened, "screened", rows, {})
    assert [r["id"] for r in submitted(screened)] == [r["id"] for r in first]
