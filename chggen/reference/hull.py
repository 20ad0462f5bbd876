"""Stability: formation and decomposition energies against a reference.

E_f = (E - Σ nᵢ μᵢ)/N with the reference's elemental energies μ, and E_d = E_f minus the
convex hull of the competing phases at the same composition.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chggen.config.contracts import Contract, require_same
from chggen.errors import ReferenceCoverageError
from chggen.reference.files import Phase, formation_energy
from chggen.reference.reference import Reference
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.analysis.phase_diagram import PhaseDiagram


@dataclass(frozen=True)
class Decomposition:
    """Stability of one structure.

    Args:
        formation_energy_per_atom: E_f, eV/atom.
        decomposition_energy: E_d, eV/atom; negative = breaks the hull.
        products: phases on the hull at this composition with their atomic fractions,
            largest first: ``0.650 Zn3P2S8 + 0.350 ZnS``.
        phases: their formulas, in the same order.
        amounts: their atomic fractions, in the same order.
        uncertainty: standard uncertainty of the hull there, eV/atom, see :func:`hull_uncertainty`;
            None if the reference does not state that of a phase.
    """

    formation_energy_per_atom: float
    decomposition_energy: float
    products: str
    phases: tuple[str, ...] = ()
    amounts: tuple[float, ...] = ()
    uncertainty: float | None = None


@functools.lru_cache(maxsize=16)
def phase_diagram(reference: Reference) -> "PhaseDiagram":
    """Phase diagram of a reference on the scale of formation energies, built once."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    entries = [PDEntry(symbol, 0.0, name=symbol) for symbol in reference.elements]
    for phase in reference.phases:
        atoms = sum(comp.parse_formula(phase.composition).values())
        energy = phase.formation_energy_per_atom * atoms
        entries.append(PDEntry(phase.composition, energy, name=phase.composition))
    return PhaseDiagram(entries)


def decomposition(
    reference: Reference, composition: str, energy_per_atom: float, contract: Contract
) -> Decomposition:
    """Decomposition energy of a structure that is not itself in the reference.

    The hull energy is pymatgen's ``PhaseDiagram.get_hull_energy_per_atom``, so that E_d
    is what ``get_e_above_hull(entry, allow_negative=True)`` gives for an entry outside
    the diagram. "Own entry left out" holds because a generated structure never is an
    entry; other polymorphs do compete. Where the reference has a stable phase of the
    same composition, E_d is relative to that phase: finding it again gives 0, not the
    (negative) energy by which it is stable against other compositions.

    Args:
        reference: competing phases.
        composition: any integer formula; only ratios count.
        energy_per_atom: energy of the structure, eV/atom.
        contract: of that energy.

    Raises:
        ContractError: the energies may not be compared.
        ReferenceCoverageError: an element is not in the reference.
    """
    require_same(contract, "the structure's", reference.contract, f"'{reference.name}'")
    counts = comp.parse_formula(composition)
    unknown = sorted(set(counts) - set(reference.elements))
    if unknown:
        raise ReferenceCoverageError(f"reference '{reference.name}' does not have {unknown[0]}")
    energy = formation_energy(energy_per_atom, counts, reference.elements)
    hull, phases, amounts = _hull(reference, comp.canonical(counts))
    products = " + ".join(f"{n:.3f} {name}" for n, name in zip(amounts, phases, strict=True))
    uncertainty = hull_uncertainty(reference, phases, amounts)
    return Decomposition(energy, energy - hull, products, phases, amounts, uncertainty)


def hull_uncertainty(
    reference: Reference, phases: Iterable[str], amounts: Iterable[float]
) -> float | None:
    """Standard uncertainty (eV/atom) of a mixture of phases, whose errors are independent.

    u² = Σ (xᵢ uᵢ)², with atomic fractions xᵢ (JCGM 100:2008, eq. 10).

    Args:
        reference: that has the phases.
        phases: formulas of the mixture.
        amounts: their atomic fractions.
    """
    total = 0.0
    for formula, amount in zip(phases, amounts, strict=True):
        own = reference.lowest[formula].uncertainty
        if own is None:
            return None
        total += (amount * own) ** 2
    return math.sqrt(total)


def hull_formation_energy(reference: Reference, composition: str) -> float:
    """Formation energy of the hull at a composition, eV/atom."""
    return _hull(reference, comp.canonical_formula(composition))[0]


def with_candidates(reference: Reference, candidates: Mapping[str, float]) -> Reference:
    """The reference with the best candidate of each composition among its phases.

    Args:
        reference: competing phases.
        candidates: lowest formation energy (eV/atom) found at each composition.
    """
    found = (Phase("candidate", formula, energy) for formula, energy in candidates.items())
    return replace(reference, phases=(*reference.phases, *found))


@functools.lru_cache(maxsize=4096)
def _hull(
    reference: Reference, composition: str
) -> tuple[float, tuple[str, ...], tuple[float, ...]]:
    """Hull energy (eV/atom) at a composition, the phases there and their atomic fractions."""
    from pymatgen.core.composition import Composition

    diagram = phase_diagram(reference)
    target = Composition(composition)
    shares = sorted(
        ((share, entry.name) for entry, share in diagram.get_decomposition(target).items()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    phases, amounts = tuple(name for _, name in shares), tuple(float(n) for n, _ in shares)
    return float(diagram.get_hull_energy_per_atom(target)), phases, amounts
