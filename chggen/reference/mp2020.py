"""MP2020 corrections added to the energy of a structure that a potential computed.

The scheme (Wang et al., doi:10.1038/s41598-021-94550-5) corrects calculations with the
Materials Project's input set: anions by kind (oxide, peroxide, superoxide, sulfide, …), and
metals whose oxides and fluorides are calculated with a Hubbard U, so that these may be mixed
with GGA energies. A potential trained on such calculations gives the energy of the run
that the input set prescribes for the composition: with U for V, Cr, Mn, Fe, Co, Ni, Mo and W where
O or F is the most electronegative element, without U elsewhere. Kinds of anions come from
distances in the structure and from guessed oxidation states; pymatgen's
``MaterialsProject2020Compatibility`` does both.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chggen.config.contracts import MP2020, Contract, added_corrections
from chggen.errors import Status
from chggen.reference.corrections import scheme
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


@dataclass(frozen=True)
class Correction:
    """What was added to an energy before it was compared with a reference.

    Args:
        per_atom: eV/atom; None if it could not be computed.
        run_type: ``GGA`` or ``GGA+U``, of the calculation that the energy stands for.
        terms: its parts in words: ``anion correction (oxide)``.
        reason: why it could not be computed, in one line; empty if it was.
        scheme: name of the scheme; None where nothing was added.
    """

    per_atom: float | None
    run_type: str | None
    terms: tuple[str, ...] = ()
    reason: str = ""
    scheme: str | None = None

    def columns(self, prefix: str = "") -> dict[str, Any]:
        """Columns that stand beside an energy it was added to (``tables.contracts.ADDED``)."""
        return {
            f"{prefix}correction_per_atom": self.per_atom,
            f"{prefix}added_corrections": self.scheme,
            f"{prefix}run_type": self.run_type,
        }


#: Energies that are compared as they are.
NOTHING = Correction(0.0, None)


def added(crystal: Crystal, contract: Contract, reference: Contract) -> Correction:
    """What an energy needs so that it may be compared with a reference.

    Args:
        crystal: the structure that the energy is of.
        contract: of the energy.
        reference: of the competing phases.

    Returns:
        The correction; :data:`NOTHING` where the contracts are the same, or do not fit.
    """
    if added_corrections(contract, reference) is None:
        return NOTHING
    return mp2020(crystal)


def mp2020(crystal: "Crystal | Structure") -> Correction:
    """MP2020 correction of a structure calculated with the Materials Project's input set.

    Args:
        crystal: the structure; a peroxide is told from an oxide by its distances.
    """
    from pymatgen.entries.compatibility import CompatibilityError
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    structure = crystal.to_structure() if isinstance(crystal, Crystal) else crystal
    hubbards = hubbard_u(structure.composition.reduced_formula)
    run_type = "GGA+U" if hubbards else "GGA"
    states = _oxidation_states(structure.composition.reduced_formula)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oxidation states that cannot be guessed
            entry = ComputedStructureEntry(
                structure,
                0.0,
                parameters={"run_type": run_type, "hubbards": hubbards},
                data={"oxidation_states": dict(states)},
            )
            found = scheme().get_adjustments(entry)
    except (CompatibilityError, ValueError, TypeError, KeyError, IndexError, ArithmeticError) as e:
        line = str(e).partition("\n")[0] or type(e).__name__
        return Correction(None, run_type, (), f"no MP2020 correction: {line}")
    total = sum(float(term.value) for term in found)
    terms = tuple(term.name.removeprefix("MP2020 ") for term in found)
    return Correction(total / len(structure), run_type, terms, scheme=MP2020)


def corrected_contract(contract: Contract) -> Contract:
    """Contract of phases whose energies have this one, once MP2020 is added where it can be."""
    corrected = Contract(contract.functional, MP2020)
    return corrected if added_corrections(contract, corrected) else contract


def corrected_phases(rows: Sequence[Mapping[str, Any]], contract: Contract) -> list[dict[str, Any]]:
    """Phases that a potential relaxed, as a hull needs them.

    Uncorrected GGA and GGA+U energies are not of one scale (an oxide of iron is calculated with
    U, iron without), so MP2020 is added to phases too. One whose correction cannot be computed
    has no energy and status ``failed``.

    Args:
        rows: with a structure and ``energy_per_atom``, eV/atom.
        contract: of these energies.

    Returns:
        The rows with energies of :func:`corrected_contract`.
    """
    if corrected_contract(contract) == contract:
        return [dict(row) for row in rows]
    out = []
    for row in rows:
        found = dict(row)
        if found["energy_per_atom"] is not None:
            extra = mp2020(Crystal.from_row(found)).per_atom
            if extra is None:
                found |= {"energy_per_atom": None, "status": Status.FAILED.value}
            else:
                found["energy_per_atom"] += extra
        out.append(found)
    return out


@functools.lru_cache(maxsize=4096)
def hubbard_u(formula: str) -> dict[str, float]:
    """U values (eV) by element in the Materials Project's input set (MPRelaxSet).

    Args:
        formula: any formula; ``{}`` where the set calculates without U.
    """
    counts = comp.parse_formula(formula)
    anion = list(comp.parse_formula(comp.canonical(counts)))[-1]
    values = scheme().u_settings.get(anion, {}) if len(counts) > 1 else {}
    return {element: float(values[element]) for element in counts if values.get(element)}


@functools.lru_cache(maxsize=4096)
def _oxidation_states(formula: str) -> dict[str, float]:
    """Guessed as the scheme does, once per composition; {} if there is no guess."""
    from pymatgen.core.composition import Composition

    try:
        guesses = Composition(formula).oxi_state_guesses(max_sites=-20)
    except ValueError:
        return {}
    return dict(guesses[0]) if guesses else {}
