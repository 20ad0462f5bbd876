"""Known-cell recovery, from the file of known structures to the figures."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chggen import provenance
from chggen.diffusion.card import read_card, volume_elements
from chggen.errors import ChggenError, Status
from chggen.evaluation.budget import Search, compare
from chggen.evaluation.facts import reproduction, strict
from chggen.evaluation.figures import paired, search_of, searches_of, summary
from chggen.evaluation.outcomes import RELAXED, WIDE, Outcome, judge, same
from chggen.evaluation.sampling import Bars, Mixture, Sampler
from chggen.evaluation.settings import Evaluation
from chggen.evaluation.structures import Selection, select
from chggen.evaluation.tasks import cells_lacking
from chggen.generators import make_generator
from chggen.generators.ranking import selecting
from chggen.potential import NamedPotential, load_named
from chggen.relaxation.pool import Relaxation, relax
from chggen.run.progress import bar
from chggen.structure.task import Generator


@dataclass
class Run:
    """What a run found.

    Args:
        result: everything for the JSON file.
        selection: the known structures.
        truth: their relaxations.
        outcomes: the K samples of each structure, by generator.
        more: samples beyond these, drawn to reach ``cpu_seconds``, by generator.
    """

    result: dict[str, Any]
    selection: Selection
    truth: list[Relaxation]
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    more: dict[str, list[Outcome]] = field(default_factory=dict)


def evaluate(
    settings: Evaluation, bars: Bars = bar, after: Callable[[Run], None] | None = None
) -> Run:
    """Generate, relax and match; prints nothing but progress.

    Args:
        settings: of the run.
        bars: where to say how far it is.
        after: called with what there is after each generator but the last, so that a
            long run that is stopped leaves what was done.
    """
    began = time.monotonic()
    # read for every set of generators, so that all of them see the same structures
    card = read_card(settings.generate.checkpoint)
    elements = set(card.get("elements", {}))
    if settings.cells == "sampled":
        elements &= volume_elements()
    with bars("read structures") as progress:
        selection = select(settings, elements, progress)
    lacking = cells_lacking(selection.known, settings)
    makers = {name: make(name, settings) for name in settings.generators}
    model = load_named(
        settings.relax.potential_name, settings.potentials, precision=settings.relax.precision
    )
    start = time.process_time()
    with bars("relax known structures") as progress:
        truth = relax(
            [k.crystal for k in selection.known], settings.relax, model=model, progress=progress
        )
    truth_seconds = time.process_time() - start
    facts = _facts(settings, selection, truth, model, card)
    facts["truth"]["relaxation_cpu_seconds"] = truth_seconds / len(truth)
    facts["cell_shortage"] = lacking
    run = Run({}, selection, truth)
    figures: dict[str, dict[str, Any]] = {}
    for name, generator in makers.items():
        matching = _attempt(name, generator, settings, run, model, bars)
        figures[name] = summary(run.outcomes[name], settings.samples)
        figures[name] |= _by_budget(run, name) | {"matching_cpu_seconds": matching}
        facts["wall_seconds"] = time.monotonic() - began
        run.result = _result(settings, figures, run, facts)
        if after and len(figures) < len(makers):
            after(run)
    return run


def _attempt(
    name: str,
    generator: Generator | Mixture,
    settings: Evaluation,
    run: Run,
    model: NamedPotential,
    bars: Bars,
) -> float:
    """Put all samples of one generator into the run; returns CPU seconds per comparison."""
    sampler = Sampler(name, generator, settings, run.selection.known, model, bars)
    first = sampler.first()
    more = sampler.more(first, settings.cpu_seconds) if settings.cpu_seconds else []
    start = time.process_time()
    with bars(f"{name}: match") as progress:
        outcomes = judge([*first, *more], run.truth, progress)
    run.outcomes[name], run.more[name] = outcomes[: len(first)], outcomes[len(first) :]
    return (time.process_time() - start) / len(outcomes)


def _by_budget(run: Run, name: str) -> dict[str, Any]:
    """Success against CPU seconds, of all structures and by size."""
    first, more = run.outcomes[name], run.more[name]
    by_size = {size: s.figures() for size, s in searches_of(first, more).items()}
    found = search_of(first, more).figures() | {"by_size": by_size}
    return {"success_by_cpu_seconds": found}


def _pairs(run: Run, names: Sequence[str], samples: int) -> dict[str, Any]:
    """Differences between the first generator and each other one."""
    top = names[0]

    def search(name: str) -> Search:
        return search_of(run.outcomes[name], run.more[name])

    return {
        f"{top}_minus_{name}": paired(run.outcomes[top], run.outcomes[name], samples)
        | {"success_by_cpu_seconds": compare(search(top), search(name))}
        for name in names[1:]
    }


def _facts(
    settings: Evaluation,
    selection: Selection,
    truth: Sequence[Relaxation],
    model: NamedPotential,
    card: dict[str, Any],
) -> dict[str, Any]:
    """What is needed to do it again."""
    statuses = Counter(t.status for t in truth)
    return {
        "structures": {
            "file": str(settings.structures),
            "digest": provenance.file_digest(settings.structures),
            "rows": selection.rows,
            "rows_seen": selection.seen,
            "left_out": selection.left_out,
            "hull_column": selection.hull_column,
            "chosen": [
                {"row": k.row, "name": k.name, "formula": k.formula, "atoms": len(k.crystal)}
                for k in selection.known
            ],
        },
        "truth": {
            "statuses": {s.value: statuses[s] for s in Status if statuses[s]},
            "n_relaxed": sum(statuses[s] for s in RELAXED),
            # what the potential itself does to the answer
            "n_as_in_file": sum(
                t.crystal is not None and t.status in RELAXED and same(t.crystal, k.crystal, WIDE)
                for t, k in zip(truth, selection.known, strict=True)
            ),
        },
    } | reproduction(settings, model, card, "chggen.evaluation.run")


def _result(
    settings: Evaluation,
    figures: dict[str, dict[str, Any]],
    run: Run,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Content of the JSON file: the first generator at the top, the others by their names."""
    names = list(figures)
    head = {
        "format": 2,
        "n_structures": len(facts["structures"]["chosen"]),
        "samples_per_structure": settings.samples,
        "cells": settings.cells,
        "seed": settings.seed,
        "generators": names,
    }
    others = {name: figures[name] for name in names[1:]}
    pairs = {"paired": _pairs(run, names, settings.samples)}
    return strict(head | figures[names[0]] | others | pairs | facts)


def make(name: str, settings: Evaluation) -> Generator | Mixture:
    """Generator of a name, with the other settings of section ``generate``."""
    if name == "campaign":
        known, network = make("prototypes", settings), make("diffusion", settings)
        if isinstance(known, Mixture) or isinstance(network, Mixture):
            raise TypeError("the routes of a campaign are generators")
        return Mixture(known, network, settings.generate.prototypes.share)
    plain = name.removesuffix("_selected")
    generate = settings.drawn(plain)
    made = make_generator(generate, settings.potentials)
    if not callable(made):
        raise ChggenError(f"--generators '{name}': brings its own cells and cannot fill given ones")
    if name == "diffusion":
        return selecting(made, generate, generate.draws, settings.symmetry, settings.potentials)
    if plain == name:
        return made
    return selecting(made, generate, settings.generate.draws, "none", settings.potentials)
