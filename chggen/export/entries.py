"""pymatgen's ComputedStructureEntry: energies that know their functional and corrections.

Energies of a potential that was trained on corrected ones hold the corrections already. An
entry keeps the uncorrected energy and lists its corrections, so the scheme's own
(pymatgen's ``MaterialsProject2020Compatibility``) are taken out and listed: the sum is the
energy of the table again, and applying the scheme once more changes nothing.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from chggen import provenance
from chggen.config.contracts import GGA, MP2020, R2SCAN
from chggen.errors import ChggenError
from chggen.export.files import require_file
from chggen.export.selection import Chosen, Energy
from chggen.export.settings import Placed
from chggen.reference.corrections import scheme
from chggen.run.atomic import write_text

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.entries.computed_entries import ComputedStructureEntry

#: Columns that go into ``data`` of an entry where the table has them.
_DATA: Final = (
    "composition", "label", "route", "formation_energy_per_atom", "decomposition_energy",
    "decomposition_energy_uncertainty", "decomposition_products", "space_group_symbol",
    "known_phase", "selected", "rank", "reference", "reference_hash", "status",
)  # fmt: skip


def write_entries(
    chosen: Chosen,
    items: Sequence[tuple[Mapping[str, Any], Placed, Energy | None]],
    output: Path,
) -> tuple[Path, int]:
    """Write a JSON object with ``entries``; gives its path and how many have no energy.

    ``reference: {source: file, path: …}`` reads it, as does ``monty.serialization.loadfn``.

    Args:
        chosen: the table.
        items: row, structure and energy of each row.
        output: file; ``.json`` is added if it has no suffix.

    Raises:
        ChggenError: no row has an energy, or they are of several kinds, which no list of
            entries may mix.
    """
    path = output if output.suffix else output.with_suffix(".json")
    require_file(path)
    kinds = {(e.functional, e.corrections, e.source, e.digest) for _, _, e in items if e}
    if len(kinds) > 1:
        named = ", ".join(sorted(f"{k[2]} ({k[0]}, corrections {k[1]})" for k in kinds))
        raise ChggenError(
            f"{chosen.source}: energies of several kinds cannot be in one list of entries: {named};"
            " choose with --where"
        )
    if not kinds:
        raise ChggenError(f"{chosen.source}: no chosen row of table '{chosen.name}' has an energy")
    functional, corrections, source, digest = kinds.pop()
    entries = [_entry(row, s.crystal.to_structure(), e) for row, s, e in items if e is not None]
    content = {
        "source": f"chggen, table {chosen.name}",
        "functional": functional,
        "corrections": corrections,
        "potential": source,
        "potential_hash": digest or "",
        "chggen_version": provenance.versions()["chggen"],
        "entries": [entry.as_dict() for entry in entries],
    }
    write_text(path, json.dumps(content))
    return path, len(items) - len(entries)


def _entry(
    row: Mapping[str, Any], structure: "Structure", energy: Energy
) -> "ComputedStructureEntry":
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    total = energy.per_atom * len(structure)
    plus_u = _hubbards(structure) if energy.functional.startswith(GGA) else {}
    parameters = {
        "run_type": _run_type(energy.functional, plus_u),
        "hubbards": plus_u,
        "functional": energy.functional,
        "corrections": energy.corrections,
        "potential": energy.source,
        "potential_hash": energy.digest,
    }
    data = {key: row[key] for key in _DATA if row.get(key) not in {None, ""}}
    entry = ComputedStructureEntry(
        structure, total, parameters=parameters, data=data, entry_id=str(row["id"])
    )
    if energy.corrections != MP2020:
        return entry
    adjustments = _adjustments(entry)
    return ComputedStructureEntry(
        structure,
        total - sum(a.value for a in adjustments),
        energy_adjustments=adjustments,
        parameters=parameters,
        data=data,
        entry_id=str(row["id"]),
    )


def _run_type(functional: str, hubbards: Mapping[str, float]) -> str:
    """``run_type`` of pymatgen for a functional of ours."""
    if functional == GGA:
        return "GGA+U" if hubbards else "GGA"
    return "r2SCAN" if functional == R2SCAN else functional


def _hubbards(structure: "Structure") -> dict[str, float]:
    """U values (eV) that the Materials Project gives this composition; empty where it has none.

    Those of pymatgen's ``MaterialsProject2020Compatibility``: for its transition metals, where
    the most electronegative element is O or F.
    """
    anion = max(structure.composition.elements, key=lambda element: element.X).symbol
    values = scheme().u_settings.get(anion, {})
    symbols = [element.symbol for element in structure.composition.elements]
    found = {s: float(values[s]) for s in symbols if values.get(s)}
    # the values of the elements without U belong to the calculation as well
    return {s: found.get(s, 0.0) for s in symbols} if found else {}


def _adjustments(entry: "ComputedStructureEntry") -> list[Any]:
    """MP2020's corrections of an entry; none where the scheme does not take it."""
    from pymatgen.entries.compatibility import CompatibilityError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oxidation states that are guessed
        try:
            return list(scheme().get_adjustments(entry))
        except (CompatibilityError, ValueError, KeyError):
            return []
