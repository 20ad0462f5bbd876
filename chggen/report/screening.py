"""What the screen did: where structures stopped, and the hull after the campaign."""

from collections import Counter
from typing import Any, Final

import pandas as pd
from markupsafe import Markup

from chggen.analysis.rows import ROUTES, Outcomes
from chggen.report import text
from chggen.report.sections import Rates
from chggen.screening.filters import FILTER_TEXT, Filter

#: Most reasons and phases that are named.
_MOST_REASONS: Final = 2
_MOST_NAMED: Final = 6


def filters(outcomes: Outcomes, rates: Rates) -> list[dict[str, Any]]:
    """Every filter where something stopped, in order, and the selected: lines add up to all.

    Each has how many stopped there by route, what was asked or else the most frequent
    reasons, how many were left after it, and what share of all that is.
    """
    attempts = outcomes.attempts
    left, out = len(attempts), []
    for name in Filter:
        here = attempts[attempts["filter"] == name]
        last = name == Filter.SELECTED
        if here.empty and not last:
            continue
        left -= 0 if last else len(here)
        rate = rates.get(f"funnel/{name}")
        out.append(
            {
                "filter": name.value,
                "text": FILTER_TEXT[name],
                "rates": {route: rates.get(f"funnel/{name}", route) for route in ROUTES},
                "rate": rate,
                "reasons": _reasons(name, here["filter_reason"], rate["tolerance"]),
                "guaranteed": int(here["guaranteed"].fillna(value=False).sum()),
                "left": left,
                "share": left / len(attempts),
            }
        )
    return out


def filters_by_composition(outcomes: Outcomes) -> dict[str, Any]:
    """How many stopped at each filter, one line per composition."""
    attempts = outcomes.attempts
    used = [name for name in Filter if (attempts["filter"] == name).any()]
    lines = []
    for composition in outcomes.compositions:
        counts = Counter(attempts.loc[attempts["composition"] == composition, "filter"])
        lines.append({"composition": composition, "counts": [counts[name] for name in used]})
    return {"filters": [(name.value, FILTER_TEXT[name]) for name in used], "lines": lines}


def _reasons(name: Filter, reasons: pd.Series, asked: str) -> list[str]:
    """What a filter asks for, or why structures stopped there, most frequent first."""
    if name in {Filter.SELECTED, Filter.DUPLICATE}:  # no reason, and a different one for each
        return []
    found = Counter(str(r) for r in reasons.dropna() if r)
    return [asked] if asked else [reason for reason, _ in found.most_common(_MOST_REASONS)]


def after_campaign(outcomes: Outcomes) -> Markup | None:
    """The hull with the campaign's own structures on it, in one or two sentences."""
    attempts = outcomes.attempts
    part = attempts["on_campaign_hull"].fillna(value=False).astype(bool)
    judged = attempts[
        ~attempts["filter"].isin([Filter.FAILED, Filter.NOT_CONVERGED, Filter.TOO_CLOSE])
    ]
    if judged.empty:
        return None
    first = Markup("Hull including the converged structures of this campaign: ")
    found = attempts[part].drop_duplicates("composition")
    if found.empty:
        nearest = judged.sort_values("campaign_decomposition_energy").iloc[0]
        return first + Markup(
            "unchanged, none of them is on or below it. The closest is {} in {}, {} meV/atom above."
        ).format(
            text.formula(nearest["composition"]),
            text.space_group(nearest["space_group_symbol"]),
            text.milli(nearest["campaign_decomposition_energy"]),
        )
    names = [
        Markup("{} ({})").format(text.formula(c), text.space_group(s))
        for c, s in zip(found["composition"], found["space_group_symbol"], strict=True)
    ]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return first + Markup(
        "{}{} would be on it. Distances to this hull are in column"
        " <code>campaign_decomposition_energy</code>."
    ).format(Markup(", ").join(names[:_MOST_NAMED]), more)
