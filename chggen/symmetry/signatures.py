"""Space groups and Wyckoff positions of known crystals, as prior of symmetric draws.

A signature is a space group with the Wyckoff positions of each element. Those of the known
crystals with the anonymous formula and the number of atoms of a cell, the elements assigned
by chemical similarity, hold the right one far more often than positions drawn from the general
statistics of :mod:`chggen.symmetry.wyckoff`; free coordinates are drawn as there.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chggen.structure.composition import formula_of
from chggen.symmetry import wyckoff
from chggen.symmetry.prototype_library import Library, nearest
from chggen.symmetry.settings import Setting

#: Chemical distance over which the weight of a known crystal falls by a factor of e.
_RANGE: Final = 0.5
#: Signatures tried per cell before the general prior is used.
_TRIED: Final = 6


@dataclass(frozen=True)
class Signature:
    """A space group and the letters of the positions of each element.

    Args:
        number: space group number.
        sites: (atomic number, letters of its positions) by atomic number.
    """

    number: int
    sites: tuple[tuple[int, str], ...]

    def combination(self) -> wyckoff.Combination:
        """Positions of every element."""
        known = {p.letter: p for p in wyckoff.positions(self.number)}
        return {z: [known[letter] for letter in letters] for z, letters in self.sites}


class Signatures:
    """Signatures of known crystals for the atoms of a cell.

    Args:
        library: known prototypes.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self.inputs = library.inputs
        self._found: dict[tuple[str, int], dict[Signature, float]] = {}

    def weights(self, numbers: Sequence[int] | NDArray[np.int64]) -> dict[Signature, float]:
        """Signatures of the known crystals, with the sum of their weights.

        Args:
            numbers: [n] atomic numbers of the atoms of a cell.
        """
        key = (formula_of(numbers), len(numbers))
        if key not in self._found:
            found: dict[Signature, float] = {}
            for donor in nearest(self._library, key[0], {key[1]}):
                letters = ("".join(s[-1] for s in p.split()) for p in donor.prototype.sites)
                sites = tuple(sorted(zip(donor.elements, letters, strict=True)))
                one = Signature(donor.prototype.space_group, sites)
                found[one] = found.get(one, 0.0) + float(np.exp(-donor.distance / _RANGE))
            self._found[key] = found
        return self._found[key]

    def draw(
        self,
        settings: Sequence[Setting],
        numbers: Sequence[int] | NDArray[np.int64],
        rng: np.random.Generator,
    ) -> list[tuple[Setting, wyckoff.Combination]]:
        """Signatures to try in a cell, in order, each in a random setting of its group.

        Args:
            settings: that fit the cell.
            numbers: [n] atomic numbers of its atoms.
            rng: random stream of the structure.

        Returns:
            Empty if no known crystal has a space group that fits.
        """
        fitting = {s.number for s in settings}
        some = [(s, w) for s, w in self.weights(numbers).items() if s.number in fitting]
        if not some:
            return []
        keys = np.log([w for _, w in some]) + rng.gumbel(size=len(some))
        out = []
        for i in np.argsort(keys)[::-1][:_TRIED]:
            signature = some[i][0]
            ways = [s for s in settings if s.number == signature.number]
            setting = ways[int(rng.integers(len(ways)))]
            combination = signature.combination()
            if _fits(combination, setting, numbers):
                out.append((setting, combination))
        return out


def _fits(
    combination: wyckoff.Combination,
    setting: Setting,
    numbers: Collection[int] | NDArray[np.int64],
) -> bool:
    counts = wyckoff.conventional_counts(setting, np.asarray(list(numbers)))
    sums = {z: sum(p.multiplicity for p in chosen) for z, chosen in combination.items()}
    return counts == sums
