"""Structures of the competing phases, from files or the Materials Project."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chggen.config.energies import ReferenceConfig
from chggen.errors import ReferenceCoverageError
from chggen.reference.project import Client, materials_project
from chggen.reference.reference import project_entries
from chggen.structure import composition as comp
from chggen.structure import files as structurefiles
from chggen.structure.crystal import Crystal
from chggen.structure.outcome import Outcome
from chggen.structure.readers import entries, load
from chggen.tables.parquet import Row


@dataclass(frozen=True)
class Given(Outcome):
    """A competing phase before any calculation.

    Args:
        label: its name in its source.
        composition: canonical formula; empty if it cannot be known.
    """

    label: str = ""
    composition: str = ""

    def row(self, system: str, index: int) -> Row:
        """Start of its row in a table: of no shard, and nothing about it is random."""
        return {
            "system": system,
            "composition": self.composition,
            "route": "reference",
            "seed": 0,
            "index": index,
            "draw": 0,
            "random_seed": 0,
            "label": self.label,
            "n_atoms": 0,
        }


@dataclass(frozen=True)
class Collection:
    """Competing phases of one source.

    Args:
        source: in words.
        date: of the source.
        phases: those inside the system, and those that cannot be read.
        outside: how many lie outside the system and were left out.
    """

    source: str
    date: str
    phases: list[Given]
    outside: int = 0


def given_phases(
    config: ReferenceConfig,
    elements: Iterable[str],
    path: Path | None,
    client: Client = materials_project,
) -> Collection:
    """Structures of the competing phases of a system.

    Args:
        config: which entries of the Materials Project, where ``path`` is None.
        elements: the system's.
        path: folder of CIFs, CIF, extxyz, Parquet or CSV.
        client: see :func:`~chggen.reference.reference.load_reference`.

    Raises:
        ConfigError: the path is not there or of no known kind.
        ReferenceCoverageError: an element has no structure.
    """
    system = set(elements)
    found = _of_project(config, system, client) if path is None else _of_files(path, system)
    for symbol in sorted(system):
        if not any(p.composition == symbol and p.crystal is not None for p in found.phases):
            unread = [f"{p.label}: {p.reason}" for p in found.phases if p.crystal is None]
            more = f" ({len(unread)} unreadable, first {unread[0]})" if unread else ""
            raise ReferenceCoverageError(
                f"{found.source}: no structure of elemental {symbol}{more}"
            )
    return found


def _of_files(path: Path, system: set[str]) -> Collection:
    structurefiles.check(path)
    phases, outside = [], 0
    for entry in entries(path):
        if entry.composition and not system.issuperset(comp.parse_formula(entry.composition)):
            outside += 1
            continue
        placed = load(entry)
        formula = entry.composition or ""
        if placed.crystal is not None:
            formula = comp.formula_of(placed.crystal.atomic_numbers)
        if not system.issuperset(comp.parse_formula(formula) if formula else ()):
            outside += 1
            continue
        phases.append(Given(placed.crystal, placed.reason, entry.origin, formula))
    files = structurefiles.cif_files(path) if path.is_dir() else [path]
    newest = max(file.stat().st_mtime for file in files)
    date = datetime.fromtimestamp(newest, UTC).date().isoformat()
    return Collection(f"structures of {path.name}", date, phases, outside)


def _of_project(config: ReferenceConfig, system: set[str], client: Client) -> Collection:
    found = project_entries(config, system, client)
    phases = []
    for phase in found.phases:
        structure = found.structures.get(phase.label)
        ordered = structure is not None and structure.is_ordered
        crystal = Crystal.from_structure(structure) if structure is not None and ordered else None
        reason = "" if ordered else "the entry has no ordered structure"
        phases.append(Given(crystal, reason, phase.label, phase.composition))
    source = f"{found.origin.get('source', 'Materials Project')} structures"
    return Collection(source, found.origin.get("date", ""), phases)
