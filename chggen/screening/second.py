"""The second level of the screen: selected structures, judged by another potential.

Its energies stand in columns of their own beside the first potential's and are never
mixed with them. A decomposition energy is given only against a reference of the second
potential's own contract, or of one that it fulfils once MP2020 corrections are added;
without one, structures of one composition are ranked by energy.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from chggen.config.contracts import comparable
from chggen.config.energies import Potentials, ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import NONE_OWN, NamedPotential, contract_columns, load_named
from chggen.potential.energies import energies_per_atom
from chggen.reference.hull import decomposition
from chggen.reference.mp2020 import added
from chggen.reference.reference import Reference, load_reference
from chggen.relaxation.pool import relax
from chggen.screening.judging import crystals_of
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from chggen.tables.contracts import SECOND
from chggen.tables.frames import fill

#: The columns filled here.
_COLUMNS = [name for name, *_ in SECOND]


@dataclass(frozen=True)
class SecondLevel:
    """What the second level needs beyond section ``screen``.

    Args:
        potentials: section ``potentials`` of the config.
        reference: competing phases of the second potential's contract, if there are any.
        relax: criteria, for ``second_relax``.
    """

    potentials: Potentials = NONE_OWN
    reference: ReferenceConfig | None = None
    relax: RelaxConfig = field(default_factory=RelaxConfig)


def judge_again(
    frame: pd.DataFrame,
    settings: ScreenConfig,
    level: SecondLevel,
    first: Reference,
) -> dict[str, Any]:
    """Fill the columns ``second_*`` of selected rows, in place.

    Args:
        frame: table ``screened`` in the making, complete but for these columns.
        settings: section ``screen``.
        level: potentials, reference and criteria.
        first: reference of the first level; serves again if the contracts are the same.

    Returns:
        What the header of the table says of it; empty if there is no second potential.

    Raises:
        ChggenError: potential or reference cannot be used, or their contracts differ.
    """
    if settings.second_potential is None:
        return {}
    model = load_named(settings.second_potential, level.potentials, precision=level.relax.precision)
    places = frame.index[frame["selected"].fillna(value=False).astype(bool)]
    needed = ["id", "composition", "crystal", "decomposition_energy"]
    # rows of the columns that are filled here, and of those that they need
    chosen: list[parquet.Row] = [
        dict.fromkeys(_COLUMNS) | {name: row[name] for name in needed} | values
        for (_, row), values in zip(
            frame.loc[places].iterrows(),
            _energies(crystals_of(frame, places), model, settings, level),
            strict=True,
        )
    ]
    found = [row for row in chosen if row["second_energy_per_atom"] is not None]
    reference = _reference(model, level, first, found)
    if reference is not None:
        for row in found:
            _decompose(row, model, reference)
            _agree(row, settings)
    _rank(found)
    fill(frame, places, [{name: row[name] for name in _COLUMNS} for row in chosen])
    corrections = {row["second_added_corrections"] for row in found} - {None}
    return contract_columns(model, "second_") | {
        "second_added_corrections": next(iter(corrections), None),
        "second_reference": reference.name if reference else None,
        "second_reference_hash": reference.hash if reference else None,
    }


def _energies(
    crystals: Sequence[Crystal],
    model: NamedPotential,
    settings: ScreenConfig,
    level: SecondLevel,
) -> list[parquet.Row]:
    """Energy with its contract, and status, of each row: single point or relaxed."""
    contract = contract_columns(model, "second_")
    if settings.second_relax:
        results = relax(crystals, level.relax.tight, model=model)
        # where it does not end well the last energy belongs to no minimum
        values = [r.energy_per_atom if r.status == Status.OK else None for r in results]
        statuses = [r.status.value for r in results]
        reasons = [r.reason for r in results]
        crystals = [r.crystal or c for r, c in zip(results, crystals, strict=True)]
    else:
        energies = energies_per_atom(crystals, model, level.relax.batch_atoms).tolist()
        values = [energy if energy < float("inf") else None for energy in energies]
        statuses = [(Status.FAILED if v is None else Status.OK).value for v in values]
        refused = f"no energy from {model.name}"
        reasons = [refused if value is None else "" for value in values]
    return [
        {"second_energy_per_atom": value, "second_status": status, "second_reason": reason}
        | {"second_relaxed": settings.second_relax, "crystal": crystal}
        | (contract if value is not None else {})
        for value, status, reason, crystal in zip(values, statuses, reasons, crystals, strict=True)
    ]


def _reference(
    model: NamedPotential, level: SecondLevel, first: Reference, rows: Sequence[parquet.Row]
) -> Reference | None:
    """Competing phases that the second energies may be compared with, if there are any."""
    if level.reference is not None:
        elements = {e for row in rows for e in comp.parse_formula(row["composition"])}
        return load_reference(level.reference, elements) if elements else None
    # one that another potential relaxed is of no use here, though the contract be the same
    fits = comparable(model.contract, first.contract) and first.potential in {None, model.hash}
    return first if fits else None


def _decompose(row: parquet.Row, model: NamedPotential, reference: Reference) -> None:
    correction = added(row["crystal"], model.contract, reference.contract)
    row |= correction.columns("second_")
    if correction.per_atom is None:
        row["second_reason"] = correction.reason
        return
    energy = row["second_energy_per_atom"] + correction.per_atom
    contract = reference.contract if correction.scheme else model.contract
    found = decomposition(reference, row["composition"], energy, contract)
    row["second_formation_energy_per_atom"] = found.formation_energy_per_atom
    row["second_decomposition_energy"] = found.decomposition_energy
    row["second_decomposition_products"] = found.products
    row["second_reference"] = reference.name
    row["second_reference_hash"] = reference.hash


def _agree(row: parquet.Row, settings: ScreenConfig) -> None:
    """Whether both potentials put a row on the same side of the threshold."""
    energy = row["second_decomposition_energy"]
    if energy is None:
        return
    limit = settings.second_threshold or settings.threshold
    row["second_agrees"] = (row["decomposition_energy"] < settings.threshold) == (energy < limit)


def _rank(rows: Sequence[parquet.Row]) -> None:
    """Places within each composition by energy, corrections that were added included."""
    groups: dict[str, list[parquet.Row]] = defaultdict(list)
    for row in rows:
        groups[row["composition"]].append(row)
    for members in groups.values():
        # an added correction differs between oxides and peroxides of one composition
        members.sort(
            key=lambda row: (
                row["second_energy_per_atom"] + (row["second_correction_per_atom"] or 0.0),
                row["id"],
            )
        )
        for place, row in enumerate(members, 1):
            row["second_rank"] = place
