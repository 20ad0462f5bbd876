"""Make ``chggen/data/reference.parquet``: competing phases of every chemical system.

``python docs/fit_reference.py DATA [--corrections FILE] [-o TABLE]``, where the folder ``DATA``
has ``train.csv.gz``, ``val.csv.gz`` and ``reference_*.csv`` (records of the Materials Project with
MP2020 corrections: ``material_id``, formula, ``formation_energy_per_atom``, ``e_above_hull``),
``compositions.csv.gz`` (formation energies of all compositions with the corrections before 2020)
and ``crystals.parquet`` (their structures). It needs scikit-learn.

1. Records stay as they are. Energy minus energy above hull is the hull energy there.
2. Everything else is converted. pymatgen says what both schemes of corrections are for a
   composition, with the run type of the Materials Project's input set and the types of oxide and
   sulfide of its lowest crystal. What is left (changed energies of elements and pseudopotentials,
   new calculations, other guesses at anions) is fitted to compositions known in both: a constant
   per element (least absolute deviations), then boosted trees. Compositions known in both get
   what a fit without their fold gives.
3. The standard uncertainty is the 68 % quantile of what is then left, by boosted trees likewise.
4. Where converted phases would break a hull energy known exactly, they are raised to it, the most
   uncertain ones most.
"""

import argparse
import contextlib
import itertools
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.optimize import linprog
from sklearn.ensemble import HistGradientBoostingRegressor

from chggen.reference.builtin import SOURCES
from chggen.structure import composition as comp

if TYPE_CHECKING:
    from pymatgen.entries.computed_entries import ComputedEntry

OUTPUT = Path(__file__).parents[1] / "chggen/data/reference.parquet"
FOLDS: Final = 5
#: Share of errors within one standard uncertainty.
WITHIN: Final = 0.683
#: Least uncertainty of a converted energy, eV/atom.
LEAST: Final = 0.001
#: A hull energy that other phases reach up to this (eV/atom) is theirs.
SAME: Final = 1e-5
#: Elements whose MP2020 correction depends on the oxidation state.
ANIONS: Final = frozenset(["Br", "I", "Se", "Si", "Sb", "Te", "H", "N", "F", "Cl", "S"])
#: Largest formula whose oxidation states are guessed; pymatgen's own 20 are too few.
MOST_SITES: Final = 30
Lines = list[tuple[str, Mapping[str, float], float]]


def reduced(formula: str) -> str:
    """Canonical formula with the smallest integers; 1 for an element."""
    counts = comp.parse_formula(formula)
    divisor = math.gcd(*counts.values())
    return comp.canonical({s: n // divisor for s, n in counts.items()})


def shares(formula: str) -> dict[str, float]:
    """Atomic fractions."""
    counts = comp.parse_formula(formula)
    return {s: n / sum(counts.values()) for s, n in counts.items()}


def read_csv(path: Path) -> pd.DataFrame:
    """A table whose formulas may read ``NaN`` (sodium nitride)."""
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return table.rename(columns={"pretty_formula": "formula"})


def records(folder: Path) -> pd.DataFrame:
    """Records with MP2020 corrections, one row per id: formula, energy, above (eV/atom)."""
    names = ["train.csv.gz", "val.csv.gz", *sorted(p.name for p in folder.glob("reference_*.csv"))]
    table = pd.concat([read_csv(folder / n) for n in names if (folder / n).is_file()])
    table = table.drop_duplicates("material_id").reset_index(drop=True)
    table["formula"] = [reduced(f) for f in table["formula"]]
    columns = {"formation_energy_per_atom": "energy", "e_above_hull": "above"}
    return table.rename(columns=columns)[["material_id", "formula", "energy", "above"]]


def legacy(folder: Path) -> pd.Series:
    """Formation energy (eV/atom) with the earlier corrections, by formula of compounds."""
    table = read_csv(folder / "compositions.csv.gz")
    energy = table["formation_energy_matbench"].fillna(table["formation_energy_legacy"])
    energy.index = pd.Index([reduced(f) for f in table["formula"]], name="formula")
    compound = [len(comp.parse_formula(f)) > 1 for f in energy.index]
    return energy[compound].dropna().groupby(level=0).min()


def corrections(formulas: Iterable[str], crystals: pd.DataFrame) -> pd.DataFrame:
    """Both schemes' corrections (eV/atom) of compounds, by pymatgen.

    Args:
        formulas: canonical, reduced.
        crystals: columns ``formula``, ``cell``, ``atomic_numbers``, ``frac_coords`` and
            ``e_above_hull``; the lowest of a formula says the types of oxide and sulfide.

    Returns:
        Columns ``legacy_anion``, ``legacy_u``, ``new_anion``, ``new_u``, by formula.
    """
    from pymatgen.entries.compatibility import (
        MaterialsProject2020Compatibility,
        MaterialsProjectCompatibility,
    )

    parts = {type(c).__name__: c for c in MaterialsProjectCompatibility().corrections}
    # other corrections are of elements (gases) alone: among the constants
    old = (parts["AnionCorrection"], parts["UCorrection"])
    # without the check of later versions, as the records were made
    new = MaterialsProject2020Compatibility(check_potcar=False, strict_anions="no_check")
    lowest = crystals.sort_values("e_above_hull", kind="stable")
    lowest = lowest.assign(formula=[reduced(f) for f in lowest["formula"]])
    lowest = lowest.drop_duplicates("formula").set_index("formula")
    rows = {}
    for formula in formulas:
        row = pd.Series(lowest.loc[formula]) if formula in lowest.index else None
        entry = _entry(formula, row)
        adjustments = new.get_adjustments(entry)
        mixing = sum(a.value for a in adjustments if "mixing" in a.name)
        total = sum(a.value for a in adjustments)
        entry.data.pop("sulfide_type", None)  # the earlier scheme took any sulphur for sulfide
        energies = [float(c.get_correction(entry).nominal_value) for c in old]
        energies += [total - mixing, mixing]
        rows[formula] = [e / entry.composition.num_atoms for e in energies]
    columns = ["legacy_anion", "legacy_u", "new_anion", "new_u"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _entry(formula: str, crystal: pd.Series | None) -> "ComputedEntry":
    """Entry of a composition as the Materials Project would have computed it."""
    from pymatgen.analysis.structure_analyzer import oxide_type, sulfide_type
    from pymatgen.core import Composition, Structure
    from pymatgen.entries.computed_entries import ComputedEntry
    from pymatgen.io.vasp.sets import MPRelaxSet

    composition = Composition(formula)
    symbols = set(comp.parse_formula(formula))
    states: Mapping[str, float] = {}
    if symbols & ANIONS:
        with contextlib.suppress(ValueError):  # too many atoms to guess
            states = next(iter(composition.oxi_state_guesses(max_sites=-MOST_SITES)), {})
    data: dict[str, object] = {"oxidation_states": dict(states)}
    if states.get("S", 0) > 0:
        data["sulfide_type"] = "none"
    if crystal is not None and symbols & {"O", "S"}:
        structure = Structure(
            np.reshape(crystal["cell"], (3, 3)),
            [int(z) for z in crystal["atomic_numbers"]],
            np.reshape(crystal["frac_coords"], (-1, 3)),
        )
        if "O" in symbols:
            data["oxide_type"] = oxide_type(structure, 1.05)
        if "S" in symbols:
            data["sulfide_type"] = sulfide_type(structure) or "none"
    most = max(composition.elements, key=lambda e: e.X if e.X == e.X else 0.0).symbol
    known = MPRelaxSet.CONFIG["INCAR"]["LDAUU"].get(most, {})
    values = {s: known[s] for s in symbols if s in known}
    parameters = {"run_type": "GGA+U" if values else "GGA", "hubbards": values}
    return ComputedEntry(composition, 0.0, parameters=parameters, data=data)


def constants(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Constants [f] with the least absolute deviations |y - x b|, by reweighted ridge."""
    weight, b = np.ones(len(y)), np.zeros(x.shape[1])
    for _ in range(20):
        a = x * weight[:, None]
        b = np.linalg.solve(a.T @ x + 0.05 * np.eye(x.shape[1]), a.T @ y)
        weight = 0.01 / np.maximum(np.abs(y - x @ b), 0.003)
    return b


def trees(loss: str, **more: float) -> HistGradientBoostingRegressor:
    """Boosted trees; deterministic."""
    return HistGradientBoostingRegressor(
        loss=loss, max_iter=300, min_samples_leaf=10, early_stopping=False, random_state=0, **more
    )


def convert(table: pd.DataFrame, folds: int = FOLDS) -> pd.DataFrame:
    """Energies with MP2020 corrections, and their uncertainties.

    Args:
        table: by formula, columns of :func:`corrections`, ``legacy`` and ``exact`` (formation
            energies, eV/atom; ``exact`` is NaN where unknown).
        folds: of the cross-validation.

    Returns:
        Columns ``energy`` and ``uncertainty`` (eV/atom). Rows with an exact energy have what the
        fit to the other folds gives.
    """
    fractions = pd.DataFrame([shares(f) for f in table.index]).fillna(0.0)
    x = fractions[sorted(fractions.columns)].to_numpy()
    shift = table["new_anion"] + table["new_u"] - table["legacy_anion"] - table["legacy_u"]
    base = (table["legacy"] + shift).to_numpy()
    own = ["legacy", "legacy_anion", "legacy_u", "new_anion", "new_u"]
    features = np.c_[x, (x > 0).sum(axis=1), table[own].to_numpy()]
    y = table["exact"].to_numpy() - base
    known = np.isfinite(y)
    fold = np.full(len(y), -1)  # of rows that are in no fit
    fold[known] = np.random.default_rng(0).integers(0, folds, known.sum())
    left = np.zeros(len(y))
    for k in range(-1, folds):
        fit, rest = known & (fold != k), fold == k
        if not rest.any():
            continue
        b = constants(x[fit], y[fit])
        more = trees("absolute_error").fit(features[fit], y[fit] - x[fit] @ b)
        left[rest] = x[rest] @ b + more.predict(features[rest])
    error = np.abs(y - left)
    unsure = np.zeros(len(y))
    more_features = np.c_[features, left - x @ constants(x[known], y[known])]
    for k in range(-1, folds):
        fit, rest = known & (fold != k), fold == k
        if rest.any():
            quantile = trees("quantile", quantile=WITHIN)
            unsure[rest] = quantile.fit(more_features[fit], error[fit]).predict(more_features[rest])
    return pd.DataFrame(
        {"energy": base + left, "uncertainty": np.maximum(unsure, LEAST)}, index=table.index
    )


class Hull:
    """Lowest phases by chemical system, and the hull at a composition."""

    def __init__(self, energies: Mapping[str, float]) -> None:
        self.phases: dict[frozenset[str], Lines] = {}
        for formula, energy in energies.items():
            x = shares(formula)
            if len(x) > 1:
                self.phases.setdefault(frozenset(x), []).append((formula, x, energy))

    def set(self, formula: str, energy: float) -> None:
        """Change the energy of a phase; infinity takes it out."""
        key = frozenset(comp.parse_formula(formula))
        rest = [line for line in self.phases.get(key, []) if line[0] != formula]
        self.phases[key] = rest + ([(formula, shares(formula), energy)] * bool(np.isfinite(energy)))

    def at(self, formula: str) -> tuple[float, dict[str, float]]:
        """Hull energy (eV/atom) at a composition, and the atomic fractions of its phases."""
        target = shares(formula)
        elements = sorted(target)
        found: Lines = [(s, {s: 1.0}, 0.0) for s in elements]
        for size in range(2, len(elements) + 1):
            for part in itertools.combinations(elements, size):
                found += self.phases.get(frozenset(part), [])
        matrix = [[x.get(s, 0.0) for _, x, _ in found] for s in elements]
        energies, right = [e for *_, e in found], [target[s] for s in elements]
        solved = linprog(energies, A_eq=matrix, b_eq=right, method="highs")
        return float(solved.fun), {
            found[i][0]: float(solved.x[i]) for i in np.flatnonzero(solved.x > SAME)
        }


def id_number(name: str) -> int:
    """A Materials Project id as a number; those that begin with ``mvc-`` are negative."""
    prefix, _, number = name.partition("-")
    return {"mp": 1, "mvc": -1}[prefix] * int(number)


def hull_energies(exact: pd.DataFrame) -> pd.Series:
    """Hull energy (eV/atom) that records imply, by formula of compounds."""
    compound = [len(comp.parse_formula(f)) > 1 for f in exact["formula"]]
    hull = (exact["energy"] - exact["above"].clip(lower=0.0))[compound]
    return hull.groupby(exact["formula"]).median()


def respect(
    converted: pd.DataFrame, known: pd.Series, rounds: int = 4
) -> tuple[pd.Series, set[str]]:
    """Raise converted phases that break hull energies known exactly.

    Args:
        converted: ``energy`` and ``uncertainty`` by formula, of phases without an exact energy.
        known: exact hull energies by formula.
        rounds: at most.

    Returns:
        The energies, and the formulas whose hull energy other phases reach anyway.
    """
    energies = {str(f): float(e) for f, e in converted["energy"].items()}
    unsure = {str(f): float(u) for f, u in converted["uncertainty"].items()}
    hull = Hull(energies | {str(f): float(e) for f, e in known.items()})
    mixtures: set[str] = set()
    todo = list(known.index)
    for number in range(rounds):
        broken = []
        for formula in todo:
            target = float(known[formula])
            hull.set(formula, np.inf)
            found, amounts = hull.at(formula)
            hull.set(formula, target)
            if number == 0 and abs(found - target) <= SAME:
                mixtures.add(formula)
            if found >= target - SAME:
                continue
            part = {f: x for f, x in amounts.items() if f in energies}
            total = sum((x * unsure[f]) ** 2 for f, x in part.items())
            for f, x in part.items():
                more = (target - found) * x * unsure[f] ** 2 / total
                energies[f] = math.ceil(1e5 * (energies[f] + more)) / 1e5
                hull.set(f, energies[f])
            broken.append(formula)
        todo = broken
    return pd.Series(energies), mixtures


def main() -> None:
    """Make and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--corrections", type=Path, help="Parquet that keeps them; made if absent")
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    exact, old = records(given.data), legacy(given.data)
    if given.corrections and given.corrections.is_file():
        both = pd.read_parquet(given.corrections)
    else:
        columns = ["formula", "cell", "atomic_numbers", "frac_coords", "e_above_hull"]
        crystals = pd.read_parquet(given.data / "crystals.parquet", columns=columns)
        both = corrections(old.index, crystals)
        if given.corrections:
            both.to_parquet(given.corrections)
    lowest = exact.groupby("formula")["energy"].min()
    table = both.loc[old.index].assign(legacy=old, exact=lowest.reindex(old.index))
    converted = convert(table)
    write(given.output, exact, converted)


def write(path: Path, exact: pd.DataFrame, converted: pd.DataFrame) -> None:
    """Put the parts together.

    Args:
        path: of the table.
        exact: see :func:`records`.
        converted: see :func:`convert`.
    """
    known = hull_energies(exact)
    new = converted[~converted.index.isin(known.index)]
    energies, mixtures = respect(new.assign(energy=new["energy"].round(5)), known)
    reached = exact[exact["above"] <= SAME]["formula"]
    points = known[~known.index.isin([*mixtures, *reached])]
    rows = pd.concat(
        [
            exact[["formula", "energy"]].assign(
                source=0,
                uncertainty=0.0,
                number=[id_number(name) for name in exact["material_id"]],
            ),
            pd.DataFrame({"formula": points.index, "energy": points.to_numpy()}).assign(
                source=1, uncertainty=0.0
            ),
            new[["uncertainty"]]
            .reset_index(names="formula")
            .assign(energy=energies[new.index].to_numpy(), source=2),
        ]
    )
    rows["system"] = ["-".join(sorted(comp.parse_formula(f))) for f in rows["formula"]]
    rows = rows.sort_values(["system", "formula", "energy", "source"], kind="stable")
    first = ~rows.duplicated("formula").to_numpy()
    for name in ("energy", "uncertainty"):
        values = converted[name].reindex(rows["formula"]).to_numpy()
        rows[f"converted_{name}"] = np.where(first, values, np.nan)
    save(path, rows)


def save(path: Path, rows: pd.DataFrame) -> None:
    """Write rows in the columns of :mod:`chggen.reference.builtin`.

    Args:
        path: of the table.
        rows: in their order.
    """
    number = rows["number"].astype("Int64")
    columns = {
        "formula": pa.array(rows["formula"], pa.string()),
        "formation_energy_per_atom": pa.array(rows["energy"], pa.float64()),
        "uncertainty": pa.array(rows["uncertainty"].round(4), pa.float32()),
        "source": pa.array(rows["source"], pa.int8()),
        "material_id": pa.array(number, pa.int32()),
        "converted_energy": pa.array(
            rows["converted_energy"].round(4), pa.float32(), from_pandas=True
        ),
        "converted_uncertainty": pa.array(
            rows["converted_uncertainty"].round(4), pa.float32(), from_pandas=True
        ),
    }
    table = pa.table(columns)
    about = {
        "rows": str(len(rows)),
        "date": "2023-02-07",
        "made by": "docs/fit_reference.py",
        "sources": ", ".join(SOURCES),
        "unit": "eV/atom, GGA/GGA+U with MP2020 corrections",
        "licence": "CC BY 4.0, Materials Project (doi:10.1063/1.4812323)",
    }
    pq.write_table(
        table.replace_schema_metadata(about),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=["source", "uncertainty", "converted_uncertainty"],
    )
    counts = {name: int((rows["source"] == i).sum()) for i, name in enumerate(SOURCES)}
    print(f"{path}: {counts}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
