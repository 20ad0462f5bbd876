"""The final relaxation: what passes a first cut is relaxed again, tightly.

At the criteria that thousands of raw structures are relaxed to, energies are some meV/atom
above their minimum and space groups can be subgroups of the true ones. E_d, space group,
duplicates and selection of what may go on come from a relaxation to ``relax.final``.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from chggen.config.dispersion import SUFFIX
from chggen.config.energies import Potentials
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ConfigError, ContractError, Status
from chggen.potential import NamedPotential, contract_columns, load_named
from chggen.potential.dispersion import Dispersed
from chggen.potential.energies import energies_per_atom
from chggen.relaxation.constraints import Mask
from chggen.relaxation.pool import Relaxation, relax
from chggen.run import progress as bars
from chggen.screening.comparing import in_order
from chggen.screening.judging import swollen, valid
from chggen.structure.crystal import Crystal
from chggen.symmetry.primitive import primitive
from chggen.tables.frames import fill
from chggen.tables.parquet import Row

#: Members of a family that are relaxed again: which of them is the lowest is open before.
FAMILY_MEMBERS: Final = 3
#: Structures of a composition that are relaxed again, as a multiple of those selected.
SPARE: Final = 2
#: Structures of a composition that are relaxed again where ``best_per_composition`` promises one.
PROMISED: Final = 3


def first_cut(frame: pd.DataFrame, settings: ScreenConfig, margin: float) -> pd.Index:
    """Rows that are worth a final relaxation, lowest energy first.

    They pass every filter by themselves but for two: the threshold is ``margin`` higher, and
    low symmetry is no reason, as it may rise. Duplicates are out, and of each family all but
    the first few. What is left is limited to twice ``max_selected`` per composition.

    Args:
        frame: table ``screened`` in the making, judged and compared.
        settings: section ``screen`` of the config.
        margin: eV/atom.
    """
    good = valid(frame) & frame["duplicate_of"].isna() & frame["known_phase"].isna()
    able = in_order(frame[good & frame["decomposition_energy"].notna()])
    able = able[able.groupby(["composition", "family"]).cumcount() < FAMILY_MEMBERS]
    if settings.max_swollen is not None:
        loose = able[swollen(able)]
        place = loose.groupby("composition").cumcount()
        able = able.drop(loose.index[place >= SPARE * settings.max_swollen])
    place = able.groupby("composition").cumcount()
    low = able["decomposition_energy"] < settings.threshold + margin
    if settings.best_per_composition:
        low |= place < PROMISED
    chosen = able[low]
    most = SPARE * settings.max_selected
    return chosen.index[chosen.groupby("composition").cumcount() < most]


def add_dispersion(
    frame: pd.DataFrame, places: pd.Index, settings: RelaxConfig, potentials: Potentials
) -> pd.Index:
    """Give rows relaxed without dispersion energies with it, at their structures, in place.

    For ``relax.final.dispersion``: all energies of a table have one contract, that of the
    reference. A row that has no energy then fails.

    Args:
        frame: table ``screened`` in the making.
        places: index labels of rows with a relaxed structure.
        settings: section ``relax``.
        potentials: section ``potentials``.

    Returns:
        Labels of the rows that have an energy.

    Raises:
        ContractError: the rows are of another potential than can be loaded.
    """
    without = places[~frame.loc[places, "potential"].str.endswith(SUFFIX).astype(bool)]
    if settings.tight.dispersion == "none" or without.empty:
        return places
    chosen = frame.loc[without]
    model = Dispersed(_model(chosen, potentials, settings.precision))
    energies = energies_per_atom(list(chosen["crystal"]), model, settings.batch_atoms)
    good = np.isfinite(energies)
    reason = "no energy with dispersion"
    rows: list[Row] = [
        {"energy_per_atom": energy} | contract_columns(model)
        if able
        else {"energy_per_atom": None, **dict.fromkeys(contract_columns(model))}
        for energy, able in zip(energies.tolist(), good, strict=True)
    ]
    fill(frame, without, rows)
    bad = without[~good]
    fill(frame, bad, [{"status": Status.FAILED, "reason": reason}] * len(bad))
    return places.difference(bad, sort=False)


def relax_again(
    frame: pd.DataFrame,
    places: pd.Index,
    settings: RelaxConfig,
    *,
    potentials: Potentials,
    movable: Mapping[str, Mask] | None = None,
    progress: bars.Progress = bars.silent,
) -> dict[str, Any]:
    """Relax rows by the final criteria, in place; their verdicts are then to be made again.

    They start from their primitive cells, so that supercells cost no more than what they
    repeat. A row whose relaxation fails has its status and reason, and no energy.

    Args:
        frame: table ``screened`` in the making.
        places: index labels of the rows.
        settings: section ``relax``; its ``final`` is not None.
        potentials: section ``potentials``.
        movable: for ``fix_host``, which atoms may move, by id of the relaxed row.
        progress: called with (structures done, structures in all).

    Returns:
        What the header of the table says of the cost.

    Raises:
        ContractError: the rows are of another potential than can be loaded.
    """
    chosen = frame.loc[places]
    if chosen.empty:
        return {"final_structures": 0, "final_steps": 0, "final_seconds": 0.0}
    fixed = settings.fix_host and movable is not None
    masks = [(movable or {}).get(parent) if fixed else None for parent in chosen["parent_id"]]
    starts = [
        crystal if mask is not None else primitive(crystal)
        for crystal, mask in zip(chosen["crystal"], masks, strict=True)
    ]
    began = time.perf_counter()
    results = relax(
        starts,
        settings.tight,
        model=_model(chosen, potentials, settings.precision),
        movable=masks if any(mask is not None for mask in masks) else None,
        progress=progress,
    )
    fill(
        frame,
        places,
        [
            _row(row, start, result)
            for (_, row), start, result in zip(chosen.iterrows(), starts, results, strict=True)
        ],
    )
    return {
        "final_structures": len(results),
        "final_steps": sum(result.steps for result in results),
        "final_seconds": round(time.perf_counter() - began, 3),
    }


def _row(row: "pd.Series[Any]", start: Crystal, result: Relaxation) -> Row:
    crystal = start if result.crystal is None else result.crystal
    energy = result.energy_per_atom
    ended = result.status in {Status.OK, Status.NOT_CONVERGED}
    usable = ended and energy is not None and result.crystal is not None
    reason = f"final relaxation: {result.reason or result.status}" if result.reason else ""
    return {
        "crystal": crystal if usable else row["crystal"],
        "status": result.status,
        "reason": reason,
        "converged": result.converged,
        "final": True,
        "energy_per_atom_first": row["energy_per_atom"],
        "space_group_number_first": row["space_group_number"],
        "energy_per_atom": energy if usable else None,
        # the whole way down, from the structure that was generated
        "delta_energy_per_atom": row["delta_energy_per_atom"] + row["energy_per_atom"] - energy
        if usable
        else None,
    }


def _model(chosen: pd.DataFrame, potentials: Potentials, precision: str) -> NamedPotential:
    """The potential that relaxed the rows."""
    hashes = chosen[["potential", "potential_hash"]].drop_duplicates()
    if len(hashes) > 1:
        raise ContractError(
            "the rows are of several potentials: "
            + ", ".join(f"{name} ({digest})" for name, digest in hashes.to_numpy())
        )
    name, digest = hashes.iloc[0]
    hint = "give the config that names it, or set relax.final to null"
    try:
        model = load_named(name, potentials, precision=precision)
    except ConfigError as error:
        raise ContractError(f"relax.final: {name}: {error}; {hint}") from error
    if model.hash != digest:
        raise ContractError(
            f"relax.final: the rows are of {name} ({digest}), not of this one"
            f" ({model.hash}); {hint}"
        )
    return model
