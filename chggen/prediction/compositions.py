"""Compositions of a chemical system that are worth a first look."""

import itertools
from collections.abc import Sequence
from math import gcd
from typing import Final

from chggen.structure import composition as comp

#: Usual oxidation states (Shannon 1976, doi:10.1107/S0567739476001551, and the group numbers),
#: by element; those that are not here count as intermetallic.
STATES: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("Li", "Na", "K", "Rb", "Cs", "Ag", "H"), (1,)),
    **dict.fromkeys(("Be", "Mg", "Ca", "Sr", "Ba", "Zn", "Cd", "Eu"), (2,)),
    **dict.fromkeys(("Al", "Ga", "In", "B", "Sc", "Y", "La", "Pr", "Nd", "Sm", "Gd", "Tb"), (3,)),
    **dict.fromkeys(("Dy", "Ho", "Er", "Tm", "Yb", "Lu", "Bi"), (3,)),
    **dict.fromkeys(("Si", "Ge", "C", "Zr", "Hf", "Th"), (4,)),
    "Ti": (4, 3),
    "V": (5, 4, 3),
    "Nb": (5,),
    "Ta": (5,),
    "Mo": (6, 4),
    "W": (6,),
    "U": (4, 6),
    "Cr": (3,),
    "Mn": (2, 3, 4),
    "Fe": (2, 3),
    "Co": (2, 3),
    "Ni": (2,),
    "Cu": (1, 2),
    "Sn": (2, 4),
    "Pb": (2, 4),
    "P": (5, 3, -3),
    "As": (3, 5, -3),
    "Sb": (3, 5),
    "Ce": (3, 4),
    "O": (-2,),
    "S": (-2,),
    "Se": (-2,),
    "Te": (-2,),
    "N": (-3,),
    **dict.fromkeys(("F", "Cl", "Br", "I"), (-1,)),
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
    states = [STATES.get(e, ()) for e in elements]
    return any(
        sum(q * n for q, n in zip(charges, amounts, strict=True)) == 0
        for charges in itertools.product(*states)
    )
