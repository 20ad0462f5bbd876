"""The user's collection of POTCARs, looked through without pymatgen.

Every job parses the Snakefile again, so nothing here loads pymatgen; its tables of which
POTCAR an input set takes are read as files.
"""

import importlib.util
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from chggen.config.contracts import R2SCAN

#: Environment variable (and key of pymatgen's settings) of the user's POTCARs.
POTCARS: Final = "PMG_VASP_PSP_DIR"
_FOLDERS: Final = "PMG_VASP_PSP_SUB_DIRS"
#: Pymatgen's table of symbols, the name of its collection, and the folder of that name
#: (``pymatgen.io.vasp.inputs.POTCAR_FUNCTIONAL_MAP``), by input set.
_SETS: Final = {
    "MP24RelaxSet": ("PBE64Base.yaml", "PBE_64", "POT_PAW_PBE_64"),
    "MPScanRelaxSet": ("MPSCANRelaxSet.yaml", "PBE_54", "POT_GGA_PAW_PBE_54"),
    "MPRelaxSet": ("MPRelaxSet.yaml", "PBE", "POT_GGA_PAW_PBE"),
}
#: Elements for which the input sets do not keep to their table.
_CHANGED: Final = frozenset({"W", "Yb"})


def potcar_directory() -> str:
    """The user's collection of POTCARs, as pymatgen will find it; empty if there is none."""
    for name in (POTCARS, POTCARS.removeprefix("PMG_")):
        if name in os.environ:
            return _expanded(os.environ[name])
    return _expanded(str(_settings().get(POTCARS) or ""))


def potcar_problem(functional: str, input_set: str, elements: Iterable[str]) -> str | None:
    """Why full POTCARs cannot be written for these elements, in one line; None if they can.

    Args:
        functional: of the final step.
        input_set: for r²SCAN.
        elements: symbols.
    """
    place = potcar_directory()
    if not Path(place).is_dir():
        return f"{POTCARS} = '{place}': no such directory"
    table, name, usual = _SETS[input_set if functional == R2SCAN else "MPRelaxSet"]
    folders = _settings().get(_FOLDERS)
    folder = Path(place) / (folders.get(name, usual) if isinstance(folders, dict) else usual)
    if not folder.is_dir():
        return f"{POTCARS} = '{place}': has no folder '{folder.name}' of POTCARs"
    there = _symbols(folder)
    wanted = _wanted(table)
    for element in sorted(elements):
        symbol = wanted.get(element, element)
        near = {s for s in there if s.partition("_")[0] == element}
        if symbol not in there and not (element in _CHANGED and near):
            return f"{POTCARS} = '{place}': no POTCAR '{symbol}' in '{folder.name}'"
    return None


def _symbols(folder: Path) -> set[str]:
    """Symbols of the POTCARs in a folder: ``POTCAR.Zn.gz`` or ``Zn/POTCAR``."""
    found = set()
    for path in folder.iterdir():
        if path.name.startswith("POTCAR."):
            found.add(path.name.split(".")[1])
        elif path.is_dir() and any(path.glob("POTCAR*")):
            found.add(path.name)
    return found


@cache
def _wanted(table: str) -> dict[str, str]:
    """Symbol of the POTCAR by element, from one of pymatgen's tables."""
    spec = importlib.util.find_spec("pymatgen")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "io" / "vasp" / table
        if path.is_file():
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            return {str(k): str(v) for k, v in content.get("POTCAR", {}).items()}
    return {}


def _settings() -> dict[str, Any]:
    """Pymatgen's settings file."""
    given = os.environ.get("PMG_CONFIG_FILE") or "~/.config/.pmgrc.yaml"
    for place in (given, "~/.pmgrc.yaml"):
        try:
            content = yaml.safe_load(Path(place).expanduser().read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        return content if isinstance(content, dict) else {}
    return {}


def _expanded(path: str) -> str:
    return os.path.expandvars(str(Path(path).expanduser())) if path else ""
