"""VASP inputs: what is in them, atomic, and never over a calculation."""

import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import SETTINGS
from pymatgen.io.vasp.inputs import Incar, Poscar, PotcarSingle

from chggen.config.dft import DftConfig
from chggen.dft.inputs import prepare
from chggen.structure.crystal import Crystal
from tests.stand_ins.potcars import MARK, fake_potcars

CRYSTAL = Crystal.of(
    np.diag([5.0, 6.0, 7.0]),
    [16, 30, 16, 15],
    [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8], [0.5, 0.1, 0.9], [-0.1, 1.2, 0.5]],
)


@pytest.fixture(autouse=True)
def _no_potcars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)


@pytest.fixture
def potcars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A collection of files in the form of POTCARs, with nothing in them."""
    place = fake_potcars(tmp_path / "psp")
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(place))
    return place


@pytest.mark.parametrize("input_set", ["MP24RelaxSet", "MPScanRelaxSet"])
def test_inputs_are_r2scan_and_hold_the_structure(tmp_path: Path, input_set: str) -> None:
    place = tmp_path / "dft" / "abc"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare(CRYSTAL, place, DftConfig(input_set=input_set)) == "spec"
    assert {p.name for p in place.iterdir()} == {"pre_relax", "relax", "static"}
    for folder in place.iterdir():
        assert {p.name for p in folder.iterdir()} == {"INCAR", "POSCAR", "POTCAR.spec"}
    before, incar, static = (
        Incar.from_file(place / step / "INCAR") for step in ("pre_relax", "relax", "static")
    )
    assert (before["GGA"].upper(), before.get("METAGGA")) == ("PS", None)
    assert (before["ISIF"], before["LWAVE"]) == (3, True)
    assert incar["METAGGA"].upper() == static["METAGGA"].upper() == "R2SCAN"
    assert "GGA" not in incar
    assert incar["LASPH"] is True
    assert incar["ENCUT"] == 680
    assert incar["ISIF"] == 3
    assert static["NSW"] == 0
    assert "KSPACING" in incar  # so there is no KPOINTS file
    place /= "relax"
    structure = Poscar.from_file(place / "POSCAR", check_for_potcar=False).structure
    assert structure.lattice.matrix == pytest.approx(CRYSTAL.cell)
    for z, frac in zip(CRYSTAL.atomic_numbers, CRYSTAL.frac_coords, strict=True):
        shift = structure.frac_coords - frac
        near = np.abs(shift - np.round(shift)).max(axis=1) < 1e-8
        assert [structure.atomic_numbers[i] for i in np.flatnonzero(near)] == [z]
    symbols = (place / "POTCAR.spec").read_text().split()
    assert [s.split("_")[0] for s in symbols] == ["Zn", "P", "S"]  # in the order of POSCAR


def test_potcars_where_there_are_some(
    tmp_path: Path, potcars: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert potcars.is_dir()
    assert prepare(CRYSTAL, tmp_path / "full", DftConfig()) == "full"
    text = (tmp_path / "full" / "static" / "POTCAR").read_text()
    assert [text.index(f"PAW_PBE {s} ") for s in ("Zn", "P", "S")] == sorted(
        text.index(f"PAW_PBE {s} ") for s in ("Zn", "P", "S")
    )
    assert prepare(CRYSTAL, tmp_path / "spec", DftConfig(potcar="spec")) == "spec"
    assert not list((tmp_path / "spec").rglob("POTCAR"))
    assert MARK not in "".join(capfd.readouterr())


def test_a_missing_potcar_leaves_nothing(tmp_path: Path, potcars: Path) -> None:
    (potcars / PotcarSingle.functional_dir["PBE_64"] / "S" / "POTCAR").unlink()
    with pytest.raises(OSError, match="POTCAR"):
        prepare(CRYSTAL, tmp_path / "dft" / "abc", DftConfig())
    assert not list((tmp_path / "dft").iterdir())


def test_written_again(tmp_path: Path, potcars: Path) -> None:
    place = tmp_path / "results" / "abc"
    prepare(CRYSTAL, place, DftConfig(potcar="spec"))
    poscar = place / "relax" / "POSCAR"
    before = poscar.stat().st_mtime_ns
    prepare(CRYSTAL, place, DftConfig(potcar="spec"))  # the same inputs: nothing is touched
    assert poscar.stat().st_mtime_ns == before
    assert potcars.is_dir()
    assert prepare(CRYSTAL, place, DftConfig()) == "full"  # POTCARs are there by now
    assert not list(place.rglob("POTCAR.spec"))
    assert [p.name for p in place.parent.iterdir()] == ["abc"]


def test_a_calculation_that_was_begun_is_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "abc"
    prepare(CRYSTAL, place, DftConfig())
    (place / "relax" / "OUTCAR").write_text("a calculation")
    (place / "relax" / "INCAR").write_text("ALGO = All  # mended")
    assert prepare(CRYSTAL, place, DftConfig()) == "spec"
    assert (place / "relax" / "INCAR").read_text() == "ALGO = All  # mended"
    assert (place / "relax" / "OUTCAR").exists()


def test_a_job_that_found_no_potcars_does_not_keep_them_out(tmp_path: Path, potcars: Path) -> None:
    assert potcars.is_dir()
    prepare(CRYSTAL, tmp_path / "abc", DftConfig(potcar="spec"))
    (tmp_path / "abc" / "attempts.json").write_text("{}")  # VASP was never started
    assert prepare(CRYSTAL, tmp_path / "abc", DftConfig()) == "full"


def test_gga_is_the_pair_that_mp2020_corrects(tmp_path: Path) -> None:
    prepare(CRYSTAL, tmp_path / "abc", DftConfig(functional="GGA/GGA+U"))
    assert {p.name for p in (tmp_path / "abc").iterdir()} == {"relax", "static"}
    incar = Incar.from_file(tmp_path / "abc" / "relax" / "INCAR")
    assert (incar["ENCUT"], incar.get("METAGGA")) == (520, None)
    assert (tmp_path / "abc" / "static" / "KPOINTS").is_file()


def test_others_may_read(tmp_path: Path) -> None:
    prepare(CRYSTAL, tmp_path / "abc", DftConfig())
    assert (tmp_path / "abc").stat().st_mode & stat.S_IROTH


def test_an_element_without_potential_is_a_value_error(tmp_path: Path) -> None:
    heavy = Crystal.of(np.eye(3) * 4, [99], [[0, 0, 0]])
    with pytest.raises((ValueError, KeyError)):
        prepare(heavy, tmp_path / "abc", DftConfig())
    assert not list(tmp_path.iterdir())
