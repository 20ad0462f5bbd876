"""Choice of the guest element: the one with the most variable coordination."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

from chggen.errors import CompositionError
from chggen.structure import composition as comp
from chggen.structure.coordination import CoordinationCounts


@dataclass(frozen=True)
class Choice:
    """The guest of a composition.

    Args:
        guest: its element.
        basis: coordination data used: of all compositions of the ``system``, or of this
            ``composition`` alone.
        reason: why the guest of the system was not used; empty if it was.
    """

    guest: str
    basis: Literal["system", "composition"]
    reason: str = ""


def broadest(entropies: Mapping[str, float], elements: Iterable[str]) -> str:
    """The element with the broadest distribution of coordination numbers (highest entropy).

    The most electronegative element is never chosen: the coordination analysis of the paper
    (ChemEnv) is of cations, and the remaining atoms must form a framework. For equal entropy
    the less electronegative element is chosen, also if no structure is usable.

    Args:
        entropies: entropy by element, nats; absent elements have none.
        elements: elements to choose from.

    Raises:
        CompositionError: fewer than two elements, so that no host would remain.
    """
    candidates = _candidates(elements)
    return max(candidates, key=lambda symbol: round(entropies.get(symbol, 0.0), 9))


def choose_guests(counts: Mapping[str, CoordinationCounts]) -> dict[str, Choice]:
    """Guest of every composition of a system, the same one wherever possible.

    The element is chosen once, from all structures of all compositions together. For a
    composition that lacks it, or in which it is the most electronegative element, the guest is
    chosen from its own elements and structures.

    Args:
        counts: coordination numbers by composition (canonical formulas).

    Raises:
        CompositionError: a composition of one element.
    """
    elements = {symbol for formula in counts for symbol in comp.parse_formula(formula)}
    if not counts:
        return {}
    together = reduce(add, counts.values())
    guest = broadest(together.entropies, elements)
    chosen = {}
    for formula, own in counts.items():
        symbols = list(comp.parse_formula(formula))
        if guest in _candidates(symbols):
            chosen[formula] = Choice(guest, "system")
            continue
        why = "is not in it" if guest not in symbols else "is its most electronegative element"
        reason = f"{guest}, the guest of the system, {why}"
        chosen[formula] = Choice(broadest(own.entropies, symbols), "composition", reason)
    return chosen


def _candidates(elements: Iterable[str]) -> list[str]:
    """All but the most electronegative element, by electronegativity."""
    formula = comp.canonical(dict.fromkeys(elements, 1))
    ordered = list(comp.parse_formula(formula))
    if len(ordered) < 2:  # noqa: PLR2004
        raise CompositionError(f"no guests to choose in '{formula}': one element only")
    return ordered[:-1]
