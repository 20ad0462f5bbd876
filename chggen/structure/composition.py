"""Formulas without pymatgen: what the Snakefile needs at parse time.

A composition is a canonical string: symbols in order of electronegativity (the order
of pymatgen's reduced formulas), smallest integers, no brackets: ``Zn3P2S8``.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Final, NamedTuple

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

_TOKEN = re.compile(r"([A-Z][a-z]?)|(\()|(\))|(\d+(?:\.\d+)?)", re.ASCII)


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


_TERM = re.compile(r"^([A-Z][a-z]?)(?:_([a-z])|([1-9]\d{0,8}))?$", re.ASCII)
_CLAUSE = re.compile(r"^\s*([a-z]|\d{1,9})\s*(<=|>=|<|>|==)\s*([a-z]|\d{1,9})\s*$", re.ASCII)
#: Most compositions of one pattern: more would fill the memory of whoever reads the config.
_MOST: Final = 1_000_000


def element_range(pattern: str, where: str, max_atoms: int) -> list[str]:
    """Reduced compositions of a pattern such as ``Li_x Si_y`` with ``x > y``.

    Walks only assignments that can still meet ``where`` and ``max_atoms``: the bounds of
    all variables are tightened after each choice (bounds consistency), which for
    comparisons of two sides leaves no dead end.

    Args:
        pattern: elements with a variable (one small letter), a count or neither.
        where: comparisons between variables and integers joined by ``and``; every
            variable runs from 1.
        max_atoms: most atoms of an assignment, before its formula is reduced.

    Returns:
        Canonical formulas, by rising values of the variables in alphabetical order.

    Raises:
        CompositionError: names what cannot be read, or says that there are too many.
    """
    terms = [_term(token) for token in pattern.split()]
    if not terms:
        raise CompositionError(f"'{pattern}' names no element")
    variables = sorted({v for _, v, _ in terms if v})
    texts = where.split("and") if where.strip() else []
    clauses = [_clause(text, variables, where) for text in texts]
    ones = [1] * len(variables)
    times = [*(sum(v == name for _, v, _ in terms) for name in variables), 0]
    rest = max_atoms - sum(number for _, v, number in terms if not v)
    limits = _Limits(times, rest, [gap for c in clauses for gap in _as_limit(c, variables)])
    found: dict[str, None] = {}
    for values in _assignments(limits, [*ones, 0], [*(rest for _ in ones), 0], 0):
        bound = dict(zip(variables, values, strict=True))
        counts: dict[str, int] = {}
        for symbol, variable, number in terms:
            _merge(counts, {symbol: 1}, bound[variable] if variable else number)
        found[canonical(counts)] = None
        if len(found) > _MOST:
            raise CompositionError(
                f"'{pattern}' has more than {_MOST:,} compositions with max_atoms = {max_atoms}"
            )
    return list(found)


class _Limits(NamedTuple):
    """What assignments must meet; sides of a comparison are indices of variables."""

    times: Sequence[int]  # atoms per unit of each variable
    rest: int  # atoms left for the variables
    gaps: Sequence[tuple[int, int, int]]  # (a, b, gap): value a + gap <= value b

    def tighten(self, low: list[int], high: list[int]) -> bool:
        """Narrow bounds in place until nothing changes; False if nothing is left."""
        changed = True
        while changed:
            changed = False
            spare = self.rest - sum(t * v for t, v in zip(self.times, low, strict=True))
            if spare < 0:
                return False
            for i, times in enumerate(self.times):
                most = low[i] + spare // times if times else high[i]
                if most < high[i]:
                    high[i], changed = most, True
            for a, b, gap in self.gaps:
                if low[a] + gap > low[b]:
                    low[b], changed = low[a] + gap, True
                if high[b] - gap < high[a]:
                    high[a], changed = high[b] - gap, True
            if any(x > y for x, y in zip(low, high, strict=True)):
                return False
        return True


def _assignments(
    limits: _Limits, low: list[int], high: list[int], place: int
) -> Iterator[tuple[int, ...]]:
    """Assignments within bounds, variables from ``place`` on still to be chosen.

    The last of the bounds is no variable but zero, so that integers can be compared.
    """
    if not limits.tighten(low, high):
        return
    if place == len(low) - 1:
        yield tuple(low[:-1])
        return
    for value in range(low[place], high[place] + 1):
        below, above = low.copy(), high.copy()
        below[place] = above[place] = value
        yield from _assignments(limits, below, above, place + 1)


def _as_limit(
    clause: tuple[str, str, str], variables: Sequence[str]
) -> Iterator[tuple[int, int, int]]:
    """A comparison as gaps of :class:`_Limits`."""
    (a, x), (b, y) = (
        (variables.index(side), 0) if side.isalpha() else (len(variables), int(side))
        for side in (clause[0], clause[2])
    )
    gap = x - y  # value a + x <= value b + y
    match clause[1]:
        case "<=":
            yield a, b, gap
        case "<":
            yield a, b, gap + 1
        case ">=":
            yield b, a, -gap
        case ">":
            yield b, a, 1 - gap
        case _:
            yield a, b, gap
            yield b, a, -gap


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
