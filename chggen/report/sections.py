"""The page's tables as plain values: funnel, compositions, space groups, failures."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from chggen.analysis.rates import ALL, MEASURED, nothing
from chggen.analysis.rows import KINDS, ROUTES, Outcomes
from chggen.errors import STATUS_TEXT, Status
from chggen.tables.parquet import Row

#: Steps of the funnel, in order: column of the attempts, name.
STEPS: Final = {
    "attempted": "Attempted",
    "relaxed": "Relaxed",
    "symmetric": "Symmetric",
    "below_threshold": "Below the E_d threshold",
    "unique": "Unique",
    "new": "New",
    "selected": "Selected for DFT",
}
#: Measured quantities as the page names them.
NAMES: Final = {
    "delta_energy_per_atom": "ΔE, generated to relaxed",
    "rmsd": "RMSD, generated to relaxed",
    "rmsd_normalised": "RMSD / (V/n)^(1/3), generated to relaxed",
    "max_displacement": "Largest displacement of an atom, generated to relaxed",
    "decomposition_energy": "E_d",
    "score_calls": "Score-network calls",
    "steps": "Relaxation steps",
    "wall_time": "Relaxation time per structure",
}
_MOST_EXAMPLES: Final = 2
_P_MINUS_1: Final = 2


class Rates:
    """Rows of table ``report`` by what they say."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._at = {(r["composition"], r["route"], r["draw_kind"], r["quantity"]): r for r in rows}

    def get(self, quantity: str, route: str = ALL, composition: str = ALL, kind: str = ALL) -> Row:
        """The row of a quantity; an empty one where the table has none.

        Args:
            quantity: as in table ``report``.
            route: one of :data:`chggen.analysis.rows.ROUTES`, or all.
            composition: a formula, or all.
            kind: of draw, one of :data:`chggen.analysis.rows.KINDS`, or all.
        """
        return self._at.get((composition, route, kind, quantity)) or {
            **nothing(quantity),
            "route": route,
            "draw_kind": kind,
            "composition": composition,
            "unit": "",
            "tolerance": "",
        }

    def of(self, quantity: str, route: str = ALL, kind: str = ALL) -> Iterator[Row]:
        """All rows of a quantity over all compositions (one per tolerance).

        Args:
            quantity: as in table ``report``.
            route: one of :data:`chggen.analysis.rows.ROUTES`, or all.
            kind: of draw, one of :data:`chggen.analysis.rows.KINDS`, or all.
        """
        wanted = (quantity, route, ALL, kind)
        columns = ("quantity", "route", "composition", "draw_kind")
        return (row for row in self.rows if tuple(row[c] for c in columns) == wanted)


def routes_used(outcomes: Outcomes) -> list[str]:
    """Routes with at least one attempt."""
    used = set(outcomes.attempts["route"])
    return [route for route in ROUTES if route in used]


def draws_used(outcomes: Outcomes) -> list[tuple[str, str]]:
    """Route and kind of draw of which there is at least one attempt, in order."""
    attempts = outcomes.attempts
    used = set(zip(attempts["route"], attempts["draw_kind"], strict=True))
    return [(route, kind) for route in ROUTES for kind in KINDS if (route, kind) in used]


def symmetry(outcomes: Outcomes, rates: Rates) -> dict[str, Any]:
    """Success rates by kind of draw: from end to end first, then by route."""
    kinds = [ALL, *(k for k in KINDS if (outcomes.attempts["draw_kind"] == k).any())]
    lines: list[tuple[str | None, dict[str, Row]]]
    lines = [(None, {k: rates.get("symmetric_per_generated", ALL, kind=k) for k in kinds})]
    lines += [
        (route, {k: rates.get("symmetric", route, kind=k) for k in kinds})
        for route in routes_used(outcomes)
    ]
    return {"kinds": kinds, "lines": lines}


def funnel(outcomes: Outcomes, rates: Rates) -> list[dict[str, Any]]:
    """Steps with count, rate, interval and how many of them are symmetric, by route."""
    attempts = outcomes.attempts
    out = []
    for column, name in STEPS.items():
        cells = []
        for route in ROUTES:
            chosen = attempts[attempts["route"] == route]
            kept = chosen if column == "attempted" else chosen[chosen[column]]
            cells.append(
                {
                    "route": route,
                    "rate": rates.get(column, route),
                    "symmetric": int(kept["symmetric"].sum()),
                }
            )
        out.append({"key": column, "name": name, "cells": cells})
    return out


def by_composition(outcomes: Outcomes, rates: Rates, best: pd.DataFrame) -> list[dict[str, Any]]:
    """One line per composition: rates by route and kind of draw, and the best structure.

    Args:
        outcomes: what became of everything tried.
        rates: of it.
        best: unique structures by E_d, lowest first.
    """
    draws = draws_used(outcomes)
    leaders = best.drop_duplicates("composition").set_index("composition")
    out = []
    for composition in outcomes.compositions:
        leader = leaders.loc[composition] if composition in leaders.index else None
        out.append(
            {
                "composition": composition,
                "symmetric": [rates.get("symmetric", r, composition, kind) for r, kind in draws],
                "below_threshold": rates.get("below_threshold", ALL, composition)["k"],
                "median": rates.get("decomposition_energy", ALL, composition)["value"],
                "best": None if leader is None else leader.to_dict(),
            }
        )
    return out


def space_groups(outcomes: Outcomes) -> list[dict[str, Any]]:
    """How often each space group was found, by route and kind of draw and among frameworks.

    Groups above P-1 first, most frequent on top.
    """
    columns = ["space_group_number", "space_group_symbol", "route", "draw_kind"]
    attempts, hosts = outcomes.attempts, outcomes.frameworks.assign(draw_kind="")
    relaxed = attempts.loc[attempts["relaxed"], columns]
    frameworks = hosts.loc[hosts["status"] == Status.OK, columns].assign(route="framework")
    draws = draws_used(outcomes)
    found = pd.concat([relaxed, frameworks]).dropna(subset="space_group_number")
    out = []
    for number, rows in found.groupby("space_group_number"):
        counts = Counter(zip(rows["route"], rows["draw_kind"], strict=True))
        group = int(str(number))
        out.append(
            {
                "number": group,
                "symbol": rows["space_group_symbol"].iloc[0],
                "counts": [counts[draw] for draw in draws],
                "total": sum(counts[draw] for draw in draws),
                "frameworks": counts["framework", ""],
                "symmetric": group > _P_MINUS_1,
            }
        )
    return sorted(
        out, key=lambda g: (not g["symmetric"], -g["total"], -g["frameworks"], -g["number"])
    )


def failures(outcomes: Outcomes) -> dict[str, Any]:
    """Where every attempt ended: lines that add up to the attempts, by route."""
    attempts = outcomes.attempts
    lines = []
    for (stage, status), rows in attempts.groupby(["stage", "status"]):
        routes = rows["route"].value_counts()
        lines.append(
            {
                "stage": str(stage),
                "status": str(status),
                "text": STATUS_TEXT[Status(str(status))],
                "counts": {route: int(routes.get(route, 0)) for route in ROUTES},
                "total": len(rows),
                "examples": _examples(rows["reason"], str(status)),
            }
        )
    totals = attempts["route"].value_counts()
    return {
        "lines": sorted(lines, key=lambda x: (x["status"] != Status.OK, -x["total"])),
        "totals": {route: int(totals.get(route, 0)) for route in ROUTES},
        "total": len(attempts),
    }


def framework_failures(outcomes: Outcomes) -> dict[str, Any]:
    """What became of the frameworks: lines that add up to the generated structures."""
    lines = [
        {
            "status": str(status),
            "text": _framework_text(str(status)),
            "total": len(rows),
            "examples": _examples(rows["reason"], str(status)),
        }
        for status, rows in outcomes.searched.groupby("status")
    ]
    return {
        "lines": sorted(lines, key=lambda x: (x["status"] != Status.OK, -x["total"])),
        "total": len(outcomes.searched),
        "made": int((outcomes.frameworks["status"] == Status.OK).sum()),
    }


def _framework_text(status: str) -> str:
    return "symmetric framework found" if status == Status.OK else STATUS_TEXT[Status(status)]


def _examples(reasons: pd.Series, status: str) -> list[str]:
    """Most frequent reasons, where they say more than the status."""
    if status == Status.PARENT_FAILED:
        return []  # the parent's own line says it
    found = Counter(str(r) for r in reasons.dropna() if str(r) not in {"", status})
    return [reason for reason, _ in found.most_common(_MOST_EXAMPLES)]


def medians(rates: Rates) -> list[dict[str, Any]]:
    """Measured quantities by route."""
    return [
        {"name": NAMES[quantity], "rows": {r: rates.get(quantity, r) for r in ROUTES}}
        for quantity in MEASURED
    ]


def tolerance_rows(outcomes: Outcomes, rates: Rates) -> list[dict[str, Any]]:
    """Share above P-1 at each tolerance, by route and kind of draw."""
    columns = [list(rates.of("above_p1bar", *draw)) for draw in draws_used(outcomes)]
    return [
        {"tolerance": rows[0]["tolerance"], "rates": list(rows)}
        for rows in zip(*columns, strict=True)
    ]
