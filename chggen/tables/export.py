"""Structures out of tables: CIF and extended XYZ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen.errors import ChggenError
from chggen.run.atomic import replacing
from chggen.structure.crystal import Crystal, has_structure
from chggen.tables import parquet
from chggen.tables.schema import SCHEMAS
from chggen.tables.where import parse_where


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
        where: only rows that meet this: ``selected``, ``rank=1``, ``n_atoms<=20 and symmetric``.

    Raises:
        ChggenError: names the option, column, row or file that does not fit.
    """
    if kind not in {"cif", "extxyz"}:
        raise ChggenError(f"--format '{kind}': must be cif or extxyz")
    name = parquet.table_name(source)
    rows = parquet.read(source, name)
    if not {"cell", "composition"} <= set(SCHEMAS[name].names):
        raise ChggenError(f"{source}: table '{name}' has no structures")
    meets = parse_where(where, SCHEMAS[name]) if where is not None else None
    missing = sorted(set(ids or ()) - {row["id"] for row in rows})
    if missing:
        raise ChggenError(f"{source}: no row '{missing[0]}'")
    chosen = [
        row
        for row in rows
        if (not ids or row["id"] in ids) and (meets is None or meets(row)) and has_structure(row)
    ]
    path = _cif(chosen, output) if kind == "cif" else _extxyz(chosen, output)
    return f"{len(chosen)} of {len(rows)} rows written to {path}"


def _require_folder(path: Path) -> None:
    """Make a folder; raises :class:`ChggenError` where a file is in its place."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ChggenError(f"--output '{path}': is a file, or lies in one; name a folder") from error
    except OSError as error:
        raise ChggenError(f"--output '{path}': {error.strerror}") from error


def _cif(rows: Sequence[Mapping[str, Any]], output: Path) -> Path:
    from pymatgen.io.cif import CifWriter

    _require_folder(output)
    for row in rows:
        structure = Crystal.from_row(row).to_structure()
        CifWriter(structure).write_file(output / f"{row['composition']}-{row['id']}.cif")
    return output


def _extxyz(rows: Sequence[Mapping[str, Any]], output: Path) -> Path:
    from ase import Atoms
    from ase.io import write

    path = output if output.suffix else output.with_suffix(".extxyz")
    if path.is_dir():
        raise ChggenError(f"--output '{path}': is a folder; name a file")
    _require_folder(path.parent)
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
    with replacing(path) as unfinished:
        write(unfinished, frames, format="extxyz")
    return path
