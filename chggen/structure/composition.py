"""Formulas without pymatgen: what the Snakefile needs at parse time.

A composition is a canonical string: symbols in order of electronegativity (the order
of pymatgen's reduced formulas), smallest integers, no brackets: ``Zn3P2S8``.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Final

from chggen.errors import CompositionError

#: Symbols by atomic number; SYMBOLS[0] is a placeholder.
SYMBOLS: Final = tuple(
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn"  # noqa: SIM905
    " Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce"
    " Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
    " Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr".split()
)
ATOMIC_NUMBERS: Final = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}

#: Symbols from least to most electronegative (Pauling scale, as in pymatgen; elements
#: without a value last), which fixes the order of a formula.
_ORDER: Final = {
    symbol: rank
    for rank, symbol in enumerate(
        "Fr Cs K Rb Ba Ra Na Sr Li Ca Ac La Tb Yb Ce Pm Pr Nd Sm Eu Gd Dy Y Ho Er Tm Lu"  # noqa: SIM905
        " Pu Am Bk Cf Cm Es Fm Hf Lr Md No Th Mg Zr Np Sc U Pa Ta Ti Mn Be Nb Al Tl V Zn"
        " Cr Cd In Ga Fe Co Cu Re Si Tc Ni Ag Sn Hg Po Ge Bi B Sb Te Mo As P At H Ir Os"
        " Pd Rn Ru Pt Rh Pb W Au C Se S Xe I Br Kr N Cl O F Ar He Ne".split()
    )
}

_TOKEN = re.compile(r"([A-Z][a-z]?)|(\()|(\))|(\d+(?:\.\d+)?)")


def parse_formula(formula: str) -> dict[str, int]:
    """Counts per symbol of a formula such as ``Zn3(PS4)2``, as written (not reduced).

    Raises :class:`CompositionError` for unknown elements, non-integer or zero counts
    and anything that is not a formula.
    """
    stack: list[dict[str, int]] = [{}]
    last: dict[str, int] | None = None  # what a number would multiply
    position = 0
    for match in _TOKEN.finditer(formula):
        if match.start() != position:
            break
        position = match.end()
        symbol, opening, closing, number = match.groups()
        if number is not None:
            _merge(stack[-1], last or {}, _count(number, formula, known=last is not None) - 1)
            last = None
            continue
        if symbol is not None:
            if symbol not in ATOMIC_NUMBERS:
                raise CompositionError(f"unknown element '{symbol}' in '{formula}'")
            last = {symbol: 1}
            _merge(stack[-1], last, 1)
        elif opening is not None:
            stack.append({})
            last = None
        elif closing is not None:
            if len(stack) == 1 or not stack[-1]:
                position = -1  # a bracket that was never opened, or holds nothing
                break
            last = stack.pop()
            _merge(stack[-1], last, 1)
    counts = stack[0]
    if not formula or position != len(formula) or len(stack) != 1 or not counts:
        raise CompositionError(f"'{formula}' is not a chemical formula")
    return counts


def _count(number: str, formula: str, *, known: bool) -> int:
    if not known:
        raise CompositionError(f"'{formula}' is not a chemical formula")
    if not number.isdigit():
        raise CompositionError(f"'{formula}' is not an integer formula ({number})")
    if int(number) == 0:
        raise CompositionError(f"'{formula}' has a zero count")
    return int(number)


def _merge(into: dict[str, int], counts: Mapping[str, int], times: int) -> None:
    for symbol, count in counts.items():
        into[symbol] = into.get(symbol, 0) + count * times


def canonical(counts: Mapping[str, int]) -> str:
    """Canonical reduced formula of counts per symbol."""
    divisor = reduce(math.gcd, counts.values())
    symbols = sorted(counts, key=lambda s: (_ORDER[s], s))
    return "".join(s + (str(counts[s] // divisor) if counts[s] != divisor else "") for s in symbols)


def canonical_formula(formula: str) -> str:
    """Canonical form of a formula string; raises :class:`CompositionError`."""
    return canonical(parse_formula(formula))


def formula_of(atomic_numbers: Iterable[int]) -> str:
    """Canonical reduced formula of a cell's content."""
    counts: dict[str, int] = {}
    for z in atomic_numbers:
        symbol = SYMBOLS[int(z)]
        counts[symbol] = counts.get(symbol, 0) + 1
    return canonical(counts)


def formula_units(counts: Mapping[str, int], composition: str) -> int | None:
    """How many formula units of ``composition`` the counts are; None if not an integer."""
    unit = parse_formula(composition)
    if set(unit) != set(counts):
        return None
    ratios = {divmod(counts[s], n) for s, n in unit.items()}
    if len(ratios) != 1:
        return None
    units, rest = ratios.pop()
    return units if rest == 0 and units > 0 else None


def atomic_numbers(composition: str, units: int = 1) -> list[int]:
    """Atomic numbers of a cell with ``units`` formula units, grouped by element."""
    counts = parse_formula(composition)
    return [ATOMIC_NUMBERS[s] for s, n in counts.items() for _ in range(n * units)]


def line(ends: tuple[str, str], max_atoms: int) -> list[str]:
    """Compositions between two end members with at most ``max_atoms`` per formula.

    All integer mixtures m·A + n·B with m, n ≥ 1, reduced, ordered by B's share.
    """
    first, second = (parse_formula(canonical_formula(end)) for end in ends)
    size = sum(first.values()), sum(second.values())
    if first == second:
        return [canonical(first)] if size[0] <= max_atoms else []
    most = max_atoms * _largest_divisor(first, second)  # atoms before reducing
    found: dict[str, float] = {}
    for m in range(1, most // size[0] + 1):
        for n in range(1, (most - m * size[0]) // size[1] + 1):
            counts: dict[str, int] = {}
            _merge(counts, first, m)
            _merge(counts, second, n)
            divisor = math.gcd(*counts.values())
            if math.gcd(m, n) == 1 and sum(counts.values()) <= max_atoms * divisor:
                found[canonical(counts)] = n / (m + n)
    return sorted(found, key=lambda f: (found[f], f))


def _largest_divisor(first: Mapping[str, int], second: Mapping[str, int]) -> int:
    """Multiple of every divisor that a mixture m·A + n·B, m and n coprime, reduces by.

    Such a divisor divides all 2×2 minors of the two compositions.
    """
    symbols = sorted({*first, *second})
    return math.gcd(
        *(
            first.get(a, 0) * second.get(b, 0) - first.get(b, 0) * second.get(a, 0)
            for a, b in itertools.combinations(symbols, 2)
        )
    )


_TERM = re.compile(r"^([A-Z][a-z]?)(?:_([a-z])|([1-9]\d*))?$")
_CLAUSE = re.compile(r"^\s*([a-z]|\d+)\s*(<=|>=|<|>|==)\s*([a-z]|\d+)\s*$")
_OPERATORS = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
}


def element_range(pattern: str, where: str, max_atoms: int) -> list[str]:
    """Reduced compositions of a pattern such as ``Li_x Si_y`` with ``x > y``.

    ``where`` is a list of comparisons between variables and integers joined by
    ``and``; every variable runs from 1. Raises :class:`CompositionError`.
    """
    terms = [_term(token) for token in pattern.split()]
    if not terms:
        raise CompositionError(f"'{pattern}' names no element")
    variables = sorted({v for _, v, _ in terms if v})
    clauses = [_clause(text, variables, where) for text in where.split("and")] if where else []
    found: dict[str, None] = {}
    for values in _assignments(len(variables), max_atoms):
        bound = dict(zip(variables, values, strict=True))
        if not all(_OPERATORS[op](_value(a, bound), _value(b, bound)) for a, op, b in clauses):
            continue
        counts: dict[str, int] = {}
        for symbol, variable, number in terms:
            _merge(counts, {symbol: 1}, bound[variable] if variable else number)
        if sum(counts.values()) <= max_atoms:
            found[canonical(counts)] = None
    return list(found)


def _assignments(n: int, most: int) -> Iterator[tuple[int, ...]]:
    return (v for v in itertools.product(range(1, most + 1), repeat=n) if sum(v) <= most)


def _term(token: str) -> tuple[str, str | None, int]:
    match = _TERM.match(token)
    if match is None or match[1] not in ATOMIC_NUMBERS:
        raise CompositionError(f"'{token}' is not an element with a variable, as in Li_x")
    return match[1], match[2], int(match[3] or 1)


def _clause(text: str, variables: list[str], where: str) -> tuple[str, str, str]:
    match = _CLAUSE.match(text)
    if match is None:
        raise CompositionError(f"'{where}' is not a comparison such as 'x > y'")
    for side in (match[1], match[3]):
        if side.isalpha() and side not in variables:
            raise CompositionError(f"'{where}' names '{side}', which the pattern has not")
    return match[1], match[2], match[3]


def _value(side: str, bound: Mapping[str, int]) -> int:
    return bound[side] if side.isalpha() else int(side)
