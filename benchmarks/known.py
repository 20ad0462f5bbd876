"""How often label and StructureMatcher disagree about what is known.

    python benchmarks/known.py crystals.parquet [more.parquet] --relaxed relaxed.parquet --json

Files hold material_id, cell, atomic_numbers, frac_coords. Relaxed ones are crystals of the table
as a potential relaxed them: are they recognised? Then one polymorph each of formulas that have
several is held against the table without itself: is it taken for another?
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chggen.analysis.intervals import wilson
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.matching import match_known
from chggen.symmetry.known_crystals import Features, KnownCrystals

COLUMNS = ["material_id", "cell", "atomic_numbers", "frac_coords"]
#: Atoms per cell up to which StructureMatcher is asked (it takes minutes for some large cells).
MOST_ATOMS = 24
#: Classes of space groups.
CLASSES = {"P1, P-1": (1, 2), "3-74": (3, 74), "75-230": (75, 230)}
#: Standard deviation (Å) of the noise that is put on positions.
NOISE = (0.01, 0.03)


def crystals(paths: list[Path]) -> dict[str, Crystal]:
    """Crystals of the files by id."""
    frame = pd.concat([pd.read_parquet(path, columns=COLUMNS) for path in paths])
    return {
        row.material_id: Crystal.of(
            np.reshape(row.cell, (3, 3)),
            np.array(row.atomic_numbers),
            np.reshape(row.frac_coords, (-1, 3)),
        )
        for row in frame.dropna().itertuples()
        if len(row.atomic_numbers) <= MOST_ATOMS
    }


def verdict(table: KnownCrystals, crystal: Crystal, *without: str) -> tuple[str | None, int]:
    """Name of the known crystal by its label, and the space group at the tighter tolerance."""
    features = Features.of(crystal)
    found = table.same(features, comp.formula_of(crystal.atomic_numbers), without)
    group = min((one.space_group for one in features.labels), default=1)
    return found and found.name, group


def recognised(
    table: KnownCrystals, changed: Mapping[str, Crystal], known: Mapping[str, Crystal]
) -> Iterator[dict[str, Any]]:
    """A line per known crystal that was changed."""
    for name, crystal in changed.items():
        found, group = verdict(table, crystal)
        matched = match_known([crystal], {name: known[name].to_structure()})[0]
        yield {
            "label": found is not None,
            "itself": found == name,
            "structure": matched is not None,
            "group": group,
        }


def rattled(known: Mapping[str, Crystal], names: list[str], sigma: float) -> dict[str, Crystal]:
    """Crystals with noise on their positions (Å)."""
    rng = np.random.default_rng(0)
    found = {}
    for name in names:
        one = known[name]
        noise = rng.normal(scale=sigma, size=(len(one), 3)) @ np.linalg.inv(one.cell)
        found[name] = Crystal.of(one.cell, one.atomic_numbers, one.frac_coords + noise)
    return found


def polymorphs(
    table: KnownCrystals, known: Mapping[str, Crystal], limit: int
) -> Iterator[dict[str, Any]]:
    """A line per formula: one of its crystals against all others of it."""
    formulas: dict[str, list[str]] = {}
    for name, crystal in known.items():
        formulas.setdefault(comp.formula_of(crystal.atomic_numbers), []).append(name)
    several = sorted(f for f, names in formulas.items() if len(names) > 1)
    rng = np.random.default_rng(0)
    for formula in rng.permutation(several)[:limit]:
        names = [str(name) for name in rng.permutation(sorted(formulas[formula]))]
        first, others = names[0], names[1:]
        found, group = verdict(table, known[first], first)
        if found is not None and found not in known:
            continue  # without coordinates: nothing to judge by
        structures = {name: known[name].to_structure() for name in others}
        matched = match_known([known[first]], structures)[0]
        yield {"label": found is not None, "structure": matched is not None, "group": group}


def table_of(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of agreement with intervals, in all and by class of space group."""
    frame = pd.DataFrame(lines)
    classes = {"all": (1, 230), **CLASSES}
    return {
        name: _counts(frame[frame["group"].between(low, high)])
        for name, (low, high) in classes.items()
    }


def _counts(frame: pd.DataFrame) -> dict[str, Any]:
    both, by = len(frame), frame["label"]
    out: dict[str, Any] = {"n": both}
    for key, hits, of in (
        ("structure_only", ~by & frame["structure"], frame["structure"]),
        ("label_only", by & ~frame["structure"], ~frame["structure"]),
        ("label", by, pd.Series(data=True, index=frame.index)),
    ):
        k, n = int(hits.sum()), int(of.sum())
        out[key] = [k, n, *(wilson(k, n) if n else ())]
    if "itself" in frame:
        out["itself"] = int(frame["itself"].sum())
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("structures", nargs="+", type=Path)
    parser.add_argument("--relaxed", type=Path)
    parser.add_argument("--limit", type=int, default=1000, help="crystals of each kind")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    args = parser.parse_args()
    known, table = crystals(args.structures), KnownCrystals()
    result: dict[str, Any] = {}
    if args.relaxed:
        changed = crystals([args.relaxed])
        names = [name for name in changed if name in known][: args.limit]
        lines = recognised(table, {name: changed[name] for name in names}, known)
        result["relaxed"] = table_of(list(lines))
        for sigma in NOISE:
            lines = recognised(table, rattled(known, names, sigma), known)
            result[f"rattled {sigma:g} Å"] = table_of(list(lines))
    result["polymorphs"] = table_of(list(polymorphs(table, known, args.limit)))
    if args.json:
        print(json.dumps(result))
        return
    for name, found in result.items():
        print(pd.DataFrame(found).T.to_string(), f"\n{name}\n")


if __name__ == "__main__":
    main()
