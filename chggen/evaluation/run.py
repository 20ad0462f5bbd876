"""Known-cell recovery, from the file of known structures to the figures."""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from chggen import provenance
from chggen.diffusion.card import read_card, volume_elements
from chggen.errors import ChggenError, Status
from chggen.evaluation.budget import Search, compare
from chggen.evaluation.figures import paired, search_of, searches_of, summary
from chggen.evaluation.outcomes import NARROW, RELAXED, WIDE, Outcome, judge, same
from chggen.evaluation.sampling import Bars, Draw, sample
from chggen.evaluation.settings import Evaluation
from chggen.evaluation.structures import Selection, select
from chggen.evaluation.tasks import tasks_for
from chggen.generators import make_generator
from chggen.generators.ranking import selecting
from chggen.potential import NamedPotential, load_named
from chggen.relaxation.pool import Relaxation, relax
from chggen.run.progress import bar
from chggen.structure.task import Generator

#: Times that samples are added to reach a budget of CPU seconds: what they cost is known
#: only afterwards.
_PASSES = 4
#: Samples added for each that seems to be lacking, for the same reason.
_MARGIN = 1.1


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
    facts = _facts(settings, selection, truth, model, card)
    facts["truth"]["relaxation_cpu_seconds"] = truth_seconds / len(truth)
    run = Run({}, selection, truth)
    figures: dict[str, dict[str, Any]] = {}
    for name, generator in makers.items():
        attempt = _Attempt(name, generator, settings, run, model, bars)
        run.outcomes[name], run.more[name] = attempt.all()
        figures[name] = summary(run.outcomes[name], settings.samples)
        figures[name] |= _by_budget(run, name) | {"matching_cpu_seconds": attempt.matching}
        facts["wall_seconds"] = time.monotonic() - began
        run.result = _result(settings, figures, run, facts)
        if after and len(figures) < len(makers):
            after(run)
    return run


class _Attempt:
    """All samples of one generator."""

    def __init__(
        self,
        name: str,
        generator: Generator,
        settings: Evaluation,
        run: Run,
        model: NamedPotential,
        bars: Bars,
    ) -> None:
        self._name, self._generator, self._settings = name, generator, settings
        self._known, self._truth = run.selection.known, run.truth
        self._model, self._bars = model, bars
        self._matching = 0.0
        self._judged = 0

    @property
    def matching(self) -> float:
        """CPU seconds of the comparison with the known crystal, mean per sample."""
        return self._matching / max(self._judged, 1)

    def all(self) -> tuple[list[Outcome], list[Outcome]]:
        """The K samples of every structure, and those that a budget of CPU seconds adds."""
        k, budget = self._settings.samples, self._settings.cpu_seconds
        first = self._judge(dict.fromkeys(range(len(self._known)), k), 0, {})
        more: list[Outcome] = []
        for number in range(1, _PASSES + 1):
            if budget is None:
                break
            missing = {
                place: math.ceil(_MARGIN * lacking)
                for place, lacking in enumerate(search_of(first, more).lacking(budget))
                if lacking
            }
            if not missing:
                break
            more += self._judge(missing, number, Counter(o.structure for o in first + more))
        return first, more

    def _judge(
        self, wanted: Mapping[int, int], number: int, there: Mapping[int, int]
    ) -> list[Outcome]:
        """Samples of some structures, so many of each; another number gives other samples.

        ``there`` are the samples that each structure has already.
        """
        settings = self._settings
        seed = settings.seed
        if number:
            seed = int(np.random.SeedSequence([seed, number, 0xADD]).generate_state(1)[0])
        draws = []
        for n in sorted(set(wanted.values())):
            places = [place for place, count in wanted.items() if count == n]
            known = [self._known[place] for place in places]
            drawn, kept = settings.drawn("diffusion"), settings.symmetry
            rows = iter(tasks_for(known, settings.cells, n, seed, drawn, kept))
            draws += [Draw(p, there.get(p, 0) + k, next(rows)) for p in places for k in range(n)]
        model, bars = self._model, self._bars
        samples = sample(self._name, self._generator, draws, settings.relax, model, bars)
        start = time.process_time()
        with bars(f"{self._name}: match") as progress:
            outcomes = judge(samples, self._truth, progress)
        self._matching += time.process_time() - start
        self._judged += len(outcomes)
        return outcomes


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
    made = make_generator(generate, settings.potentials)
    if not callable(made):
        raise ChggenError(f"--generators '{name}': brings its own cells and cannot fill given ones")
    if name == "diffusion":
        return selecting(made, generate, generate.draws, settings.symmetry, settings.potentials)
    if plain == name:
        return made
    return selecting(made, generate, settings.generate.draws, "none", settings.potentials)
