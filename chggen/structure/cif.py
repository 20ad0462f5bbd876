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
from typing import TYPE_CHECKING, Final

import numpy as np

from chggen.errors import CompositionError
from chggen.structure import composition as comp
from chggen.structure.cif_groups import (
    OPERATIONS,
    first,
    loop_of,
    number_of,
    require_same_group,
    require_symmetry,
    settings_of,
)
from chggen.structure.crystal import Crystal
from chggen.structure.distances import shortest_distance

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
_BLOCK: Final = re.compile(r"^\s*data_(\S*)", re.IGNORECASE)
_FORMULA: Final = re.compile(
    r"^\s*_chemical_formula_sum\s+(?:'([^'\n]*)'|\"([^\"\n]*)\"|(\S+))",
    re.MULTILINE | re.IGNORECASE,
)
_HOLDS: Final = re.compile(
    r"^\s*_(cell_length_a|atom_site_fract_x)\b", re.MULTILINE | re.IGNORECASE
)


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
        _require_values(block)
        listed = first(block, OPERATIONS)
        settings = [] if listed else settings_of(block)
        results: list[tuple[Crystal, bool]] = []
        problem = ""
        for operations in [loop_of(setting) for setting in settings] or [""]:
            try:
                results.append(_tolerant(text + operations, block))
            except ValueError as error:
                problem = problem or str(error)
    if not results:
        raise ValueError(problem)
    sure = [crystal for crystal, certain in results if certain]
    crystals = sure or [crystal for crystal, _ in results]
    if listed:
        require_same_group(block, listed, certain=bool(sure))
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
    if OPERATIONS[0] not in text:
        require_symmetry(block, parser.warnings)
    crystal = _ordered(structure)
    sites = block.data.get("_atom_site_fract_x", [])
    listed = len(sites) if isinstance(sites, list) else 1
    problem, certain = _against_formula(crystal, block)
    if not problem and len(crystal) > listed and _doubled(crystal):
        problem = "symmetry doubles its atoms (coordinates off their special position)"
    return crystal, problem, certain


def _require_values(block: "CifBlock") -> None:
    """Raise ``ValueError`` for a site whose place or occupancy is left open.

    pymatgen would leave such a site out, or take its place for the origin.
    """
    axes = [f"_atom_site_fract_{axis}" for axis in "xyz"]
    for name, open_values in (*((a, {"?", "."}) for a in axes), ("_atom_site_occupancy", {"."})):
        values = block.data.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            if str(value).strip() in open_values:
                raise ValueError(f"a site has no value of {name} ({value})")


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
    stated = first(block, ("_chemical_formula_sum",))
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
    z = number_of(first(block, ("_cell_formula_units_Z",)))
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
