"""Levels, draws, finalists and steps at equal CPU seconds, from one set of draws.

    python benchmarks/ranking.py --structures val.csv.gz [--limit 40] [--samples 2] [--seed 1]
        [--cells sampled] [--draws 24] [--relaxed 8] [--sampler levels=8 drift=1] [--set key=value]

Draws as ``chggen evaluate`` does, but keeps all candidates of a sample, and relaxes the
``--relaxed`` lowest of them with the energy of every step. What each choice of (draws,
finalists, steps) would have kept is then read off: the first draws of a sample are what
fewer candidates would have been, and the first steps of a relaxation what a finalist gets.
``--sampler`` changes fields of the fast sampler. One thread. Printed, one line each:

    draws, finalists, steps: the choice; 1 finalist: the single-point energy decides
    match_at_1 with its interval: as in ``chggen evaluate``
    within: share of samples at most 10 meV/atom above the known crystal
    any: share of samples with a match among the relaxed draws
    seconds: CPU seconds per sample of draws, ranking, finalists and final relaxation
"""

import argparse
import ast
import json
import time
import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from chggen.config.stages import GenerateConfig
from chggen.diffusion.card import read_card, volume_elements
from chggen.diffusion.checkpoint import load_network
from chggen.diffusion.generation import sample
from chggen.diffusion.sampler import FastSampler
from chggen.evaluation.outcomes import RELAXED, WIDE, same
from chggen.evaluation.settings import Cells, Evaluation
from chggen.evaluation.statistics import share
from chggen.evaluation.structures import select
from chggen.evaluation.tasks import fill, tasks_for
from chggen.generators.finals import different
from chggen.generators.ranking import Selecting
from chggen.potential import load_named
from chggen.potential.energies import energies_per_atom
from chggen.relaxation.pool import Relaxation, relax
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed

#: eV/atom above the known crystal up to which a sample counts as good.
NEAR = 0.01


class Recorder:
    """Generator ``diffusion`` with a sampler of its own; keeps what it drew.

    Args:
        checkpoint: score network.
        sampler: draws with it.
        batch_atoms: most atoms per batch.
    """

    name = "diffusion"

    def __init__(self, checkpoint: str, sampler: FastSampler, batch_atoms: int) -> None:
        self._network = load_network(checkpoint)[0]
        self._how = sampler, batch_atoms
        self.inputs: dict[str, str] = {}
        self.crystals: list[Crystal | None] = []
        self.seconds = 0.0

    def __call__(self, tasks: Any, progress: Any = None) -> list[Placed]:  # noqa: ANN401
        """Draw, and keep the draws."""
        began = time.process_time()
        made = sample(tasks, self._network, *self._how, progress)
        self.seconds += time.process_time() - began
        self.crystals = [p.crystal for p in made]
        return made


class Energies:
    """Takes the place of trajectories in a relaxation: energies (eV/atom) of all steps."""

    def __init__(self) -> None:
        self.of: dict[int, list[float]] = {}

    def add(self, indices: list[int], state: Any, output: dict[str, Tensor]) -> None:  # noqa: ANN401
        """Note the energies of a batch."""
        values = (output["energy"].detach() / torch.bincount(state.system_idx)).tolist()
        for index, value in zip(indices, values, strict=True):
            self.of.setdefault(index, []).append(value)

    def close(self, _index: int) -> None:
        """Nothing to write."""


@dataclass
class Drawn:
    """One draw that was relaxed: did it find the known crystal, and how it got there."""

    match: bool
    above: float
    trace: list[float]


@dataclass
class Sample:
    """All draws of a sample; those that were relaxed by their place."""

    crystals: list[Crystal | None]
    energies: np.ndarray
    relaxed: dict[int, Drawn]


def main() -> None:
    """Draw, relax, and print one line per choice."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--structures", type=Path, required=True)
    for name, value in (("limit", 40), ("samples", 2), ("seed", 1), ("draws", 24), ("relaxed", 8)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--cells", default="sampled", choices=get_args(Cells))
    parser.add_argument("--sampler", nargs="*", default=[], metavar="field=value")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", dest="keys")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sampler = replace(FastSampler(), **_values(args.sampler))
    generate = GenerateConfig(**{"candidates": args.draws, **_values(args.keys)})
    settings = Evaluation(
        structures=args.structures,
        limit=args.limit,
        samples=args.samples,
        seed=args.seed,
        cells=args.cells,
        generators=("diffusion",),
        generate=generate,
    )
    samples, costs = draw(settings, sampler, args.relaxed)
    rows = [
        figures(samples, costs, settings.samples, (draws, finalists, steps))
        for draws in sorted({8, 12, 16, 20, 24, 32, args.draws})
        if draws <= args.draws
        for finalists, steps in ((1, 0), (2, 3), (2, 10), (3, 10), (3, 20), (4, 10), (4, 40))
        if finalists <= args.relaxed
    ]
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    if args.json:
        how = {"sampler": asdict(sampler), "settings": settings.record(), "costs": costs}
        args.json.write_text(json.dumps(how | {"choices": rows}, indent=1))


def _values(pairs: list[str]) -> dict[str, Any]:
    split = (pair.split("=", 1) for pair in pairs)
    return {key: ast.literal_eval(value) for key, value in split}


def draw(
    settings: Evaluation, sampler: FastSampler, relaxed: int
) -> tuple[list[Sample], dict[str, float]]:
    """All samples, and CPU seconds: per draw, per ranked draw, per step of one relaxation."""
    generate = settings.generate
    model = load_named(settings.relax.potential_name, precision=settings.relax.precision)
    elements = set(read_card(generate.checkpoint)["elements"])
    known = select(settings, elements & volume_elements()).known
    truth = relax([k.crystal for k in known], settings.relax, model=model)
    recorder = Recorder(generate.checkpoint, sampler, generate.batch_atoms)
    found: list[np.ndarray] = []
    seconds = [0.0]

    def energies(crystals: Any) -> np.ndarray:  # noqa: ANN401
        began = time.process_time()
        found.append(energies_per_atom(crystals, model, generate.batch_atoms))
        seconds[0] += time.process_time() - began
        return found[-1]

    rows = tasks_for(known, settings.cells, settings.samples, settings.seed, generate)
    fill(Selecting(recorder, generate.draws, "auto", energies, {}), rows)
    values, n = found[0], generate.draws
    lowest = [
        start + int(place)
        for start in range(0, len(values), n)
        for place in np.argsort(values[start : start + n], kind="stable")[:relaxed]
        if np.isfinite(values[start + place])
    ]
    traces, began = Energies(), time.process_time()
    crystals = [c for i in lowest if (c := recorder.crystals[i]) is not None]
    ends = relax(crystals, settings.relax, model=model, trajectories=traces)  # type: ignore[arg-type]
    spent = time.process_time() - began
    samples = [Sample(recorder.crystals[i : i + n], values[i : i + n], {}) for i in
               range(0, len(values), n)]  # fmt: skip
    for j, (i, end) in enumerate(zip(lowest, ends, strict=True)):
        aim = truth[i // n // settings.samples]
        samples[i // n].relaxed[i % n] = _drawn(end, aim, traces.of.get(j, []))
    return samples, {
        "draw": recorder.seconds / len(values),
        "rank": seconds[0] / len(values),
        "step": spent / max(sum(map(len, traces.of.values())), 1),
    }


def _drawn(end: Relaxation, aim: Relaxation, trace: list[float]) -> Drawn:
    if end.crystal is None or aim.crystal is None or end.status not in RELAXED:
        return Drawn(match=False, above=np.inf, trace=trace)
    above = (end.energy_per_atom or 0.0) - (aim.energy_per_atom or 0.0)
    return Drawn(same(end.crystal, aim.crystal, WIDE), above, trace)


def figures(
    samples: list[Sample], costs: dict[str, float], k: int, choice: tuple[int, int, int]
) -> dict[str, float]:
    """What one choice of (draws, finalists, steps) would have found, and its cost."""
    draws, finalists, steps = choice
    kept: list[Drawn | None] = []
    any_match, evaluations = [], 0
    for one in samples:
        inside = [p for p in one.relaxed if p < draws]
        places = different(one.crystals[:draws], one.energies[:draws], finalists)
        entries = [one.relaxed[p] for p in places if p in one.relaxed and one.relaxed[p].trace]
        if finalists > 1:
            evaluations += sum(min(steps + 1, len(e.trace)) for e in entries)
            entries.sort(key=lambda e: e.trace[min(steps, len(e.trace) - 1)])
        kept.append(entries[0] if entries else None)
        evaluations += len(entries[0].trace) if entries else 0
        any_match.append(any(one.relaxed[p].match for p in inside))
    match = np.array([e is not None and e.match for e in kept]).reshape(-1, k)
    rate, low, high = share(match)
    return {
        "draws": draws,
        "finalists": finalists,
        "steps": steps,
        "match_at_1": rate,
        "low": low,
        "high": high,
        "within": float(np.mean([e is not None and e.above <= NEAR for e in kept])),
        "any": float(np.mean(any_match)),
        "seconds": draws * (costs["draw"] + costs["rank"])
        + costs["step"] * evaluations / len(samples),
    }


if __name__ == "__main__":
    main()
