"""Structures out of tables: CIF, extended XYZ, and a look on the terminal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen.errors import ChggenError
from chggen.structure.crystal import Crystal, has_structure
from chggen.tables import parquet
from chggen.tables.schema import SCHEMAS

#: Columns shown when none are named, where the table has them.
_USUAL = (
    "id",
    "composition",
    "route",
    "status",
    "n_atoms",
    "space_group_symbol",
    "decomposition_energy",
    "dft_decomposition_energy",
    "energy_per_atom",
    "min_distance",
    "rank",
    "reason",
)


def export(
    source: Path,
    output: Path,
    kind: str = "cif",
    ids: Sequence[str] | None = None,
    where: str | None = None,
) -> str:
    """Write the structures of a table; returns one line that says what was written.

    Args:
        source: any table with structures.
        output: directory of ``<id>.cif`` files, or the ``.extxyz`` file.
        kind: ``cif`` or ``extxyz``.
        ids: only these rows.
        where: only rows where this boolean column is true.
    """
    if kind not in {"cif", "extxyz"}:
        raise ChggenError(f"--format '{kind}': must be cif or extxyz")
    name = parquet.table_name(source)
    rows = parquet.read(source, name)
    if where is not None and where not in SCHEMAS[name].names:
        raise ChggenError(f"{source}: table '{name}' has no column '{where}'")
    missing = sorted(set(ids or ()) - {row["id"] for row in rows})
    if missing:
        raise ChggenError(f"{source}: no row '{missing[0]}'")
    chosen = [
        row
        for row in rows
        if (not ids or row["id"] in ids) and (where is None or row[where]) and has_structure(row)
    ]
    path = _cif(chosen, output) if kind == "cif" else _extxyz(chosen, output)
    return f"{len(chosen)} of {len(rows)} rows written to {path}"


def _cif(rows: Sequence[Mapping[str, Any]], output: Path) -> Path:
    from pymatgen.io.cif import CifWriter

    output.mkdir(parents=True, exist_ok=True)
    for row in rows:
        structure = Crystal.from_row(row).to_structure()
        CifWriter(structure).write_file(output / f"{row['composition']}-{row['id']}.cif")
    return output


def _extxyz(rows: Sequence[Mapping[str, Any]], output: Path) -> Path:
    from ase import Atoms
    from ase.io import write

    path = output if output.suffix else output.with_suffix(".extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = []
    for row in rows:
        crystal = Crystal.from_row(row)
        atoms = Atoms(
            numbers=crystal.atomic_numbers,
            scaled_positions=crystal.frac_coords,
            cell=crystal.cell,
            pbc=True,
        )
        skip = {"cell", "atomic_numbers", "frac_coords", "guest_mask"}
        atoms.info = {
            k: v
            for k, v in row.items()
            if k not in skip and v is not None and not isinstance(v, list) and v != ""
        }
        frames.append(atoms)
    write(path, frames, format="extxyz")
    return path


def show(
    source: Path, columns: Sequence[str] | None = None, sort: str | None = None, most: int = 20
) -> None:
    """Print how many rows of a table have each status, and the first rows.

    Args:
        source: table.
        columns: to print; the usual ones if not given.
        sort: column to sort by, nulls last.
        most: rows to print.

    Raises:
        ChggenError: the table has no such column.
    """
    from rich.console import Console
    from rich.table import Table

    name = parquet.table_name(source)
    known = SCHEMAS[name].names
    rows = parquet.read(source, name)
    for column in [*(columns or ()), *([sort] if sort else [])]:
        if column not in known:
            raise ChggenError(f"{source}: table '{name}' has no column '{column}'")
    shown = list(columns or [c for c in _USUAL if c in known] or known)
    if sort:
        rows.sort(key=lambda r: (r[sort] is None, r[sort] if r[sort] is not None else 0))
    console = Console()
    console.print(f"[bold]{name}[/bold]: {len(rows)} rows")
    if "status" in known:
        counts = Counter(row["status"] for row in rows).most_common()
        console.print("  ".join(f"{status} {n}" for status, n in counts))
    table = Table(*shown)
    for row in rows[:most]:
        table.add_row(*(_cell(row[column]) for column in shown))
    console.print(table)


def _cell(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
