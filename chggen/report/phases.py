"""What a hull plot needs: competing phases, tie lines and the hull on a line.

Compositions are exact fractions per element, so that lying on a line is a fact and not
a tolerance.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chggen.config.energies import ReferenceConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ChggenError
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PhaseDiagram

#: Largest formula that still makes a readable end member.
_MOST_ATOMS: Final = 30
_SAME: Final = 1e-6
Fractions = dict[str, Fraction]


@dataclass(frozen=True)
class Phase:
    """One competing phase.

    Args:
        formula: canonical formula.
        share: atomic fractions.
        formation_energy: eV/atom against the elements.
        stable: on the hull.
    """

    formula: str
    share: Fractions
    formation_energy: float
    stable: bool


@dataclass(frozen=True)
class Phases:
    """The competing phases of a system.

    Args:
        elements: from least to most electronegative.
        found: lowest-energy phase of each composition.
        ties: pairs of stable formulas joined by a tie line.
        diagram: pymatgen's phase diagram of them.
    """

    elements: list[str]
    found: list[Phase]
    ties: list[tuple[str, str]]
    diagram: "PhaseDiagram"

    def hull_energy(self, share: Mapping[str, Fraction | float]) -> float:
        """Formation energy of the hull (eV/atom) at atomic fractions."""
        from pymatgen.core import Composition

        mixture = Composition({e: float(x) for e, x in share.items() if x > 0})
        return float(self.diagram.get_hull_energy_per_atom(mixture))


@dataclass(frozen=True)
class Loaded:
    """The reference of a report, or why there is none.

    Args:
        phases: for the drawing; None if they could not be had.
        problem: why not, in one line; empty otherwise.
        partial: what the reference is known to lack; None if nothing is.
        has_structures: it can tell a known phase from a new one.
        hash: digest of its energies.
    """

    phases: Phases | None
    problem: str = ""
    partial: str | None = None
    has_structures: bool = False
    hash: str | None = None


def load_phases(
    config: ReferenceConfig,
    elements: set[str],
    referenced: str | Path | None = None,
    relax: RelaxConfig | None = None,
) -> Loaded:
    """Competing phases for the hull plots; what cannot be read does not stop the report.

    Args:
        config: reference of the system.
        elements: of the system.
        referenced: table of that name, where the reference is the potential itself.
        relax: section ``relax`` of the config; None for its defaults.
    """
    from chggen.reference.computed import load_competing
    from chggen.reference.hull import phase_diagram

    try:
        reference = load_competing(config, elements, referenced, relax=relax)
        phases = phases_of(phase_diagram(reference), elements)
    except (ChggenError, OSError, ValueError) as error:
        return Loaded(None, str(error).partition("\n")[0] or type(error).__name__)
    return Loaded(phases, "", reference.partial, bool(reference.structures), reference.hash)


def phases_of(diagram: "PhaseDiagram", elements: set[str]) -> Phases:
    """Phases and tie lines of a diagram of formation energies."""
    order = list(comp.parse_formula(comp.canonical(dict.fromkeys(elements, 1))))
    stable = {_formula(entry) for entry in diagram.stable_entries}
    lowest: dict[str, float] = {}
    for entry in diagram.all_entries:
        formula, energy = _formula(entry), float(entry.energy_per_atom)
        lowest[formula] = min(energy, lowest.get(formula, energy))
    found = [Phase(f, share_of(f), energy, f in stable) for f, energy in lowest.items()]
    ties = set()
    for facet in diagram.facets:
        ties |= set(combinations(sorted(_formula(diagram.qhull_entries[i]) for i in facet), 2))
    return Phases(order, found, sorted(ties), diagram)


def _formula(entry: Any) -> str:  # noqa: ANN401
    return comp.canonical_formula(entry.composition.formula.replace(" ", ""))


def share_of(formula: str) -> Fractions:
    """Atomic fractions of a formula, exact."""
    counts = comp.parse_formula(formula)
    total = sum(counts.values())
    return {element: Fraction(n, total) for element, n in counts.items()}


@dataclass(frozen=True)
class Section:
    """A straight cut through composition space between two end members."""

    ends: tuple[str, str]
    elements: tuple[str, ...]

    def place(self, formula: str) -> float | None:
        """Share of atoms that belong to the second end; None if off the line."""
        first, second, here = (self._vector(f) for f in (*self.ends, formula))
        if here is None or first is None or second is None:
            return None
        place = _along(first, second, here)
        return None if place is None or not 0 <= place <= 1 else float(place)

    def mixture(self, place: float) -> dict[str, float]:
        """Atomic fractions at a place between 0 and 1."""
        first, second = (share_of(end) for end in self.ends)
        return {
            e: (1 - place) * float(first.get(e, 0)) + place * float(second.get(e, 0))
            for e in self.elements
        }

    def _vector(self, formula: str) -> list[Fraction] | None:
        share = share_of(formula)
        return None if set(share) - set(self.elements) else _vector(share, self.elements)


def _vector(share: Fractions, elements: Sequence[str]) -> list[Fraction]:
    return [share.get(e, Fraction(0)) for e in elements]


def _along(first: list[Fraction], second: list[Fraction], here: list[Fraction]) -> Fraction | None:
    """The t with here = first + t (second - first); None if there is none."""
    place: Fraction | None = None
    for a, b, x in zip(first, second, here, strict=True):
        if a == b:
            if x != a:
                return None
            continue
        t = (x - a) / (b - a)
        if place is not None and t != place:
            return None
        place = t
    return place


def section_of(compositions: Sequence[str], elements: Sequence[str]) -> Section | None:
    """The line that all compositions lie on, extended until an element runs out.

    Of ZnP2S6 and Zn2P2S7 that is ZnS-P2S5; in a binary system always the two elements.
    None if they do not lie on one line, or its ends are no simple formulas.
    """
    if len(elements) == 2:  # noqa: PLR2004
        return Section((elements[0], elements[1]), tuple(elements))
    vectors = [_vector(share_of(f), elements) for f in dict.fromkeys(compositions)]
    if len(vectors) < 2:  # noqa: PLR2004
        return None
    first, second = vectors[0], vectors[1]
    if any(_along(first, second, v) is None for v in vectors):
        return None
    pairs = list(zip(first, second, strict=True))
    before = max(-a / (b - a) for a, b in pairs if b > a)
    after = min(a / (a - b) for a, b in pairs if b < a)
    ends = [_whole([a + t * (b - a) for a, b in pairs], elements) for t in (before, after)]
    if any(sum(comp.parse_formula(end).values()) > _MOST_ATOMS for end in ends):
        return None
    # the end with more of the least electronegative element stands on the left
    ends.sort(key=lambda f: [-x for x in _vector(share_of(f), elements)])
    return Section((ends[0], ends[1]), tuple(elements))


def _whole(vector: Sequence[Fraction], elements: Sequence[str]) -> str:
    scale = math.lcm(*(x.denominator for x in vector))
    return comp.canonical({e: int(x * scale) for e, x in zip(elements, vector, strict=True) if x})


def hull_on(phases: Phases, section: Section, points: int = 201) -> tuple[np.ndarray, np.ndarray]:
    """The hull along a section, eV/atom relative to the hull at the section's ends.

    Corners lie at stable phases or where tie lines cross, so all phases on the section
    are added to an even grid.

    Args:
        phases: of the system.
        section: line between two compositions.
        points: of the even grid.

    Returns:
        Places [m] along the section, 0 to 1, and energies [m] there.
    """
    places = [section.place(p.formula) for p in phases.found if p.stable]
    grid = np.unique([*np.linspace(0, 1, points), *(p for p in places if p is not None)])
    energy = np.array([phases.hull_energy(section.mixture(x)) for x in grid])
    return grid, energy - ((1 - grid) * energy[0] + grid * energy[-1])
