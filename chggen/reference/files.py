"""What references are read from: tables of formation energies, lists of entries.

pymatgen is imported where it is needed, so that tables can be checked without it.
"""

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import numpy as np

from chggen.config.contracts import GGA, NONE, R2SCAN, Contract, require_same
from chggen.errors import CompositionError, ReferenceCoverageError
from chggen.run.atomic import write_text
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure
    from pymatgen.entries.computed_entries import ComputedEntry

#: Column names that are understood: our own and those of mp_20 and mpts_52.
_FORMULA: Final = ("formula", "pretty_formula")
_ENERGY: Final = "formation_energy_per_atom"
_ABOVE: Final = "e_above_hull"
_LABEL: Final = "material_id"
#: A record closer to the hull than this (eV/atom) is on it.
_ON_HULL: Final = 1e-8
#: A derived hull point that other phases make up to this (eV/atom) is a mixture of
#: them; above the rounding of the linear programme, far below any energy that counts.
_MIXTURE: Final = 1e-6
#: Functional that a VASP ``run_type`` means.
_RUN_TYPES: Final = {
    "gga": GGA, "gga+u": GGA, "pbe": GGA, "pbe+u": GGA, "r2scan": R2SCAN,
}  # fmt: skip
#: The Materials Project's names of its sets of energies.
_THERMO_TYPES: Final = {GGA: "GGA_GGA+U", R2SCAN: "R2SCAN"}

#: Called with a key, gives a context manager that yields an MPRester.
Client = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Phase:
    """A competing phase.

    Args:
        label: its id in the source; 'hull' for a hull point derived from a record.
        composition: canonical formula.
        formation_energy_per_atom: eV/atom.
    """

    label: str
    composition: str
    formation_energy_per_atom: float


@dataclass(frozen=True)
class Record:
    """One row of a table of formation energies (eV/atom); ``above`` may be unknown."""

    label: str
    composition: str
    energy: float
    above: float | None


@dataclass(frozen=True, eq=False)
class Entries:
    """What a list of computed entries holds, on the scale of formation energies.

    Args:
        elements: lowest energy per atom of each element, eV.
        phases: everything else.
        structures: structures by label, where entries have them.
        origin: what the file says about itself (date, database version).
    """

    elements: dict[str, float]
    phases: tuple[Phase, ...]
    structures: dict[str, "Structure"]
    origin: Mapping[str, str]


def is_table(path: Path) -> bool:
    """True for CSV and CSV.gz, by name."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def read_table(path: Path, elements: Iterable[str]) -> Iterator[Record]:
    """Records of a CSV file (plain or gzipped) that lie inside a chemical system.

    Raises:
        ReferenceCoverageError: not readable, a column is missing, or a value is wrong.
    """
    try:
        with _open_text(path) as file:
            yield from records(file, f"'{path}'", elements)
    except (OSError, UnicodeDecodeError, csv.Error, EOFError) as error:
        raise ReferenceCoverageError(f"'{path}' cannot be read: {error}") from error


def _open_text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def records(lines: Iterable[str], where: str, elements: Iterable[str]) -> Iterator[Record]:
    """Records of CSV text that lie inside a chemical system; see :func:`read_table`."""
    system = set(elements)
    reader = csv.DictReader(lines)
    header = reader.fieldnames or []
    formula = next((name for name in _FORMULA if name in header), None)
    if formula is None or _ENERGY not in header:
        raise ReferenceCoverageError(f"{where} has no column {_FORMULA[0]} or no column {_ENERGY}")
    for row in reader:
        try:
            counts = comp.parse_formula(row[formula] or "")
            if not system.issuperset(counts):
                continue
            above = row.get(_ABOVE)
            yield Record(
                row.get(_LABEL) or f"line {reader.line_num}",
                comp.canonical(counts),
                float(row[_ENERGY]),
                float(above) if above else None,
            )
        except (CompositionError, ValueError, TypeError) as error:
            raise ReferenceCoverageError(f"{where} line {reader.line_num}: {error}") from error


def phases_of_records(found: Iterable[Record]) -> tuple[Phase, ...]:
    """Phases of a table, completed by the hull points that its records imply.

    A record's formation energy minus its energy above hull is the hull energy at its
    composition, also if the stable phase itself is not in the table. Such a point is
    added unless a stable record is there or other phases make it up as a mixture.
    Elements are 0 by definition; only their other allotropes are phases.
    """
    table = list(found)
    phases = [
        Phase(r.label, r.composition, r.energy)
        for r in table
        if r.energy > _ON_HULL or len(comp.parse_formula(r.composition)) > 1
    ]
    stable = {r.composition for r in table if r.above is not None and r.above <= _ON_HULL}
    implied: dict[str, float] = {}
    for r in table:
        compound = len(comp.parse_formula(r.composition)) > 1
        if r.above is not None and compound and r.composition not in stable:
            implied[r.composition] = min(
                implied.get(r.composition, np.inf), r.energy - max(r.above, 0.0)
            )
    points = {phase: None for phase in phases if phase.composition in stable} | {
        Phase("hull", composition, energy): None for composition, energy in implied.items()
    }
    for point in [p for p in points if p.label == "hull"]:
        rest = [p for p in points if p is not point]
        if hull_energy(point.composition, rest) <= point.formation_energy_per_atom + _MIXTURE:
            del points[point]
    return (*phases, *(p for p in points if p.label == "hull"))


def hull_energy(composition: str, phases: Iterable[Phase]) -> float:
    """Lowest formation energy (eV/atom) of any mixture of phases and elements.

    A linear programme over the phases' atomic fractions; good to 1e-7 eV/atom.
    """
    from scipy.optimize import linprog

    target = comp.parse_formula(composition)
    total = sum(target.values())
    usable = [p for p in phases if set(comp.parse_formula(p.composition)) <= set(target)]
    shares = np.zeros((len(target), len(usable) + len(target)))
    for column, phase in enumerate(usable):
        counts = comp.parse_formula(phase.composition)
        atoms = sum(counts.values())
        shares[:, column] = [counts.get(symbol, 0) / atoms for symbol in target]
    shares[:, len(usable) :] = np.eye(len(target))
    energies = [p.formation_energy_per_atom for p in usable] + [0.0] * len(target)
    wanted = [n / total for n in target.values()]
    return float(linprog(energies, A_eq=shares, b_eq=wanted, bounds=(0, None)).fun)


def read_json(path: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Dictionaries of a JSON list of ComputedEntries, and what the file says of itself.

    Raises:
        ReferenceCoverageError: not readable, or not such a list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReferenceCoverageError(f"'{path}' cannot be read: {error}") from error
    entries = content.get("entries") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and "energy" in e and isinstance(e.get("composition"), dict)
        for e in entries
    ):
        raise ReferenceCoverageError(f"'{path}' is not a JSON list of ComputedEntries")
    origin = content if isinstance(content, dict) else {}
    return entries, {k: v for k, v in origin.items() if isinstance(v, str)}


def read_entries(path: Path, elements: Iterable[str], contract: Contract) -> Entries:
    """Entries of a JSON file inside a chemical system; energies are taken as given.

    Raises:
        ReferenceCoverageError: not readable, or an element has no entry.
        ContractError: an entry says that it is not what the contract says.
    """
    from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

    system = set(elements)
    dictionaries, origin = read_json(path)
    stated = Contract(
        origin.get("functional", contract.functional),
        origin.get("corrections", contract.corrections),
    )
    require_same(stated, f"'{path}'", contract, "the config's")
    found: list[tuple[str, dict[str, int], float]] = []
    structures: dict[str, Structure] = {}
    for index, dictionary in enumerate(dictionaries):
        if not system.issuperset(dictionary["composition"]):
            continue
        kind = ComputedStructureEntry if "structure" in dictionary else ComputedEntry
        entry = kind.from_dict(dictionary)
        label = str(entry.entry_id or f"entry {index}")
        _check_contract(entry, label, contract)
        counts = {e.symbol: round(n) for e, n in entry.composition.items()}
        found.append((label, counts, float(entry.energy_per_atom)))
        if isinstance(entry, ComputedStructureEntry):
            structures[label] = entry.structure
    ground: dict[str, float] = {}
    for _, counts, energy in found:
        if len(counts) == 1:
            symbol = next(iter(counts))
            ground[symbol] = min(energy, ground.get(symbol, np.inf))
    if ground.keys() != system:
        missing = min(system - ground.keys())
        raise ReferenceCoverageError(f"'{path}' has no entry of elemental {missing}")
    phases = tuple(
        Phase(label, comp.canonical(counts), formation_energy(energy, counts, ground))
        for label, counts, energy in found
    )
    return Entries(ground, phases, structures, origin)


def formation_energy(
    energy_per_atom: float, counts: Mapping[str, int], elements: Mapping[str, float]
) -> float:
    """E_f = (E - Σ nᵢ μᵢ)/N in eV/atom, from the energy per atom E/N."""
    mean = sum(n * elements[symbol] for symbol, n in counts.items()) / sum(counts.values())
    return energy_per_atom - mean


def _check_contract(entry: "ComputedEntry", label: str, contract: Contract) -> None:
    """Compare what an entry says about its energy with what the config says."""
    run_type = str(entry.parameters.get("run_type", "")).lower()
    functional = _RUN_TYPES.get(run_type, contract.functional)
    corrected = contract.corrections == NONE and abs(entry.correction) > _ON_HULL
    corrections = "some" if corrected else contract.corrections
    require_same(Contract(functional, corrections), f"entry '{label}'", contract, "the config's")


def download(path: Path, elements: list[str], contract: Contract, key: str, client: Client) -> None:
    """Fetch a system's entries from the Materials Project into a JSON file, atomically.

    Only entries of the contract's own functional are asked for: the default would be
    the mixed GGA/r²SCAN hull, whose energies depend on the system they are mixed in.

    Raises:
        ReferenceCoverageError: the service cannot be reached, refuses the key, or has
            no entries. The key is in no message.
    """
    from monty.json import MontyEncoder

    thermo_types = [_THERMO_TYPES[contract.functional]]
    try:
        with client(key) as rester:
            version = str(getattr(rester, "db_version", None) or "unknown")
            entries = rester.get_entries_in_chemsys(
                elements, additional_criteria={"thermo_types": thermo_types}
            )
    except _service_errors() as error:
        line = (str(error).splitlines() or [""])[0].replace(key, "***")
        raise ReferenceCoverageError(
            f"Materials Project: no entries of {'-'.join(elements)}"
            f" ({type(error).__name__}: {line})"
        ) from None  # a traceback could show the key
    content = {
        "source": f"Materials Project {thermo_types[0]}",
        "date": datetime.now(UTC).date().isoformat(),
        "database_version": version,
        "functional": contract.functional,
        "corrections": contract.corrections,
        "entries": entries,
    }
    write_text(path, json.dumps(content, cls=MontyEncoder))  # entries carry dates


def _service_errors() -> tuple[type[Exception], ...]:
    """What can go wrong on the way to the Materials Project.

    Requests' errors are OSErrors, pydantic's ValueErrors; mp_api's own have no common
    base with either, and mp_api may be what is missing.
    """
    common = (ImportError, OSError, ValueError, RuntimeError, KeyError)
    try:
        from mp_api.client.core import MPRestError
    except ImportError:
        return common
    return (*common, MPRestError)


def materials_project(key: str) -> AbstractContextManager[Any]:
    """MPRester of mp_api; goes to the network at once."""
    from mp_api.client import MPRester

    rester: AbstractContextManager[Any] = MPRester(key, mute_progress_bars=True)
    return rester
