"""VASP inputs: what is in them, atomic, and never over a calculation."""

import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import SETTINGS
from pymatgen.io.vasp.inputs import Incar, Poscar, PotcarSingle

from chggen.config import DftConfig
from chggen.crystal import Crystal
from chggen.dft.inputs import prepare

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
    for name in ("Zn", "P", "S"):
        place = tmp_path / "psp" / PotcarSingle.functional_dir["PBE_64"] / name
        place.mkdir(parents=True)
        (place / "POTCAR").write_text(
            f"  PAW_PBE {name} 01Jan2000\n   1.0\n parameters from PSCTR are:\n"
            f"   VRHFIN ={name}: s2\n   LEXCH  = PE\n   TITEL  = PAW_PBE {name} 01Jan2000\n"
            "   ENMAX  =  100.000; ENMIN  =   80.000 eV\n   ZVAL   =    2.000\n"
            " END of PSCTR-controll parameters\n local part\n  0.1 0.2 0.3\n SECRET\n"
            " End of Dataset\n"
        )
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path / "psp"))
    return tmp_path / "psp"


@pytest.mark.parametrize("input_set", ["MP24RelaxSet", "MPScanRelaxSet"])
def test_inputs_are_r2scan_and_hold_the_structure(tmp_path: Path, input_set: str) -> None:
    place = tmp_path / "dft" / "abc"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare(CRYSTAL, place, DftConfig(input_set=input_set)) == "spec"
    assert {p.name for p in place.iterdir()} == {"INCAR", "POSCAR", "POTCAR.spec"}
    incar = Incar.from_file(place / "INCAR")
    assert incar["METAGGA"].upper() == "R2SCAN"
    assert incar["LASPH"] is True
    assert incar["ENCUT"] == 680
    assert incar["ISIF"] == 3
    assert "KSPACING" in incar  # so there is no KPOINTS file
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
    text = (tmp_path / "full" / "POTCAR").read_text()
    assert [text.index(f"PAW_PBE {s} ") for s in ("Zn", "P", "S")] == sorted(
        text.index(f"PAW_PBE {s} ") for s in ("Zn", "P", "S")
    )
    assert prepare(CRYSTAL, tmp_path / "spec", DftConfig(potcar="spec")) == "spec"
    assert not (tmp_path / "spec" / "POTCAR").exists()
    assert "SECRET" not in "".join(capfd.readouterr())


def test_a_missing_potcar_leaves_nothing(tmp_path: Path, potcars: Path) -> None:
    (potcars / PotcarSingle.functional_dir["PBE_64"] / "S" / "POTCAR").unlink()
    with pytest.raises(OSError, match="POTCAR"):
        prepare(CRYSTAL, tmp_path / "dft" / "abc", DftConfig())
    assert not list((tmp_path / "dft").iterdir())


def test_written_again(tmp_path: Path) -> None:
    place = tmp_path / "abc"
    prepare(CRYSTAL, place, DftConfig())
    before = (place / "POSCAR").stat().st_mtime_ns
    (place / "OUTCAR").write_text("a calculation")
    prepare(CRYSTAL, place, DftConfig())  # the same inputs: nothing is touched
    assert (place / "POSCAR").stat().st_mtime_ns == before
    with pytest.raises(OSError, match="OUTCAR"):
        prepare(CRYSTAL, place, DftConfig(input_set="MPScanRelaxSet"))
    assert (place / "OUTCAR").exists()
    (place / "OUTCAR").unlink()
    prepare(CRYSTAL, place, DftConfig(input_set="MPScanRelaxSet"))
    assert Incar.from_file(place / "INCAR")["ALGO"] == "All"
    assert [p.name for p in tmp_path.iterdir()] == ["abc"]


def test_others_may_read(tmp_path: Path) -> None:
    prepare(CRYSTAL, tmp_path / "abc", DftConfig())
    assert (tmp_path / "abc").stat().st_mode & stat.S_IROTH


def test_an_element_without_potential_is_a_value_error(tmp_path: Path) -> None:
    heavy = Crystal.of(np.eye(3) * 4, [99], [[0, 0, 0]])
    with pytest.raises((ValueError, KeyError)):
        prepare(heavy, tmp_path / "abc", DftConfig())
    assert not list(tmp_path.iterdir())
