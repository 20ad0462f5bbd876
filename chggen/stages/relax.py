"""``relax`` (and ``rerelax``): raw structures to local minima of a potential."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chggen import provenance
from chggen.config.energies import Potentials, check_precision
from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import NONE_OWN, contract_columns, load_named
from chggen.relaxation.pool import Relaxation
from chggen.relaxation.pool import relax as relax_crystals
from chggen.relaxation.trajectory import Trajectories
from chggen.run import progress as bars
from chggen.structure.crystal import Crystal, has_structure, row_id
from chggen.tables import parquet
from chggen.tables.lineage import descend

#: Which table each source becomes.
OUTPUTS = {"generated": "relaxed", "inpainted": "rerelaxed"}
#: What a row takes from its relaxation.
_RESULT = tuple(f.name for f in fields(Relaxation) if f.name != "crystal")


def relax(
    source: str | Path,
    output: str | Path,
    settings: RelaxConfig,
    progress: bars.Progress = bars.silent,
    *,
    potentials: Potentials = NONE_OWN,
) -> None:
    """Relax every structure of a table; writes ``relaxed`` or ``rerelaxed``.

    Args:
        source: table ``generated`` or ``inpainted``.
        output: table to write.
        settings: section ``relax`` of the config.
        progress: called with (structures done, structures in all).
        potentials: section ``potentials`` of the config.
    """
    name = parquet.table_name(source)
    rows = parquet.read(source, name)
    good = [i for i, row in enumerate(rows) if row["status"] == Status.OK and has_structure(row)]
    check_precision(settings.potential, settings.precision, potentials)
    model = load_named(settings.potential_name, potentials, precision=settings.precision)
    guests = [_guests(rows[i]) for i in good] if name == "inpainted" else None
    crystals = [Crystal.from_row(rows[i]) for i in good]
    folder = Path(output).with_name(f"{OUTPUTS[name]}_trajectories")
    files = [folder / f"{rows[i]['id']}.h5" for i in good]
    warnings: list[str] = []
    relaxed = relax_crystals(
        crystals,
        settings,
        model=model,
        progress=progress,
        movable=guests,
        trajectories=Trajectories(files) if settings.trajectories else None,
        warn=warnings.append,
    )
    results = dict(zip(good, relaxed, strict=True))
    contract = contract_columns(model)
    out = [_row(row, results.get(i), contract) for i, row in enumerate(rows)]
    header = provenance.header(
        "relax",
        settings.model_dump(mode="json", exclude={"final"}),
        {Path(source).name: provenance.file_digest(source)},
        warnings=warnings,
        **contract,
    )
    parquet.write(output, OUTPUTS[name], out, header)


def _guests(row: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Which atoms of a row are guests; None if it does not say."""
    mask = row["guest_mask"]
    return None if mask is None else np.array(mask, dtype=np.bool_)


def _row(
    parent: Mapping[str, Any], result: Relaxation | None, contract: Mapping[str, str]
) -> parquet.Row:
    row = descend(parent)
    if result is not None:
        row |= {"formula_units": parent["formula_units"], "n_atoms": 0}
        row |= outcome(result, contract)
    return row | {"id": row_id("relaxed", parent["id"], contract["potential_hash"])}


def outcome(result: Relaxation, contract: Mapping[str, str]) -> parquet.Row:
    """Columns that say what became of a structure; the energy never without its contract."""
    row: parquet.Row = {key: getattr(result, key) for key in _RESULT}
    if result.crystal is not None:
        row |= result.crystal.columns()
    if result.energy_per_atom is not None:
        row |= contract
    return row
