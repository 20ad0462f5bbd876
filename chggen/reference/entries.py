"""Lists of computed entries (pymatgen's JSON): read without trust, checked without pymatgen.

Everything that can be wrong with an entry is found here, in the plain dictionaries, so
that ``chggen check`` and the Snakefile can say it in one line before any job starts.
"""

import gzip
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from chggen.config.contracts import GGA, MP2020, Contract, require_same
from chggen.errors import CompositionError, ContractError, ReferenceCoverageError
from chggen.reference import corrections
from chggen.reference.amounts import (
    amounts,
    counts_of,
    number,
    same_composition,
    shown,
    structure_amounts,
)
from chggen.reference.files import Phase, formation_energy
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Start of the source of a list that the Materials Project answered with.
PROJECT: Final = "Materials Project"
_MP2020: Final = Contract(GGA, MP2020)
#: Energy (eV/atom) beyond that of any atom, all electrons counted (uranium has 8e5).
_MOST_ENERGY: Final = 1e7


@dataclass(frozen=True)
class Entry:
    """One entry of a list, checked.

    Args:
        label: its id, or its place in the list.
        counts: atoms per element, smallest integers that hold its composition.
        energy_per_atom: eV/atom, corrections included.
        correction_per_atom: of these, eV/atom; 0 if there is none.
        content: the entry as the file has it.
    """

    label: str
    counts: Mapping[str, int]
    energy_per_atom: float
    correction_per_atom: float
    content: Mapping[str, Any]


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
        raise ReferenceCoverageError(
            f"'{path}' is neither a JSON list of ComputedEntries nor an object with such 'entries'"
        )
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
    found = list(_entries(items, path, system, contract))
    missing = system - {symbol for e in found if len(e.counts) == 1 for symbol in e.counts}
    if missing:
        raise ReferenceCoverageError(
            f"'{path}' has no entry of elemental {', '.join(sorted(missing))}"
        )
    problem = corrections.none_corrected(found) if contract == _MP2020 else None
    if problem:
        raise ContractError(f"'{path}': {problem}")
    return found, origin


def read_entries(path: Path, elements: Iterable[str], contract: Contract) -> Entries:
    """Entries of a JSON file inside a chemical system; energies are taken as given.

    Args:
        path: JSON file, plain or .gz.
        elements: the system's.
        contract: what the energies must be.

    Raises:
        ReferenceCoverageError, ContractError: see :func:`checked_entries`; also for a
            structure that pymatgen cannot read, and where no compound of a kind has the
            correction that pymatgen finds.
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
    structures = {e.label: _structure(e, path) for e in found if e.content.get("structure")}
    warning = None
    # what the Materials Project corrected is not corrected better here
    if contract == _MP2020 and not origin.get("source", "").startswith(PROJECT):
        try:
            warning = corrections.compare(found, structures)
        except ContractError as error:
            raise ContractError(f"'{path}': {error}") from error
    return Entries(ground, phases, structures, origin, warning)


def _entries(items: list[Any], path: Path, system: set[str], contract: Contract) -> Iterator[Entry]:
    seen = Counter[str]()
    for index, item in enumerate(items):
        where = f"'{path}' entry {index}"
        if not isinstance(item, dict):
            raise ReferenceCoverageError(f"{where}: is {shown(item)}, not a ComputedEntry")
        label = _label(item.get("entry_id"), index)
        where += f" ({label})" if label != f"entry {index}" else ""
        try:
            given = _composition(item)
            if not system.issuperset(given):
                continue
            atoms = sum(given.values())
            energy, correction = _energy(item, atoms)
            counts = counts_of(given)
            corrections.check(item, correction / atoms, contract)
        except (ValueError, CompositionError) as error:
            raise ReferenceCoverageError(f"{where}: {error}") from error
        except ContractError as error:
            raise ContractError(f"{where}: {error}") from error
        seen[label] += 1
        if seen[label] > 1:
            label = f"{label} ({seen[label]})"
        yield Entry(label, counts, (energy + correction) / atoms, correction / atoms, item)


def _label(identity: object, index: int) -> str:
    """Name of an entry in tables and messages, in one line."""
    if identity is None or identity == "":
        return f"entry {index}"
    if not isinstance(identity, str | int):
        return shown(identity)
    text = str(identity).encode("utf-8", "replace").decode()  # a lone surrogate is no text
    return " ".join(text.split()) or f"entry {index}"


def _composition(item: Mapping[str, Any]) -> dict[str, float]:
    """Amounts of an entry, which its structure must have as well if it has one."""
    structure, given = item.get("structure"), item.get("composition")
    if not structure:
        return amounts(given)
    try:
        if not isinstance(structure, dict):
            raise ValueError(f"is {shown(structure)}")  # noqa: TRY004, TRY301 - of the file
        inside = structure_amounts(structure)
    except ValueError as error:
        raise ValueError(f"its structure is damaged ({error})") from error
    if given is None:
        return inside
    stated = amounts(given)
    if not same_composition(stated, inside):
        raise ValueError(f"its structure is {_formula(inside)}, its composition {_formula(stated)}")
    return stated


def _formula(given: Mapping[str, float]) -> str:
    return " ".join(f"{symbol}{amount:g}" for symbol, amount in given.items())


def _energy(item: Mapping[str, Any], atoms: float) -> tuple[float, float]:
    """Uncorrected energy and correction in eV, of the composition as the file has it."""
    if "energy" not in item:
        raise ValueError("has no energy")
    energy, correction = number(item["energy"], "energy"), 0.0
    adjustments, given = item.get("energy_adjustments"), item.get("correction")
    if adjustments:
        if not isinstance(adjustments, list) or not all(isinstance(a, dict) for a in adjustments):
            raise ValueError(f"energy_adjustments are {shown(adjustments)}")
        correction = sum(_adjustment(a) for a in adjustments)
    elif given is not None:
        correction = number(given, "correction")
    if not abs(energy + correction) <= _MOST_ENERGY * atoms:
        raise ValueError(f"energy is {(energy + correction) / atoms:g} eV/atom, beyond any atom")
    return energy, correction


def _adjustment(given: Mapping[str, Any]) -> float:
    """Value in eV of one of pymatgen's energy adjustments."""
    name = f"adjustment {shown(given.get('name'))}"
    if "adj_per_deg" in given:
        parts = [given["adj_per_deg"], given.get("temp"), given.get("n_atoms")]
    elif "adj_per_atom" in given:
        parts = [given["adj_per_atom"], given.get("n_atoms")]
    else:
        parts = [given.get("value")]
    return number(math.prod(number(part, name) for part in parts), name)


def _structure(entry: Entry, path: Path) -> "Structure":
    from pymatgen.core.structure import Structure

    try:
        structure = Structure.from_dict(dict(entry.content["structure"]))
        structure.remove_oxidation_states()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReferenceCoverageError(
            f"'{path}' entry '{entry.label}': its structure is damaged ({line})"
        ) from error
    return structure
