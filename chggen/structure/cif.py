"""CIFs: their blocks, and the crystal of a block, checked against what the block says of itself.

pymatgen's parser reads them; what it takes on trust is checked here. Coordinates rounded to
a few digits (0.333 for 1/3) no longer sit on their special position, and the symmetry
operations double them: they are read again with wider tolerances until the number of atoms
is right. A space group given without its operations can stand for several settings: those
that the cell allows are tried (operations from spglib's table), and a choice of origin that
neither formula nor distances settle is refused.
"""

import io
import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chggen.errors import CompositionError
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, shortest_distance

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.cif import CifBlock

#: Tolerances in fractional coordinates: pymatgen's own, then those of three and two digits.
_TOLERANCES: Final = (1e-4, 1.5e-3, 4e-3, 1.5e-2)
#: Total occupancy of a site that rounding explains, and the least that counts as full.
_MOST_OCCUPIED: Final = 1.05
_FULL: Final = 0.995
#: Å; atoms of one element closer than this are one atom that symmetry has doubled.
_DOUBLED: Final = 0.5
_OPERATIONS: Final = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_NUMBERS: Final = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
_SYMBOLS: Final = ("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt")
_BLOCK: Final = re.compile(r"^\s*data_(\S*)", re.IGNORECASE)
_FORMULA: Final = re.compile(
    r"^\s*_chemical_formula_sum\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))",
    re.MULTILINE | re.IGNORECASE,
)
_HOLDS: Final = re.compile(
    r"^\s*_(cell_length_a|atom_site_fract_x)\b", re.MULTILINE | re.IGNORECASE
)


class _Setting(NamedTuple):
    """One entry of spglib's table of space-group settings."""

    hall: int
    number: int
    names: frozenset[str]
    choice: str


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Name and text of every block of a CIF that holds a structure.

    Blocks without a cell and without atoms (``data_global``) are left out. A text with no
    block that holds a structure is given back whole, once, for its reader to say why.
    """
    found: list[tuple[str, list[str]]] = []
    in_text = False
    for line in text.lstrip("\ufeff").splitlines():
        if line.startswith(";"):
            in_text = not in_text
        start = None if in_text else _BLOCK.match(line)
        if start:
            found.append((start[1], []))
        if found:
            found[-1][1].append(line)
    whole = [(name, "\n".join(lines) + "\n") for name, lines in found]
    holding = [(name, block) for name, block in whole if _HOLDS.search(block)]
    yield from holding or [("", text)]


def stated_formula(text: str) -> str | None:
    """Canonical formula of a CIF's formula line; None if it has none."""
    counts = _stated_counts(text)
    return comp.canonical(counts) if counts else None


def _stated_counts(text: str) -> dict[str, int] | None:
    match = _FORMULA.search(text)
    formula = next((g for g in match.groups() if g is not None), "") if match else ""
    try:
        return dict(comp.parse_formula(formula.replace(" ", "")))
    except CompositionError:
        return None


def read(text: str) -> Crystal:
    """Crystal of one block.

    Args:
        text: the block, from ``data_`` on.

    Raises:
        ValueError: no structure, partly occupied sites, or one that does not agree with the
            formula, the number of formula units or the space group that the block states.
    """
    from pymatgen.io.cif import CifFile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(CifFile.from_str(text.lstrip("\ufeff")).data.values())
        if not found:
            raise ValueError("no CIF: it has no data_ block")
        block = found[0]
        listed = _first(block, _OPERATIONS)
        settings = [] if listed else _settings(block)
        results: list[tuple[Crystal, bool]] = []
        problem = ""
        for operations in [_loop_of(setting) for setting in settings] or [""]:
            try:
                results.append(_tolerant(text + operations, block))
            except ValueError as error:
                problem = problem or str(error)
    if not results:
        raise ValueError(problem)
    sure = [crystal for crystal, certain in results if certain]
    crystals = sure or [crystal for crystal, _ in results]
    if listed:
        _require_same_group(block, listed, certain=bool(sure))
    if len(crystals) > 1 and not all(_same(crystals[0], other) for other in crystals[1:]):
        raise ValueError(
            "the origin choice of its space group is not stated, and more than one fits:"
            " list the symmetry operations"
        )
    return crystals[0]


def _tolerant(text: str, block: "CifBlock") -> tuple[Crystal, bool]:
    """Crystal at the first tolerance at which it agrees with its block, and if that is certain."""
    problem = ""
    for tolerance in _TOLERANCES:
        crystal, problem, certain = _parsed(text, block, tolerance)
        if not problem:
            return crystal, certain
    raise ValueError(problem)


def _parsed(text: str, block: "CifBlock", tolerance: float) -> tuple[Crystal, str, bool]:
    """Crystal, what contradicts it, and if the number of atoms is certain."""
    from pymatgen.io.cif import CifParser

    parser = CifParser(
        io.StringIO(text),
        occupancy_tolerance=_MOST_OCCUPIED,
        site_tolerance=tolerance,
        frac_tolerance=tolerance,
    )
    try:
        structure = parser.parse_structures(primitive=False, on_error="raise")[0]
    except ValueError as error:
        cause = str(error.__cause__ or error)
        if "exceeded tolerance" in cause:
            cause = f"a site is occupied more than once ({cause.rstrip('.')})"
        raise ValueError(cause) from error
    crystal = _ordered(structure)
    sites = block.data.get("_atom_site_fract_x", [])
    listed = len(sites) if isinstance(sites, list) else 1
    problem, certain = _against_formula(crystal, block)
    if not problem and len(crystal) > listed and _doubled(crystal):
        problem = "symmetry doubles its atoms (coordinates off their special position)"
    return crystal, problem, certain


def _ordered(structure: "Structure") -> Crystal:
    from pymatgen.core import Element

    numbers = []
    for site in structure:
        species = list(site.species.items())
        if len(species) != 1 or species[0][1] < _FULL:
            raise ValueError("has partly occupied sites")
        symbol = str(getattr(species[0][0], "symbol", species[0][0]))
        if not Element.is_valid_symbol(symbol):
            raise ValueError(f"has atoms of no known element ({symbol})")
        numbers.append(Element(symbol).Z)
    # pymatgen's arrays are read-only
    cell, frac = np.array(structure.lattice.matrix), np.array(structure.frac_coords)
    return Crystal.of(cell, numbers, frac)


def _against_formula(crystal: Crystal, block: "CifBlock") -> tuple[str, bool]:
    """What contradicts the formula stated, and if formula and Z leave no other number of atoms."""
    stated = _first(block, ("_chemical_formula_sum",))
    try:
        total = dict(comp.parse_formula(str(stated or "").replace(" ", "")))
    except CompositionError:  # none, or none of known elements
        return "", False
    made = comp.formula_of(crystal.atomic_numbers)
    formula = comp.canonical(total)
    if made != formula:
        return f"says {formula} but its atoms are {made}", False
    unit, atoms = sum(total.values()), len(crystal)
    reduced = sum(comp.parse_formula(formula).values())
    z = _number(_first(block, ("_cell_formula_units_Z",)))
    if z:
        # some writers (pymatgen) give the sum of the whole cell and Z of the reduced formula
        right = {unit * z} | ({unit} if reduced * z == unit else set())
        wrong = f"has {atoms} atoms, but its formula and Z make {unit * z}"
        return ("", True) if atoms in right else (wrong, False)
    if atoms % unit and unit % atoms:
        return f"has {atoms} atoms, which is no multiple of its formula's {unit}", False
    return "", atoms == unit and unit > reduced


def _doubled(crystal: Crystal) -> bool:
    """True if two atoms of one element sit on each other."""
    same = (crystal.atomic_numbers == z for z in np.unique(crystal.atomic_numbers))
    return any(shortest_distance(crystal.cell, crystal.frac_coords[m]) < _DOUBLED for m in same)


def _same(one: Crystal, two: Crystal) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if len(one) != len(two):
        return False
    matcher = StructureMatcher(primitive_cell=False, scale=False, stol=0.05)
    return bool(matcher.fit(one.to_structure(), two.to_structure()))


# -- space groups --------------------------------------------------------------------------


def _first(block: "CifBlock", names: tuple[str, ...]) -> object:
    """First of several items that a block has; None if none has a value."""
    lower = {key.lower().replace(".", "_"): value for key, value in block.data.items()}
    values = (lower.get(name.lower()) for name in names)
    return next((v for v in values if v not in (None, "?", ".", "", [])), None)


def _number(value: object) -> int | None:
    try:
        return int(float(str(value)))
    except (ValueError, OverflowError):
        return None


def _plain(symbol: str) -> str:
    return re.sub(r"[\s_'\"]", "", symbol).lower()


@lru_cache(maxsize=1)
def _known_settings() -> tuple[_Setting, ...]:
    import spglib

    known = []
    for hall in range(1, 531):
        found = spglib.get_spacegroup_type(hall)
        full = found.international_full
        short = "".join(part for part in full.split() if part != "1") or full
        # the short symbol of the table is that of the standard setting for all settings
        standard = [n for n in (found.international_short,) if _is_standard(found.choice)]
        names = [full, short, found.international.split("=")[-1], *standard]
        known.append(_Setting(hall, found.number, frozenset(map(_plain, names)), found.choice))
    return tuple(known)


def _is_standard(choice: str) -> bool:
    return choice in {"", "1", "2", "H", "R", "b", "b1"}


def _settings(block: "CifBlock") -> list[_Setting]:
    """Settings that symbol or number and cell allow: one, or one per origin choice.

    Raises ``ValueError`` if symbol and number are of different groups. Empty if neither
    is known here.
    """
    number = _number(_first(block, _NUMBERS))
    symbol, _, suffix = str(_first(block, _SYMBOLS) or "").partition(":")
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


def _fits(setting: _Setting, block: "CifBlock") -> bool:
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


def _loop_of(setting: _Setting) -> str:
    """CIF loop with the operations of a setting."""
    from pymatgen.core.operations import SymmOp

    pairs = zip(*_operations(setting.hall), strict=True)
    lines = [SymmOp.from_rotation_and_translation(w, t).as_xyz_str() for w, t in pairs]
    return "\nloop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{line}'\n" for line in lines)


def _require_same_group(block: "CifBlock", listed: object, *, certain: bool) -> None:
    """Raise ``ValueError`` if the operations listed are of another group than the one stated.

    Not where formula and Z say that the atoms are all there: some programs list every atom
    of the cell and keep the name of the group.
    """
    import spglib
    from pymatgen.core.operations import SymmOp

    number = _number(_first(block, _NUMBERS))
    if certain or number is None:
        return
    lines = listed if isinstance(listed, list) else [listed]
    operations = [SymmOp.from_xyz_str(str(line)) for line in lines]
    rotations = np.array([o.rotation_matrix for o in operations]).round().astype(np.int32)
    translations = np.array([o.translation_vector for o in operations])
    found = spglib.get_spacegroup_type_from_symmetry(rotations, translations)
    if found is not None and found.number != number:
        raise ValueError(f"lists the operations of space group {found.number} but states {number}")
