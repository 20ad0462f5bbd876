"""Verdicts on single structures: geometry, symmetry, stability.

A table ``screened`` in the making is a frame with the columns of the schema and two of its
own: ``crystal`` (:class:`.Crystal`, or None) and ``parts`` (bonded components, or None).
"""

from typing import Any

import pandas as pd

from chggen.cells.volume import predict_volume_per_atom
from chggen.config.contracts import Contract
from chggen.config.screening import ScreenConfig
from chggen.errors import CompositionError, ContractError, Status
from chggen.reference.hull import decomposition, hull_formation_energy, with_candidates
from chggen.reference.mp2020 import added
from chggen.reference.reference import Reference
from chggen.run import progress as bars
from chggen.structure.bonds import closest_pair, components
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import space_group, space_groups
from chggen.tables.frames import fill
from chggen.tables.parquet import Row

#: A structure closer to the hull than this (eV/atom) is on it.
_ON_HULL = 1e-8
_FRAMEWORK = 3
_STABILITY = (
    *("formation_energy_per_atom", "decomposition_energy", "decomposition_products"),
    *("decomposition_phases", "decomposition_amounts", "below_threshold"),
)
#: What :func:`judge` and :func:`.compare` fill, of rows with a relaxed structure.
VERDICTS = (
    *("distance_ratio", "too_close", "closest_pair", "volume_ratio", "swollen", "parts"),
    *("dimensionality", "space_group_number", "space_group_symbol", "symprec"),
    *("angle_tolerance", "space_group_numbers", "symmetric", "formation_energy_per_atom"),
    *("decomposition_energy", "decomposition_energy_uncertainty"),
    *("decomposition_products", "decomposition_phases"),
    *("decomposition_amounts", "below_threshold", "duplicate_of", "family", "known_phase"),
    *("correction_per_atom", "added_corrections", "run_type"),
    *("known_by", "prototype_of"),
)


def judge(
    frame: pd.DataFrame,
    places: pd.Index,
    reference: Reference,
    settings: ScreenConfig,
    progress: bars.Progress = bars.silent,
) -> None:
    """Fill the columns of geometry, symmetry and stability of some rows, in place.

    Args:
        frame: table ``screened`` in the making.
        places: index labels of rows with a relaxed structure.
        reference: competing phases.
        settings: section ``screen`` of the config.
        progress: called with (structures done, structures in all).

    Raises:
        ContractError: an energy may not be compared with the reference's, not even with
            corrections added.
    """
    expected = {f: _expected_volume(f) for f in frame.loc[places, "composition"].unique()}
    rows: list[Row] = []
    for number, place in enumerate(places, 1):
        row = frame.loc[place]
        require_potential(row, reference)
        crystal: Crystal = row["crystal"]
        volume = expected[row["composition"]]
        ratio = None if volume is None else crystal.volume_per_atom / volume
        found = _geometry(crystal, settings) | {
            "volume_ratio": ratio,
            "swollen": None if ratio is None else ratio >= settings.swollen,
        }
        found |= _symmetry(crystal, settings, too_close=found["too_close"])
        rows.append(found | _stability(row, reference, settings))
        progress(number, len(places))
    fill(frame, places, rows)


def valid(frame: pd.DataFrame) -> pd.Series:
    """True for structures whose energy is that of a minimum without atoms too close."""
    converged = frame["converged"].fillna(value=False).astype(bool)
    close = frame["too_close"].fillna(value=True).astype(bool)
    return (frame["status"] == Status.OK).astype(bool) & converged & ~close


def swollen(frame: pd.DataFrame) -> pd.Series:
    """True for swollen structures that are bonded in fewer than three dimensions."""
    low = (frame["dimensionality"] < _FRAMEWORK).fillna(value=False).astype(bool)
    return low & frame["swollen"].fillna(value=False).astype(bool)


def campaign_hull(frame: pd.DataFrame, reference: Reference) -> None:
    """Distances to the hull that the campaign's own structures are part of, in place."""
    judged = frame.index[frame["decomposition_energy"].notna()]
    own = frame.loc[judged]
    good = valid(own)
    energies = own.loc[good].groupby("composition")["formation_energy_per_atom"].min()
    whole = with_candidates(reference, {str(k): float(v) for k, v in energies.items()})
    hull = {f: hull_formation_energy(whole, f) for f in own["composition"].unique()}
    above = own["formation_energy_per_atom"] - own["composition"].map(hull).astype(float)
    frame.loc[judged, "campaign_decomposition_energy"] = above
    frame.loc[judged, "on_campaign_hull"] = (good & (above < _ON_HULL)).astype("boolean")


def require_potential(row: "pd.Series[Any]", reference: Reference) -> None:
    """Raise :class:`ContractError` if the reference is of another potential than the row."""
    if reference.potential not in {None, row["potential_hash"]}:
        raise ContractError(
            f"row {row['id']}: energies of {row['potential']} ({row['potential_hash']}) cannot be"
            f" compared with '{reference.name}' ({reference.potential}): relax the phases again"
        )


def _geometry(crystal: Crystal, settings: ScreenConfig) -> Row:
    pair = closest_pair(crystal, settings.distance_limit)
    parts = components(crystal)
    return {
        "min_distance": crystal.min_distance,
        "distance_ratio": pair.ratio if pair else None,
        "too_close": pair is not None and pair.ratio < 1,
        "closest_pair": str(pair) if pair else "",
        "volume_per_atom": crystal.volume_per_atom,
        "dimensionality": max((part.dimensionality for part in parts or ()), default=None),
        "parts": parts,
    }


def _symmetry(crystal: Crystal, settings: ScreenConfig, *, too_close: bool) -> Row:
    group = space_group(crystal, settings.symprec, settings.angle_tolerance)
    numbers = space_groups(crystal, settings.tolerances, settings.angle_tolerance)
    return {
        "space_group_number": group.number,
        "space_group_symbol": group.symbol,
        "symprec": settings.symprec,
        "angle_tolerance": settings.angle_tolerance,
        "space_group_numbers": numbers,
        "symmetric": group.symmetric and not too_close,
    }


def _stability(row: "pd.Series[Any]", reference: Reference, settings: ScreenConfig) -> Row:
    contract = Contract(row["functional"], row["corrections"])
    correction = added(row["crystal"], contract, reference.contract)
    kept = correction.columns() | {"status": row["status"], "reason": row["reason"]}
    if correction.per_atom is None:
        # relaxed well, and yet it cannot be judged
        kept |= {"status": Status.FAILED.value, "reason": correction.reason}
        return dict.fromkeys(_STABILITY) | kept
    energy = row["energy_per_atom"] + correction.per_atom
    contract = reference.contract if correction.scheme else contract
    found = decomposition(reference, row["composition"], energy, contract)
    return kept | {
        "formation_energy_per_atom": found.formation_energy_per_atom,
        "decomposition_energy": found.decomposition_energy,
        "decomposition_energy_uncertainty": found.uncertainty,
        "decomposition_products": found.products,
        "decomposition_phases": list(found.phases),
        "decomposition_amounts": list(found.amounts),
        "below_threshold": found.decomposition_energy < settings.threshold,
    }


def _expected_volume(formula: str) -> float | None:
    """Volume per atom (Å³) that a composition is expected to take; None if unknown."""
    try:
        return predict_volume_per_atom(formula).volume_per_atom
    except CompositionError:
        return None


def crystals_of(frame: pd.DataFrame, places: pd.Index) -> list[Crystal]:
    """Crystals of some rows, in their order."""
    return list(frame.loc[places, "crystal"])
