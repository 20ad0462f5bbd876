"""Generator ``prototypes``: known crystals with other elements on their sites.

Donors are crystals of the library with the anonymous formula of the composition and an
allowed number of atoms. Elements take the places of the chemically nearest elements of the
donor, and the cell is scaled to the predicted volume. Each row takes one donor, mostly of the
nearest chemistry: of several donors the potential's single-point energy often prefers one
that is no crystal of the composition (docs/generators.md has the measurement). It finds no
prototype that the library does not hold.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from chggen.cells.volume import predict_volume_per_atom
from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig
from chggen.generators.base import Loaded, Order
from chggen.generators.ranking import selecting
from chggen.potential import NONE_OWN
from chggen.structure import composition as comp
from chggen.structure.task import Placed, Progress, Task
from chggen.symmetry.orbits import wanted
from chggen.symmetry.prototype_library import Donor, Library, nearest

#: Temperature of the choice of donors, in chemical distance: a prototype whose nearest donor is
#: this much farther away is seen e times more rarely.
SPREAD: Final = 0.06


class AsTheyAre:
    """Gives the crystals of the tasks back: what ranks draws then ranks donors."""

    name = "prototypes"
    inputs: Mapping[str, str] = {}

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Return the crystal of every task."""
        if progress:
            progress(len(tasks), len(tasks))
        return [Placed(task.crystal, "") for task in tasks]


class PrototypeSource:
    """Substituted known crystals.

    Attributes:
        inputs: digests of the library and of the ranking potential, if there is one.
    """

    name = "prototypes"

    def __init__(self, settings: GenerateConfig, potentials: Potentials = NONE_OWN) -> None:
        self._library = Library(settings.prototypes.library)
        self._candidates = settings.prototypes.candidates
        self._ranking = selecting(AsTheyAre(), settings, self._candidates, "none", potentials)
        self.inputs = {**self._library.inputs, **self._ranking.inputs}

    def donors(self, order: Order) -> list[Donor]:
        """Donors of an order, the nearest first; empty if the library has none."""
        size = sum(comp.parse_formula(order.composition).values())
        found = nearest(self._library, order.composition, {n * size for n in order.formula_units})
        if isinstance(order.symmetry, str):  # nothing is imposed, so 'none' excludes nothing
            return found
        return [d for d in found if wanted(d.prototype.space_group, order.symmetry)]

    def structures(self, order: Order, progress: Progress | None = None) -> list[Loaded]:
        """One structure per random seed of the order."""
        if order.volume_per_atom is None:
            predicted = predict_volume_per_atom(order.composition).volume_per_atom
            order = replace(order, volume_per_atom=predicted)
        donors = self.donors(order)
        rows = [(order, seed) for seed in order.random_seeds]
        return self._best(rows, [donors] * len(rows), progress)

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """One structure per task, of its atoms and at the volume of its cell.

        Nothing else of the task's cell counts: prototypes bring their own.
        """
        rows = [(_order(task), task.seed) for task in tasks]
        found: dict[tuple[str, tuple[int, ...]], list[Donor]] = {}
        for order, _ in rows:
            key = (order.composition, order.formula_units)
            if key not in found:
                found[key] = self.donors(order)
        donors = [found[order.composition, order.formula_units] for order, _ in rows]
        return [loaded.placed for loaded in self._best(rows, donors, progress)]

    def _best(
        self,
        rows: Sequence[tuple[Order, int]],
        donors: Sequence[Sequence[Donor]],
        progress: Progress | None,
    ) -> list[Loaded]:
        """Best donor of each row (an order and a seed), ranked in one go."""
        seen = [
            pick(some, self._candidates, seed) if some else []
            for (_, seed), some in zip(rows, donors, strict=True)
        ]
        tasks = [
            [_task(donor, order, seed) for donor in row]
            for row, (order, seed) in zip(seen, rows, strict=True)
        ]
        placed = iter(self._ranking.best_of([row for row in tasks if row], progress))
        out = []
        for row, (order, _) in zip(seen, rows, strict=True):
            if not row:
                out.append(Loaded(Placed(None, nothing(order))))
                continue
            one = next(placed)
            out.append(Loaded(replace(one, candidate=0), _origin(row[one.candidate])))
        return out


def pick(donors: Sequence[Donor], count: int, seed: int) -> list[Donor]:
    """Donors that a row sees: different prototypes first, near chemistries favoured.

    Prototypes are drawn without replacement with weights exp(-d / SPREAD), d being the
    chemical distance of their nearest donor (Gumbel's trick). If there are fewer than
    ``count``, further donors of the same prototypes follow, the nearest first.

    Args:
        donors: the nearest first.
        count: donors to pick.
        seed: of the row.

    Returns:
        ``count`` donors; there are repetitions only if there are fewer.
    """
    rng = np.random.default_rng([seed, 0xD0])
    first: dict[object, Donor] = {}
    others = [d for d in donors if first.setdefault(d.prototype.kind, d) is not d]
    heads = list(first.values())
    keys = [
        -d.distance / SPREAD + g for d, g in zip(heads, rng.gumbel(size=len(heads)), strict=True)
    ]
    chosen = [heads[i] for i in np.argsort(keys)[::-1][:count]]
    chosen += others[: count - len(chosen)]
    return [chosen[i % len(chosen)] for i in range(count)]


def nothing(order: Order) -> str:
    """Why an order has no donor, in one line."""
    content = comp.parse_formula(order.composition)
    size = sum(content.values())
    sizes = ", ".join(str(n * size) for n in order.formula_units)
    asked = "" if isinstance(order.symmetry, str) else " and a space group that is asked for"
    return f"the library holds no prototype of {order.composition} with {sizes} atoms{asked}"


def _order(task: Task) -> Order:
    counts = Counter(comp.SYMBOLS[z] for z in task.crystal.atomic_numbers.tolist())
    composition = comp.canonical(counts)
    units = comp.formula_units(counts, composition) or 1
    return Order(composition, 0, 1, (task.seed,), (units,), task.crystal.volume_per_atom)


def _task(donor: Donor, order: Order, seed: int) -> Task:
    crystal = donor.prototype.crystal(donor.elements, order.volume_per_atom)
    return Task(crystal, np.ones(len(crystal), bool), seed)


def _origin(donor: Donor) -> str:
    entry = donor.prototype
    return f"{entry.name} {entry.formula} ({entry.label})"
