"""``collect``: the calculations of a system to verdicts: E_d by DFT, symmetry, parity."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chggen import provenance
from chggen.config.contracts import Contract, require_same
from chggen.config.dft import DftConfig
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.dft.engines import load_engine
from chggen.dft.parity import parity, suggest_threshold
from chggen.errors import Status
from chggen.reference.computed import calculated_reference
from chggen.reference.hull import decomposition
from chggen.reference.reference import Reference, load_reference
from chggen.run import progress as bars
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, has_structure, row_id
from chggen.structure.matching import displacement, displacement_columns
from chggen.symmetry.analysis import space_group
from chggen.tables import parquet
from chggen.tables.contracts import CONTRACT
from chggen.tables.lineage import LINEAGE
from chggen.tables.schema import names

#: What the row of a structure keeps from the screen.
_SCREENED = ("energy_per_atom", *names(CONTRACT))
_OWN = ("parent_id", "status", "reason", "role", "label", "engine", "directory")


def collect(
    calculated: Sequence[str | Path],
    submitted: str | Path,
    screened: str | Path,
    output: str | Path,
    settings: DftConfig,
    screen: ScreenConfig,
    reference: ReferenceConfig | None = None,
    progress: bars.Progress = bars.silent,
) -> None:
    """Judge every calculation of a system; each is a row, converged or not.

    Args:
        calculated: tables ``calculated``, one per structure that had its inputs; those of
            structures or methods that are submitted no more are left out.
        submitted: table ``submitted``.
        screened: table ``screened``.
        output: table ``collected`` to write.
        settings: section ``dft`` of the config.
        screen: section ``screen``: tolerances of the space group.
        reference: competing phases of DFT's contract; not asked for if they are
            calculated as well.
        progress: called with (structures done, structures in all).

    Raises:
        ContractError: a calculation or the reference has another functional than the
            config says.
        ReferenceCoverageError: the reference does not cover the system.
    """
    parents = parquet.read(submitted, "submitted")
    first = {row["id"]: row for row in parquet.read(screened, "screened")}
    origins = {row["id"]: row["parent_id"] for row in parents}
    found = (row for path in calculated for row in parquet.read(path, "calculated"))
    done = {row["parent_id"]: row for row in found if row["parent_id"] in origins}
    contract = load_engine(settings).contract
    _same_contract(done.values(), contract)
    elements = {e for row in first.values() for e in comp.parse_formula(row["composition"])}
    hull, warning = _hull(list(done.values()), elements, settings, reference, contract)
    rows = []
    for number, parent in enumerate(parents, 1):
        row = _joined(parent, done.get(parent["id"]), first.get(parent["parent_id"]))
        row |= _geometry(row, parent, screen) | _stability(row, hull, contract)
        rows.append(row)
        progress(number, len(parents))
    header = provenance.header(
        "collect",
        settings.model_dump(mode="json"),
        {Path(p).as_posix(): provenance.file_digest(p) for p in (submitted, screened, *calculated)},
        dft_functional=contract.functional,
        dft_corrections=contract.corrections,
        dft_reference=hull.name if hull else None,
        dft_reference_date=hull.date if hull else None,
        dft_reference_hash=hull.hash if hull else None,
        warning=warning,
        **_parities(rows, origins, first, settings.metastable),
    )
    parquet.write(output, "collected", rows, header)


def _same_contract(rows: Iterable[parquet.Row], contract: Contract) -> None:
    for row in rows:
        own = Contract(row["dft_functional"], row["dft_corrections"])
        require_same(own, f"calculation '{row['parent_id']}':", contract, "the config's dft")


def _hull(
    rows: Sequence[parquet.Row],
    elements: set[str],
    settings: DftConfig,
    config: ReferenceConfig | None,
    contract: Contract,
) -> tuple[Reference | None, str | None]:
    """Reference for E_d by DFT, and what the reader of the results has to know of it."""
    if settings.calculates_phases:
        return calculated_reference(rows, elements, settings.engine, contract)
    if config is None:
        return None, "dft_reference is not set, so there is no E_d from DFT"
    found = load_reference(config, elements)
    require_same(contract, "DFT", found.contract, f"'{found.name}'")
    return found, found.partial


def _joined(
    parent: parquet.Row, calculation: parquet.Row | None, screened: parquet.Row | None
) -> parquet.Row:
    """Columns that other tables have."""
    row: parquet.Row = {key: parent[key] for key in (*LINEAGE, *_OWN, "decomposition_energy")}
    row |= {"id": row_id("collected", parent["id"]), "parent_id": parent["id"], "n_atoms": 0}
    if calculation is not None:
        kept = set(calculation) - {"id", *LINEAGE}
        row |= {key: calculation[key] for key in kept}
    elif parent["status"] == Status.OK:
        row |= {"status": Status.FAILED, "reason": "table 'calculated' is missing"}
    if screened is not None:
        row |= {key: screened[key] for key in _SCREENED}
    return row


def _geometry(row: parquet.Row, parent: parquet.Row, screen: ScreenConfig) -> parquet.Row:
    """Symmetry after DFT, and how far the structure moved."""
    if not has_structure(row):
        return {}
    crystal = Crystal.from_row(row)
    group = space_group(crystal, screen.symprec, screen.angle_tolerance)
    return {
        "space_group_number": group.number,
        "space_group_symbol": group.symbol,
        **displacement_columns(displacement(Crystal.from_row(parent), crystal)),
        "volume_per_atom": crystal.volume_per_atom,
    }


def _stability(row: parquet.Row, hull: Reference | None, contract: Contract) -> parquet.Row:
    """E_d by DFT of a converged calculation."""
    if hull is None or row.get("dft_energy_per_atom") is None:
        return {}
    found = decomposition(hull, row["composition"], row["dft_energy_per_atom"], contract)
    return {
        "dft_formation_energy_per_atom": found.formation_energy_per_atom,
        "dft_decomposition_energy": found.decomposition_energy,
        "dft_decomposition_products": found.products,
        "dft_reference": hull.name,
        "dft_reference_hash": hull.hash,
    }


def _parities(
    rows: Sequence[parquet.Row],
    parents: Mapping[str, str],
    screened: Mapping[str, parquet.Row],
    limit: float,
) -> dict[str, Any]:
    """Facts of the header: the potential against DFT, by quantity, candidates only."""
    both = [
        (row, screened[row_parent])
        for row in rows
        if row["role"] == "candidate"
        and row.get("dft_decomposition_energy") is not None
        and (row_parent := parents.get(row["parent_id"], "")) in screened
    ]
    by_potential = [first["decomposition_energy"] for _, first in both]
    by_dft = [row["dft_decomposition_energy"] for row, _ in both]
    found = {
        "decomposition_energy": parity(by_potential, by_dft),
        "formation_energy_per_atom": parity(
            [first["formation_energy_per_atom"] for _, first in both],
            [row["dft_formation_energy_per_atom"] for row, _ in both],
        ),
    }
    threshold = suggest_threshold(by_potential, by_dft, limit)
    return {
        "parity": {name: asdict(value) if value else None for name, value in found.items()},
        "threshold": asdict(threshold) if threshold else None,
    }
