"""``screen``: relaxed structures to verdicts: symmetric, stable, new, selected."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen import composition as comp
from chggen import progress as bars
from chggen import provenance, tables
from chggen.config import ScreenConfig
from chggen.contracts import Contract
from chggen.crystal import Crystal, row_id
from chggen.energyspecs import ReferenceConfig
from chggen.errors import Status
from chggen.matching import duplicates, match_known
from chggen.references import Reference, load_reference
from chggen.stability import decomposition
from chggen.stages.lineage import LINEAGE, usable
from chggen.stages.second import SecondLevel, judge_again
from chggen.symmetry import space_group, space_groups

_KEPT = (
    *LINEAGE,
    "status",
    "reason",
    "n_atoms",
    "formula_units",
    "cell",
    "atomic_numbers",
    "frac_coords",
    "energy_per_atom",
    "delta_energy_per_atom",
    "rmsd",
    "converged",
    "min_distance",
    "volume_per_atom",
    "potential",
    "potential_hash",
    "functional",
    "corrections",
)


def screen(
    sources: Sequence[str | Path],
    output: str | Path,
    reference: ReferenceConfig,
    settings: ScreenConfig,
    inpainted: Sequence[str | Path] = (),
    progress: bars.Progress = bars.silent,
    *,
    second: SecondLevel | None = None,
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
    """
    parents = [row for path in sources for row in tables.read(path, tables.table_name(path))]
    hosts = {
        row["id"]: row["host_space_group_number"]
        for path in inpainted
        for row in tables.read(path, "inpainted")
    }
    elements = {e for row in parents for e in comp.parse_formula(row["composition"])}
    competing = load_reference(reference, elements)
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
            row |= _verdicts(Crystal.from_row(parent), parent, competing, settings)
        rows.append(row)
        progress(number, len(parents))
    _compare(rows, competing, settings)
    facts = judge_again(rows, settings, second or SecondLevel(), competing)
    header = provenance.header(
        "screen",
        settings.model_dump(mode="json"),
        {Path(path).as_posix(): provenance.file_digest(path) for path in [*sources, *inpainted]},
        reference=competing.name,
        reference_date=competing.date,
        reference_hash=competing.hash,
        reference_partial=competing.partial,
        **facts,
    )
    tables.write(output, "screened", rows, header)


def _verdicts(
    crystal: Crystal, row: Mapping[str, Any], reference: Reference, settings: ScreenConfig
) -> tables.Row:
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
        "below_threshold": stability.decomposition_energy < settings.threshold,
        "selected": False,
    }


def _compare(rows: list[tables.Row], reference: Reference, settings: ScreenConfig) -> None:
    """Duplicates, known phases, ranks and selection, per composition, in place."""
    groups: dict[str, list[tables.Row]] = defaultdict(list)
    for row in rows:
        if row.get("decomposition_energy") is not None:
            groups[row["composition"]].append(row)
    for members in groups.values():
        # ties by id, so that the order does not depend on that of the files
        members.sort(key=lambda r: (r["energy_per_atom"], r["id"]))
        crystals = [Crystal.from_row(row) for row in members]
        twins = duplicates(crystals, [row["energy_per_atom"] for row in members])
        known = match_known(crystals, reference.structures)
        rank = chosen = 0
        for row, twin, label in zip(members, twins, known, strict=True):
            row["known_phase"] = label
            if twin is not None:
                row["duplicate_of"] = members[twin]["id"]
                continue
            rank += 1
            row["rank"] = rank
            wanted = (
                row["below_threshold"]
                and row["converged"]
                and row["status"] == Status.OK
                and row["min_distance"] >= settings.min_distance
                and label is None
                and (row["symmetric"] or not settings.require_symmetric)
            )
            if wanted and chosen < settings.max_selected:
                row["selected"] = True
                chosen += 1
