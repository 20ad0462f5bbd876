"""Make chggen/data/known_crystals.parquet, the table of known crystals.

    python docs/make_known_crystals.py known.parquet crystals.parquet [more.parquet ...]

The first file has a row per crystal: material_id, formula, volume_per_atom (Å³), and space group
and multiplicities of the orbits in its cell at 0.01 Å (space_group_number, orbits) and 0.1 Å
(…_01), null for large cells. The other files have structures of some of them (material_id, cell,
atomic_numbers, frac_coords), for the distances.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from chggen import provenance
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.matching import mean_distances
from chggen.structure.similarity import anonymous, contents
from chggen.symmetry.known_crystals import (
    DISTANCE_STEPS,
    DISTANCE_ZERO,
    PACKAGED,
    TABLE,
    VOLUME_STEPS,
    anonymous_name,
)
from chggen.symmetry.labels import Label, normalised
from chggen.tables import parquet

SOURCE = (
    "Materials Project (CC BY 4.0; Jain et al., APL Materials 1, 011002 (2013)), as published in"
    " fxcoudert/topology_databases, 2025-10-20"
)
#: Rows that are read at once; a level of compression that is slow to write.
GROUP, LEVEL = 4096, 19


def distances(path: Path) -> Iterator[tuple[str, list[int]]]:
    """Distances of the crystals of a file, by their ids."""
    columns = ["material_id", "cell", "atomic_numbers", "frac_coords"]
    for batch in pq.ParquetFile(path).iter_batches(2000, columns=columns):
        for row in batch.to_pylist():
            frac = np.reshape(row["frac_coords"], (-1, 3))
            found = mean_distances(Crystal.of(row["cell"], row["atomic_numbers"], frac))
            if found is not None:
                yield row["material_id"], steps(found)


def steps(distances: ArrayLike) -> list[int]:
    """Distances as integers of one byte, the nearest there is."""
    found = np.rint((np.asarray(distances) - DISTANCE_ZERO) * DISTANCE_STEPS).clip(0, 255)
    return found.astype(int).tolist()


def label(number: int | None, orbits: str | None) -> Label | None:
    """Label of the multiplicities in any cell."""
    if number is None or orbits is None:
        return None
    sizes = ([int(n) for n in species.split(",")] for species in orbits.split("|"))
    return Label(number, normalised(sizes))


def row_of(row: dict[str, Any], found: dict[str, list[int]]) -> dict[str, Any]:
    """Row of the table."""
    first = label(row["space_group_number"], row["orbits"])
    second = label(row["space_group_number_01"], row["orbits_01"])
    second = None if second == first else second
    formula = comp.canonical_formula(row["formula"])
    return {
        "number": int(row["material_id"].removeprefix("mp-")),
        "formula": formula,
        "anonymous": anonymous_name(anonymous(contents(formula))),
        "space_group_number": first and first.space_group,
        "orbits": first and first.orbits,
        "space_group_number_loose": second and second.space_group,
        "orbits_loose": second and second.orbits,
        "volume": round(row["volume_per_atom"] * VOLUME_STEPS),
        "distances": found.get(row["material_id"]),
    }


def main(known: Path, *structures: Path) -> None:
    """Write the table."""
    found: dict[str, list[int]] = {}
    for path in structures:
        found |= dict(distances(path))
    rows = [row_of(row, found) for row in pq.read_table(known).to_pylist()]
    rows.sort(key=lambda r: (len(r["anonymous"]), r["anonymous"], r["formula"], r["number"]))
    inputs = {path.name: provenance.file_digest(path) for path in (known, *structures)}
    header = provenance.header("known", {}, inputs, source=SOURCE, crystals=len(rows))
    parquet.write(PACKAGED, TABLE, rows, header, LEVEL, GROUP)
    print(f"{len(rows)} crystals, {len(found)} with distances, {PACKAGED.stat().st_size} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
