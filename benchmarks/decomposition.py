"""Error of E_d against a DFT hull and against a hull by the same potential, as JSON.

    python benchmarks/decomposition.py --structures val.csv.gz --compositions compositions.csv.gz
        [--table phases.parquet] [--limit N] --json

``--structures`` has the columns of the public benchmarks (material_id, pretty_formula,
formation_energy_per_atom and e_above_hull by MP2020, eV/atom); the relaxed energy of each crystal
is that of its id in the table of phases (default: the package's). E_d is of the crystal against
all *other* compositions, so only crystals that are the lowest of their composition count:

    above: those above the hull, whose e_above_hull is exactly this E_d by DFT
    stable: those on it; their E_d by DFT comes from the builtin hull without their composition

``builtin``: formation energy by the potential from MP's elements, hull of the builtin table.
``potential``: elements and hull by the potential. ``complete``: without the crystals whose DFT
products are not all in the table of phases. Errors in meV/atom: mean, mae, std, and the half width
of the middle 90 % (p90), each with its 95 % interval (bootstrap over crystals).
"""

import argparse
import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from chggen.errors import Status
from chggen.evaluation.statistics import bootstrap
from chggen.reference.builtin import builtin_phases
from chggen.reference.energy_table import EnergyTable, read, shipped_table
from chggen.reference.files import formation_energy
from chggen.reference.reference import element_energies
from chggen.structure import composition as comp
from chggen.structure.files import csv_rows, open_text
from chggen.tables import parquet

ON_HULL = 1e-4
"""eV/atom; a crystal closer than this is on it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """A crystal of the validation set; energies in eV/atom."""

    label: str
    formula: str
    formation: float
    above: float

    @property
    def stable(self) -> bool:
        """True on the hull."""
        return self.above < ON_HULL


@dataclass(frozen=True)
class Case:
    """E_d of one crystal by DFT and by the potential against two hulls, eV/atom."""

    stable: bool
    complete: bool
    truth: float
    builtin: float
    potential: float


def known(path: Path, compositions: Path) -> list[Known]:
    """Crystals that are the lowest of their composition, as far as the two files say."""
    columns = ("material_id", "pretty_formula", "formation_energy_per_atom", "e_above_hull")
    found = []
    for row in csv_rows(path, columns):
        label, formula, formation, above = (row[name] for name in columns)
        found.append(Known(label, comp.canonical_formula(formula), float(formation), float(above)))
    lowest: dict[str, float] = {}
    for one in found:
        lowest[one.formula] = min(one.formation, lowest.get(one.formula, np.inf))
    with open_text(compositions) as file:
        other = {
            comp.canonical_formula(row["formula"]): float(row["decomposition_energy_legacy"])
            for row in csv.DictReader(file)
            if row["decomposition_energy_legacy"]
        }
    return [
        one
        for one in found
        if one.formation <= lowest[one.formula]
        and (one.stable or other.get(one.formula, 0.0) > -ON_HULL)
    ]


def hull(
    formula: str, phases: Iterable[tuple[str, float]], elements: Iterable[str]
) -> tuple[float, list[str]]:
    """Lowest formation energy (eV/atom) of a mixture, and what is in it."""
    target = comp.parse_formula(formula)
    names, energies = list(elements), [0.0] * len(target)
    for name, energy in phases:
        names.append(name)
        energies.append(energy)
    symbols = sorted(target)
    shares = np.array([[counts.get(s, 0) for s in symbols] for counts in map(_counts, names)])
    shares = shares / shares.sum(1, keepdims=True)
    wanted = np.array([target[s] for s in symbols]) / sum(target.values())
    answer = linprog(energies, A_eq=shares.T, b_eq=wanted, method="highs")
    return float(answer.fun), [n for n, x in zip(names, answer.x, strict=True) if x > ON_HULL]


def _counts(formula: str) -> dict[str, int]:
    return comp.parse_formula(formula)


def case(one: Known, energy: float, table: EnergyTable) -> Case | None:
    """Errors of a crystal; None if the table of phases lacks an element."""
    counts = comp.parse_formula(one.formula)
    symbols = sorted(counts)
    rows = [
        row
        for row in table.rows(symbols)
        if row["energy_per_atom"] is not None and row["status"] in {Status.OK, Status.NOT_CONVERGED}
    ]
    ground: dict[str, float] = {}
    for row in rows:
        if row["composition"] in counts:
            symbol = row["composition"]
            ground[symbol] = min(row["energy_per_atom"], ground.get(symbol, np.inf))
    if len(ground) < len(counts):
        return None
    relaxed = [
        (
            r["composition"],
            formation_energy(r["energy_per_atom"], _counts(r["composition"]), ground),
        )
        for r in rows
        if r["composition"] != one.formula
    ]
    dft = [
        (phase.composition, phase.formation_energy_per_atom)
        for phase in builtin_phases(symbols)
        if phase.composition != one.formula
    ]
    of_dft, products = hull(one.formula, dft, symbols)
    of_potential, _ = hull(one.formula, relaxed, symbols)
    there = {name for name, _ in relaxed} | set(symbols)
    return Case(
        stable=one.stable,
        complete=there.issuperset(products),
        truth=one.formation - of_dft if one.stable else one.above,
        builtin=formation_energy(energy, counts, element_energies()) - of_dft,
        potential=formation_energy(energy, counts, ground) - of_potential,
    )


STATISTICS = {
    "mean": lambda e: e.mean(-1),
    "mae": lambda e: np.abs(e).mean(-1),
    "median_absolute": lambda e: np.median(np.abs(e), axis=-1),
    "std": lambda e: e.std(-1),
    "p90": lambda e: (np.quantile(e, 0.95, axis=-1) - np.quantile(e, 0.05, axis=-1)) / 2,
}


def figures(cases: list[Case]) -> dict[str, Any]:
    """Statistics of both errors, meV/atom, as [value, low, high]."""
    found: dict[str, Any] = {"crystals": len(cases)}
    for name in ("builtin", "potential") if cases else ():
        errors = 1000 * np.array([getattr(c, name) - c.truth for c in cases])
        found[name] = {
            key: [
                round(float(value), 1)
                for value in (
                    of(errors),
                    *bootstrap(errors[:, None], lambda v, of=of: of(v[..., 0])),
                )
            ]
            for key, of in STATISTICS.items()
        }
    return found


def measured(cases: list[Case]) -> Mapping[str, Any]:
    """Statistics of the groups of crystals."""
    groups = {
        "above": [c for c in cases if not c.stable],
        "above_complete": [c for c in cases if not c.stable and c.complete],
        "stable": [c for c in cases if c.stable],
        "stable_complete": [c for c in cases if c.stable and c.complete],
    }
    return {name: figures(group) for name, group in groups.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--compositions", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", action="store_true", required=True)
    given = parser.parse_args()
    table = read(given.table) if given.table else shipped_table("chgnet-0.3.0")
    energies = {
        row["label"]: row["energy_per_atom"]
        for row in parquet.read_table(
            table.path, table.kind, ["label", "status", "energy_per_atom"]
        ).to_pylist()
        if row["status"] == Status.OK
    }
    chosen = [one for one in known(given.structures, given.compositions) if one.label in energies]
    chosen = chosen[: given.limit]
    cases = [c for one in chosen if (c := case(one, energies[one.label], table)) is not None]
    facts = {"potential": table.potential, "potential_hash": table.potential_hash}
    facts |= {"phases": len(energies), "chosen": len(chosen)}
    print(json.dumps({**facts, **measured(cases)}, indent=1))


if __name__ == "__main__":
    main()
