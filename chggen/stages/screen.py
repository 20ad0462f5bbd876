"""``screen``: relaxed structures to verdicts: symmetric, stable, new, selected."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen import provenance
from chggen.config.contracts import Contract
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.errors import ContractError
from chggen.reference.hull import decomposition, hull_formation_energy, with_candidates
from chggen.reference.reference import Reference
from chggen.reference.relaxed import load_competing
from chggen.run import progress as bars
from chggen.screening.second import SecondLevel, judge_again
from chggen.screening.selection import cut, select, valid
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.structure.matching import duplicates, match_known
from chggen.symmetry.analysis import space_group, space_groups
from chggen.tables import parquet
from chggen.tables.lineage import shared, usable

#: What a row keeps from its relaxation.
_KEPT = shared("relaxed", "screened")
#: A structure closer to the hull than this (eV/atom) is on it.
_ON_HULL = 1e-8


def screen(
    sources: Sequence[str | Path],
    output: str | Path,
    reference: ReferenceConfig,
    settings: ScreenConfig,
    inpainted: Sequence[str | Path] = (),
    progress: bars.Progress = bars.silent,
    *,
    second: SecondLevel | None = None,
    referenced: str | Path | None = None,
) -> None:
    """Judge every row of a system's relaxed and rerelaxed tables.

    Args:
        sources: tables ``relaxed`` and ``rerelaxed``.
        output: table ``screened`` to write.
        reference: competing phases.
        settings: section ``screen`` of the config.
        inpainted: tables ``inpainted``, which know the frameworks' space groups.
        progress: called with (structures done, structures in all).
        second: what ``settings.second_potential`` needs; its defaults if not given.
        referenced: table of that name, where the reference is the potential itself.

    Raises:
        ReferenceCoverageError: the reference does not cover the system.
        ContractError: energies may not be compared with the reference's.
    """
    parents = [row for path in sources for row in parquet.read(path, parquet.table_name(path))]
    hosts = {
        row["id"]: row["host_space_group_number"]
        for path in inpainted
        for row in parquet.read(path, "inpainted")
    }
    elements = {e for row in parents for e in comp.parse_formula(row["composition"])}
    competing = load_competing(reference, elements, referenced)
    rows = []
    for number, parent in enumerate(parents, 1):
        row = {key: parent[key] for key in _KEPT}
        row |= {
            "id": row_id("screened", parent["id"]),
            "parent_id": parent["id"],
            "host_space_group_number": hosts.get(parent["parent_id"]),
            "reference": competing.name,
            "reference_date": competing.date,
            "reference_hash": competing.hash,
        }
        if usable(parent):
            _require_potential(parent, competing)
            row |= _verdicts(Crystal.from_row(parent), parent, competing, settings)
        rows.append(row)
        progress(number, len(parents))
    _campaign_hull(rows, competing, settings)
    _compare(rows, competing, settings)
    select(rows, settings)
    facts = judge_again(rows, settings, second or SecondLevel(), competing)
    cut(rows, settings)
    read = [*sources, *inpainted, *([referenced] if referenced else [])]
    header = provenance.header(
        "screen",
        settings.model_dump(mode="json"),
        {Path(path).as_posix(): provenance.file_digest(path) for path in read},
        reference=competing.name,
        reference_date=competing.date,
        reference_hash=competing.hash,
        reference_functional=competing.contract.functional,
        reference_partial=competing.partial,
        **facts,
    )
    parquet.write(output, "screened", rows, header)


def _verdicts(
    crystal: Crystal, row: Mapping[str, Any], reference: Reference, settings: ScreenConfig
) -> parquet.Row:
    """Symmetry and stability of one structure."""
    group = space_group(crystal, settings.symprec, settings.angle_tolerance)
    contract = Contract(row["functional"], row["corrections"])
    stability = decomposition(reference, row["composition"], row["energy_per_atom"], contract)
    return {
        "space_group_number": group.number,
        "space_group_symbol": group.symbol,
        "symprec": settings.symprec,
        "angle_tolerance": settings.angle_tolerance,
        "space_group_numbers": space_groups(crystal, settings.tolerances, settings.angle_tolerance),
        "symmetric": group.symmetric and row["min_distance"] >= settings.min_distance,
        "formation_energy_per_atom": stability.formation_energy_per_atom,
        "decomposition_energy": stability.decomposition_energy,
        "decomposition_products": stability.products,
        "decomposition_phases": list(stability.phases),
        "decomposition_amounts": list(stability.amounts),
        "below_threshold": stability.decomposition_energy < settings.threshold,
    }


def _require_potential(row: Mapping[str, Any], reference: Reference) -> None:
    """Raise :class:`ContractError` if the reference is of another potential than the row."""
    if reference.potential not in {None, row["potential_hash"]}:
        raise ContractError(
            f"row {row['id']}: energies of {row['potential']} ({row['potential_hash']}) cannot be"
            f" compared with '{reference.name}' ({reference.potential}): relax the phases again"
        )


def _campaign_hull(rows: list[parquet.Row], reference: Reference, settings: ScreenConfig) -> None:
    """Distances to the hull that the campaign's own structures are part of, in place."""
    judged = [row for row in rows if row.get("decomposition_energy") is not None]
    lowest: dict[str, float] = {}
    for row in judged:
        if valid(row, settings):
            energy = row["formation_energy_per_atom"]
            lowest[row["composition"]] = min(energy, lowest.get(row["composition"], energy))
    whole = with_candidates(reference, lowest)
    for row in judged:
        above = row["formation_energy_per_atom"] - hull_formation_energy(whole, row["composition"])
        row["campaign_decomposition_energy"] = above
        row["on_campaign_hull"] = valid(row, settings) and above < _ON_HULL


def _compare(rows: list[parquet.Row], reference: Reference, settings: ScreenConfig) -> None:
    """Duplicates, known phases and ranks, per composition, in place."""
    groups: dict[str, list[parquet.Row]] = defaultdict(list)
    for row in rows:
        if row.get("decomposition_energy") is not None:
            groups[row["composition"]].append(row)
    for members in groups.values():
        # ties by id, so that the order does not depend on that of the files
        members.sort(key=lambda r: (r["energy_per_atom"], r["id"]))
        crystals = [Crystal.from_row(row) for row in members]
        energies = [row["energy_per_atom"] for row in members]
        twins = duplicates(crystals, energies, [valid(row, settings) for row in members])
        known = match_known(crystals, reference.structures)
        rank = 0
        for row, twin, label in zip(members, twins, known, strict=True):
            row["known_phase"] = label
            if twin is not None:
                row["duplicate_of"] = members[twin]["id"]
                continue
            rank += 1
            row["rank"] = rank
