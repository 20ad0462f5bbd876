"""Lists of computed entries (pymatgen's JSON): read without trust, checked without pymatgen.

Everything that can be wrong with an entry is found here, in the plain dictionaries, so
that ``chggen check`` and the Snakefile can say it in one line before any job starts.
"""

import gzip
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chggen.config.contracts import GGA, MP2020, NONE, R2SCAN, Contract, require_same
from chggen.errors import CompositionError, ContractError, ReferenceCoverageError
from chggen.reference.files import Phase, formation_energy
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Functional that a VASP ``run_type`` means.
_RUN_TYPES: Final = {
    "gga": GGA, "gga+u": GGA, "gga_gga+u": GGA, "pbe": GGA, "pbe+u": GGA, "r2scan": R2SCAN,
}  # fmt: skip
#: A species: an element, perhaps with an oxidation state ("Li+", "O2-", "Fe3+,spin=5").
_SPECIES: Final = re.compile(r"([A-Z][a-z]?)(?:\d*\.?\d*[+-](?:,.*)?)?", re.ASCII)
#: Isotopes count as their element.
_ISOTOPES: Final = {"D": "H", "T": "H"}
#: Amounts are fractions with denominators up to the first within the second: simple ones
#: may be rounded (0.333), others (0.005) must be exact.
_FRACTIONS: Final = ((24, 5e-4), (200, 1e-9))
#: Most atoms in the formula of an entry: more means that its amounts are no fractions.
_MOST_ATOMS: Final = 100_000
#: Correction (eV) below which an entry counts as uncorrected.
_UNCORRECTED: Final = 1e-8
#: Anions whose compounds MP2020 corrects (Wang et al., doi:10.1038/s41598-021-94550-5).
_CORRECTED_ANIONS: Final = frozenset("O S F Cl Br I N Se Si Sb Te H".split())  # noqa: SIM905
#: Entries of an anion from which on "all are uncorrected" is an error, not a warning: one
#: or two may be energies whose correction was added without record.
_ENOUGH: Final = 3
_MOST_NAMED: Final = 4


@dataclass(frozen=True)
class Entry:
    """One entry of a list, checked.

    Args:
        label: its id, or its place in the list.
        counts: atoms per element, smallest integers that hold its composition.
        energy_per_atom: eV/atom, corrections included.
        correction: eV per formula of the file, 0 if there is none.
        structure: dictionary of a pymatgen ``Structure``, if it has one.
    """

    label: str
    counts: Mapping[str, int]
    energy_per_atom: float
    correction: float
    structure: Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class Entries:
    """What a list of computed entries holds, on the scale of formation energies.

    Args:
        elements: lowest energy per atom of each element, eV.
        phases: everything, the elements included.
        structures: structures by label, where entries have them.
        origin: what the file says about itself (date, database version).
        warning: what is doubtful, in one line; None if nothing is.
    """

    elements: dict[str, float]
    phases: tuple[Phase, ...]
    structures: dict[str, "Structure"]
    origin: Mapping[str, str]
    warning: str | None = None


def read_json(path: Path) -> tuple[list[Any], dict[str, str]]:
    """Items of a JSON list of entries (plain or .gz), and what the file says of itself.

    Raises:
        ReferenceCoverageError: not readable, or no such list.
    """
    try:
        data = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        content = json.loads(data.decode("utf-8-sig"))
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReferenceCoverageError(f"'{path}' cannot be read: {line}") from error
    entries = content.get("entries") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise ReferenceCoverageError(f"'{path}' is not a JSON list of ComputedEntries")
    origin = content if isinstance(content, dict) else {}
    return entries, {k: v for k, v in origin.items() if isinstance(v, str)}


def checked_entries(
    path: Path, elements: Iterable[str], contract: Contract
) -> tuple[list[Entry], dict[str, str]]:
    """Entries of a file that lie inside a chemical system, every value checked.

    Args:
        path: JSON file.
        elements: the system's.
        contract: what the energies must be.

    Raises:
        ReferenceCoverageError: not readable, an entry is damaged, or an element has none.
        ContractError: an entry says that it is not what the contract says.
    """
    system = set(elements)
    items, origin = read_json(path)
    stated = Contract(
        origin.get("functional", contract.functional),
        origin.get("corrections", contract.corrections),
    )
    require_same(stated, f"'{path}'", contract, "the config's")
    found = [e for e in _entries(items, path, system, contract) if e is not None]
    missing = system - {symbol for e in found if len(e.counts) == 1 for symbol in e.counts}
    if missing:
        raise ReferenceCoverageError(f"'{path}' has no entry of elemental {min(missing)}")
    if contract == Contract(GGA, MP2020):
        _refuse_uncorrected(found, path)
    return found, origin


def read_entries(path: Path, elements: Iterable[str], contract: Contract) -> Entries:
    """Entries of a JSON file inside a chemical system; energies are taken as given.

    Args:
        path: JSON file, plain or .gz.
        elements: the system's.
        contract: what the energies must be.


    Raises:
        ReferenceCoverageError, ContractError: see :func:`checked_entries`; also for a
            structure that is damaged or unlike its entry's composition.
    """
    found, origin = checked_entries(path, elements, contract)
    ground: dict[str, float] = {}
    for entry in found:
        if len(entry.counts) == 1:
            symbol = next(iter(entry.counts))
            ground[symbol] = min(entry.energy_per_atom, ground.get(symbol, np.inf))
    phases = tuple(
        Phase(
            entry.label,
            comp.canonical(entry.counts),
            formation_energy(entry.energy_per_atom, entry.counts, ground),
        )
        for entry in found
    )
    structures = {e.label: _structure(e, path) for e in found if e.structure is not None}
    warning = None
    if contract == Contract(GGA, MP2020):
        warning = _uncorrected_warning(found)
    return Entries(ground, phases, structures, origin, warning)


def _entries(
    items: list[Any], path: Path, system: set[str], contract: Contract
) -> Iterator[Entry | None]:
    seen = Counter[str]()
    for index, item in enumerate(items):
        where = f"'{path}' entry {index}"
        if not isinstance(item, dict):
            raise ReferenceCoverageError(f"{where}: is {_shown(item)}, not a ComputedEntry")
        label = str(item.get("entry_id") or f"entry {index}")
        where += f" ({label})" if item.get("entry_id") else ""
        try:
            amounts = _amounts(item.get("composition"))
            if not system.issuperset(amounts):
                yield None
                continue
            energy, correction = _energy(item)
            counts = _integers(amounts)
        except (ValueError, CompositionError) as error:
            raise ReferenceCoverageError(f"{where}: {error}") from error
        _check_contract(item, where, correction, contract)
        seen[label] += 1
        if seen[label] > 1:
            label = f"{label} ({seen[label]})"
        per_atom = (energy + correction) / sum(amounts.values())
        structure = item.get("structure")
        if structure is not None and not isinstance(structure, dict):
            raise ReferenceCoverageError(f"{where}: its structure is {_shown(structure)}")
        yield Entry(label, counts, per_atom, correction, structure)


def _amounts(given: object) -> dict[str, float]:
    """Amount of each element; oxidation states and amounts of zero are left out."""
    if isinstance(given, str):
        return {symbol: float(n) for symbol, n in comp.parse_formula(given).items()}
    if not isinstance(given, dict):
        raise ValueError(f"its composition is {_shown(given)}")  # noqa: TRY004 - of the file
    amounts: dict[str, float] = {}
    for species, amount in given.items():
        match = _SPECIES.fullmatch(str(species))
        symbol = _ISOTOPES.get(match[1], match[1]) if match else ""
        if symbol not in comp.ATOMIC_NUMBERS:
            raise ValueError(f"unknown element '{species}'")
        value = _number(amount, f"amount of {species}")
        if value < 0:
            raise ValueError(f"negative amount of {species} ({value:g})")
        if value > 0:
            amounts[symbol] = amounts.get(symbol, 0.0) + value
    if not amounts:
        raise ValueError("its composition is empty")
    return amounts


def _integers(amounts: Mapping[str, float]) -> dict[str, int]:
    """Smallest integers in the ratio of the amounts."""
    fractions = {}
    for symbol, amount in amounts.items():
        near = (
            fraction
            for denominator, tolerance in _FRACTIONS
            if (fraction := Fraction(amount).limit_denominator(denominator)) > 0
            and abs(float(fraction) - amount) <= tolerance
        )
        found = next(near, None)
        if found is None:
            raise ValueError(f"amount {amount:g} of {symbol} is no simple fraction")
        fractions[symbol] = found
    common = math.lcm(*(f.denominator for f in fractions.values()))
    counts = {symbol: int(f * common) for symbol, f in fractions.items()}
    if sum(counts.values()) > _MOST_ATOMS:
        raise ValueError("its amounts are no simple fractions of each other")
    divisor = math.gcd(*counts.values())
    return {symbol: n // divisor for symbol, n in counts.items()}


def _energy(item: Mapping[str, Any]) -> tuple[float, float]:
    """Uncorrected energy and correction in eV, of the composition as the file has it."""
    if "energy" not in item:
        raise ValueError("has no energy")
    energy = _number(item["energy"], "energy")
    adjustments = item.get("energy_adjustments")
    if not adjustments:
        given = item.get("correction")
        return energy, 0.0 if given is None else _number(given, "correction")
    if not isinstance(adjustments, list) or not all(isinstance(a, dict) for a in adjustments):
        raise ValueError(f"energy_adjustments are {_shown(adjustments)}")
    return energy, sum(_adjustment(a) for a in adjustments)


def _adjustment(given: Mapping[str, Any]) -> float:
    """Value in eV of one of pymatgen's energy adjustments."""
    name = f"adjustment '{given.get('name')}'"
    if "adj_per_deg" in given:
        parts = [given["adj_per_deg"], given.get("temp"), given.get("n_atoms")]
    elif "adj_per_atom" in given:
        parts = [given["adj_per_atom"], given.get("n_atoms")]
    else:
        parts = [given.get("value")]
    return math.prod(_number(part, name) for part in parts)


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is {_shown(value)}, not a number")  # noqa: TRY004 - as above
    if not math.isfinite(value):
        raise ValueError(f"{what} is {value}, not a finite number")
    return float(value)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004


def _check_contract(
    item: Mapping[str, Any], where: str, correction: float, contract: Contract
) -> None:
    """Compare what an entry says about its energy with what the config says."""
    parameters = item.get("parameters")
    stated = (parameters if isinstance(parameters, dict) else {}).get("run_type")
    if stated not in {None, ""}:
        name = str(stated).strip().lower()
        functional = _RUN_TYPES.get(name)
        if name == contract.functional.lower():
            functional = contract.functional
        if functional != contract.functional:
            raise ContractError(
                f"{where}: its run type is '{stated}', the config's functional"
                f" {contract.functional}"
            )
    names = [
        str(a.get("name") or a.get("description") or "unnamed")
        for a in item.get("energy_adjustments") or []
        # what pymatgen makes of a bare number; it says nothing of its scheme
        if a.get("@class") != "ManualEnergyAdjustment"
    ]
    foreign = [n for n in names if "mixing adjustment" in n.lower() or "r2scan" in n.lower()]
    if contract.corrections == MP2020:
        foreign += [n for n in names if not n.lower().startswith("mp2020")]
    if foreign:
        raise ContractError(
            f"{where}: its energy includes '{foreign[0]}', which is no part of {contract}"
        )
    if contract.corrections == NONE and abs(correction) > _UNCORRECTED:
        raise ContractError(
            f"{where}: its energy includes a correction of {correction:g} eV, but the config"
            f" says {contract}"
        )


def _by_anion(found: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Compounds that MP2020 corrects, by their most electronegative element."""
    groups: dict[str, list[Entry]] = {}
    for entry in found:
        anion = list(comp.parse_formula(comp.canonical(entry.counts)))[-1]
        if len(entry.counts) > 1 and anion in _CORRECTED_ANIONS:
            groups.setdefault(anion, []).append(entry)
    return groups


def _bare(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if abs(entry.correction) <= _UNCORRECTED]


def _refuse_uncorrected(found: Iterable[Entry], path: Path) -> None:
    for anion, entries in sorted(_by_anion(found).items()):
        if len(entries) >= _ENOUGH and len(_bare(entries)) == len(entries):
            raise ContractError(
                f"'{path}': none of the {len(entries)} compounds of {anion} is corrected (first"
                f" '{entries[0].label}'), but the config says MP2020: process the entries with"
                " pymatgen's MaterialsProject2020Compatibility, or say corrections: none"
            )


def _uncorrected_warning(found: Iterable[Entry]) -> str | None:
    bare = [entry for entries in _by_anion(found).values() for entry in _bare(entries)]
    if not bare:
        return None
    named = ", ".join(f"'{e.label}' {comp.canonical(e.counts)}" for e in bare[:_MOST_NAMED])
    more = ", …" if len(bare) > _MOST_NAMED else ""
    return (
        f"{len(bare)} entries that MP2020 would correct carry no correction ({named}{more});"
        " if their energies are uncorrected, E_d is wrong where they compete"
    )


def _structure(entry: Entry, path: Path) -> "Structure":
    from pymatgen.core.structure import Structure

    where = f"'{path}' entry '{entry.label}'"
    try:
        structure = Structure.from_dict(dict(entry.structure or {}))
        structure.remove_oxidation_states()
        amounts = {e.symbol: float(n) for e, n in structure.composition.items()}
        amounts = _amounts(amounts)
        counts = _integers(amounts)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReferenceCoverageError(f"{where}: its structure is damaged ({line})") from error
    if counts != dict(entry.counts):
        raise ReferenceCoverageError(
            f"{where}: its structure is {comp.canonical(counts)}, its composition"
            f" {comp.canonical(entry.counts)}"
        )
    return structure
