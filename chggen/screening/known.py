"""Known or new: which known crystals relaxed structures are.

Structures of the reference decide by StructureMatcher; where it has none of a crystal, formula,
label, volume and distances do (:mod:`chggen.symmetry.known_crystals`), for any system.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chggen.config.screening import Recognition
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.matching import match_known
from chggen.symmetry.known_crystals import Features, KnownCrystals

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Values of column ``known_by``.
STRUCTURE: Final = "structure"
LABEL: Final = "label"
_NUMBER: Final = re.compile(r"\bmp-\d+\b")


@dataclass(frozen=True)
class Verdict:
    """What is known of a structure; names as the columns of table ``screened``.

    Args:
        known_phase: the known crystal that it is; None if it is new.
        known_by: ``structure`` or ``label``.
        prototype_of: of a new one, the known crystal of other elements in its prototype.
    """

    known_phase: str | None = None
    known_by: str | None = None
    prototype_of: str | None = None

    def __str__(self) -> str:
        """``known as mp-22862 (by label)``, ``new, same prototype as …`` or ``new``."""
        if self.known_phase is not None:
            return f"known as {self.known_phase} (by {self.known_by})"
        return f"new, same prototype as {self.prototype_of}" if self.prototype_of else "new"


class KnownPhases:
    """What relaxed structures are compared with.

    Args:
        structures: of the reference, by label.
        recognition: ``screen.known`` of the config.
        table: of known crystals; default: the packaged one.

    Raises:
        TableError: the table is needed and cannot be used.
    """

    def __init__(
        self,
        structures: Mapping[str, "Structure"],
        recognition: Recognition = "label",
        table: KnownCrystals | None = None,
    ) -> None:
        self._structures = {} if recognition == "off" else structures
        self._table = (table or KnownCrystals()) if recognition == "label" else None
        #: crystals whose structures are at hand, so that no label needs to decide
        self._matched = {name for key in structures for name in _NUMBER.findall(key)}

    @property
    def digest(self) -> str | None:
        """Of the table of known crystals; None where none is used."""
        return self._table.digest if self._table else None

    def verdicts(self, crystals: Sequence[Crystal]) -> list[Verdict]:
        """What is known of some structures, in order; of any compositions."""
        found = match_known(crystals, self._structures)
        return [
            self._by_label(crystal) if name is None else Verdict(name, STRUCTURE)
            for name, crystal in zip(found, crystals, strict=True)
        ]

    def _by_label(self, crystal: Crystal) -> Verdict:
        if self._table is None or not len(crystal) or not crystal.is_finite:
            return Verdict()
        formula = comp.formula_of(crystal.atomic_numbers)
        features = Features.of(crystal)
        known = self._table.same(features, formula, without=self._matched)
        if known is not None:
            return Verdict(known.name, LABEL)
        like = self._table.prototype(features, formula)
        return Verdict(prototype_of=str(like) if like else None)
