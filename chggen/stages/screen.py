"""``screen``: relaxed structures to verdicts: symmetric, stable, new, selected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chggen import provenance
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.reference.computed import load_competing
from chggen.reference.reference import Reference
from chggen.run import progress as bars
from chggen.screening.comparing import compare, rank
from chggen.screening.final import add_dispersion, first_cut, relax_again
from chggen.screening.judging import VERDICTS, campaign_hull, judge
from chggen.screening.known import KnownPhases
from chggen.screening.second import SecondLevel, judge_again
from chggen.screening.selection import cut, select
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, has_structure, row_id
from chggen.tables import parquet
from chggen.tables.frames import fill, frame_of, rows_of
from chggen.tables.lineage import shared, structure_columns, usable

#: What a row keeps from its relaxation.
_KEPT = shared("relaxed", "screened")


def screen(  # noqa: PLR0913
    sources: Sequence[str | Path],
    output: str | Path,
    reference: ReferenceConfig,
    settings: ScreenConfig,
    inpainted: Sequence[str | Path] = (),
    progress: bars.Progress = bars.silent,
    *,
    relax: RelaxConfig | None = None,
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
        progress: called with (structures done, structures in all), first of the verdicts,
            then of the final relaxation.
        relax: section ``relax``, whose ``final`` says how what passes a first cut is relaxed
            again; None: nothing is.
        second: what ``settings.second_potential`` needs; its defaults if not given.
        referenced: table of that name, where the reference is the potential itself.

    Raises:
        ReferenceCoverageError: the reference does not cover the system.
        ContractError: energies may not be compared with the reference's.
        TableError: a table is damaged, that of known crystals among them.
    """
    parents = [row for path in sources for row in parquet.read(path, parquet.table_name(path))]
    elements = {e for row in parents for e in comp.parse_formula(row["composition"])}
    hashes = {row["potential_hash"] for row in parents if row["potential_hash"]}
    # with relax.final.dispersion the rows get energies of another potential than they have
    adds = relax is not None and relax.tight.dispersion != relax.dispersion
    potential = None if adds else next(iter(sorted(hashes)), None)
    competing = load_competing(reference, elements, referenced, potential, relax)
    level = second or SecondLevel()
    draws = [row for path in inpainted for row in parquet.read(path, "inpainted")]
    frame = _frame(parents, draws, competing)
    places = frame.index[[usable(parent) for parent in parents]]
    if relax is not None and relax.final is not None:
        places = add_dispersion(frame, places, relax, level.potentials)
    judge(frame, places, competing, settings, progress)
    known = KnownPhases(competing.structures, settings.known)
    compare(frame, places, known)
    frame["final"] = frame["decomposition_energy"].notna().map({True: False, False: None})
    frame["final"] = frame["final"].astype("boolean")
    facts: dict[str, Any] = {}
    final = relax is not None and relax.final is not None
    if relax is not None and relax.final is not None:
        chosen = first_cut(frame, settings, relax.final.margin)
        facts = relax_again(
            frame,
            chosen,
            relax,
            potentials=level.potentials,
            movable=_movable(parents, draws) if relax.fix_host else {},
            progress=progress,
        )
        _judge_final(frame, chosen, competing, settings, known)
    rank(frame)
    campaign_hull(frame, competing)
    select(frame, settings, final=final)
    facts |= judge_again(frame, settings, level, competing)
    cut(frame, settings)
    read = [*sources, *inpainted, *([referenced] if referenced else [])]
    header = provenance.header(
        "screen",
        settings.model_dump(mode="json")
        | ({"final": relax.final.model_dump(mode="json")} if relax and relax.final else {}),
        {Path(path).as_posix(): provenance.file_digest(path) for path in read},
        reference=competing.name,
        reference_date=competing.date,
        reference_hash=competing.hash,
        reference_functional=competing.contract.functional,
        reference_partial=competing.partial,
        known_crystals=known.digest,
        **facts,
    )
    parquet.write(output, "screened", _rows(frame), header)


def _frame(
    parents: Sequence[parquet.Row], draws: Sequence[parquet.Row], competing: Reference
) -> pd.DataFrame:
    """Table ``screened`` before any verdict, and the columns that it is worked with."""
    hosts = {row["id"]: row["host_space_group_number"] for row in draws}
    rows = [
        {key: parent[key] for key in _KEPT}
        | {
            "id": row_id("screened", parent["id"]),
            "parent_id": parent["id"],
            "host_space_group_number": hosts.get(parent["parent_id"]),
            "reference": competing.name,
            "reference_date": competing.date,
            "reference_hash": competing.hash,
        }
        for parent in parents
    ]
    frame = frame_of("screened", rows)
    crystals = [Crystal.from_row(row) if has_structure(row) else None for row in parents]
    frame["crystal"] = pd.Series(crystals, dtype="object")
    frame["parts"] = pd.Series([None] * len(rows), dtype="object")
    frame["closest_pair"] = pd.Series([None] * len(rows), dtype="string")
    return frame


def _judge_final(
    frame: pd.DataFrame,
    places: pd.Index,
    competing: Reference,
    settings: ScreenConfig,
    known: KnownPhases,
) -> None:
    """Verdicts on what was relaxed again; none are left of what failed at it."""
    good = places[frame.loc[places, "energy_per_atom"].notna()]
    bad = places.difference(good)
    fill(frame, bad, [dict.fromkeys(VERDICTS)] * len(bad))
    judge(frame, good, competing, settings)
    compare(frame, good, known)


def _movable(parents: Sequence[parquet.Row], draws: Sequence[parquet.Row]) -> Mapping[str, Any]:
    """Which atoms are guests, by id of the relaxed row."""
    guests = {row["id"]: row["guest_mask"] for row in draws if row["guest_mask"] is not None}
    return {
        row["id"]: np.array(guests[row["parent_id"]], dtype=np.bool_)
        for row in parents
        if row["parent_id"] in guests
    }


def _rows(frame: pd.DataFrame) -> list[parquet.Row]:
    """Rows of the table, with their structures."""
    return [
        row | (structure_columns(crystal) if crystal is not None else {})
        for row, crystal in zip(rows_of(frame, "screened"), frame["crystal"], strict=True)
    ]
