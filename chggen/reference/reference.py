"""References: the competing phases that energies are judged against.

Four sources (:class:`~chggen.config.energies.ReferenceConfig`): a table in the package, a file
of the user's, the Materials Project with the user's key, or phases relaxed by the
campaign's own potential (:mod:`chggen.reference.computed`). Each ends as one :class:`Reference`:
formation energies per phase, the energies of the elements they belong to, and the
:class:`~chggen.config.contracts.Contract` of both.

Nothing here imports pymatgen when it is loaded: :func:`coverage_problem` is asked
while the Snakefile is parsed.
"""

import csv
import functools
import hashlib
import importlib.resources
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chggen.config.contracts import GGA, MP2020, NONE, Contract
from chggen.config.energies import ReferenceConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ConfigError, ContractError, ReferenceCoverageError
from chggen.reference.builtin import builtin_phases, builtin_table
from chggen.reference.energy_table import table_problem
from chggen.reference.entries import Entries, checked_entries, read_entries
from chggen.reference.files import Phase, is_table, phases_of_records, read_table
from chggen.reference.project import Client, download, materials_project
from chggen.structure import composition as comp
from chggen.structure import files as structurefiles

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Environment variable that holds the user's Materials Project key.
KEY_VARIABLE: Final = "MP_API_KEY"
#: A phase on the hull that is more uncertain than this (eV/atom) is worth a warning.
UNCERTAIN: Final = 0.03
#: Phases that a warning names.
_MOST_NAMED: Final = 6
_BUILTIN: Final = Contract(GGA, MP2020)
_UNRELAXED: Final = (
    "source 'potential': its phases are to be relaxed first (chggen reference relax)"
)


@dataclass(frozen=True, eq=False)
class Reference:
    """Competing phases of one chemical system.

    Args:
        name: source in words.
        date: date of the source.
        contract: what the energies are.
        elements: energy per atom of each element, eV, on the scale of total energies.
        phases: compounds, and allotropes above the elements' ground states.
        partial: what is known to be missing, a warning to show; None if nothing is.
        structures: known phases by label, where the source has structures.
        potential: hash of the potential that relaxed them; None for other sources.
    """

    name: str
    date: str
    contract: Contract
    elements: Mapping[str, float]
    phases: tuple[Phase, ...]
    partial: str | None = None
    structures: Mapping[str, "Structure"] = field(default_factory=dict)
    potential: str | None = None

    @functools.cached_property
    def hash(self) -> str:
        """Sha256 of contract, potential and energies, first 16 hex digits."""
        lines = [f"{symbol} {energy:.9f}" for symbol, energy in self.elements.items()]
        lines += [f"{p.composition} {p.formation_energy_per_atom:.9f}" for p in self.phases]
        lines += [f"potential {self.potential}"] if self.potential else []
        text = "\n".join([str(self.contract), *sorted(lines)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @functools.cached_property
    def lowest(self) -> Mapping[str, Phase]:
        """Lowest phase of each composition, the elements' ground states among them.

        An element's ground state is zero by definition; it has no uncertainty unless those
        of the compounds are unknown.
        """
        stated = any(p.uncertainty is not None for p in self.phases)
        found = {s: Phase("element", s, 0.0, 0.0 if stated else None) for s in self.elements}
        for phase in self.phases:
            other = found.get(phase.composition)
            if other is None or phase.formation_energy_per_atom < other.formation_energy_per_atom:
                found[phase.composition] = phase
        return found


def contract_of(config: ReferenceConfig) -> Contract:
    """Contract that a reference is configured to have."""
    default = MP2020 if config.functional == GGA else NONE
    return Contract(config.functional, config.corrections or default)


def coverage_problem(
    config: ReferenceConfig,
    elements: Iterable[str],
    phases: Path | None = None,
    relax: RelaxConfig | None = None,
    contract: Contract | None = None,
) -> str | None:
    """Why a reference does not cover a chemical system, in one line; None if it does.

    Reads files but never goes to the network, and needs neither pymatgen nor torch.

    Args:
        config: which source.
        elements: the system's elements.
        phases: structures for source ``potential``; None for a table of energies.
        relax: section ``relax``, which such a table has to fit; None for its defaults.
        contract: of the potential, likewise; None if it is not known.
    """
    system = set(elements)
    if config.source == "potential" and phases is not None:
        return _structures_problem(phases, system)
    if config.source == "potential":
        return table_problem(config.path, system, relax or RelaxConfig(), contract)
    if config.source == "builtin":
        return _builtin_problem(contract_of(config), system)
    if config.path is not None:
        try:
            return _file_problem(config.path, contract_of(config), system)
        except (ReferenceCoverageError, ContractError) as error:
            return str(error)
    return _project_problem(config, system)


def load_reference(
    config: ReferenceConfig, elements: Iterable[str], client: Client = materials_project
) -> Reference:
    """Reference of a chemical system.

    Args:
        config: which source, and what its energies are.
        elements: the system's elements.
        client: called with the key, gives a context manager that yields an MPRester.

    Raises:
        ReferenceCoverageError: the source does not cover the system or cannot be read.
        ContractError: the entries say that they are not what the config says.
    """
    system = set(elements)
    contract = contract_of(config)
    path = config.path
    if path is None or is_table(path) or not path.is_file():  # lists of entries are checked below
        problem = _UNRELAXED if config.source == "potential" else coverage_problem(config, system)
        if problem:
            raise ReferenceCoverageError(problem)
    if config.source == "builtin":
        return _builtin(system)
    if config.source == "materials-project":
        return _of_entries(project_entries(config, system, client), contract, "Materials Project")
    if path is None:
        raise ReferenceCoverageError(_UNRELAXED)
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    if is_table(path):
        phases = phases_of_records(read_table(path, system))
        return Reference(
            f"file {path.name}",
            date,
            contract,
            _elements(system),
            phases,
            partial=without_compounds(system, phases),
        )
    entries = read_entries(path, system, contract)
    found = _of_entries(entries, contract, f"file {path.name}", date)
    warnings = [entries.warning, without_compounds(system, found.phases)]
    return replace(found, partial="; ".join(w for w in warnings if w) or None)


def _of_entries(entries: Entries, contract: Contract, name: str, date: str = "") -> Reference:
    """Reference of entries; what they say of themselves goes before name and date."""
    version = entries.origin.get("database_version")
    return Reference(
        name=f"{entries.origin['source']}, database {version}" if version else name,
        date=entries.origin.get("date", date),
        contract=contract,
        elements=entries.elements,
        phases=entries.phases,
        structures=entries.structures,
    )


def project_entries(
    config: ReferenceConfig, elements: Iterable[str], client: Client = materials_project
) -> Entries:
    """The Materials Project's entries of a system, fetched once and cached.

    Args:
        config: functional, corrections and cache.
        elements: the system's.
        client: called with the key, gives a context manager that yields an MPRester.

    Raises:
        ReferenceCoverageError, ContractError: see :func:`load_reference`.
    """
    system = set(elements)
    contract, path = contract_of(config), cache_path(config, system)
    if not path.is_file():
        key = os.environ.get(KEY_VARIABLE)
        if not key:
            raise ReferenceCoverageError(
                f"no Materials Project key in {KEY_VARIABLE}, and no cached entries in '{path}'"
            )
        download(path, sorted(system), contract, key, client)
    return read_entries(path, system, contract)


def _project_problem(config: ReferenceConfig, system: set[str]) -> str | None:
    """Why the Materials Project's entries of a system cannot be had."""
    path = cache_path(config, system)
    if path.is_file():
        try:
            checked_entries(path, system, contract_of(config))
        except (ReferenceCoverageError, ContractError) as error:
            return f"cached entries: {error}; delete the file to ask the Materials Project again"
        return None
    if os.environ.get(KEY_VARIABLE):
        return None
    return f"no Materials Project key in {KEY_VARIABLE}, and no cached entries in '{path}'"


def without_compounds(system: set[str], phases: Iterable[Phase]) -> str | None:
    """Warning about pairs of elements that no phase is made of; None if there are none.

    Such a pair may truly have no compound, so this is no error.
    """
    present = [set(comp.parse_formula(phase.composition)) for phase in phases]
    pairs = ["-".join(p) for p in combinations(sorted(system), 2) if set(p) not in present]
    if not pairs:
        return None
    names = ", ".join(pairs)
    return f"the reference has no binary {names} phase; if one exists, E_d is underestimated"


def cache_path(config: ReferenceConfig, elements: Iterable[str]) -> Path:
    """File that caches the Materials Project entries of a system."""
    functional = "GGA" if config.functional == GGA else "r2SCAN"
    return config.cache / f"materials-project_{functional}_{'-'.join(sorted(elements))}.json"


@functools.cache
def element_energies() -> Mapping[str, float]:
    """GGA energy per atom (eV) of the elements' ground states in the Materials Project."""
    return {row["element"]: float(row["energy_per_atom"]) for row in _table("elements.csv")}


def uncertain_phases(reference: Reference) -> str | None:
    """Warning about phases on the hull whose energies are uncertain; None if none are.

    Args:
        reference: with uncertainties.
    """
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram

    entries = [
        PDEntry(formula, p.formation_energy_per_atom * atoms, name=formula)
        for formula, p in reference.lowest.items()
        for atoms in (sum(comp.parse_formula(formula).values()),)
    ]
    stable = [reference.lowest[e.name] for e in PhaseDiagram(entries).stable_entries]
    bad = [p for p in stable if p.uncertainty is not None and p.uncertainty >= UNCERTAIN]
    if not bad:
        return None
    bad.sort(key=lambda p: (-(p.uncertainty or 0.0), p.composition))
    named = ", ".join(f"{p.composition} ±{p.uncertainty:.3f}" for p in bad[:_MOST_NAMED])
    more = ", …" if len(bad) > _MOST_NAMED else ""
    return (
        f"{len(bad)} of {len(stable)} phases on the hull are uncertain by {UNCERTAIN:g} eV/atom"
        f" or more ({named}{more}); E_d against them is as uncertain"
    )


def _elements(system: set[str]) -> dict[str, float]:
    return {symbol: element_energies()[symbol] for symbol in sorted(system)}


def _text(name: str) -> list[str]:
    return (importlib.resources.files("chggen") / "data" / name).read_text("utf-8").splitlines()


def _table(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(name)))


def _builtin_problem(contract: Contract, system: set[str]) -> str | None:
    if contract != _BUILTIN:
        return f"the builtin tables are {_BUILTIN}, not {contract}: choose another reference"
    for symbol in sorted(system - set(element_energies())):
        return f"no builtin table has {symbol}: choose another reference"
    try:
        builtin_table()
    except ReferenceCoverageError as error:
        return str(error)
    return None


def _builtin(system: set[str]) -> Reference:
    """All phases of the builtin table inside the system."""
    found = Reference(
        name="Materials Project, builtin table",
        date=builtin_table().date,
        contract=_BUILTIN,
        elements=_elements(system),
        phases=builtin_phases(system),
    )
    return replace(found, partial=uncertain_phases(found))


def _structures_problem(path: Path, system: set[str]) -> str | None:
    try:
        structurefiles.check(path)
        bare = structurefiles.missing_element(path, system)
    except (ConfigError, OSError, UnicodeDecodeError, csv.Error) as error:
        return f"phases '{path}': {str(error).partition(chr(10))[0]}"
    return f"phases '{path}' hold no structure of elemental {bare}" if bare else None


def _file_problem(path: Path, contract: Contract, system: set[str]) -> str | None:
    if not path.is_file():
        return f"no such reference file '{path}'"
    if not is_table(path):
        checked_entries(path, system, contract)
        return None
    if contract.functional != GGA:
        return (
            f"'{path}': formation energies alone do not give the {contract.functional}"
            " energies of the elements; give a JSON list of ComputedEntries"
        )
    unknown = sorted(system - set(element_energies()))
    if unknown:
        return f"no elemental energy of {unknown[0]} is known: give a JSON list of entries"
    missing = set(system)
    for record in read_table(path, system):  # to its end: every row is checked
        missing -= set(comp.parse_formula(record.composition))
    return f"'{path}' has no phase with {min(missing)} in this system" if missing else None
