"""Engine vasp, run on the stand-in: every way to end, and to go on."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import SETTINGS
from pymatgen.io.vasp.inputs import Incar, Poscar
from pymatgen.io.vasp.outputs import Oszicar, Outcar, Vasprun

from chggen.config.dft import DftConfig
from chggen.dft import custody, outputs
from chggen.dft.vasp import Vasp
from chggen.errors import Status
from chggen.structure.crystal import Crystal
from tests.stand_ins.potcars import MARK, fake_potcars

STAND_IN = Path(__file__).parents[1] / "stand_ins" / "vasp.py"
CRYSTAL = Crystal.of(
    2.7 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]), [30, 16], [[0, 0, 0], [0.25, 0.25, 0.25]]
)
Modes = Callable[[str], None]


@pytest.fixture(autouse=True)
def _collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = fake_potcars(tmp_path / "psp", ("Zn", "S"))
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(place))
    monkeypatch.setattr(custody, "_POLL", 0.02)


@pytest.fixture
def goes_wrong(monkeypatch: pytest.MonkeyPatch) -> Modes:
    """Set what the stand-in does."""
    return lambda modes: monkeypatch.setenv("VASP_STAND_IN", modes)


def engine(*, pre_relax: bool = False, **settings: object) -> Vasp:
    given = {"command": [sys.executable, str(STAND_IN)], "pre_relax": pre_relax, **settings}
    return Vasp(DftConfig.model_validate(given))


def test_the_recipe(tmp_path: Path, goes_wrong: Modes) -> None:
    vasp, place = engine(pre_relax=True), tmp_path / "abc"
    assert vasp.prepare(CRYSTAL, place) == {"input_set": "MP24RelaxSet", "potcar": "full"}
    result = vasp.run(place, seconds=None)
    assert (result.status, result.reason) == (Status.OK, "")
    assert result.finished == vasp.recipe == ("pre_relax", "relax", "static")
    assert (result.run_type, result.corrected_errors, result.correction_per_atom) == (
        "R2SCAN",
        (),
        0.0,
    )
    runs = {s: Vasprun(place / s / "vasprun.xml", parse_potcar_file=False) for s in vasp.recipe}
    assert runs["pre_relax"].run_type == "PBEsol"
    # each starts where the one before ended, and the energy is that of the last
    for before, after in (("pre_relax", "relax"), ("relax", "static")):
        end, start = runs[before].final_structure, runs[after].initial_structure
        assert start.lattice.matrix == pytest.approx(end.lattice.matrix, abs=1e-6)
    assert runs["relax"].ionic_steps[-1]["e_0_energy"] < runs["relax"].ionic_steps[0]["e_0_energy"]
    energy = float(runs["static"].final_energy) / 2
    assert result.dft_energy_per_atom == pytest.approx(energy)
    assert result.smax == pytest.approx(np.abs(runs["static"].ionic_steps[-1]["stress"]).max() / 10)
    # an insulator: fewer k-points than for the first step, and the last keeps them
    grids = [Incar.from_file(place / s / "INCAR")["KSPACING"] for s in vasp.recipe]
    assert grids[0] == 0.22
    assert grids[1] == grids[2] > 0.22
    assert not list(place.rglob("WAVECAR"))
    goes_wrong("crash")  # nothing is run once more
    again = vasp.run(place, seconds=None)
    assert again.dft_energy_per_atom == result.dft_energy_per_atom


def test_what_the_stand_in_writes_reads_like_vasp(tmp_path: Path) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    assert vasp.run(place, seconds=None).status == Status.OK
    run = Vasprun(place / "static" / "vasprun.xml", parse_potcar_file=False)
    outcar, oszicar = Outcar(place / "static" / "OUTCAR"), Oszicar(place / "static" / "OSZICAR")
    assert outcar.final_energy == pytest.approx(float(run.final_energy))
    assert float(oszicar.final_energy) == pytest.approx(float(run.final_energy), rel=1e-6)
    assert run.eigenvalue_band_properties[0] == 2.0
    assert "not vasp" in run.generator["version"].lower()


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("*/relax=crash", Status.FAILED, "relax: no complete vasprun.xml"),
        ("*/static=truncated", Status.FAILED, "static: no complete vasprun.xml"),
        ("*/static=unconverged", Status.NOT_CONVERGED, "static: electronic steps did not converge"),
        ("*/relax=functional", Status.FAILED, "relax: run type PBE, not R2SCAN"),
        ("*/relax=killed", Status.INTERRUPTED, "relax: killed"),
    ],
)
def test_failures_have_a_reason(
    tmp_path: Path,
    goes_wrong: Modes,
    capfd: pytest.CaptureFixture[str],
    mode: str,
    status: Status,
    reason: str,
) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong(mode)
    result = vasp.run(place, seconds=None)
    assert (result.status, result.reason[: len(reason)]) == (status, reason)
    assert result.dft_energy_per_atom is None
    assert result.finished == (("relax",) if mode.startswith("*/static") else ())
    assert MARK not in "".join(capfd.readouterr()) + result.reason
    assert MARK not in "".join(p.read_text() for p in place.rglob("custodian*.json"))


@pytest.mark.parametrize(("mode", "error"), [("zbrent", "zbrent"), ("ionic", "Unconverged")])
def test_known_errors_are_mended(tmp_path: Path, goes_wrong: Modes, mode: str, error: str) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong(f"*/relax={mode}")
    result = vasp.run(place, seconds=None)
    assert (result.status, result.corrected_errors) == (Status.OK, (error,))


def test_a_killed_run_goes_on_from_its_geometry(tmp_path: Path, goes_wrong: Modes) -> None:
    vasp, place = engine(pre_relax=True), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong("*/relax=killed")
    assert vasp.run(place, seconds=None).finished == ("pre_relax",)
    reached = Poscar.from_file(place / "relax" / "CONTCAR", check_for_potcar=False).structure
    first = (place / "pre_relax" / "vasprun.xml").stat().st_mtime_ns
    goes_wrong("ok")
    assert vasp.run(place, seconds=None).status == Status.OK
    assert (place / "pre_relax" / "vasprun.xml").stat().st_mtime_ns == first
    started = Vasprun(place / "relax" / "vasprun.xml", parse_potcar_file=False).initial_structure
    assert started.volume == pytest.approx(reached.volume)
    # as many ionic steps as an undisturbed relaxation, over both runs
    assert json.loads((place / "relax" / ".stand_in.json").read_text())["steps"] == 4


def test_a_damaged_geometry_is_not_gone_on_from(tmp_path: Path, goes_wrong: Modes) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong("*/relax=killed")
    vasp.run(place, seconds=None)
    contcar = place / "relax" / "CONTCAR"
    contcar.write_text(contcar.read_text()[:60])
    goes_wrong("ok")
    assert vasp.run(place, seconds=None).status == Status.OK
    start = Vasprun(place / "relax" / "vasprun.xml", parse_potcar_file=False).initial_structure
    assert start.volume == pytest.approx(CRYSTAL.volume)


def test_a_vasp_that_outlived_its_job_is_ended_first(tmp_path: Path, goes_wrong: Modes) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong("*/relax=slow:60")
    script = (
        "import sys; from pathlib import Path; from chggen.config.dft import DftConfig;"
        "from chggen.dft.vasp import Vasp;"
        f"Vasp(DftConfig(command=[sys.executable, {str(STAND_IN)!r}], pre_relax=False))"
        f".run(Path({str(place)!r}), seconds=None)"
    )
    job = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    note = place / "relax" / "running.json"
    deadline = time.monotonic() + 120
    while not note.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.kill()
    job.wait()
    orphan = json.loads(note.read_text())["pid"]
    assert Path(f"/proc/{orphan}").exists()
    goes_wrong("ok")
    assert vasp.run(place, seconds=None).status == Status.OK
    assert not note.exists()
    status = Path(f"/proc/{orphan}/status")  # a zombie where nothing reaps it
    assert not status.exists() or "Z (zombie)" in status.read_text()


def test_it_stops_in_time_and_goes_on(tmp_path: Path, goes_wrong: Modes) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    goes_wrong("*/relax=slow:60")
    stopped = vasp.run(place, seconds=3.0)
    assert (stopped.status, stopped.finished) == (Status.OUT_OF_TIME, ())
    assert stopped.wall_time < 30
    # pymatgen takes a relaxation that was stopped for a converged one
    assert Vasprun(place / "relax" / "vasprun.xml", parse_potcar_file=False).converged
    assert vasp.run(place, seconds=0.0).status == Status.OUT_OF_TIME  # reads, starts nothing
    goes_wrong("ok")
    assert vasp.run(place, seconds=None).status == Status.OK


def test_a_static_run_that_was_asked_to_stop_is_not_believed(tmp_path: Path) -> None:
    vasp, place = engine(), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    assert vasp.run(place, seconds=None).status == Status.OK
    for step, problem in (("relax", ""), ("static", "stopped before the end")):
        (place / step / outputs.STOP_ASKED).touch()
        found = outputs.read(place / step)
        assert found is not None
        assert found.problem == problem  # a relaxation that met its criterion says so


def test_gga_is_corrected(tmp_path: Path) -> None:
    vasp, place = engine(functional="GGA/GGA+U"), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    result = vasp.run(place, seconds=None)
    assert (result.status, result.run_type, result.finished) == (
        Status.OK, "GGA", ("relax", "static"),
    )  # fmt: skip
    # MP2020: -0.503 eV per sulfide ion (Wang et al., doi:10.1038/s41598-021-94550-5)
    assert result.correction_per_atom == pytest.approx(-0.503 / 2)
    run = Vasprun(place / "static" / "vasprun.xml", parse_potcar_file=False)
    assert result.dft_energy_per_atom == pytest.approx((float(run.final_energy) - 0.503) / 2)


def test_without_potcars_nothing_is_started(tmp_path: Path) -> None:
    vasp, place = engine(potcar="spec"), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    result = vasp.run(place, seconds=None)
    assert result.status == Status.FAILED
    assert "POTCAR.spec" in result.reason
    assert not list(place.rglob("vasp.out"))


def test_a_program_that_is_not_there_is_a_reason(tmp_path: Path) -> None:
    vasp, place = engine(command=["/no/such/vasp"]), tmp_path / "abc"
    vasp.prepare(CRYSTAL, place)
    result = vasp.run(place, seconds=None)
    assert result.status == Status.FAILED
    assert "cannot be started" in result.reason
