"""Structures out of tables: CIF, POSCAR, extended XYZ, pymatgen's entries, OPTIMADE."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from chggen.config.energies import Potentials
from chggen.errors import ChggenError
from chggen.export import entries, files, frames, optimade
from chggen.export.selection import choose, energy_of
from chggen.export.settings import CELLS, Tolerance, placed

FORMATS: Final = ("cif", "poscar", "extxyz", "json", "optimade")
#: Formats whose cell is the conventional one, with its symmetry, if nothing is said.
_SYMMETRIC: Final = frozenset({"cif", "optimade"})


def export(
    source: Path,
    output: Path,
    kind: str = "cif",
    ids: Sequence[str] | None = None,
    where: str | None = None,
    *,
    tolerance: Tolerance | None = None,
    forces: bool = False,
    potentials: Potentials | None = None,
) -> str:
    """Write the structures of a table; returns one line that says what was written.

    Args:
        source: any table with structures.
        output: folder (``cif``, ``poscar``, ``optimade``) or file (``extxyz``, ``json``).
        kind: one of :data:`FORMATS`.
        ids: only these rows.
        where: only rows that meet this: ``selected``, ``rank=1``, ``n_atoms<=20 and symmetric``.
        tolerance: cell and tolerances of the symmetrisation; default: :func:`tolerance_of` the
            format.
        forces: for ``extxyz``: compute energy, forces and stress of each structure with the
            potential that its row names.
        potentials: section ``potentials`` of the config, for ``forces``.

    Raises:
        ChggenError: names the option, column, row or file that does not fit.
    """
    if kind not in FORMATS:
        raise ChggenError(f"--format '{kind}': must be one of {', '.join(FORMATS)}")
    if forces and kind != "extxyz":
        raise ChggenError(f"--forces: format '{kind}' has no forces, only extxyz has")
    chosen = choose(source, ids, where)
    wanted = tolerance or tolerance_of(kind)
    items = [(row, placed(row, wanted), energy_of(row, chosen.name)) for row in chosen.rows]
    failed = sum(bool(s.symmetry) and s.number is None for _, s, _ in items)
    notes = [f"{failed} could not be symmetrised and stay as they are"] if failed else []
    if kind == "cif":
        files.write_cifs(items, output)
    elif kind == "poscar":
        files.write_poscars(items, output)
    elif kind == "optimade":
        optimade.write_folder(chosen, items, output)
    elif kind == "json":
        output, without = entries.write_entries(chosen, items, output)
        notes += [f"{without} have no energy and are left out"] if without else []
    else:
        labels = None
        if forces:
            crystals = [structure.crystal for _, structure, _ in items]
            labels = frames.labels_of(chosen.rows, crystals, potentials or {})
            refused = labels.count(None)
            notes += [f"{refused} refused by the potential, without forces"] if refused else []
        else:
            notes.append("no forces and stress: --forces computes them")
        output = frames.write_extxyz(items, output, labels)
    note = f" ({'; '.join(notes)})" if notes else ""
    return f"{len(chosen.rows)} of {chosen.total} rows written to {output}{note}"


def tolerance_of(
    kind: str, cell: str | None = None, symprec: float = 0.1, angle: float = 10.0
) -> Tolerance:
    """Cell and tolerances of a format; raises :class:`ChggenError` naming the option.

    Args:
        kind: one of :data:`FORMATS`.
        cell: one of :data:`chggen.export.settings.CELLS`; None: ``conventional`` for ``cif`` and
            ``optimade``, ``as-is`` for the others.
        symprec: distance tolerance of the symmetrisation, Å.
        angle: its angle tolerance, degrees.
    """
    for option, value in (("--symprec", symprec), ("--angle-tolerance", angle)):
        if not 0 < value < math.inf:
            raise ChggenError(f"{option} {value:g}: must be a positive number")
    wanted = cell or ("conventional" if kind in _SYMMETRIC else "as-is")
    for known in CELLS:
        if wanted == known:
            return Tolerance(known, symprec, angle)
    raise ChggenError(f"--cell '{cell}': must be one of {', '.join(CELLS)}")
