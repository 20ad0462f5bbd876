"""Counts with intervals and medians with quartiles: the rows of table ``report``.

Every rate is k of n with n the full denominator, so that failures count as failures,
and a 95 % Wilson interval (Wilson 1927, doi:10.1080/01621459.1927.10502953), which stays
inside [0, 1] and is honest for few structures and for k = 0.
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pandas as pd

from chggen.analysis.rows import ROUTES, Outcomes
from chggen.config.model import Config
from chggen.errors import Status
from chggen.screening.filters import Filter
from chggen.tables.parquet import Row
from chggen.tables.schema import SCHEMAS

#: Normal quantile of a two-sided 95 % interval.
Z95: Final = 1.959963984540054
ALL: Final = "all"
_P_MINUS_1: Final = 2  # number of the space group with inversion only

#: Quantities that are counted, and what each says.
COUNTED: Final[dict[str, str]] = {
    "attempted": "structures attempted",
    "sampled": "the sampler gave a structure",
    "relaxed": "relaxed, within the step limit or not, and has an energy",
    "converged": "met the force (and stress) criterion",
    "rmsd_defined": "generated and relaxed structure could be matched",
    "symmetric": "success test: space group above P-1, no distance too short",
    "above_p1bar": "space group above P-1 at this tolerance",
    "below_threshold": "E_d below the threshold of the screen",
    "breaks_hull": "E_d below zero",
    "unique": "below the threshold and no duplicate of a lower-energy structure",
    "new": "unique and not a known phase",
    "selected": "goes on to DFT",
    "framework_found": "symmetric framework found in a relaxed structure",
    "symmetric_per_generated": "generated structures with at least one symmetric descendant",
}
#: Quantities that are measured: (quantity, table whose column of that name has the unit).
MEASURED: Final[dict[str, str]] = {
    "delta_energy_per_atom": "relaxed",
    "rmsd": "relaxed",
    "decomposition_energy": "screened",
    "score_calls": "generated",
    "steps": "relaxed",
    "wall_time": "relaxed",
}
#: Counted quantities of an attempt, which are columns of ``Outcomes.attempts``.
_FLAGS: Final = (
    "sampled",
    "relaxed",
    "converged",
    "rmsd_defined",
    "symmetric",
    "below_threshold",
    "breaks_hull",
    "unique",
    "new",
    "selected",
)


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a rate k/n; (nan, nan) for n = 0.

    Args:
        k: how many have it.
        n: how many were asked.
        z: normal quantile; the default gives 95 %.

    Raises:
        ValueError: k is not within 0…n.
    """
    if not 0 <= k <= n:
        raise ValueError(f"k = {k} is not within 0 and n = {n}")
    if n == 0:
        return math.nan, math.nan
    rate = k / n
    scale = 1.0 + z * z / n
    centre = (rate + z * z / (2 * n)) / scale
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / scale
    # the exact ends at k = 0 and k = n, which rounding would miss
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def tolerances(config: Config) -> dict[str, str]:
    """What each quantity depends on, in words; quantities that are absent: nothing."""
    screen, relax = config.screen, config.relax
    below = f"E_d < {screen.threshold:g} eV/atom"
    force = f"fmax {relax.fmax:g} eV/Å"
    stress = f", smax {relax.smax:g} GPa" if relax.relax_cell else ""
    symmetric = (
        f"symprec {screen.symprec:g} Å, angle {screen.angle_tolerance:g}°,"
        f" distance ≥ {screen.min_distance:g} Å"
    )
    ladder = ", ".join(f"{s.symprec:g} Å/{s.angle_tolerance:g}°" for s in config.refine.ladder)
    return {
        "relaxed": f"at most {relax.max_steps} steps",
        "converged": f"{force}{stress}, at most {relax.max_steps} steps",
        "symmetric": symmetric,
        "symmetric_per_generated": symmetric,
        "below_threshold": below,
        "breaks_hull": "E_d < 0",
        "unique": below,
        "new": below,
        "selected": below + (", symmetric only" if screen.require_symmetric else ""),
        "funnel/not_converged": f"{force}{stress}, at most {relax.max_steps} steps",
        "funnel/too_close": f"distance ≥ {screen.min_distance:g} Å",
        "funnel/above_threshold": below,
        "funnel/not_symmetric": symmetric,
        "funnel/space_group_full": (
            f"at most {screen.max_per_space_group} of a composition and space group"
            if screen.max_per_space_group
            else ""
        ),
        "funnel/over_limit": f"at most {screen.max_selected} of a composition",
        "funnel/second_threshold": (
            f"E_d < {screen.second_threshold:g} eV/atom" if screen.second_threshold else ""
        ),
        "framework_found": f"ladder {ladder}; moves ≤ {config.refine.max_displacement:g} Å",
    }


def rate_rows(system: str, outcomes: Outcomes, config: Config) -> list[Row]:
    """Rows of table ``report``: per composition and for all, per route and for all.

    Rates of inpainting count draws. Draws into one framework share it, so they are not
    independent and the interval is somewhat too narrow; ``symmetric_per_generated``
    counts each generated structure once, from end to end.

    Statuses are quantities ``status/<code>`` and add up to ``attempted``; those of the
    frameworks are ``framework_status/<code>`` and add up to the generated structures. How
    many stopped at each filter of the screen is ``funnel/<filter>``; these, the selected ones
    among them, add up to ``attempted`` too.
    """
    words = tolerances(config)
    rows = []
    for composition in [ALL, *outcomes.compositions]:
        attempts = _of(outcomes.attempts, composition)
        frameworks = _of(outcomes.frameworks, composition)
        for route in (*ROUTES, ALL):
            chosen = attempts if route == ALL else attempts[attempts["route"] == route]
            measures = [
                *_counted(chosen),
                *_at_tolerances(chosen, config),
                *_statuses(chosen["status"], "status"),
                *_filters(chosen["filter"]),
                *_end_to_end(attempts, route),
                *(_frameworks(frameworks) if route == ROUTES[0] else ()),
                *_measured(chosen),
            ]
            place = {"system": system, "composition": composition, "route": route}
            for measure in measures:
                tolerance = words.get(measure["quantity"], "")
                rows.append(place | {"tolerance": tolerance, "unit": ""} | measure)
    return rows


def counted(quantity: str, k: int, n: int) -> Row:
    """One rate with its interval, as columns of table ``report``."""
    low, high = wilson(k, n)
    value = k / n if n else None
    return {
        "quantity": quantity,
        "n": n,
        "k": k,
        "value": value,
        "low": low if n else None,
        "high": high if n else None,
    }


def _of(frame: pd.DataFrame, composition: str) -> pd.DataFrame:
    return frame if composition == ALL else frame[frame["composition"] == composition]


def _counted(attempts: pd.DataFrame) -> Iterator[Row]:
    n = len(attempts)
    # a definition, not a measurement: no interval
    yield {"quantity": "attempted", "n": n, "k": n, "value": 1.0 if n else None}
    for quantity in _FLAGS:
        yield counted(quantity, int(attempts[quantity].sum()), n)


def _at_tolerances(attempts: pd.DataFrame, config: Config) -> Iterator[Row]:
    """How much the symmetry verdict hangs on its tolerance."""
    numbers = attempts.loc[attempts["relaxed"], "space_group_numbers"].dropna()
    for place, symprec in enumerate(config.screen.tolerances):
        k = sum(len(found) > place and found[place] > _P_MINUS_1 for found in numbers)
        tolerance = f"symprec {symprec:g} Å, angle {config.screen.angle_tolerance:g}°"
        yield counted("above_p1bar", k, len(attempts)) | {"tolerance": tolerance}


def _statuses(statuses: pd.Series, prefix: str) -> Iterator[Row]:
    counts = Counter(statuses)
    for status in Status:
        if status == Status.OK or status in counts:
            yield counted(f"{prefix}/{status}", counts[status], len(statuses))


def _filters(filters: pd.Series) -> Iterator[Row]:
    counts = Counter(filters)
    for name in Filter:
        yield counted(f"funnel/{name}", counts[name], len(filters))


def _end_to_end(attempts: pd.DataFrame, route: str) -> Iterator[Row]:
    """Generated structures that led to a symmetric one by a route, of all generated."""
    ancestor = ["composition", "seed", "index"]
    generated = int((attempts["route"] == ROUTES[0]).sum())
    good = attempts[attempts["symmetric"]]
    if route != ALL:
        good = good[good["route"] == route]
    yield counted("symmetric_per_generated", len(good[ancestor].drop_duplicates()), generated)


def _frameworks(frameworks: pd.DataFrame) -> Iterator[Row]:
    asked = frameworks[frameworks["status"] != Status.PARENT_FAILED]
    yield counted("framework_found", int((asked["status"] == Status.OK).sum()), len(asked))
    yield from _statuses(frameworks["status"], "framework_status")


def _measured(attempts: pd.DataFrame) -> Iterator[Row]:
    for quantity, table in MEASURED.items():
        # what a failed relaxation left behind is no result; what sampling cost is
        asked = attempts if quantity == "score_calls" else attempts[attempts["relaxed"]]
        values = asked[quantity].dropna().astype(float)
        low, median, high = (
            values.quantile([0.25, 0.5, 0.75]) if len(values) else (None, None, None)
        )
        unit = (SCHEMAS[table].field(quantity).metadata or {}).get(b"unit", b"").decode()
        yield {
            "quantity": quantity,
            "n": len(values),
            "k": None,
            "value": median,
            "low": low,
            "high": high,
            "unit": unit,
        }
