"""Volumes and layer spacings of textbook crystals against experiment, without and with D3(BJ).

    python benchmarks/dispersion.py [--json] [--potential chgnet-0.3.0] [--only NAME …]

Each crystal of benchmarks/dispersion.csv starts from its experimental structure (published
cell and positions; DOI or book in the column ``source``) and is relaxed, cell and positions, to
0.01 eV/Å and 0.05 GPa. ``Wyckoff``: R. W. G. Wyckoff, Crystal Structures, 2nd ed., vol. 1
(Interscience, 1963). ``Blake``: R. L. Blake et al., Am. Mineral. 51, 123 (1966). The layer
spacing is the period along c (or b) over the number of layers in it. Experiments are at the
temperature of the table, the calculations at 0 K without zero-point motion, which makes
experimental volumes some 0 to 3 % larger.

Reported, by kind of crystal:
    mean_error, mean_absolute_error: of the volume per atom, %
    spacing_mean_error, spacing_mean_absolute_error: of the layer spacing, %, layered crystals
    crystals: volume per atom (Å³), spacing (Å), status and steps of each
    n: crystals
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ase.spacegroup import crystal as build

from chggen.config.stages import RelaxConfig
from chggen.relaxation.pool import Relaxation, relax
from chggen.structure.crystal import Crystal
from chggen.symmetry.primitive import primitive

TABLE = Path(__file__).with_name("dispersion.csv")
LEVELS = ("none", "d3bj")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--only", nargs="*", help="names of crystals")
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(TABLE, dtype={"spacing": "string"})
    if given.only:
        table = table[table["name"].isin(given.only)]
    found = measure(table, given.potential)
    figures = {"potential": given.potential, **summary(found)}
    if given.json:
        print(json.dumps(figures | {"crystals": found.to_dict("records")}, indent=1))
    else:
        print(found.round(3).to_string(index=False))
        print(json.dumps(figures, indent=1))


def structure(row: Any) -> Crystal:  # noqa: ANN401 - a named tuple of pandas
    """Experimental structure of a row; primitive cells of what has no layers."""
    sites = [site.split() for site in row.sites.split(";")]
    atoms = build(
        [site[0] for site in sites],
        [[float(x) for x in site[1:]] for site in sites],
        spacegroup=int(row.space_group),
        setting=int(row.setting),
        cellpar=[row.a, row.b, row.c, row.alpha, row.beta, row.gamma],
        symprec=1e-3,
    )
    whole = Crystal(np.array(atoms.cell), atoms.numbers, atoms.get_scaled_positions())
    return primitive(whole) if pd.isna(row.spacing) else whole


def spacing(crystal: Crystal, how: str | None) -> float:
    """Distance of layers: height of the cell along c (along b: ``b2``) over their number."""
    if how is None or pd.isna(how):
        return float("nan")
    axis = 1 if how.startswith("b") else 2
    others = [crystal.cell[i] for i in range(3) if i != axis]
    area = np.linalg.norm(np.cross(*others))
    return abs(np.linalg.det(crystal.cell)) / area / int(how.lstrip("b"))


def measure(table: pd.DataFrame, potential: str) -> pd.DataFrame:
    """One row per crystal: experiment and both levels."""
    starts = [structure(row) for row in table.itertuples()]
    results: dict[str, list[Relaxation]] = {
        level: relax(
            starts,
            RelaxConfig(potential=potential, dispersion=level, fmax=0.01, smax=0.05, max_steps=800),
        )
        for level in LEVELS
    }
    rows = []
    for i, (row, start) in enumerate(zip(table.itertuples(), starts, strict=True)):
        out = {"name": row.name, "kind": row.kind, "volume": start.volume_per_atom}
        out["spacing"] = spacing(start, row.spacing)
        for level in LEVELS:
            result = results[level][i]
            end = result.crystal
            out[f"volume_{level}"] = end.volume_per_atom if end is not None else np.nan
            out[f"spacing_{level}"] = spacing(end, row.spacing) if end is not None else np.nan
            out[f"status_{level}"] = str(result.status)
            out[f"steps_{level}"] = result.steps
        rows.append(out)
    return pd.DataFrame(rows)


def summary(found: pd.DataFrame) -> dict[str, Any]:
    """Mean errors in % by kind and level; chains and molecules count as one kind."""
    kinds = found["kind"].replace({"chains": "molecular"})
    figures: dict[str, Any] = {}
    for kind, part in found.groupby(kinds, sort=False):
        figures[str(kind)] = {"n": len(part)}
        for level in LEVELS:
            error = 100 * (part[f"volume_{level}"] / part["volume"] - 1)
            values = {"mean_error": error.mean(), "mean_absolute_error": error.abs().mean()}
            gap = (100 * (part[f"spacing_{level}"] / part["spacing"] - 1)).dropna()
            if len(gap) and kind == "layered":
                values["spacing_mean_error"] = gap.mean()
                values["spacing_mean_absolute_error"] = gap.abs().mean()
            figures[str(kind)][level] = {key: round(value, 2) for key, value in values.items()}
    return figures


if __name__ == "__main__":
    main()
