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
from chggen.generators.mixture import prototype_rows
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

#: Routes to a generated structure.
UNCONDITIONAL: Final = "unconditional"
PROTOTYPES: Final = "prototypes"

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
        route: ``prototypes`` or ``unconditional``, as in a campaign.
    """

    draw: Draw
    placed: Placed
    relaxed: Relaxation | None
    generation_cpu_seconds: float
    relaxation_cpu_seconds: float
    route: str = UNCONDITIONAL

    @property
    def task(self) -> Task:
        """What was asked for where a candidate was kept: its cell, and the seed of all."""
        return self.draw.row[self.placed.candidate % len(self.draw.row)]


@dataclass(frozen=True, eq=False)
class Mixture:
    """The routes of a campaign: a share of the samples comes from known prototypes.

    Where there is no prototype, the sample is drawn by the network, as in a campaign.

    Args:
        prototypes: known crystals with other elements on their sites.
        network: diffusion model with its ranking.
        share: of the samples of each composition that come from prototypes.
    """

    prototypes: Generator
    network: Generator
    share: float

    def known(self, draw: Draw) -> bool:
        """Whether a draw is to come from a known prototype."""
        return bool(prototype_rows(self.share, draw.sample, 1))


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
        generator: Generator | Mixture,
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
    generator: Generator | Mixture,
    draws: Sequence[Draw],
    settings: RelaxConfig,
    model: NamedPotential,
    bars: Bars,
) -> list[Sample]:
    """Generate and relax, each sample once.

    CPU seconds are those of the whole process. Samples are made in batches, so their cost is
    measured per size class (and route): the seconds of a class are shared out over its samples
    in proportion to the atoms (generation) and to atoms × (steps + 1) (relaxation).

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
    table = _Table(draws)
    with bars(f"{name}: generate") as progress:
        for group in groups.values():
            if isinstance(generator, Mixture):
                known = [i for i in group if generator.known(draws[i])]
                table.generate(generator.prototypes, known, progress, PROTOTYPES)
                rest = [i for i in group if not table.has_structure(i)]
                table.generate(generator.network, rest, progress, UNCONDITIONAL)
            else:
                route = PROTOTYPES if generator.name == PROTOTYPES else UNCONDITIONAL
                table.generate(generator, group, progress, route)
    with bars(f"{name}: relax") as progress:
        for group in groups.values():
            for route in (PROTOTYPES, UNCONDITIONAL):
                some = [i for i in group if table.routes[i] == route]
                table.relax(some, settings, model, progress)
    return table.samples()


class _Table:
    """What has come of the draws so far."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._draws = draws
        self._placed: list[Placed | None] = [None] * len(draws)
        self._relaxed: list[Relaxation | None] = [None] * len(draws)
        self._seconds = np.zeros((2, len(draws)))
        self._done = [0, 0]
        self.routes = [UNCONDITIONAL] * len(draws)

    def has_structure(self, place: int) -> bool:
        """Whether a draw has a structure."""
        placed = self._placed[place]
        return placed is not None and placed.crystal is not None

    def generate(
        self, generator: Generator, group: Sequence[int], progress: Progress, route: str
    ) -> None:
        """Place the atoms of some draws; what an earlier attempt cost is kept."""
        if not group:
            return
        start = time.process_time()
        made = fill(generator, [self._draws[i].row for i in group], self._shifted(progress, 0))
        spent = time.process_time() - start
        self._seconds[0, group] += _shares(spent, self._atoms(group))
        for place, result in zip(group, made, strict=True):
            self._placed[place], self.routes[place] = result, route
        self._done[0] += sum(self.has_structure(i) for i in group)

    def relax(
        self, group: Sequence[int], settings: RelaxConfig, model: NamedPotential, progress: Progress
    ) -> None:
        """Relax some draws."""
        if not group:
            return
        start = time.process_time()
        there = [(i, p.crystal) for i in group if (p := self._placed[i]) and p.crystal is not None]
        results = relax(
            [crystal for _, crystal in there],
            settings,
            model=model,
            progress=self._shifted(progress, 1),
        )
        for (place, _), result in zip(there, results, strict=True):
            self._relaxed[place] = result
        steps = np.array([r.steps + 1 if (r := self._relaxed[i]) else 0 for i in group])
        spent = time.process_time() - start
        self._seconds[1, group] = _shares(spent, self._atoms(group) * steps)
        self._done[1] += len(group)

    def samples(self) -> list[Sample]:
        """All draws, in order."""
        return [
            Sample(draw, made, result, float(seconds[0]), float(seconds[1]), route)
            for draw, made, result, seconds, route in zip(
                self._draws, self._placed, self._relaxed, self._seconds.T, self.routes, strict=True
            )
            if made is not None
        ]

    def _atoms(self, group: Sequence[int]) -> Floats:
        return np.array([self._draws[i].atoms for i in group], dtype=np.float64)

    def _shifted(self, progress: Progress, part: int) -> Progress:
        """Progress of one group among all draws."""
        before, total = self._done[part], len(self._draws)

        def tell(done: float, _of: int) -> None:
            progress(before + done, total)

        return tell


def _shares(seconds: float, weights: Floats) -> Floats:
    """Seconds shared out in proportion to weights; equally where all are zero."""
    if not weights.any():
        weights = np.ones_like(weights)
    shared: Floats = seconds * weights / weights.sum()
    return shared
