"""Files in the form of POTCARs, with nothing in them."""

from collections.abc import Iterable
from pathlib import Path

from pymatgen.io.vasp.inputs import PotcarSingle

#: Stands where a POTCAR has its numbers: must never be found in a log, table or report.
MARK = "NUMBERS-OF-A-POTCAR"
#: Potentials that the input sets ask for, by element, where they are not the bare symbol.
NAMES = {"Li": ("Li_sv",), "Na": ("Na_pv",), "Zn": ("Zn",)}


def fake_potcars(folder: Path, elements: Iterable[str] = ("Li", "Zn", "P", "S", "Si")) -> Path:
    """Make a collection like the one PMG_VASP_PSP_DIR points to; gives its path."""
    for functional in ("PBE_64", "PBE_54", "PBE"):
        for symbol in elements:
            for name in (symbol, *NAMES.get(symbol, ())):
                place = folder / PotcarSingle.functional_dir[functional] / name
                place.mkdir(parents=True, exist_ok=True)
                (place / "POTCAR").write_text(_text(symbol, name))
    return folder


def _text(symbol: str, name: str) -> str:
    return (
        f"  PAW_PBE {name} 01Jan2000\n   1.0\n parameters from PSCTR are:\n"
        f"   VRHFIN ={symbol}: s2\n   LEXCH  = PE\n   TITEL  = PAW_PBE {name} 01Jan2000\n"
        "   ENMAX  =  100.000; ENMIN  =   80.000 eV\n   ZVAL   =    2.000\n"
        f" END of PSCTR-controll parameters\n local part\n  0.1 0.2 0.3\n {MARK}\n"
        " End of Dataset\n"
    )
