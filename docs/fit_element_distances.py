"""Fit ``chggen/data/element_distances.csv``: how alike two elements are in crystals.

``python docs/fit_element_distances.py CRYSTALS.parquet`` with columns ``formula``, ``n_atoms``,
``e_above_hull`` (eV/atom), ``space_group_number`` and ``orbits``. For all pairs of formulas
that differ in one element, it counts how often the lowest prototype (number of atoms, space
group, orbits of each species) of one formula is among those of the other. The distance is
-log of that share; pairs with few counts are drawn towards a logistic regression on
differences of electronegativity, Mendeleev number, group, row and covalent radius.
"""

import sys
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from ase.data import covalent_radii
from pymatgen.core import Element
from scipy.optimize import minimize

from chggen.structure.composition import SYMBOLS
from chggen.structure.similarity import contents

#: Pairs that the regression counts for, at a pair of elements with few pairs of formulas.
PRIOR = 100
MOST_ABOVE_HULL = 0.1  # eV/atom
SIZE = len(SYMBOLS)


def counts(crystals: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of formulas [104, 104] that share the lowest prototype, and all pairs."""
    prototypes: dict[tuple[tuple[int, int], ...], dict[tuple[object, ...], float]] = defaultdict(
        dict
    )
    columns = ("formula", "n_atoms", "space_group_number", "orbits", "e_above_hull")
    for formula, size, group, orbits, hull in crystals[list(columns)].itertuples(index=False):
        known = prototypes[tuple(sorted(contents(formula).items()))]
        label = (size, group, tuple(sorted(orbits.split("|"))))
        known[label] = min(hull, known.get(label, np.inf))
    families = defaultdict(list)
    for formula in prototypes:
        for i, (z, n) in enumerate(formula if len(formula) > 1 else ()):
            families[n, formula[:i] + formula[i + 1 :]].append((z, formula))
    same, every = np.zeros((2, SIZE, SIZE))
    for members in families.values():
        for z, formula in members:
            lowest = min(prototypes[formula], key=prototypes[formula].__getitem__)
            for other, partner in members:
                if partner != formula:
                    every[z, other] += 1
                    same[z, other] += lowest in prototypes[partner]
    return same + same.T, every + every.T


def features() -> np.ndarray:
    """Differences [104, 104, f] of properties of the elements."""
    table = np.zeros((5, SIZE))
    for z in range(1, SIZE):
        element = Element.from_Z(z)
        column = 3 if element.is_lanthanoid or element.is_actinoid else element.group
        radius = float(covalent_radii[min(z, 96)])
        chi = element.X if element.X == element.X else 2.0  # NaN: noble gases
        table[:, z] = chi, element.mendeleev_no / 100, column, element.row, np.log(radius)
    gaps = np.abs(table[:, :, None] - table[:, None, :])
    parts = [*gaps, gaps[2] > 0, gaps[3] > 0, np.minimum(gaps[2], 4) / 4, *np.sqrt(gaps[[0, 4]])]
    return np.stack(parts, axis=-1)


def regression(same: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Share of equal prototypes [104, 104] by the differences of the elements."""
    there = np.triu(every, 1) > 0
    x, y, n = features()[there], same[there], every[there]
    weight = np.minimum(n, 200) / n  # so that the lanthanides do not decide alone

    def loss(p: np.ndarray) -> float:
        q = p[0] - x @ np.exp(p[1:])
        penalty = 0.5e-3 * (np.exp(p[1:]) ** 2).sum()
        return float((weight * (n * np.logaddexp(0, q) - y * q)).sum() + penalty)

    start = np.r_[1.0, -np.ones(x.shape[1])]
    fitted = minimize(loss, start, method="L-BFGS-B").x
    return 1 / (1 + np.exp(features() @ np.exp(fitted[1:]) - fitted[0]))


def main() -> None:
    """Fit and write the table."""
    warnings.simplefilter("ignore")
    crystals = pd.read_parquet(sys.argv[1])
    same, every = counts(crystals[crystals.e_above_hull <= MOST_ABOVE_HULL])
    share = (same + PRIOR * regression(same, every)) / (every + PRIOR)
    distances = -np.log(share)
    np.fill_diagonal(distances, 0.0)
    table = pd.DataFrame(distances[1:, 1:], SYMBOLS[1:], SYMBOLS[1:])
    path = Path(__file__).parents[1] / "chggen/data/element_distances.csv"
    table.to_csv(path, float_format="%.3f", index_label="element")


if __name__ == "__main__":
    main()
