"""A folder of CIFs with an ``optimade.yaml``: structures and properties for an OPTIMADE API.

The file format is optimade-maker's (config version 0.2.0,
https://github.com/materialscloud-org/optimade-maker; OPTIMADE: Andersen et al.,
doi:10.1038/s41597-021-00974-z). ``optimake serve FOLDER`` of that package serves such a folder,
``optimake convert`` makes OPTIMADE JSON Lines of it. chggen does not need it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import yaml

from chggen.export.files import require_folder, write_cifs
from chggen.export.selection import Chosen, Energy
from chggen.export.settings import Placed
from chggen.run.atomic import write_text
from chggen.tables.schema import SCHEMAS

VERSION: Final = "0.2.0"
CONFIG: Final = "optimade.yaml"
PROPERTIES: Final = "properties.json"
CIFS: Final = "cifs"
#: Columns that OPTIMADE has under names of its own.
_OWN: Final = frozenset({"id", "n_atoms"})
#: Units as OPTIMADE's own properties write them.
_UNITS: Final = {"Å": "angstrom", "Å³": "angstrom^3", "°": "degree", "eV/Å": "eV/angstrom"}


def write_folder(
    chosen: Chosen,
    items: Sequence[tuple[Mapping[str, Any], Placed, Energy | None]],
    output: Path,
) -> Path:
    """Write ``cifs/``, ``properties.json`` and ``optimade.yaml``; gives the folder.

    Args:
        chosen: the table.
        items: row, structure and energy of each row.
        output: folder.
    """
    require_folder(output)
    paths = write_cifs(items, output / CIFS)
    fields = [f for f in SCHEMAS[chosen.name] if f.name not in _OWN and _type(f.type)]
    rows = [row for row, _, _ in items]
    fields = [f for f in fields if any(row.get(f.name) is not None for row in rows)]
    properties = {
        # as optimade-maker names an entry; under its path it would lose zeros
        path.stem: {"row": row["id"]} | {f.name: row.get(f.name) for f in fields}
        for path, row in zip(paths, rows, strict=True)
    }
    write_text(output / PROPERTIES, json.dumps(properties, indent=1, ensure_ascii=False))
    content = {
        "config_version": VERSION,
        "database_description": _description(chosen, rows),
        "entries": [
            {
                "entry_type": "structures",
                "entry_paths": [{"path": CIFS, "matches": ["*.cif"]}],
                "property_paths": [{"path": PROPERTIES}],
                "property_definitions": [
                    _definition("row", "string", "", "id of the row in chggen's table"),
                    *map(_of_field, fields),
                ],
            }
        ],
    }
    write_text(output / CONFIG, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return output


def _description(chosen: Chosen, rows: Sequence[Mapping[str, Any]]) -> str:
    """What the entries are, and whose energies they have."""
    systems = ", ".join(sorted({str(row["system"]) for row in rows}))
    kinds = sorted(
        f"{row['potential']} ({row['functional']}, corrections {row['corrections']})"
        for row in {r["potential"]: r for r in rows if r.get("potential")}.values()
    )
    energies = f"; energies of {', '.join(kinds)}" if kinds else ""
    return f"Crystals predicted with chggen, table {chosen.name} of {systems}{energies}"


def _of_field(field: pa.Field) -> dict[str, str]:
    metadata = field.metadata or {}
    unit = metadata.get(b"unit", b"").decode()
    meaning = metadata.get(b"description", b"").decode()
    return _definition(field.name, str(_type(field.type)), unit, meaning)


def _definition(name: str, kind: str, unit: str, meaning: str) -> dict[str, str]:
    # OPTIMADE's word for a number without a unit
    none = "dimensionless" if kind in {"float", "integer"} else "inapplicable"
    return {
        "name": name,
        "title": name.replace("_", " "),
        "description": meaning,
        "unit": _UNITS.get(unit, unit) or none,
        "type": kind,
    }


def _type(kind: pa.DataType) -> str | None:
    """OPTIMADE's type of a column; None for lists."""
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind):
        return "float"
    return "string" if pa.types.is_string(kind) else None
