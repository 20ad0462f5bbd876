"""References made of energies that the campaign computes itself, one row per phase.

With reference ``potential`` every competing phase is relaxed by the campaign's own
potential; with DFT every phase may be calculated with the campaign's own engine. Either way
the systematic errors are on both sides of E_d and cancel in part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chggen.config.contracts import Contract
from chggen.config.energies import ReferenceConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ReferenceCoverageError, Status
from chggen.reference.energy_table import looser_campaign, missing_element, read, shipped_table
from chggen.reference.files import Phase, formation_energy
from chggen.reference.mp2020 import corrected_contract, corrected_phases
from chggen.reference.reference import Reference, load_reference, without_compounds
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

#: Phases that a warning names.
_MOST_NAMED = 6
#: A phase closer to the hull than this (eV/atom) is on it.
_ON_HULL = 1e-8
_RELAXED = frozenset({Status.OK, Status.NOT_CONVERGED})

Rows = Sequence[Mapping[str, Any]]


def load_competing(
    config: ReferenceConfig,
    elements: Iterable[str],
    referenced: str | Path | None = None,
    potential: str | None = None,
    relax: RelaxConfig | None = None,
) -> Reference:
    """Reference of a system from any source.

    Args:
        config: which source.
        elements: the system's.
        referenced: table of that name, for source ``potential``.
        potential: name or hash, which chooses among the package's tables for that source
            where the config has no ``path``; None: that of ``relax``.
        relax: section ``relax`` of the structures that are judged; None: its defaults.

    Raises:
        ReferenceCoverageError, ContractError: see :func:`.load_reference`.
        TableError: the table is not there or unreadable.
    """
    if config.source == "potential" and referenced is not None:
        return relaxed_reference(referenced, elements)
    if config.source == "potential":
        path = config.path
        if path is None:
            path = shipped_table(potential or (relax or RelaxConfig()).tight.potential_name).path
        return table_reference(path, elements, relax)
    return load_reference(config, elements)


def relaxed_reference(path: str | Path, elements: Iterable[str]) -> Reference:
    """Reference of a table ``referenced``: energies are those of its potential.

    MP2020 is added to uncorrected GGA/GGA+U energies (:mod:`.mp2020`). A phase that ran out of
    steps counts with the energy it reached, an upper bound; one
    that failed does not count. Both are named in ``partial``.

    Raises:
        ReferenceCoverageError: an element has no phase that relaxed to the end.
        TableError: not a readable table.
    """
    header = parquet.read_header(path)
    given = Contract(header["functional"], header["corrections"])
    rows, contract = (
        corrected_phases(parquet.read(path, "referenced"), given),
        corrected_contract(given),
    )
    system = set(elements)
    require_elements(rows, system)
    inside = [r for r in rows if system.issuperset(_counts(r["composition"]))]
    usable = [r for r in inside if r["energy_per_atom"] is not None and r["status"] in _RELAXED]
    ground, phases = _phases(usable, "energy_per_atom")
    warnings = [
        _lost(inside, lambda row: row["status"] == Status.OK, "relax", "E_d"),
        without_compounds(system, phases),
    ]
    added = "" if contract == given else f", {contract.corrections} added"
    return Reference(
        name=f"{header['source']}, relaxed by {header['potential']}{added}",
        date=header["date"],
        contract=contract,
        elements=ground,
        phases=phases,
        partial="; ".join(w for w in warnings if w) or None,
        structures={r["label"]: Crystal.from_row(r).to_structure() for r in usable},
        potential=header["potential_hash"],
    )


def table_reference(
    path: Path, elements: Iterable[str], relax: RelaxConfig | None = None
) -> Reference:
    """Reference of a table of energies by one potential (:mod:`.energy_table`).

    Args:
        path: of table ``phases`` or ``referenced``.
        elements: the system's.
        relax: section ``relax`` of the structures that are judged, if it is known.

    Raises:
        ReferenceCoverageError: damaged, or an element has no phase that relaxed to the end.
    """
    system, table = set(elements), read(path)
    if table.kind == "referenced":
        return relaxed_reference(path, system)
    inside = table.rows(system)
    problem = missing_element(inside, system, table)
    if problem:
        raise ReferenceCoverageError(problem)
    usable = [r for r in inside if r["energy_per_atom"] is not None and r["status"] in _RELAXED]
    ground, phases = _phases(usable, "energy_per_atom")
    warnings = [
        _lost(inside, lambda row: row["status"] == Status.OK, "relax", "E_d"),
        _not_there(system, phases),
        looser_campaign(table, relax) if relax is not None else None,
    ]
    return Reference(
        name=f"{table.source}, relaxed by {table.potential}",
        date=table.date,
        contract=table.contract,
        elements=ground,
        phases=phases,
        partial="; ".join(w for w in warnings if w) or None,
        potential=table.potential_hash,
    )


def _not_there(system: set[str], phases: Sequence[Phase]) -> str | None:
    """Warning about stable compositions of the builtin table without a phase in this one.

    How much they matter is the builtin hull of the compositions that are there, minus the
    builtin hull of all, where they lie.
    """
    from chggen.reference.hull import hull_formation_energy

    try:
        known = load_reference(ReferenceConfig(), system)
    except ReferenceCoverageError:  # nothing to compare with
        return without_compounds(system, phases)
    there = {phase.composition for phase in phases} | system
    rest = replace(known, phases=tuple(p for p in known.phases if p.composition in there))
    gaps = {
        p.composition: hull_formation_energy(rest, p.composition) - p.formation_energy_per_atom
        for p in known.phases
        if p.composition not in there
        and p.formation_energy_per_atom <= hull_formation_energy(known, p.composition) + _ON_HULL
    }
    if not gaps:
        return None
    worst = sorted(gaps, key=lambda formula: (-gaps[formula], formula))
    more = ", …" if len(worst) > _MOST_NAMED else ""
    compositions = "composition" if len(worst) == 1 else "compositions"
    return (
        f"the table lacks {len(worst)} stable {compositions}"
        f" ({', '.join(worst[:_MOST_NAMED])}{more}); where they compete, E_d is underestimated, by"
        f" up to {gaps[worst[0]]:.2f} eV/atom"
    )


def calculated_reference(
    rows: Rows, elements: Iterable[str], engine: str, contract: Contract
) -> tuple[Reference | None, str | None]:
    """Reference of the converged DFT calculations of competing phases, and a warning.

    Args:
        rows: of tables ``calculated``, all of one contract; candidates are passed over.
        elements: the system's.
        engine: that computed them.
        contract: of their energies.

    Returns:
        The reference (None if an element has no converged calculation: then there is no
        scale of formation energies), and what is missing, in one line.
    """
    inside = [row for row in rows if row["role"] == "competing"]
    good = [row for row in inside if row["dft_energy_per_atom"] is not None]
    ground, phases = _phases(good, "dft_energy_per_atom")
    missing = sorted(set(elements) - set(ground))
    if missing:
        return None, (
            f"no calculation of elemental {', '.join(missing)} converged: no E_d from DFT"
        )
    warning = _lost(
        inside, lambda row: row["dft_energy_per_atom"] is not None, "converge", "E_d from DFT"
    )
    reference = Reference(
        name=f"{len(good)} competing phases calculated with {engine}",
        date=datetime.now(UTC).date().isoformat(),
        contract=contract,
        elements=ground,
        phases=phases,
        partial=warning,
    )
    return reference, warning


def require_elements(rows: Sequence[parquet.Row], elements: Iterable[str]) -> None:
    """Raise :class:`ReferenceCoverageError` unless a phase of each element relaxed."""
    for symbol in sorted(elements):
        own = [r for r in rows if r["composition"] == symbol]
        if any(r["status"] == Status.OK for r in own):
            continue
        ends = ", ".join(f"{r['label']}: {r['status']}" for r in own[:_MOST_NAMED])
        why = f" ({ends})" if ends else ""
        raise ReferenceCoverageError(f"no phase of elemental {symbol} relaxed{why}")


def _phases(rows: Rows, energy: str) -> tuple[dict[str, float], tuple[Phase, ...]]:
    """Lowest energy of each element that has one, and the phases made of these elements.

    Args:
        rows: with ``label``, ``composition`` and an energy in eV/atom.
        energy: column of that energy.
    """
    ground: dict[str, float] = {}
    for row in rows:
        counts = _counts(row["composition"])
        if len(counts) == 1:
            symbol = next(iter(counts))
            ground[symbol] = min(row[energy], ground.get(symbol, float("inf")))
    phases = tuple(
        Phase(
            str(row["label"]),
            comp.canonical(counts),
            formation_energy(row[energy], counts, ground),
        )
        for row in rows
        if set(counts := _counts(row["composition"])) <= set(ground)
    )
    return dict(sorted(ground.items())), phases


def _counts(formula: str) -> dict[str, int]:
    return comp.parse_formula(formula) if formula else {}


def _lost(
    rows: Rows, counts: Callable[[Mapping[str, Any]], bool], verb: str, energy: str
) -> str | None:
    """Warning about phases that did not come to an end; None if all did."""
    bad = [row for row in rows if not counts(row)]
    if not bad:
        return None
    named = ", ".join(
        f"{r['label']}{' ' + r['composition'] if r['composition'] else ''}: {r['status']}"
        for r in bad[:_MOST_NAMED]
    )
    more = ", …" if len(bad) > _MOST_NAMED else ""
    return (
        f"{len(bad)} of {len(rows)} competing phases did not {verb} ({named}{more});"
        f" where they compete, {energy} is underestimated"
    )
