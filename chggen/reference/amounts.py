"""Compositions as entry lists and tables write them: species, fractions, text.

Needs no pymatgen: all of it is asked before any job starts.
"""

import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

import numpy as np

from chggen.errors import CompositionError
from chggen.structure import composition as comp

#: A species: an element, perhaps with an oxidation state ("Li+", "O2-", "Fe3+,spin=5").
_SPECIES: Final = re.compile(
    r"\s*([A-Z][a-z]?)\s*(?:0|\d*\.?\d*[+-]|[+-]\d+\.?\d*)?(?:,.*)?\s*", re.ASCII
)
#: Part of a formula without brackets whose amounts may be decimals ("Li5.5O4.5", "Li4 O2").
_TERM: Final = re.compile(r"([A-Z][a-z]?)(\d+\.?\d*|\.\d+)?\s*", re.ASCII)
#: Isotopes count as their element.
_ISOTOPES: Final = {"D": "H", "T": "H"}
#: Amounts are fractions with denominators up to the first within the second: the simpler
#: one is, the fewer decimals it may be rounded to (0.333); others (0.005) must be exact.
_FRACTIONS: Final = ((12, 5e-4), (24, 5e-5), (200, 1e-9))
#: Amounts below this are rounding of zero.
_NOTHING: Final = 1e-8
#: Most atoms in the formula of an entry: more means that its amounts are no fractions.
_MOST_ATOMS: Final = 100_000
#: Difference of atomic fractions above which a structure is of another composition.
_SAME_FRACTION: Final = 1e-3
#: Volume of a cell over that of a box with its edges, below which it is flat.
_FLAT: Final = 1e-6
#: Characters of a value that a message shows.
_LONGEST: Final = 40


def shown(value: object) -> str:
    """A value of a file in one short line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def number(value: object, what: str) -> float:
    """A finite number of a JSON file; raises ``ValueError`` that names it and its value."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is {shown(value)}, not a number")  # noqa: TRY004 - of the file
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{what} is {shown(value)}, not a finite number")
    return found


def amounts(given: object) -> dict[str, float]:
    """Amount of each element of a composition as a file has it.

    Oxidation states and amounts of zero are left out, deuterium and tritium are hydrogen.

    Args:
        given: mapping of species to amounts, or a formula.

    Raises:
        ValueError, CompositionError: not a composition; says why.
    """
    if isinstance(given, str):
        return _amounts_of(given)
    if not isinstance(given, dict):
        raise ValueError(f"its composition is {shown(given)}")  # noqa: TRY004 - of the file
    found: dict[str, float] = {}
    for species, amount in given.items():
        if species.startswith("@"):  # what monty says of the class
            continue
        value = number(amount, f"amount of {shown(species)}")
        if value < -_NOTHING:
            raise ValueError(f"negative amount of {shown(species)} ({value:g})")
        symbol = element(species)
        if value > _NOTHING:
            found[symbol] = found.get(symbol, 0.0) + value
    if not found:
        raise ValueError("its composition is empty")
    return found


def element(species: str) -> str:
    """Symbol of a species; raises ``ValueError`` if it is of no known element."""
    match = _SPECIES.fullmatch(species)
    symbol = _ISOTOPES.get(match[1], match[1]) if match else ""
    if symbol not in comp.ATOMIC_NUMBERS:
        raise ValueError(f"unknown element {shown(species)}")
    return symbol


def _amounts_of(formula: str) -> dict[str, float]:
    try:
        return {symbol: float(n) for symbol, n in comp.parse_formula(formula).items()}
    except CompositionError:
        terms = list(_TERM.finditer(formula.strip()))
        if not terms or "".join(term[0] for term in terms) != formula.strip():
            raise
        found: dict[str, float] = {}
        for term in terms:
            symbol = element(term[1])
            found[symbol] = found.get(symbol, 0.0) + float(term[2] or 1)
        return amounts(found)


def counts_of(given: Mapping[str, float]) -> dict[str, int]:
    """Smallest integers in the ratio of amounts; an element is 1, whatever its amount.

    Raises:
        ValueError: the amounts are in no simple ratio.
    """
    if len(given) == 1:
        return dict.fromkeys(given, 1)
    least = min(given.values())
    ratios = {symbol: amount / least for symbol, amount in given.items()}
    fractions = _fractions(given, _FRACTIONS) or _fractions(ratios, _FRACTIONS[-1:])
    if fractions is None:
        shares = ", ".join(f"{amount:g} of {symbol}" for symbol, amount in given.items())
        raise ValueError(f"its amounts ({shares}) are no simple fractions of each other")
    common = math.lcm(*(f.denominator for f in fractions.values()))
    counts = {symbol: int(f * common) for symbol, f in fractions.items()}
    divisor = math.gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}


def _fractions(
    given: Mapping[str, float], limits: tuple[tuple[int, float], ...]
) -> dict[str, Fraction] | None:
    """Each amount as a fraction; None if one is none or they need too many atoms."""
    found = {}
    for symbol, amount in given.items():
        for denominator, tolerance in limits:
            near = Fraction(amount).limit_denominator(denominator)
            if near > 0 and abs(float(near) - amount) <= tolerance:
                found[symbol] = near
                break
        else:
            return None
    common = math.lcm(*(f.denominator for f in found.values()))
    return found if sum(found.values()) * common <= _MOST_ATOMS else None


def structure_amounts(given: Mapping[str, Any]) -> dict[str, float]:
    """Amounts of a pymatgen ``Structure`` as JSON, whose numbers are looked through.

    Args:
        given: its dictionary.

    Raises:
        ValueError: no sites, an unknown element, a cell without volume, a number missing.
    """
    lattice = given.get("lattice")
    if not isinstance(lattice, dict):
        raise ValueError("has no lattice")  # noqa: TRY004 - of the file
    if "matrix" in lattice:
        cell = np.array([_vector(row, "lattice") for row in _list(lattice["matrix"], "lattice")])
        edges = np.linalg.norm(cell, axis=1).prod() if cell.shape == (3, 3) else 0.0
        if not edges or abs(np.linalg.det(cell)) <= _FLAT * edges:
            raise ValueError("its cell has no volume")
    found: dict[str, float] = {}
    for site in _list(given.get("sites"), "sites"):
        if not isinstance(site, dict):
            raise ValueError(f"a site is {shown(site)}")  # noqa: TRY004 - of the file
        _vector(site.get("abc"), "coordinates")
        for species in _list(site.get("species"), "species"):
            if not isinstance(species, dict):
                raise ValueError(f"a species is {shown(species)}")  # noqa: TRY004 - as above
            symbol = element(str(species.get("element")))
            found[symbol] = found.get(symbol, 0.0) + number(species.get("occu"), "occupancy")
    return amounts(found)


def same_composition(first: Mapping[str, float], second: Mapping[str, float]) -> bool:
    """True if two amounts are in the same ratio, up to the rounding of occupancies."""
    totals = sum(first.values()), sum(second.values())
    return all(
        abs(first.get(s, 0.0) / totals[0] - second.get(s, 0.0) / totals[1]) <= _SAME_FRACTION
        for s in {*first, *second}
    )


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"its {what} are {shown(value)}")
    return value


def _vector(value: object, what: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 3:  # noqa: PLR2004
        raise ValueError(f"its {what} are {shown(value)}")
    return [number(x, what) for x in value]
