"""Space group of a CIF block: which settings of spglib's table it can mean."""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pymatgen.io.cif import CifBlock

OPERATIONS: Final = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_NUMBERS: Final = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_SYMBOLS: Final = ("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt")
_HALL: Final = ("_symmetry_space_group_name_Hall", "_space_group_name_Hall")


class Setting(NamedTuple):
    """One entry of spglib's table of space-group settings."""

    hall: int
    number: int
    names: frozenset[str]
    hall_symbol: str
    choice: str


def first(block: "CifBlock", names: tuple[str, ...]) -> object:
    """First of several items that a block has; None if none has a value."""
    lower = {key.lower().replace(".", "_"): value for key, value in block.data.items()}
    values = (lower.get(name.lower()) for name in names)
    return next((v for v in values if v not in (None, "?", ".", "", [])), None)


def number_of(value: object) -> int | None:
    """Whole number of an item; None if it is none."""
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return None


def _plain(symbol: str) -> str:
    return re.sub(r"[\s_'\"]", "", symbol).lower()


@lru_cache(maxsize=1)
def _known_settings() -> tuple[Setting, ...]:
    import spglib

    known = []
    for hall in range(1, 531):
        found = spglib.get_spacegroup_type(hall)
        full = found.international_full
        short = "".join(part for part in full.split() if part != "1") or full
        # the short symbol of the table is that of the standard setting for all settings
        standard = [n for n in (found.international_short,) if _is_standard(found.choice)]
        names = [full, short, found.international.split("=")[-1], *standard]
        plain = frozenset(map(_plain, names))
        hall_symbol = _plain(found.hall_symbol)
        known.append(Setting(hall, found.number, plain, hall_symbol, found.choice))
    return tuple(known)


def _is_standard(choice: str) -> bool:
    return choice in {"", "1", "2", "H", "R", "b", "b1"}


def settings_of(block: "CifBlock") -> list[Setting]:
    """Settings that symbol or number and cell allow: one, or one per origin choice.

    Raises ``ValueError`` if symbol and number are of different groups. Empty if neither
    is known here.
    """
    number = number_of(first(block, _NUMBERS))
    exact = [s for s in _known_settings() if s.hall_symbol == _plain(str(first(block, _HALL)))]
    if exact:
        return exact[:1]
    symbol, _, suffix = str(first(block, _SYMBOLS) or "").partition(":")
    words = symbol.split()
    if not suffix and len(words) > 2 and words[-1] in {"S", "Z", "H", "R"}:  # noqa: PLR2004
        symbol, suffix = " ".join(words[:-1]), {"S": "1", "Z": "2"}.get(words[-1], words[-1])
    named = [s for s in _known_settings() if _plain(symbol) in s.names]
    if symbol and number and named and number not in {s.number for s in named}:
        raise ValueError(f"its space group symbol {symbol} is not of number {number}")
    numbered = [s for s in _known_settings() if s.number == number]
    found = [s for s in named if not number or s.number == number] or numbered
    if symbol and not named and numbered:
        found = []  # a setting that spglib does not have: pymatgen may know its symbol
    chosen = [s for s in found if s.choice.lower() == suffix.strip().lower()]
    found = [s for s in (chosen if suffix and chosen else found) if _fits(s, block)]
    origins = [s for s in found if s.choice in {"1", "2"}]
    return origins or found[:1]


def _operations(hall: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    import spglib

    found = spglib.get_symmetry_from_database(hall)
    return np.asarray(found["rotations"]), np.asarray(found["translations"])


def _fits(setting: Setting, block: "CifBlock") -> bool:
    """True if the rotations of a setting leave the metric of the cell as it is."""
    from pymatgen.core import Lattice
    from pymatgen.io.cif import str2float

    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    try:
        values = [str2float(block.data[f"_cell_{name}"]) for name in names]
    except (KeyError, ValueError):
        return True  # the parser says what is wrong with the cell
    metric = Lattice.from_parameters(*values).metric_tensor
    rotations, _ = _operations(setting.hall)
    turned = np.einsum("kji,jl,klm->kim", rotations, metric, rotations)
    return bool(np.abs(turned - metric).max() < 0.02 * np.abs(metric).max())


def loop_of(setting: Setting) -> str:
    """CIF loop with the operations of a setting."""
    from pymatgen.core.operations import SymmOp

    pairs = zip(*_operations(setting.hall), strict=True)
    lines = [SymmOp.from_rotation_and_translation(w, t).as_xyz_str() for w, t in pairs]
    return "\nloop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{line}'\n" for line in lines)


def require_same_group(block: "CifBlock", listed: object, *, certain: bool) -> None:
    """Raise ``ValueError`` if the operations listed are of another group than the one stated.

    Not where formula and Z say that the atoms are all there: some programs list every atom
    of the cell and keep the name of the group.
    """
    import spglib
    from pymatgen.core.operations import SymmOp

    number = number_of(first(block, _NUMBERS))
    if certain or number is None:
        return
    lines = listed if isinstance(listed, list) else [listed]
    operations = [SymmOp.from_xyz_str(str(line)) for line in lines]
    rotations = np.array([o.rotation_matrix for o in operations]).round().astype(np.int32)
    translations = np.array([o.translation_vector for o in operations])
    found = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    if found is not None and found.number != number:
        raise ValueError(f"lists the operations of space group {found.number} but states {number}")


def require_symmetry(block: "CifBlock", remarks: list[str]) -> None:
    """Raise ``ValueError`` if the parser did not know the space group that is stated."""
    if first(block, OPERATIONS):
        return
    symbol = first(block, _SYMBOLS)
    by_symbol = any("Spacegroup from" in remark for remark in remarks)
    by_default = any("Defaulting to P1" in remark for remark in remarks)
    if (symbol and not by_symbol) or (by_default and first(block, _NUMBERS)):
        raise ValueError(f"its space group is not known ({symbol or first(block, _NUMBERS)})")
