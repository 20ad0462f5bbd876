"""Which screened structures go on, and at which filter the others stopped."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from chggen.config.screening import ScreenConfig
from chggen.errors import STATUS_TEXT, Status
from chggen.screening.filters import Filter
from chggen.tables import parquet


def valid(row: Mapping[str, Any], settings: ScreenConfig) -> bool:
    """True for structures whose energy is that of a minimum without atoms too close."""
    return (
        row["status"] == Status.OK
        and bool(row["converged"])
        and row["min_distance"] >= settings.min_distance
    )


def select(rows: Sequence[parquet.Row], settings: ScreenConfig) -> None:
    """Fill ``filter``, ``filter_reason``, ``selected`` and ``guaranteed`` of all rows, in place.

    Args:
        rows: of table ``screened`` with symmetry, E_d, duplicates and known phases.
        settings: section ``screen`` of the config.
    """
    groups: dict[str, list[parquet.Row]] = defaultdict(list)
    for row in rows:
        if row.get("decomposition_energy") is None:
            why = STATUS_TEXT[Status(row["status"])]
            _stop(row, Filter.FAILED, f"{why}: {row['reason']}" if row["reason"] else why)
        else:
            groups[row["composition"]].append(row)
    for members in groups.values():
        _select_of_one(members, settings)


def cut(rows: Sequence[parquet.Row], settings: ScreenConfig) -> None:
    """Apply ``second_threshold`` to selected rows with an E_d by the second potential.

    Rows without one stay. Where a composition would lose all its rows,
    ``best_per_composition`` keeps the one of lowest second E_d.
    """
    if settings.second_threshold is None:
        return
    groups: dict[str, list[parquet.Row]] = defaultdict(list)
    for row in rows:
        if row.get("selected"):
            groups[row["composition"]].append(row)
    for members in groups.values():
        judged = [r for r in members if r.get("second_decomposition_energy") is not None]
        judged.sort(key=lambda r: (r["second_decomposition_energy"], r["id"]))
        bad = [r for r in judged if r["second_decomposition_energy"] >= settings.second_threshold]
        keep = settings.best_per_composition and len(bad) == len(members)
        for place, row in enumerate(bad):
            why = (
                f"E_d {row['second_decomposition_energy']:.3f} ≥ {settings.second_threshold:g}"
                f" eV/atom from {row['second_potential']}"
            )
            if keep and place == 0:
                _guarantee(row, why)
            else:
                _stop(row, Filter.SECOND_THRESHOLD, why)


def _select_of_one(members: list[parquet.Row], settings: ScreenConfig) -> None:
    """Selection among the judged rows of one composition."""
    members.sort(key=lambda r: (r["energy_per_atom"], r["id"]))
    failed = {row["id"]: _failures(row, settings) for row in members}
    chosen, groups = 0, Counter[int]()
    most = settings.max_per_space_group
    for row in members:
        if failed[row["id"]]:
            _stop(row, *failed[row["id"]][0])
        elif most is not None and groups[row["space_group_number"]] >= most:
            why = f"{most} better structures in space group {row['space_group_number']}"
            _stop(row, Filter.SPACE_GROUP_FULL, why)
        elif chosen >= settings.max_selected:
            _stop(row, Filter.OVER_LIMIT, f"{settings.max_selected} better of its composition")
        else:
            row |= {"filter": Filter.SELECTED, "filter_reason": ""}
            row |= {"selected": True, "guaranteed": False}
            groups[row["space_group_number"]] += 1
            chosen += 1
    if settings.best_per_composition and not chosen:
        for row in members:
            if [name for name, _ in failed[row["id"]]] == [Filter.ABOVE_THRESHOLD]:
                _guarantee(row, row["filter_reason"])
                break


def _failures(row: Mapping[str, Any], settings: ScreenConfig) -> list[tuple[Filter, str]]:
    """Every filter that a row fails by itself, in order, with the reason."""
    energy, distance = row["decomposition_energy"], row["min_distance"]
    asked = (
        (
            Filter.NOT_CONVERGED,
            row["status"] != Status.OK or not row["converged"],
            row["reason"] or "force or stress criterion not met",
        ),
        (
            Filter.TOO_CLOSE,
            distance < settings.min_distance,
            f"shortest distance {distance:.2f} Å < {settings.min_distance:g} Å",
        ),
        (
            Filter.ABOVE_THRESHOLD,
            not row["below_threshold"],
            f"E_d {energy:.3f} ≥ {settings.threshold:g} eV/atom",
        ),
        (
            Filter.DUPLICATE,
            row.get("duplicate_of") is not None,
            f"matches {row.get('duplicate_of')}",
        ),
        (
            Filter.KNOWN_PHASE,
            row.get("known_phase") is not None,
            f"matches {row.get('known_phase')}",
        ),
        (
            Filter.NOT_SYMMETRIC,
            settings.require_symmetric and not row["symmetric"],
            f"space group {row['space_group_number']} at {settings.symprec:g} Å",
        ),
    )
    return [(name, reason) for name, failed, reason in asked if failed]


def _stop(row: parquet.Row, name: Filter, reason: str) -> None:
    row |= {"filter": name, "filter_reason": reason, "selected": False, "guaranteed": False}


def _guarantee(row: parquet.Row, reason: str) -> None:
    row |= {
        "filter": Filter.SELECTED,
        "filter_reason": f"best of its composition; otherwise refused: {reason}",
    }
    row |= {"selected": True, "guaranteed": True}
