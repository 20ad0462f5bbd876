"""The best structures: which they are, their pictures and their CIFs."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from chggen.config.screening import ScreenConfig
from chggen.report import cell
from chggen.report.text import milli, missing
from chggen.structure.composition import SYMBOLS
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import EXACT, SymmetrisationError, Symmetrised, symmetrise
from chggen.tables import parquet

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: Conventional cells with more atoms are drawn as primitive ones.
_MOST_DRAWN: Final = 90


@dataclass(frozen=True)
class Candidate:
    """One structure with a card.

    Args:
        row: its values, as in ``Outcomes.attempts``.
        picture: SVG of the cell.
        shown: which cell that is.
        elements: symbols for the legend.
        lattice: lengths (Å) and angles (°) of the cell shown.
        atoms: atoms in the cell shown.
        moved: largest displacement by symmetrisation, Å; None if there was none.
        name: start of file names.
        relaxed_cif: data URI of the structure as relaxed, P1.
        symmetric_cif: data URI with its space group; None where there is none.
    """

    row: Mapping[str, Any]
    picture: Markup
    shown: str
    elements: list[str]
    lattice: str
    atoms: int
    moved: float | None
    name: str
    relaxed_cif: str
    symmetric_cif: str | None


def ranked(attempts: pd.DataFrame) -> pd.DataFrame:
    """Unique relaxed structures by E_d, lowest first; atoms too close are no candidates.

    Column ``family_size`` says how many of them differ by stacking alone.
    """
    valid = ~attempts["too_close"].fillna(value=True).astype(bool)
    known = attempts["decomposition_energy"].notna() & attempts["duplicate_of"].isna()
    chosen = attempts[attempts["relaxed"] & valid & known]
    sizes = chosen.groupby("family")["id"].transform("count")
    chosen = chosen.assign(family_size=sizes.fillna(1).astype(int))
    return chosen.sort_values(["decomposition_energy", "id"], ignore_index=True)


def choose(best: pd.DataFrame, most: int) -> pd.DataFrame:
    """Rows to show with a picture, lowest E_d first.

    The best and the best symmetric structure of each composition come before further
    ones of the same composition, as far as ``most`` allows.

    Args:
        best: result of :func:`ranked`.
        most: how many.
    """
    firsts = best.drop_duplicates("composition")
    symmetric = best[best["symmetric"]].drop_duplicates("composition")
    order = pd.concat([firsts, symmetric, best])
    return order.drop_duplicates("id").head(most).sort_values(["decomposition_energy", "id"])


def candidates(chosen: pd.DataFrame, screened: str | Path, screen: ScreenConfig) -> list[Candidate]:
    """Cards of chosen rows.

    Args:
        chosen: rows of ``Outcomes.attempts``, in order.
        screened: table with their structures.
        screen: tolerances at which the structures are symmetrised.
    """
    ids = list(chosen["id"])
    if not ids:
        return []
    table = parquet.read_table(screened, "screened")
    rows = table.filter(pc.is_in(table["id"], pa.array(ids))).to_pylist()
    full = {row["id"]: row for row in rows}
    # string keys again: pandas types them as hashable
    records = [{str(k): v for k, v in r.items()} for r in chosen.to_dict("records")]
    return [_candidate(record, Crystal.from_row(full[record["id"]]), screen) for record in records]


def _candidate(row: Mapping[str, Any], crystal: Crystal, screen: ScreenConfig) -> Candidate:
    ideal = _symmetrised(row, crystal, screen)
    shown, kind = (ideal.crystal, "conventional cell") if ideal else (_reduced(crystal), "")
    if ideal and len(shown) > _MOST_DRAWN:
        shown, kind = _reduced(shown), "primitive cell"
    symbol = ideal.symbol.replace("/", "") if ideal else "P1"
    name = f"{row['composition']}_{symbol}_{row['id']}"
    formula = row["composition"]
    lattice = shown.to_structure().lattice
    return Candidate(
        row=row,
        picture=cell.picture(shown, f"Unit cell of {formula}, {row['space_group_symbol']}"),
        shown=kind or "reduced cell",
        elements=sorted({SYMBOLS[z] for z in shown.atomic_numbers}),
        lattice=_lattice(lattice.abc, lattice.angles),
        atoms=len(shown),
        moved=ideal.displacement_max if ideal else None,
        name=name,
        relaxed_cif=_cif(crystal.to_structure(), row, None, "as relaxed, not symmetrised"),
        symmetric_cif=_cif(
            ideal.crystal.to_structure(),
            row,
            EXACT,
            f"symmetrised at symprec {screen.symprec:g} A, {screen.angle_tolerance:g} deg;"
            f" atoms moved by at most {ideal.displacement_max:.3f} A",
        )
        if ideal
        else None,
    )


def _symmetrised(
    row: Mapping[str, Any], crystal: Crystal, screen: ScreenConfig
) -> Symmetrised | None:
    if missing(row["space_group_number"]) or row["space_group_number"] <= 1:
        return None
    try:
        return symmetrise(crystal, screen.symprec, screen.angle_tolerance, "conventional")
    except SymmetrisationError:
        # the operations found at this tolerance are no group; the relaxed CIF remains
        return None


def _reduced(crystal: Crystal) -> Crystal:
    structure = crystal.to_structure()
    if len(crystal) > _MOST_DRAWN:
        structure = structure.get_primitive_structure()
    return Crystal.from_structure(structure.get_reduced_structure())


def _lattice(lengths: Sequence[float], angles: Sequence[float]) -> str:
    abc = ", ".join(f"{x:.2f}" for x in lengths)
    return f"{abc} Å; " + ", ".join(f"{x:.1f}" for x in angles) + "°"


def _cif(structure: "Structure", row: Mapping[str, Any], symprec: float | None, how: str) -> str:
    """CIF as a data URI: a link that downloads without a script or a server."""
    from pymatgen.io.cif import CifWriter

    text = str(CifWriter(structure, symprec=symprec))
    remarks = [
        f"chggen {row['id']}, route {row['route']}",
        f"{row['composition']}, E_d = {milli(row['decomposition_energy'], 1)} meV/atom"
        " (interatomic potential, not DFT)".replace("\N{MINUS SIGN}", "-"),
        how,
    ]
    header = "".join(f"# {line}\n" for line in remarks).replace("\N{MINUS SIGN}", "-")
    return data_uri(header + text, "chemical/x-cif")


def data_uri(text: str, kind: str) -> str:
    """Text as a ``data:`` URI."""
    return f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode()).decode()}"
