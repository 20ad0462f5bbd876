"""Samples of known compositions: generated, relaxed, and what each cost.

Nothing here compares them with the crystals that are to be found.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

import numpy as np

from chggen.config.stages import RelaxConfig
from chggen.evaluation.settings import Evaluation, size_class
from chggen.evaluation.statistics import Floats
from chggen.evaluation.structures import Known
from chggen.evaluation.tasks import fill, tasks_for
from chggen.potential import NamedPotential
from chggen.relaxation.pool import Relaxation, relax
from chggen.run.progress import Progress
from chggen.structure.task import Generator, Placed, Task

#: Times that samples are added to reach a budget of CPU seconds: what they cost is known
#: only afterwards.
_PASSES: Final = 4
#: Samples added for each that seems to be lacking, for the same reason.
_MARGIN: Final = 1.1
#: CPU seconds of a sample where nothing was measured.
LEAST_COST: Final = 1e-6
_ROUNDING: Final = 1e-9

#: Makes a progress bar of a label.
Bars = Callable[[str], AbstractContextManager[Callable[[float, int], None]]]


@dataclass(frozen=True, eq=False)
class Draw:
    """What a generator is asked for.

    Args:
        structure: place of the composition in the run.
        sample: number of the sample of this composition, from 0.
        row: tasks of its candidates (:func:`~chggen.evaluation.tasks.tasks_for`).
    """

    structure: int
    sample: int
    row: Sequence[Task]

    @property
    def atoms(self) -> int:
        """Atoms of the structure."""
        return len(self.row[0].crystal)


@dataclass(frozen=True, eq=False)
class Sample:
    """A draw and what came of it.

    Args:
        draw: what was asked for.
        placed: what the generator gave.
        relaxed: what the relaxation made of it; None where there was nothing to relax.
        generation_cpu_seconds: its part of what the generator took.
        relaxation_cpu_seconds: its part of what the relaxations took.
    """

    draw: Draw
    placed: Placed
    relaxed: Relaxation | None
    generation_cpu_seconds: float
    relaxation_cpu_seconds: float

    @property
    def task(self) -> Task:
        """What was asked for where a candidate was kept: its cell, and the seed of all."""
        return self.draw.row[self.placed.candidate % len(self.draw.row)]


def affordable(budget: float, cost: float) -> int:
    """Samples that a budget pays for.

    Args:
        budget: CPU seconds.
        cost: CPU seconds per sample.
    """
    return math.floor(budget / max(cost, LEAST_COST) + _ROUNDING)


class Sampler:
    """Draws samples of some compositions with one generator.

    Args:
        name: of the generator, for the progress bars.
        generator: places the atoms.
        settings: of the run.
        known: compositions (with the cells, if ``settings.cells`` are theirs).
        model: potential of the relaxations.
        bars: where to say how far it is.
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        settings: Evaluation,
        known: Sequence[Known],
        model: NamedPotential,
        bars: Bars,
    ) -> None:
        self._name, self._generator, self._settings = name, generator, settings
        self._known, self._model, self._bars = known, model, bars

    def first(self) -> list[Sample]:
        """The K samples of every structure, those of one behind each other."""
        wanted = dict.fromkeys(range(len(self._known)), self._settings.samples)
        return self._draw(wanted, 0, {})

    def more(self, first: Sequence[Sample], budget: float) -> list[Sample]:
        """Further samples, until each structure has as many as a budget pays for.

        Args:
            first: samples there are, at least one of each structure.
            budget: CPU seconds per structure.
        """
        found: list[Sample] = []
        for number in range(1, _PASSES + 1):
            missing, there = {}, {}
            for place, costs in costs_of([*first, *found]).items():
                there[place] = len(costs)
                lacking = affordable(budget, float(np.mean(costs))) - len(costs)
                if lacking > 0:
                    missing[place] = math.ceil(_MARGIN * lacking)
            if not missing:
                break
            found += self._draw(missing, number, there)
        return found

    def _draw(
        self, wanted: Mapping[int, int], number: int, there: Mapping[int, int]
    ) -> list[Sample]:
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
        return sample(self._name, self._generator, draws, settings.relax, model, bars)


def costs_of(samples: Sequence[Sample]) -> dict[int, list[float]]:
    """CPU seconds of the samples of each structure, generation and relaxation."""
    found: dict[int, list[float]] = {}
    for one in samples:
        spent = one.generation_cpu_seconds + one.relaxation_cpu_seconds
        found.setdefault(one.draw.structure, []).append(spent)
    return found


def sample(
    name: str,
    generator: Generator,
    draws: Sequence[Draw],
    settings: RelaxConfig,
    model: NamedPotential,
    bars: Bars,
) -> list[Sample]:
    """Generate and relax, each sample once.

    CPU seconds are those of the whole process. Samples are made in batches, so their cost is
    measured per size class: the seconds of a class are shared out over its samples in
    proportion to the atoms (generation) and to atoms × (steps + 1) (relaxation).

    Args:
        name: of the generator, for the progress bars.
        generator: places the atoms.
        draws: what is asked of it.
        settings: criteria of the relaxations.
        model: potential of the relaxations.
        bars: where to say how far it is.

    Returns:
        One sample per draw, in order.
    """
    groups: dict[str, list[int]] = {}
    for place, draw in enumerate(draws):
        groups.setdefault(size_class(draw.atoms), []).append(place)
    placed: list[Placed | None] = [None] * len(draws)
    relaxed: list[Relaxation | None] = [None] * len(draws)
    seconds = np.zeros((2, len(draws)))
    done = 0
    with bars(f"{name}: generate") as progress:
        for group in groups.values():
            start = time.process_time()
            rows = [draws[i].row for i in group]
            made = fill(generator, rows, _shifted(progress, done, len(draws)))
            _put(placed, group, made)
            seconds[0, group] = _shares(time.process_time() - start, _atoms(draws, group))
            done += len(group)
    done = 0
    with bars(f"{name}: relax") as progress:
        for group in groups.values():
            start = time.process_time()
            there = [(i, p.crystal) for i in group if (p := placed[i]) and p.crystal is not None]
            results = relax(
                [crystal for _, crystal in there],
                settings,
                model=model,
                progress=_shifted(progress, done, len(draws)),
            )
            _put(relaxed, [i for i, _ in there], results)
            steps = np.array([r.steps + 1 if (r := relaxed[i]) else 0 for i in group])
            spent = time.process_time() - start
            seconds[1, group] = _shares(spent, _atoms(draws, group) * steps)
            done += len(group)
    return [
        Sample(draw, made, result, float(seconds[0, i]), float(seconds[1, i]))
        for i, (draw, made, result) in enumerate(zip(draws, placed, relaxed, strict=True))
        if made is not None
    ]


def _put[T](there: list[T | None], places: Sequence[int], values: Sequence[T]) -> None:
    for place, value in zip(places, values, strict=True):
        there[place] = value


def _atoms(draws: Sequence[Draw], group: Sequence[int]) -> Floats:
    return np.array([draws[i].atoms for i in group], dtype=np.float64)


def _shares(seconds: float, weights: Floats) -> Floats:
    """Seconds shared out in proportion to weights; equally where all are zero."""
    if not weights.any():
        weights = np.ones_like(weights)
    shared: Floats = seconds * weights / weights.sum()
    return shared


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Progress of one group among all draws."""

    def tell(done: float, _of: int) -> None:
        progress(before + done, total)

    return tell
