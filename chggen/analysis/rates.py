"""Counts with intervals and medians with quartiles: the rows of table ``report``.

Every rate is k of n with n the full denominator, so that failures count as failures. Its
95 % interval is Wilson's where attempts are independent and that of clusters
(:mod:`chggen.analysis.intervals`) where several descend from one generated structure.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from chggen.analysis.intervals import clustered
from chggen.analysis.rows import GENERATED, KINDS, ROUTES, Outcomes
from chggen.config.model import Config
from chggen.errors import Status
from chggen.screening.filters import Filter
from chggen.tables.parquet import Row
from chggen.tables.schema import SCHEMAS

ALL: Final = "all"
_P_MINUS_1: Final = 2  # number of the space group with inversion only
#: What makes a generated structure, and with it all that descends from it.
_ANCESTOR: Final = ["composition", "seed", "index"]

#: Quantities that are counted, and what each says.
COUNTED: Final[dict[str, str]] = {
    "attempted": "structures attempted",
    "sampled": "the sampler returned a structure",
    "relaxed": "relaxed, converged or not, and has an energy",
    "converged": "met the force (and stress) criterion",
    "rmsd_defined": "generated and relaxed structures match",
    "symmetric": "space group above P-1 and no distance too short",
    "above_p1bar": "space group above P-1 at this tolerance",
    "below_threshold": "E_d below screen.threshold",
    "breaks_hull": "E_d below zero",
    "unique": "below the threshold and not a duplicate of a lower-energy structure",
    "new": "unique and not a known phase",
    "known_prototype": "new, and a known crystal of other elements has its prototype",
    "novelty": "unique structures that are new",
    "selected": "selected for DFT",
    "framework_found": "relaxed structures that gave a symmetric framework",
    "symmetric_per_generated": "generated structures that are symmetric or have such a descendant",
}
#: Quantities that are measured: (quantity, table whose column of that name has the unit).
MEASURED: Final[dict[str, str]] = {
    "delta_energy_per_atom": "relaxed",
    "rmsd": "relaxed",
    "rmsd_normalised": "relaxed",
    "max_displacement": "relaxed",
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
    "known_prototype",
    "selected",
)


def tolerances(config: Config) -> dict[str, str]:
    """What each quantity depends on, in words; quantities that are absent: nothing."""
    screen, relax = config.screen, config.relax
    below = f"E_d < {screen.threshold:g} eV/atom"
    force = f"fmax {relax.fmax:g} eV/Å"
    stress = f", smax {relax.smax:g} GPa" if relax.relax_cell else ""
    symmetric = (
        f"symprec {screen.symprec:g} Å, angle {screen.angle_tolerance:g}°, {screen.distance_text}"
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
        "funnel/too_close": screen.distance_text,
        "funnel/above_threshold": below,
        "funnel/not_symmetric": symmetric,
        "funnel/space_group_full": (
            f"at most {screen.max_per_space_group} per composition and space group"
            if screen.max_per_space_group
            else ""
        ),
        "funnel/over_limit": f"at most {screen.max_selected} per composition",
        "funnel/second_threshold": (
            f"E_d < {screen.second_threshold:g} eV/atom" if screen.second_threshold else ""
        ),
        "framework_found": f"ladder {ladder}; displacement ≤ {config.refine.max_displacement:g} Å",
    }


def rate_rows(system: str, outcomes: Outcomes, config: Config) -> list[Row]:
    """Rows of table ``report``: per composition, route and kind of draw, and for all of each.

    A kind of draw (:data:`chggen.analysis.rows.KINDS`) that a system has none of has no
    rows. Statuses are quantities ``status/<code>`` and add up to ``attempted``; those of the
    frameworks are ``framework_status/<code>`` and add up to the generated structures. How
    many stopped at each filter of the screen is ``funnel/<filter>``; these, the selected ones
    among them, add up to ``attempted`` too. These three and what is measured are given for
    all kinds together.

    Args:
        system: name in the config.
        outcomes: what became of everything tried.
        config: of the campaign.
    """
    words = tolerances(config)
    everything = _labelled(outcomes.attempts, len(config.screen.tolerances))
    kinds = [kind for kind in KINDS if (everything["draw_kind"] == kind).any()]
    rows = []
    for composition in [ALL, *outcomes.compositions]:
        attempts = _of(everything, composition)
        frameworks = _of(outcomes.searched, composition)
        for kind in (ALL, *kinds):
            drawn = attempts if kind == ALL else attempts[attempts["draw_kind"] == kind]
            for route in (*ROUTES, ALL):
                chosen = drawn if route == ALL else drawn[drawn["route"] == route]
                clusters = Clusters(chosen["ancestor"])
                measures = [
                    *_end_to_end(drawn, route),
                    *_counted(chosen, clusters),
                    *_at_tolerances(chosen, config, clusters),
                ]
                if kind == ALL:
                    measures += _measured(chosen)
                    measures += _statuses(chosen["status"], "status", clusters)
                    measures += _filters(chosen["filter"], clusters)
                    measures += _frameworks(frameworks) if route == ROUTES[0] else ()
                place = {"system": system, "composition": composition, "route": route}
                place |= {"draw_kind": kind, "unit": ""}
                for measure in measures:
                    tolerance = words.get(measure["quantity"], "")
                    rows.append(place | {"tolerance": tolerance} | measure)
    return rows


class Clusters:
    """Which attempts belong together, for the interval of every count of them.

    Draws into one framework share it, and frameworks of one generated structure share that,
    so attempts are grouped by the generated structure that they descend from.

    Args:
        ancestors: a label per attempt.
    """

    def __init__(self, ancestors: pd.Series) -> None:
        labels, self._places = np.unique(ancestors.to_numpy(), return_inverse=True)
        self._sizes = np.bincount(self._places, minlength=len(labels)).astype(np.float64)

    def counted(self, quantity: str, hits: NDArray[np.bool_] | pd.Series) -> Row:
        """One rate with its interval, as columns of table ``report``.

        Args:
            quantity: its name.
            hits: True for every attempt that has it, in the order of the labels.
        """
        found = np.asarray(hits, dtype=np.float64)
        within = np.bincount(self._places, weights=found, minlength=len(self._sizes))
        k, n = int(found.sum()), len(found)
        if not n:
            return nothing(quantity)
        low, high = clustered(within, self._sizes)
        return {"quantity": quantity, "n": n, "k": k, "value": k / n, "low": low, "high": high}


def nothing(quantity: str) -> Row:
    """The row of a quantity that was asked of nothing."""
    return {"quantity": quantity, "n": 0, "k": 0, "value": None, "low": None, "high": None}


def _of(frame: pd.DataFrame, composition: str) -> pd.DataFrame:
    return frame if composition == ALL else frame[frame["composition"] == composition]


def _counted(attempts: pd.DataFrame, clusters: Clusters) -> Iterator[Row]:
    n = len(attempts)
    # a definition, not a measurement: no interval
    yield {"quantity": "attempted", "n": n, "k": n, "value": 1.0 if n else None}
    for quantity in _FLAGS:
        yield clusters.counted(quantity, attempts[quantity])
    unique = attempts[attempts["unique"]]
    yield Clusters(unique["ancestor"]).counted("novelty", unique["new"])


def _at_tolerances(attempts: pd.DataFrame, config: Config, clusters: Clusters) -> Iterator[Row]:
    """Effect of the tolerance on the symmetry verdict."""
    for place, symprec in enumerate(config.screen.tolerances):
        tolerance = f"symprec {symprec:g} Å, angle {config.screen.angle_tolerance:g}°"
        row = clusters.counted("above_p1bar", attempts[f"above_{place}"])
        yield row | {"tolerance": tolerance}


def _labelled(attempts: pd.DataFrame, tolerances: int) -> pd.DataFrame:
    """Attempts with their generated ancestor, and whether each tolerance finds symmetry."""
    numbers = attempts["space_group_numbers"].where(attempts["relaxed"])
    above = {
        f"above_{place}": [_above(found, place) for found in numbers] for place in range(tolerances)
    }
    ancestor = attempts.groupby(_ANCESTOR, sort=False).ngroup()
    return attempts.assign(ancestor=ancestor, **above)


def _above(numbers: object, place: int) -> bool:
    """True if the space group at a tolerance is above P-1; False where there is none."""
    if not isinstance(numbers, np.ndarray) or len(numbers) <= place:
        return False
    return bool(numbers[place] > _P_MINUS_1)


def _statuses(statuses: pd.Series, prefix: str, clusters: Clusters) -> Iterator[Row]:
    present = set(statuses)
    for status in Status:
        if status == Status.OK or status in present:
            yield clusters.counted(f"{prefix}/{status}", statuses == status)


def _filters(filters: pd.Series, clusters: Clusters) -> Iterator[Row]:
    for name in Filter:
        yield clusters.counted(f"funnel/{name}", (filters == name).fillna(value=False))


def _end_to_end(attempts: pd.DataFrame, route: str) -> Iterator[Row]:
    """Generated structures with a symmetric descendant by a route, of all generated.

    A route of generated structures has these alone in its denominator.

    With draws of one kind only, these are of the generated structures of that kind, and
    nothing of another kind stands between them and the symmetric one.
    """
    routes = [route] if route in GENERATED else list(GENERATED)
    generated = attempts.loc[attempts["route"].isin(routes), "ancestor"]
    good = attempts[attempts["symmetric"]]
    if route != ALL:
        good = good[good["route"] == route]
    clusters = Clusters(generated)
    yield clusters.counted("symmetric_per_generated", generated.isin(good["ancestor"]))


def _frameworks(frameworks: pd.DataFrame) -> Iterator[Row]:
    frameworks = frameworks.assign(ancestor=frameworks.groupby(_ANCESTOR, sort=False).ngroup())
    asked = frameworks[frameworks["status"] != Status.PARENT_FAILED]
    yield Clusters(asked["ancestor"]).counted("framework_found", asked["status"] == Status.OK)
    yield from _statuses(frameworks["status"], "framework_status", Clusters(frameworks["ancestor"]))


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
