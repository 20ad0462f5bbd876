"""Public benchmarks: search each composition at a stated budget, then compare.

A search is given the composition and the number of atoms. The known crystals are read only
after all searches have ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from chggen.diffusion.card import read_card, volume_elements
from chggen.errors import Status
from chggen.evaluation.facts import reproduction, strict
from chggen.evaluation.outcomes import Outcome, judge
from chggen.evaluation.run import make
from chggen.evaluation.sampling import Bars, Sample, Sampler, affordable, costs_of
from chggen.evaluation.settings import Evaluation
from chggen.evaluation.statistics import Floats, binary
from chggen.evaluation.targets import Target, Truth, find_truths
from chggen.potential import NamedPotential, load_named
from chggen.potential.energies import energies_per_atom
from chggen.provenance import file_digest
from chggen.relaxation.pool import Relaxation, relax
from chggen.run.progress import bar
from chggen.structure.composition import SYMBOLS
from chggen.structure.files import structures_digest

#: What is counted over the targets whose known crystal is at hand.
COUNTED: Final = ("found", "found_narrow", "lowest", "lowest_narrow")
#: Most atoms whose energies by the second potential are computed at once.
BATCH_ATOMS: Final = 1200


@dataclass(frozen=True)
class Benchmark:
    """What is asked.

    Args:
        name: of the benchmark.
        targets: compositions.
        truth: files of known crystals.
        settings: of the search: generators, K samples or a budget of CPU seconds per
            composition, seed, sections of the config; ``structures`` is the file of targets.
        second: potential that ranks the relaxed samples again; None: none.
    """

    name: str
    targets: Sequence[Target]
    truth: Sequence[Path]
    settings: Evaluation
    second: str | None = None


def run(asked: Benchmark, bars: Bars = bar) -> dict[str, Any]:
    """Search, compare, and sum up; content of the JSON file (docs/evaluation.md).

    Args:
        asked: the benchmark.
        bars: where to say how far it is.
    """
    settings = asked.settings
    card = read_card(settings.generate.checkpoint)
    makers = {name: make(name, settings) for name in settings.generators}
    relax_with = settings.relax
    model = load_named(
        relax_with.potential_name, settings.potentials, precision=relax_with.precision
    )
    second = load_named(asked.second, settings.potentials) if asked.second else None
    unknown = _unknown(asked.targets, set(card.get("elements", {})) & volume_elements())
    places = [i for i, why in enumerate(unknown) if not why]
    known = [asked.targets[i].blank(i) for i in places]
    samples: dict[str, list[list[Sample]]] = {}
    for name, generator in makers.items():
        sampler = Sampler(name, generator, settings, known, model, bars)
        samples[name] = _by_target(_searched(sampler, settings.cpu_seconds), places, len(unknown))
    truths, remarks = find_truths(asked.truth, asked.targets)
    with bars("relax known crystals") as progress:
        there = [t.crystal for t in truths if t is not None]
        relaxed = iter(relax(there, relax_with, model=model, progress=progress))
    references = [None if t is None else next(relaxed) for t in truths]
    figures = {}
    for name, some in samples.items():
        rows = [
            _row(target, truth, reference, mine, [why, remark], second)
            for target, truth, reference, mine, why, remark in zip(
                asked.targets, truths, references, some, unknown, remarks, strict=True
            )
        ]
        figures[name] = _total(rows) | {"crystals": rows}
    return strict(_result(asked, figures) | reproduction(settings, model, card, __name__))


def _unknown(targets: Sequence[Target], elements: set[str]) -> list[str]:
    """Why a target cannot be searched; empty where it can."""
    found = []
    for target in targets:
        lacking = sorted({SYMBOLS[z] for z in target.atomic_numbers.tolist()} - elements)
        found.append(f"not searched: the models do not know {lacking[0]}" if lacking else "")
    return found


def _searched(sampler: Sampler, budget: float | None) -> list[Sample]:
    """Samples of all compositions, no more than the budget pays for."""
    first = sampler.first()
    if budget is None:
        return first
    found = [*first, *sampler.more(first, budget)]
    allowed = {
        place: affordable(budget, float(np.mean(costs))) for place, costs in costs_of(found).items()
    }
    return [one for one in found if one.draw.sample < allowed[one.draw.structure]]


def _by_target(samples: Sequence[Sample], places: Sequence[int], count: int) -> list[list[Sample]]:
    """Samples of each target; none of one that was not searched."""
    found: list[list[Sample]] = [[] for _ in range(count)]
    for one in samples:
        found[places[one.draw.structure]].append(one)
    return found


def _row(
    target: Target,
    truth: Truth | None,
    reference: Relaxation | None,
    samples: Sequence[Sample],
    remarks: Sequence[str],
    second: NamedPotential | None,
) -> dict[str, Any]:
    """What became of one target."""
    row: dict[str, Any] = {
        "name": target.name,
        "formula": target.formula,
        "n_atoms": len(target.atomic_numbers),
        "truth": truth.name if truth else None,
        "n_samples": len(samples),
        "cpu_seconds": sum(sum(costs) for costs in costs_of(samples).values()),
        "published": target.published,
    }
    texts = [text for text in remarks if text]
    found: Mapping[str, Any] = dict.fromkeys(COUNTED)
    if reference is not None:
        outcomes = _judged(samples, reference)
        found = _found(outcomes) | (_again(outcomes, reference, second) if second else {})
        if outcomes and all(o.status == Status.PARENT_FAILED for o in outcomes):
            texts.append(outcomes[0].reason)
        if not outcomes and not texts:
            texts.append("no sample within the budget")
    return row | {"remark": "; ".join(texts)} | dict(found)


def _judged(samples: Sequence[Sample], reference: Relaxation) -> list[Outcome]:
    """Outcomes against one known crystal, whichever place the samples name."""
    most = max((s.draw.structure for s in samples), default=-1)
    return judge(samples, [reference] * (most + 1))


def _found(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Whether the known crystal is among the samples, and whether it is the lowest."""
    energies = np.array([o.energy_above_truth for o in outcomes])
    ranked = np.where(np.isnan(energies), np.inf, energies)
    best = outcomes[int(ranked.argmin())] if len(ranked) and np.isfinite(ranked).any() else None
    found: dict[str, Any] = {"energy_gap": best.energy_above_truth if best else None}
    for suffix in ("", "_narrow"):
        hits = [bool(getattr(o, f"matched{suffix}")) for o in outcomes]
        found |= {
            f"matches{suffix}": sum(hits),
            f"found{suffix}": any(hits),
            f"lowest{suffix}": best is not None and getattr(best, f"matched{suffix}"),
        }
    return found


def _again(
    outcomes: Sequence[Outcome], reference: Relaxation, model: NamedPotential
) -> dict[str, Any]:
    """The lowest by single-point energies of another potential, and how far it is."""
    crystals = [
        o.relaxed.crystal if o.relaxed and np.isfinite(o.energy_above_truth) else None
        for o in outcomes
    ]
    energies: Floats = energies_per_atom([reference.crystal, *crystals], model, BATCH_ATOMS)
    mine = energies[1:]
    if not np.isfinite(mine).any() or not np.isfinite(energies[0]):
        return {"second_lowest": False, "second_lowest_narrow": False, "second_energy_gap": None}
    best = outcomes[int(mine.argmin())]
    return {
        "second_lowest": best.matched,
        "second_lowest_narrow": best.matched_narrow,
        "second_energy_gap": float(mine.min() - energies[0]),
    }


def _total(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts and rates over the targets whose known crystal is at hand."""
    judged = [row for row in rows if row["found"] is not None]
    total: dict[str, Any] = {"n_with_truth": len(judged)}
    for key in (*COUNTED, "second_lowest", "second_lowest_narrow"):
        hits = np.array([row[key] for row in judged if key in row], dtype=bool)
        if len(hits):
            rate, low, high = binary(hits)
            total |= {f"n_{key}": int(hits.sum())}
            total |= {f"{key}": rate, f"{key}_low": low, f"{key}_high": high}
    gaps = [row["energy_gap"] for row in judged if row["energy_gap"] is not None]
    searched = [row for row in rows if row["n_samples"]]
    return total | {
        "median_energy_gap": float(np.median(gaps)) if gaps else None,
        "cpu_seconds": float(np.mean([row["cpu_seconds"] for row in searched or rows])),
        "samples": float(np.mean([row["n_samples"] for row in searched or rows])),
    }


def _result(asked: Benchmark, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The first generator at the top, the others by their names."""
    settings, names = asked.settings, list(figures)
    budget = settings.cpu_seconds
    head = {
        "format": 1,
        "benchmark": asked.name,
        "n_targets": len(asked.targets),
        "targets": {
            "file": str(settings.structures),
            "digest": file_digest(settings.structures),
        },
        "truth": [{"file": str(p), "digest": structures_digest(p)} for p in asked.truth],
        "budget": {"samples": settings.samples} if budget is None else {"cpu_seconds": budget},
        "seed": settings.seed,
        "second_potential": asked.second,
        "generators": names,
    }
    return head | dict(figures[names[0]]) | {name: figures[name] for name in names[1:]}
