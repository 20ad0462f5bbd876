"""Known-cell recovery, from the file of known structures to the figures."""

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from chggen import provenance
from chggen.diffusion.card import read_card, volume_elements
from chggen.errors import ChggenError, Status
from chggen.evaluation.outcomes import NARROW, RELAXED, WIDE, Outcome, judge, same
from chggen.evaluation.settings import Evaluation
from chggen.evaluation.statistics import paired, summary
from chggen.evaluation.structures import Selection, select
from chggen.evaluation.tasks import fill, tasks_for
from chggen.generators import make_generator
from chggen.generators.ranking import selecting
from chggen.potential import NamedPotential, load_named
from chggen.relaxation.pool import Relaxation, relax
from chggen.run.progress import bar
from chggen.structure.task import Generator, Task

#: Makes a progress bar of a label.
Bars = Callable[[str], AbstractContextManager[Callable[[float, int], None]]]


@dataclass
class Run:
    """What a run found.

    Args:
        result: everything for the JSON file.
        selection: the known structures.
        truth: their relaxations.
        outcomes: all samples, by generator.
    """

    result: dict[str, Any]
    selection: Selection
    truth: list[Relaxation]
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)


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
    makers = {name: make(name, settings) for name in settings.generators}
    model = load_named(
        settings.relax.potential, settings.potentials, precision=settings.relax.precision
    )
    start = time.process_time()
    with bars("relax known structures") as progress:
        truth = relax(
            [k.crystal for k in selection.known], settings.relax, model=model, progress=progress
        )
    truth_seconds = time.process_time() - start
    rows = tasks_for(
        selection.known,
        settings.cells,
        settings.samples,
        settings.seed,
        settings.drawn("diffusion"),
        settings.symmetry,
    )
    facts = _facts(settings, selection, truth, model, card)
    facts["truth"]["relaxation_cpu_seconds"] = truth_seconds / len(truth)
    outcomes: dict[str, list[Outcome]] = {}
    figures: dict[str, dict[str, Any]] = {}
    run = Run({}, selection, truth, outcomes)
    for name, generator in makers.items():
        outcomes[name], seconds = _attempt(name, generator, rows, truth, settings, model, bars)
        figures[name] = summary(outcomes[name], settings.samples) | seconds
        facts["wall_seconds"] = time.monotonic() - began
        run.result = _result(settings, figures, outcomes, facts)
        if after and len(outcomes) < len(makers):
            after(run)
    return run


def _attempt(
    name: str,
    generator: Generator,
    rows: Sequence[Sequence[Task]],
    truth: Sequence[Relaxation],
    settings: Evaluation,
    model: NamedPotential,
    bars: Bars,
) -> tuple[list[Outcome], dict[str, float]]:
    """All samples of one generator, and the CPU seconds per sample of each part."""
    marks = [time.process_time()]
    with bars(f"{name}: generate") as progress:
        placed = fill(generator, rows, progress)
    # what was asked for where a candidate was kept: its cell, and the seed of all
    tasks = [row[p.candidate % len(row)] for row, p in zip(rows, placed, strict=True)]
    marks.append(time.process_time())
    there = [i for i, result in enumerate(placed) if result.crystal is not None]
    crystals = [c for c in (result.crystal for result in placed) if c is not None]
    with bars(f"{name}: relax") as progress:
        done = relax(crystals, settings.relax, model=model, progress=progress)
    marks.append(time.process_time())
    relaxed: list[Relaxation | None] = [None] * len(tasks)
    for i, result in zip(there, done, strict=True):
        relaxed[i] = result
    with bars(f"{name}: match") as progress:
        outcomes = judge(tasks, placed, relaxed, truth, progress)
    marks.append(time.process_time())
    names = ("generation", "relaxation", "matching")
    seconds = {
        f"{part}_cpu_seconds": float(spent) / len(tasks)
        for part, spent in zip(names, np.diff(marks), strict=True)
    }
    return outcomes, seconds


def _facts(
    settings: Evaluation,
    selection: Selection,
    truth: Sequence[Relaxation],
    model: NamedPotential,
    card: dict[str, Any],
) -> dict[str, Any]:
    """What is needed to do it again."""
    statuses = Counter(t.status for t in truth)
    tolerances = {
        name: dict(zip(("ltol", "stol", "angle_tol"), values, strict=True))
        for name, values in (("wide", WIDE), ("narrow", NARROW))
    }
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
        "checkpoint": {"name": settings.generate.checkpoint, "hash": card["hash"]},
        "potential": {
            "potential": settings.relax.potential,
            "potential_hash": model.hash,
            "functional": model.contract.functional,
            "corrections": model.contract.corrections,
        },
        "tolerances": tolerances,
        "settings": settings.record(),
        "code_digest": provenance.code_digest("chggen.evaluation.run"),
        "versions": provenance.versions(),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }


def _result(
    settings: Evaluation,
    figures: dict[str, dict[str, Any]],
    outcomes: dict[str, list[Outcome]],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Content of the JSON file: diffusion at the top, the others below their names."""
    n = len(facts["structures"]["chosen"])
    head = {
        "format": 1,
        "n_structures": n,
        "samples_per_structure": settings.samples,
        "cells": settings.cells,
        "seed": settings.seed,
        "generators": list(figures),
    }
    others = {name: values for name, values in figures.items() if name != "diffusion"}
    differences = {
        f"diffusion_minus_{name}": paired(outcomes["diffusion"], outcomes[name], settings.samples)
        for name in others
        if "diffusion" in outcomes
    }
    result = head | figures.get("diffusion", {}) | others | {"paired": differences} | facts
    return strict(result)


def strict(value: Any) -> Any:  # noqa: ANN401
    """The same with None for what JSON has no number for, and plain Python numbers."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def make(name: str, settings: Evaluation) -> Generator:
    """Generator of a name, with the other settings of section ``generate``."""
    plain = name.removesuffix("_selected")
    generate = settings.drawn(plain)
    made = make_generator(generate)
    if not callable(made):
        raise ChggenError(f"--generators '{name}': brings its own cells and cannot fill given ones")
    if name == "diffusion":
        return selecting(made, generate, generate.draws, settings.symmetry, settings.potentials)
    if plain == name:
        return made
    return selecting(made, generate, settings.generate.draws, "none", settings.potentials)
