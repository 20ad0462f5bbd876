"""Compositions of a chemical system that are worth a first look."""

import itertools
from collections.abc import Sequence
from math import gcd
from typing import Final

from chggen.structure import composition as comp

#: Usual oxidation states of cations, by element (Greenwood and Earnshaw, Chemistry of the
#: Elements, 2nd ed. 1997); elements that are not here count as intermetallic.
CATIONS: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag", "H"), (1,)),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Eu"), (2,)),
    **dict.fromkeys(("Al", "Ga", "In", "B", "Sc", "Y", "La", "Pr", "Nd", "Sm", "Gd", "Tb"), (3,)),
    **dict.fromkeys(("Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Bi"), (3,)),
    **dict.fromkeys(("Si", "Ge", "C", "Zr", "Hf", "Th"), (4,)),
    **dict.fromkeys(("Cl", "Br", "I"), (1, 3, 5, 7)),
    **dict.fromkeys(("S", "Se", "Te"), (4, 6)),
    "Ti": (3, 4), "V": (3, 4, 5), "Nb": (5,), "Ta": (5,), "Mo": (4, 6), "W": (6,), "U": (4, 6),
    "Cr": (3, 6), "Mn": (2, 3, 4), "Fe": (2, 3), "Co": (2, 3), "Ni": (2,), "Cu": (1, 2),
    "Sn": (2, 4), "Pb": (2, 4), "P": (3, 5), "As": (3, 5), "Sb": (3, 5), "Ce": (3, 4), "N": (3, 5),
}  # fmt: skip
#: Oxidation state of the most electronegative element.
ANIONS: Final = {
    **dict.fromkeys(("O", "S", "Se", "Te"), -2),
    **dict.fromkeys(("F", "Cl", "Br", "I", "H"), -1),
    **dict.fromkeys(("N", "P", "As", "Sb"), -3),
}
#: Most atoms of a formula unit, and most formulas of a system.
_ATOMS: Final = 14
_FORMULAS: Final = 12


def suggested(elements: Sequence[str]) -> list[str]:
    """Formulas that hold every element of a system, the smallest first.

    Those that usual oxidation states make neutral; where there are none, as in
    intermetallics, the simplest ratios.

    Args:
        elements: of the system, at least two.
    """
    count = len(elements)
    # by electronegativity, as formulas are written
    elements = list(comp.parse_formula(comp.canonical(dict.fromkeys(elements, 1))))
    neutral, plain = [], []
    for total in range(count, _ATOMS + 1):
        for amounts in _amounts(count, total):
            if gcd(*amounts) > 1:
                continue
            formula = comp.canonical(dict(zip(elements, amounts, strict=True)))
            plain.append(formula)
            if _neutral(elements, amounts):
                neutral.append(formula)
    return (neutral or plain)[:_FORMULAS]


def _amounts(count: int, total: int) -> list[tuple[int, ...]]:
    """All ways to share atoms among elements, each getting one at least."""
    cuts = itertools.combinations(range(1, total), count - 1)
    return [tuple(b - a for a, b in itertools.pairwise((0, *cut, total))) for cut in cuts]


def _neutral(elements: Sequence[str], amounts: Sequence[int]) -> bool:
    """Whether usual oxidation states add up to zero, the last element being the anion."""
    states = [CATIONS.get(e, ()) for e in elements[:-1]]
    anion = ANIONS.get(elements[-1])
    if anion is None:
        return False
    return any(
        sum(q * n for q, n in zip((*charges, anion), amounts, strict=True)) == 0
        for charges in itertools.product(*states)
    )
