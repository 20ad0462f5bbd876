"""One file per structure: CIF and POSCAR."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from chggen.errors import ChggenError
from chggen.export.selection import Energy, stem
from chggen.export.settings import Placed
from chggen.run.atomic import write_text
from chggen.symmetry.analysis import EXACT

#: Columns that a CIF mentions, with their units.
_TOLD: Final = {
    "decomposition_energy": "E_d {:.4f} eV/atom",
    "decomposition_energy_uncertainty": "uncertainty of the competing phases {:.4f} eV/atom",
    "reference": "against {}",
    "known_phase": "known as {}",
}


def require_folder(path: Path) -> None:
    """Make a folder; raises :class:`ChggenError` where a file is in its place."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ChggenError(f"--output '{path}': is a file, or lies in one; name a folder") from error
    except OSError as error:
        raise ChggenError(f"--output '{path}': {error.strerror}") from error


def require_file(path: Path) -> None:
    """Make the folder of a file; raises :class:`ChggenError` where a folder has its name."""
    if path.is_dir():
        raise ChggenError(f"--output '{path}': is a folder; name a file")
    require_folder(path.parent)


def about(row: Mapping[str, Any], structure: Placed, energy: Energy | None) -> list[str]:
    """What a file says of its structure, in lines.

    Args:
        row: that it comes from.
        structure: in the cell of the file.
        energy: of the row.
    """
    lines = [f"chggen: row {row['id']}, {row['composition']}"]
    if structure.symmetry:
        lines.append(structure.symmetry)
    if energy is not None:
        digest = f" ({energy.digest})" if energy.digest else ""
        lines.append(
            f"energy {energy.per_atom:.6f} eV/atom by {energy.source}{digest},"
            f" {energy.functional}, corrections {energy.corrections}, before symmetrisation"
        )
    told = [text.format(row[k]) for k, text in _TOLD.items() if row.get(k) not in {None, ""}]
    return [*lines, ", ".join(told)] if told else lines


def cif_text(row: Mapping[str, Any], structure: Placed, energy: Energy | None) -> str:
    """CIF of a structure: operations and asymmetric unit in its conventional cell, else P1.

    Args:
        row: that it comes from.
        structure: in the cell of the file.
        energy: of the row.
    """
    from pymatgen.io.cif import CifWriter

    symprec = EXACT if structure.standard else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib's own deprecations
        # the crystal is in its standard setting: its own operations, not those of another cell
        writer = CifWriter(structure.crystal.to_structure(), symprec=symprec, refine_struct=False)
    comments = "".join(f"# {_ascii(line)}\n" for line in about(row, structure, energy))
    return comments + str(writer)


def write_cifs(
    items: Sequence[tuple[Mapping[str, Any], Placed, Energy | None]], output: Path
) -> list[Path]:
    """Write ``<composition>-<id>.cif`` of each structure; gives their paths.

    Args:
        items: row, structure and energy of each.
        output: folder.
    """
    require_folder(output)
    paths = []
    for row, structure, energy in items:
        paths.append(output / f"{stem(row)}.cif")
        write_text(paths[-1], cif_text(row, structure, energy))
    return paths


def write_poscars(
    items: Sequence[tuple[Mapping[str, Any], Placed, Energy | None]], output: Path
) -> None:
    """Write ``<composition>-<id>.vasp`` of each structure, atoms sorted by element.

    Args:
        items: row, structure and energy of each.
        output: folder.
    """
    from pymatgen.io.vasp import Poscar

    require_folder(output)
    for row, structure, energy in items:
        comment = _ascii("; ".join(about(row, structure, energy)))
        poscar = Poscar(structure.crystal.to_structure(), comment=comment, sort_structure=True)
        write_text(output / f"{stem(row)}.vasp", poscar.get_str(significant_figures=10))


def _ascii(text: str) -> str:
    """Text for files that know no other letters."""
    for sign, word in (("Å", "A"), ("°", " deg"), ("²", "2"), ("³", "3")):
        text = text.replace(sign, word)
    return text.encode("ascii", "replace").decode()
