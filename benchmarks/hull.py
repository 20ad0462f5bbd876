"""Error of the hulls that come with the package, at compositions known exactly, as JSON.

python benchmarks/hull.py [--sample 1500] [--seed 0] [--potential chgnet-0.3.0] --json

``builtin``: at every composition of the sample its exact rows are taken out of the table. What is
left of it is the energy that was converted by a fit that never saw it. The error is that of the
hull energy. ``builtin_converted_alone``: every exact row of the system is taken out, as where
nothing is known exactly. Converted energies are those before they respected exact hulls.
``potential``: hull of the phases relaxed by the potential, formation energies against its own
elements, nothing left out: what cancels in E_d (benchmarks/decomposition.py) is still in it.
"""

import argparse
import json
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc
from scipy.stats import binomtest

from chggen.config.energies import ReferenceConfig
from chggen.errors import ReferenceCoverageError
from chggen.reference.builtin import builtin_table
from chggen.reference.computed import load_competing
from chggen.reference.files import Phase
from chggen.reference.hull import decomposition
from chggen.reference.reference import Reference, load_reference
from chggen.structure import composition as comp

#: What counts as near, eV/atom.
NEAR = 0.02


@dataclass(frozen=True)
class Error:
    """Hull energy minus the exact one, and its stated uncertainty, in eV/atom."""

    elements: int
    error: float
    uncertainty: float


def converted_energies() -> dict[str, Phase]:
    """Phases with converted energies, from fits without them, by formula."""
    rows = builtin_table().rows
    rows = rows.filter(pc.is_valid(rows["converted_energy"]))
    columns = (
        rows[f].to_pylist() for f in ("formula", "converted_energy", "converted_uncertainty")
    )
    return {f: Phase("converted", f, e, u, "converted") for f, e, u in zip(*columns, strict=True)}


def known_exactly() -> list[str]:
    """Compounds whose hull energy records say."""
    rows = builtin_table().rows
    formulas = rows.filter(pc.less(rows["source"], 2))["formula"].unique().to_pylist()
    return [f for f in formulas if len(comp.parse_formula(f)) > 1]


def hull(reference: Reference, formula: str) -> tuple[float, float]:
    """Hull energy at a composition and its uncertainty, eV/atom."""
    counts = comp.parse_formula(formula)
    mean = sum(n * reference.elements[s] for s, n in counts.items()) / sum(counts.values())
    found = decomposition(reference, formula, mean, reference.contract)
    return -found.decomposition_energy, found.uncertainty or 0.0


def exact_hull(formula: str) -> tuple[Reference, float]:
    """Builtin reference of a composition's elements, and the hull energy there, eV/atom."""
    whole = load_reference(ReferenceConfig(), set(comp.parse_formula(formula)))
    return whole, hull(whole, formula)[0]


def by_potential(formula: str, potential: str) -> Error | None:
    """Error of the hull of a potential at a composition; None if its table lacks an element.

    Args:
        formula: of the composition.
        potential: whose table of the package.
    """
    whole, exact = exact_hull(formula)
    config = ReferenceConfig(source="potential")
    try:
        own = load_competing(config, whole.elements, potential=potential)
    except ReferenceCoverageError:
        return None
    return Error(len(whole.elements), hull(own, formula)[0] - exact, 0.0)


def left_out(formula: str, converted: dict[str, Phase], *, alone: bool) -> Error:
    """Error at a composition without its exact rows.

    Args:
        formula: of it.
        converted: see :func:`converted_energies`.
        alone: no row of the system is exact.
    """
    whole, exact = exact_hull(formula)
    kept: dict[str, list[Phase]] = {}
    for phase in whole.phases:
        other = converted.get(phase.composition)
        if phase.composition == formula or alone or phase.source == "converted":
            if other is not None:
                kept[phase.composition] = [other]
        else:
            kept.setdefault(phase.composition, []).append(phase)
    rest = replace(whole, phases=tuple(p for found in kept.values() for p in found))
    energy, uncertainty = hull(rest, formula)
    return Error(len(whole.elements), energy - exact, uncertainty)


def summary(errors: Iterable[Error]) -> dict[str, Any]:
    """Figures of some errors; energies in eV/atom."""
    found = list(errors)
    size = [abs(e.error) for e in found]
    near = binomtest(sum(s <= NEAR for s in size), len(size)).proportion_ci(method="wilson")
    unsure = [e for e in found if e.uncertainty > 0]
    return {
        "compositions": len(found),
        "median_error": round(statistics.median(size), 5),
        "mean_error": round(statistics.fmean(size), 4),
        "share_within_20mev": round(statistics.fmean(s <= NEAR for s in size), 4),
        "interval_95": [round(near.low, 4), round(near.high, 4)],
        "too_high_by_20mev": round(statistics.fmean(e.error > NEAR for e in found), 4),
        "too_low_by_20mev": round(statistics.fmean(e.error < -NEAR for e in found), 4),
        "within_one_uncertainty": _share(abs(e.error) <= e.uncertainty for e in unsure),
        "within_two_uncertainties": _share(abs(e.error) <= 2 * e.uncertainty for e in unsure),
    }


def _share(hits: Iterable[bool]) -> float | None:
    found = list(hits)
    return round(statistics.fmean(found), 4) if found else None


def by_elements(errors: list[Error]) -> dict[str, Any]:
    """Summary of all, and by number of elements."""
    numbers = sorted({e.elements for e in errors})
    parts = {str(n): summary(e for e in errors if e.elements == n) for n in numbers}
    return summary(errors) | {"by_number_of_elements": parts}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sample", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--potential", default="chgnet-0.3.0", help="'none': leave it out")
    parser.add_argument("--json", action="store_true", help="all figures, not only the first")
    given = parser.parse_args()
    formulas = known_exactly()
    formulas = random.Random(given.seed).sample(formulas, min(given.sample, len(formulas)))
    converted = converted_energies()
    found = {
        name: by_elements([left_out(f, converted, alone=alone) for f in formulas])
        for name, alone in (("builtin", False), ("builtin_converted_alone", True))
    }
    if given.potential != "none":
        all_errors = [by_potential(f, given.potential) for f in formulas]
        own = [e for e in all_errors if e is not None]
        if own:
            found["potential"] = by_elements(own) | {"without_table": len(formulas) - len(own)}
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for name, figures in found.items():
        print(f"{name}: median {1000 * figures['median_error']:.1f} meV/atom,"
              f" {100 * figures['share_within_20mev']:.1f} % within 20 meV/atom")  # fmt: skip


if __name__ == "__main__":
    main()
