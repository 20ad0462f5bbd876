"""What entries say of functional and corrections, against what the config says.

The MP2020 scheme (Wang et al., doi:10.1038/s41598-021-94550-5) is pymatgen's
``MaterialsProject2020Compatibility``, which is asked what an entry's correction should be.
What is surely wrong is found without it, before any job starts.
"""

import functools
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from chggen.config.contracts import GGA, MP2020, NONE, R2SCAN, Contract
from chggen.errors import ContractError
from chggen.reference.amounts import shown
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Functional that a VASP ``run_type`` means.
_RUN_TYPES: Final = {
    "gga": GGA, "gga+u": GGA, "gga_u": GGA, "gga_gga+u": GGA, "pbe": GGA, "pbe+u": GGA,
    "r2scan": R2SCAN, "r²scan": R2SCAN,
}  # fmt: skip
_MP2020_CLASS: Final = "MaterialsProject2020Compatibility"
#: What pymatgen makes of a bare number; it says nothing of its scheme.
_BARE_CLASS: Final = "ManualEnergyAdjustment"
#: Correction (eV/atom) below which an entry counts as uncorrected.
_UNCORRECTED: Final = 1e-8
#: Difference (eV/atom) from MP2020 that is said.
_DIFFERENT: Final = 0.005
#: Correction (eV/atom) beyond all of MP2020's, whose largest is 4.4 per atom of W.
_MOST: Final = 4.5
#: Anions that MP2020 corrects in every compound whose most electronegative element they
#: are; others (N in azides, Se in polyselenides) only where their oxidation state says so.
_ALWAYS: Final = frozenset({"O", "S", "F", "Cl", "Br"})
#: Compounds of a kind from which on "none is corrected" is an error, not a warning: of one
#: or two the correction may have been added without record.
_ENOUGH: Final = 3
_MOST_NAMED: Final = 4


class Corrected(Protocol):
    """An entry as far as its correction goes (:class:`chggen.reference.entries.Entry`)."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Atoms per element."""

    @property
    def correction_per_atom(self) -> float:
        """Correction, eV/atom."""

    @property
    def content(self) -> Mapping[str, Any]:
        """The entry as the file has it."""


def check(content: Mapping[str, Any], correction_per_atom: float, contract: Contract) -> None:
    """Raise :class:`ContractError` where an entry says that it is not what the config says.

    Args:
        content: the entry as the file has it.
        correction_per_atom: eV/atom.
        contract: the config's.
    """
    for place in ("parameters", "data"):  # old entries keep it in the second
        _check_run_type(content.get(place), contract)
    foreign = _foreign(content.get("energy_adjustments") or [], contract)
    if foreign:
        raise ContractError(f"its energy includes {foreign}, which is no part of {contract}")
    if contract.corrections == NONE and abs(correction_per_atom) > _UNCORRECTED:
        raise ContractError(
            f"its energy includes a correction of {correction_per_atom:g} eV/atom, but the"
            f" config says {contract}"
        )
    if contract.corrections == MP2020 and abs(correction_per_atom) > _MOST:
        raise ContractError(
            f"its correction is {correction_per_atom:g} eV/atom, more than any of MP2020"
        )


def _check_run_type(parameters: object, contract: Contract) -> None:
    stated = parameters.get("run_type") if isinstance(parameters, dict) else None
    if stated is None or stated == "":
        return  # then only the config says what it is
    name = stated.strip().lower() if isinstance(stated, str) else ""
    if name != contract.functional.lower() and _RUN_TYPES.get(name) != contract.functional:
        raise ContractError(
            f"its run type is {shown(stated)}, the config's functional {contract.functional}"
        )


def _foreign(adjustments: Iterable[Mapping[str, Any]], contract: Contract) -> str | None:
    """First adjustment that is of another scheme than the contract's, shown."""
    for adjustment in adjustments:
        name = adjustment.get("name") or adjustment.get("description") or "an unnamed adjustment"
        said = f"{name} {adjustment.get('description')}".lower()
        scheme = adjustment.get("cls")
        scheme = scheme.get("@class") if isinstance(scheme, dict) else None
        if "mixing adjustment" in said or "r2scan" in said or "MixingScheme" in str(scheme):
            return shown(name)
        if contract.corrections != MP2020 or adjustment.get("@class") == _BARE_CLASS:
            continue
        known = str(name).lower().startswith("mp2020")
        if not known or scheme not in {None, _MP2020_CLASS}:
            return shown(name)
    return None


def none_corrected(found: Iterable[Corrected]) -> str | None:
    """Why the entries cannot be MP2020's: no compound of an anion is corrected; or None."""
    groups: dict[str, list[Corrected]] = defaultdict(list)
    for entry in found:
        anion = list(comp.parse_formula(comp.canonical(entry.counts)))[-1]
        if len(entry.counts) > 1 and anion in _ALWAYS:
            groups[f"compounds of {anion}"].append(entry)
    return _none_of_a_kind(groups)


def _none_of_a_kind(groups: Mapping[str, Sequence[Corrected]]) -> str | None:
    for kind, entries in sorted(groups.items()):
        if len(entries) >= _ENOUGH and all(map(_is_bare, entries)):
            return (
                f"none of the {len(entries)} {kind} is corrected (first '{entries[0].label}'),"
                " but the config says MP2020: process the entries with pymatgen's"
                f" {_MP2020_CLASS}, or say corrections: none"
            )
    return None


def _is_bare(entry: Corrected) -> bool:
    return abs(entry.correction_per_atom) <= _UNCORRECTED


def compare(found: Sequence[Corrected], structures: Mapping[str, "Structure"]) -> str | None:
    """Warning about entries whose correction is not MP2020's; None if all are.

    Entries that list the adjustments of that scheme are taken at their word.

    Args:
        found: entries.
        structures: by label, where there are any: they tell oxides from peroxides.

    Raises:
        ContractError: there are three or more compounds of a kind, and none is corrected.
    """
    kinds: dict[str, list[Corrected]] = defaultdict(list)
    bare, different, unknown = [], [], []
    for entry in found:
        names = [str(a.get("name")) for a in entry.content.get("energy_adjustments") or []]
        if not any(name.lower().startswith("mp2020") for name in names):
            what = f"'{entry.label}' {comp.canonical(entry.counts)}"
            expected = _expected(entry, structures.get(entry.label))
            if expected is None:
                unknown.append(what)
                continue
            value, names = expected
            if abs(value - entry.correction_per_atom) > _DIFFERENT:
                if _is_bare(entry):
                    bare.append(f"{what}: {value:+.3f} eV/atom")
                else:
                    given = f"{entry.correction_per_atom:+.3f}, not {value:+.3f} eV/atom"
                    different.append(f"{what}: {given}")
        for name in names:
            if " anion " in name:
                kinds[f"entries with {name}"].append(entry)
    problem = _none_of_a_kind(kinds)
    if problem:
        raise ContractError(problem)
    parts = [
        ("without a correction, though MP2020 has one", bare),
        ("with another correction than MP2020's", different),
        ("with U values that MP2020 has no correction for", unknown),
    ]
    said = [f"{len(r)} of {len(found)} entries {text} ({_named(r)})" for text, r in parts if r]
    if not said:
        return None
    return f"{'; '.join(said)}: unless their energies are MP2020's, E_d is wrong where they compete"


def _named(rows: Sequence[str]) -> str:
    return ", ".join(rows[:_MOST_NAMED]) + (", ..." if len(rows) > _MOST_NAMED else "")


@functools.cache
def scheme() -> Any:  # noqa: ANN401
    """Pymatgen's ``MaterialsProject2020Compatibility``; POTCARs are not asked for."""
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


def _expected(entry: Corrected, structure: "Structure | None") -> tuple[float, list[str]] | None:
    """MP2020's correction of an entry (eV/atom) and its parts; None if it takes none like it.

    Without a run type it counts as GGA, without U values as calculated without U: the
    scheme then refuses what needs a U.
    """
    from pymatgen.core.composition import Composition
    from pymatgen.entries.compatibility import CompatibilityError
    from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

    parameters, data = (
        value if isinstance(value, dict) else {}
        for value in (entry.content.get("parameters"), entry.content.get("data"))
    )
    hubbards = parameters.get("hubbards") or {}
    given = {"run_type": "GGA+U" if hubbards else "GGA", "hubbards": hubbards}
    known = {k: data[k] for k in ("oxide_type", "sulfide_type", "oxidation_states") if data.get(k)}
    try:
        if structure is not None:
            made = ComputedStructureEntry(structure, 0.0, parameters=given, data=known)
        else:
            made = ComputedEntry(Composition(entry.counts), 0.0, parameters=given, data=known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oxidation states that are guessed
            adjustments = scheme().get_adjustments(made)
    except (CompatibilityError, ValueError, TypeError, KeyError, AttributeError):
        return None
    value = sum(float(a.value) for a in adjustments) / made.composition.num_atoms
    return value, [a.name for a in adjustments]
