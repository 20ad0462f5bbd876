"""Which screened structures go on, and at which filter the others stopped."""

from collections.abc import Sequence

import pandas as pd

from chggen.config.screening import ScreenConfig
from chggen.errors import STATUS_TEXT, Status
from chggen.screening.comparing import in_order
from chggen.screening.filters import Filter
from chggen.screening.judging import swollen
from chggen.screening.known import LABEL

#: A filter that a row fails by itself: which rows, and what to say of each.
_Check = tuple[Filter, pd.Series, pd.Series]


def select(frame: pd.DataFrame, settings: ScreenConfig, *, final: bool = False) -> None:
    """Fill ``filter``, ``filter_reason``, ``selected`` and ``guaranteed``, in place.

    Args:
        frame: table ``screened`` in the making, with symmetry, E_d, duplicates, families and
            known phases.
        settings: section ``screen`` of the config.
        final: only rows that were relaxed again may be selected.
    """
    frame["filter"] = pd.Series(pd.NA, index=frame.index, dtype="string")
    frame["filter_reason"] = pd.Series("", index=frame.index, dtype="string")
    checks = _checks(frame, settings)
    fails = pd.Series(0, index=frame.index)
    for name, failed, reasons in checks:
        _stop(frame, failed & frame["filter"].isna(), name, reasons)
        fails += failed.astype(int)
    able = in_order(frame[frame["filter"].isna()])
    family = able["family"].fillna(able["id"])
    again = _flag(able["final"]) if final else pd.Series(data=True, index=able.index)
    _limit(frame, able.assign(family=family, again=again), settings)
    frame["selected"] = (frame["filter"] == Filter.SELECTED).astype("boolean")
    frame["guaranteed"] = pd.Series(data=False, index=frame.index, dtype="boolean")
    if settings.best_per_composition:
        only_high = (frame["filter"] == Filter.ABOVE_THRESHOLD) & (fails == 1)
        if final:
            only_high &= _flag(frame["final"])
        _guarantee(frame, in_order(frame[only_high.fillna(value=False)]))


def cut(frame: pd.DataFrame, settings: ScreenConfig) -> None:
    """Apply ``second_threshold`` to selected rows with an E_d by the second potential, in place.

    Rows without one stay. Where a composition would lose all its rows,
    ``best_per_composition`` keeps the one of lowest second E_d.

    Args:
        frame: table ``screened`` in the making, after :func:`select`.
        settings: section ``screen`` of the config.
    """
    if settings.second_threshold is None:
        return
    energy = frame["second_decomposition_energy"].astype(float)
    bad = _flag(frame["selected"]) & (energy >= settings.second_threshold)
    reasons = [
        f"E_d {value:.3f} ≥ {settings.second_threshold:g} eV/atom from {name}"
        for value, name in zip(energy, frame["second_potential"], strict=True)
    ]
    _stop(frame, bad, Filter.SECOND_THRESHOLD, pd.Series(reasons, index=frame.index))
    frame.loc[bad, "selected"] = False
    frame.loc[bad, "guaranteed"] = False
    if settings.best_per_composition:
        _guarantee(frame, frame[bad].sort_values(["second_decomposition_energy", "id"]))


def _checks(frame: pd.DataFrame, settings: ScreenConfig) -> Sequence[_Check]:
    """Every filter that a row fails by itself, in order; a failed row fails no other."""
    energy = frame["decomposition_energy"].astype(float)
    judged = energy.notna()
    converged = (frame["status"] == Status.OK).astype(bool) & _flag(frame["converged"])
    unsymmetric = ~_flag(frame["symmetric"]) & settings.require_symmetric
    text = frame["reason"].fillna("")
    statuses = frame["status"].map(lambda status: STATUS_TEXT[Status(status)])
    pairs = frame["closest_pair"] if "closest_pair" in frame else frame["distance_ratio"]
    found: tuple[_Check, ...] = (
        (Filter.FAILED, ~judged, statuses + text.map(lambda why: f": {why}" if why else "")),
        (
            Filter.NOT_CONVERGED,
            ~converged,
            text.where(text != "", "force or stress criterion not met"),
        ),
        (Filter.TOO_CLOSE, _flag(frame["too_close"]), pairs.map(str)),
        (
            Filter.ABOVE_THRESHOLD,
            ~_flag(frame["below_threshold"]),
            energy.map(lambda e: f"E_d {e:.3f} ≥ {settings.threshold:g} eV/atom"),
        ),
        (
            Filter.DUPLICATE,
            frame["duplicate_of"].notna(),
            "matches " + frame["duplicate_of"].fillna(""),
        ),
        (
            Filter.KNOWN_PHASE,
            frame["known_phase"].notna(),
            _matches(frame),
        ),
        (
            Filter.NOT_SYMMETRIC,
            unsymmetric,
            frame["space_group_number"].map(
                lambda number: f"space group {number} at {settings.symprec:g} Å"
            ),
        ),
    )
    return [(name, failed & (judged | (name == Filter.FAILED)), why) for name, failed, why in found]


def _matches(frame: pd.DataFrame) -> pd.Series:
    by_label = (frame["known_by"] == LABEL).fillna(value=False).astype(bool)
    how = by_label.map({True: " by its label", False: ""})
    return "matches " + frame["known_phase"].fillna("") + how


def _limit(frame: pd.DataFrame, able: pd.DataFrame, settings: ScreenConfig) -> None:
    """Of rows that pass by themselves, in order of energy, select as many as may go on."""
    left = able[able["again"]]
    first = left.drop_duplicates(["composition", "family"])
    heads = first.set_index(["composition", "family"])["id"]
    mates = able.index.difference(first.index)
    keys = pd.MultiIndex.from_frame(able.loc[mates, ["composition", "family"]])
    head = pd.Series(heads.reindex(keys).to_numpy(), index=mates, dtype="string")
    stop = head.notna().astype(bool)
    _stop_rows(frame, mates[stop], Filter.SAME_FAMILY, "another stacking of " + head[stop])
    not_again = "not relaxed again: enough better structures after the first relaxation"
    _stop_rows(frame, mates[~stop], Filter.OVER_LIMIT, not_again)
    if settings.max_swollen is not None:
        loose = first[swollen(first)]
        over = loose.index[loose.groupby("composition").cumcount() >= settings.max_swollen]
        enough = f"{settings.max_swollen} better swollen structures of its composition"
        _stop_rows(frame, over, Filter.SWOLLEN, enough)
        first = first.drop(over)
    most = settings.max_per_space_group
    if most is not None:
        place = first.groupby(["composition", "space_group_number"]).cumcount()
        full = first[place >= most]
        why = f"{most} better structures in space group " + full["space_group_number"].astype(str)
        _stop_rows(frame, full.index, Filter.SPACE_GROUP_FULL, why)
        first = first[place < most]
    place = first.groupby("composition").cumcount()
    over = first.index[place >= settings.max_selected]
    enough = f"{settings.max_selected} better of its composition"
    _stop_rows(frame, over, Filter.OVER_LIMIT, enough)
    _stop_rows(frame, first.index[place < settings.max_selected], Filter.SELECTED, "")


def _guarantee(frame: pd.DataFrame, able: pd.DataFrame) -> None:
    """Select the first of ``able`` of each composition where nothing is selected."""
    served = set(frame.loc[_flag(frame["selected"]), "composition"])
    best = able[~able["composition"].isin(served)].drop_duplicates("composition").index
    why = "best of its composition; otherwise refused: " + frame.loc[best, "filter_reason"]
    _stop_rows(frame, best, Filter.SELECTED, why)
    frame.loc[best, "selected"] = True
    frame.loc[best, "guaranteed"] = True


def _stop(frame: pd.DataFrame, where: pd.Series, name: Filter, reasons: pd.Series) -> None:
    _stop_rows(frame, frame.index[where.astype(bool)], name, reasons[where.astype(bool)])


def _stop_rows(
    frame: pd.DataFrame, places: pd.Index, name: Filter, reasons: "pd.Series | str"
) -> None:
    frame.loc[places, "filter"] = name.value
    frame.loc[places, "filter_reason"] = reasons


def _flag(column: pd.Series) -> pd.Series:
    """A boolean column, false where it is null."""
    return column.fillna(value=False).astype(bool)
