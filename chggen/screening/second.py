"""The second level of the screen: selected structures, judged by another potential.

Its energies stand in columns of their own beside the first potential's and are never
mixed with them. A decomposition energy is given only against a reference of the second
potential's own contract; without one, structures of one composition are ranked by energy.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from chggen.config.energies import Potentials, ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import NONE_OWN, NamedPotential, contract_columns, load_named
from chggen.potential.energies import energies_per_atom
from chggen.reference.hull import decomposition
from chggen.reference.reference import Reference, load_reference
from chggen.relaxation.pool import relax
from chggen.screening.judging import crystals_of
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from chggen.tables.frames import fill
from chggen.tables.schema import SECOND

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
    # rows of the columns that are filled here, and of those that they need
    chosen: list[parquet.Row] = [
        dict.fromkeys(_COLUMNS) | {"id": row["id"], "composition": row["composition"]} | values
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
    _rank(found)
    fill(frame, places, [{name: row[name] for name in _COLUMNS} for row in chosen])
    return contract_columns(model, "second_") | {
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
    else:
        energies = energies_per_atom(crystals, model, level.relax.batch_atoms).tolist()
        values = [energy if energy < float("inf") else None for energy in energies]
        statuses = [(Status.FAILED if v is None else Status.OK).value for v in values]
    return [
        {"second_energy_per_atom": value, "second_status": status}
        | {"second_relaxed": settings.second_relax}
        | (contract if value is not None else {})
        for value, status in zip(values, statuses, strict=True)
    ]


def _reference(
    model: NamedPotential, level: SecondLevel, first: Reference, rows: Sequence[parquet.Row]
) -> Reference | None:
    """Competing phases that the second energies may be compared with, if there are any."""
    if level.reference is not None:
        elements = {e for row in rows for e in comp.parse_formula(row["composition"])}
        return load_reference(level.reference, elements) if elements else None
    # one that another potential relaxed is of no use here, though the contract be the same
    fits = first.contract == model.contract and first.potential in {None, model.hash}
    return first if fits else None


def _decompose(row: parquet.Row, model: NamedPotential, reference: Reference) -> None:
    energy = row["second_energy_per_atom"]
    found = decomposition(reference, row["composition"], energy, model.contract)
    row["second_formation_energy_per_atom"] = found.formation_energy_per_atom
    row["second_decomposition_energy"] = found.decomposition_energy
    row["second_decomposition_products"] = found.products
    row["second_reference"] = reference.name
    row["second_reference_hash"] = reference.hash


def _rank(rows: Sequence[parquet.Row]) -> None:
    """Places within each composition; there E_d and energy give the same order."""
    groups: dict[str, list[parquet.Row]] = defaultdict(list)
    for row in rows:
        groups[row["composition"]].append(row)
    for members in groups.values():
        members.sort(key=lambda row: (row["second_energy_per_atom"], row["id"]))
        for place, row in enumerate(members, 1):
            row["second_rank"] = place
