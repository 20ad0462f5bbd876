"""The reference of a system from any source, also from phases that the potential relaxed.

With reference ``potential`` every competing phase is relaxed by the campaign's own
potential, so that its systematic errors are on both sides of E_d and cancel in part.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from chggen.config.contracts import Contract
from chggen.config.energies import ReferenceConfig
from chggen.errors import ReferenceCoverageError, Status
from chggen.reference.files import Phase, formation_energy
from chggen.reference.reference import Reference, load_reference, without_compounds
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

#: Phases that a warning names.
_MOST_NAMED = 6


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
        ReferenceCoverageError, ContractError: see :func:`.load_reference`.
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
    rows = parquet.read(path, "referenced")
    header = parquet.read_header(path)
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
        name=f"{header['source']}, relaxed by {header['potential']}",
        date=header["date"],
        contract=Contract(header["functional"], header["corrections"]),
        elements=ground,
        phases=phases,
        partial="; ".join(w for w in warnings if w) or None,
        structures={r["label"]: Crystal.from_row(r).to_structure() for r in usable},
        potential=header["potential_hash"],
    )


def require_elements(rows: Sequence[parquet.Row], elements: Iterable[str]) -> None:
    """Raise :class:`ReferenceCoverageError` unless a phase of each element relaxed."""
    for symbol in sorted(elements):
        own = [r for r in rows if r["composition"] == symbol]
        if any(r["status"] == Status.OK for r in own):
            continue
        ends = ", ".join(f"{r['label']}: {r['status']}" for r in own[:_MOST_NAMED])
        why = f" ({ends})" if ends else ""
        raise ReferenceCoverageError(f"no phase of elemental {symbol} relaxed{why}")


def _relaxed(row: parquet.Row) -> bool:
    return row["status"] in {Status.OK, Status.NOT_CONVERGED}


def _counts(formula: str) -> dict[str, int]:
    return comp.parse_formula(formula) if formula else {}


def _unrelaxed(rows: Sequence[parquet.Row]) -> str | None:
    bad = [r for r in rows if r["status"] != Status.OK]
    if not bad:
        return None
    named = ", ".join(
        f"{r['label']}{' ' + r['composition'] if r['composition'] else ''}: {r['status']}"
        for r in bad[:_MOST_NAMED]
    )
    more = ", …" if len(bad) > _MOST_NAMED else ""
    return (
        f"{len(bad)} of {len(rows)} competing phases did not relax ({named}{more});"
        " where they compete, E_d is underestimated"
    )
