"""Competing phases as structures: read from files, and as the potential relaxed them.

With reference ``potential`` every competing phase is relaxed by the campaign's own
potential, so that its systematic errors are on both sides of E_d and cancel in part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chggen import composition as comp
from chggen import structurefiles, tables
from chggen.contracts import Contract
from chggen.crystal import Crystal
from chggen.energyspecs import ReferenceConfig
from chggen.errors import ReferenceCoverageError, Status
from chggen.generators.file import entries, load
from chggen.references import Reference, load_reference, project_entries, without_compounds
from chggen.references.files import Client, Phase, formation_energy, materials_project

#: Phases that a warning names.
_MOST_NAMED = 6


@dataclass(frozen=True)
class Given:
    """A competing phase before any calculation.

    Args:
        label: its name in its source.
        composition: canonical formula; empty if it cannot be known.
        crystal: its structure; None if there is none.
        reason: why there is none, in one line; empty otherwise.
    """

    label: str
    composition: str
    crystal: Crystal | None
    reason: str = ""


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
        client: see :func:`~chggen.references.load_reference`.

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
        phases.append(Given(entry.origin, formula, placed.crystal, placed.reason))
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
        phases.append(Given(phase.label, phase.composition, crystal, reason))
    source = f"{found.origin.get('source', 'Materials Project')} structures"
    return Collection(source, found.origin.get("date", ""), phases)


def load_competing(
    config: ReferenceConfig,
    elements: Iterable[str],
    referenced: str | Path | None = None,
) -> Reference:
    """Reference of a system from any source.

    Args:
        config: which source.
        elements: the system's.
        referenced: table of that name, for source ``potential``.

    Raises:
        ReferenceCoverageError, ContractError: see :func:`~chggen.references.load_reference`.
        TableError: the table is not there or unreadable.
    """
    if config.source == "potential" and referenced is not None:
        return relaxed_reference(referenced, elements)
    return load_reference(config, elements)


def relaxed_reference(path: str | Path, elements: Iterable[str]) -> Reference:
    """Reference of a table ``referenced``: energies are those of its potential.

    A phase that ran out of steps counts with the energy it reached, an upper bound; one
    that failed does not count. Both are named in ``partial``.

    Raises:
        ReferenceCoverageError: an element has no phase that relaxed to the end.
        TableError: not a readable table.
    """
    rows = tables.read(path, "referenced")
    header = tables.read_header(path)
    system = set(elements)
    require_elements(rows, system)
    inside = [r for r in rows if system.issuperset(_counts(r["composition"]))]
    usable = [r for r in inside if r["energy_per_atom"] is not None and _relaxed(r)]
    ground = {
        symbol: min(r["energy_per_atom"] for r in usable if r["composition"] == symbol)
        for symbol in sorted(system)
    }
    phases = tuple(
        Phase(
            r["label"],
            r["composition"],
            formation_energy(r["energy_per_atom"], _counts(r["composition"]), ground),
        )
        for r in usable
    )
    warnings = [_unrelaxed(inside), without_compounds(system, phases)]
    return Reference(
        name=f"{header['potential']}: {header['source']}",
        date=header["date"],
        contract=Contract(header["functional"], header["corrections"]),
        elements=ground,
        phases=phases,
        partial="; ".join(w for w in warnings if w) or None,
        structures={r["label"]: Crystal.from_row(r).to_structure() for r in usable},
        potential=header["potential_hash"],
    )


def require_elements(rows: Sequence[tables.Row], elements: Iterable[str]) -> None:
    """Raise :class:`ReferenceCoverageError` unless a phase of each element relaxed."""
    for symbol in sorted(elements):
        own = [r for r in rows if r["composition"] == symbol]
        if any(r["status"] == Status.OK for r in own):
            continue
        ends = ", ".join(f"{r['label']}: {r['status']}" for r in own[:_MOST_NAMED])
        why = f" ({ends})" if ends else ""
        raise ReferenceCoverageError(f"no phase of elemental {symbol} relaxed{why}")


def _relaxed(row: tables.Row) -> bool:
    return row["status"] in {Status.OK, Status.NOT_CONVERGED}


def _counts(formula: str) -> dict[str, int]:
    return comp.parse_formula(formula) if formula else {}


def _unrelaxed(rows: Sequence[tables.Row]) -> str | None:
    bad = [r for r in rows if r["status"] != Status.OK]
    if not bad:
        return None
    named = ", ".join(
        f"{r['label']}{' ' + r['composition'] if r['composition'] else ''}: {r['status']}"
        for r in bad[:_MOST_NAMED]
    )
    more = ", …" if len(bad) > _MOST_NAMED else ""
    return (
        f"{len(bad)} of {len(rows)} competing phases did not relax ({named}{more}):"
        " E_d can be too low where they compete"
    )
