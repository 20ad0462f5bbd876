"""Several candidates per structure, of which the best is kept; imposed space groups.

A draw from a score network is cheap compared with its relaxation, and a single-point energy
is cheaper still. Of the ``candidates`` draws of a row, the one with the lowest energy of the
potential is kept, so that only promising arrangements are relaxed. With ``finalists`` above 1
the lowest few that differ are relaxed by some steps first, and the lowest then wins
(:mod:`chggen.generators.finals`). It is kept as it was drawn: what the relaxation of the
campaign changes in it is measured from the draw.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig, InpaintConfig
from chggen.errors import Status
from chggen.generators.finals import Finals, choose, settling
from chggen.potential import NONE_OWN, load_named
from chggen.potential.energies import energies_per_atom
from chggen.structure.crystal import Crystal
from chggen.structure.task import Generator, Placed, Progress, Task
from chggen.symmetry.orbits import Symmetry, impose

if TYPE_CHECKING:
    from chggen.symmetry.signatures import Signatures

#: Energies of crystals in eV/atom; infinite if there is none.
Energies = Callable[[Sequence[Crystal | None]], NDArray[np.float64]]


def selecting(
    inner: Generator,
    settings: GenerateConfig | InpaintConfig,
    candidates: int,
    symmetry: Symmetry,
    potentials: Potentials = NONE_OWN,
) -> "Selecting":
    """Wrap a generator according to a section of the config.

    Only the diffusion model can impose space groups, so ``auto`` imposes none on others.

    Args:
        inner: generator of the draws.
        settings: section of the config; names the ranking potential.
        candidates: draws per structure.
        symmetry: space groups to impose on the draws.
        potentials: section ``potentials`` of the config.
    """
    if inner.name != "diffusion" and symmetry == "auto":
        symmetry = "none"
    known = signatures_for(settings) if symmetry != "none" else None
    if candidates == 1:
        return Selecting(inner, 1, symmetry, None, {}, known=known)
    model = load_named(settings.ranking_potential, potentials)

    def energies(crystals: Sequence[Crystal | None]) -> NDArray[np.float64]:
        return energies_per_atom(crystals, model, settings.batch_atoms)

    finals = None
    if settings.finalists > 1:
        settle = settling(model, settings.finalist_steps, settings.batch_atoms)
        finals = Finals(settings.finalists, settle)
    inputs = {"ranking_potential": model.hash}
    return Selecting(inner, candidates, symmetry, energies, inputs, finals, known)


def signatures_for(settings: GenerateConfig | InpaintConfig) -> "Signatures | None":
    """Signatures of known crystals, where the section asks for them as prior of symmetric draws."""
    if not isinstance(settings, GenerateConfig) or settings.symmetry_prior != "library":
        return None
    from chggen.symmetry.prototype_library import Library
    from chggen.symmetry.signatures import Signatures

    return Signatures(Library(settings.prototypes.library))


class Selecting:
    """A generator that keeps the best of several draws of another one.

    Args:
        inner: generator of the draws.
        candidates: draws per task; the result says which one it is.
        symmetry: space groups to impose on the draws. With ``auto`` every second draw has
            one that fits its cell (for guests: that of the framework) and the others
            are free; a draw for which no group fits is also free.
        energies: ranks the draws; not called if there is one per task.
        inputs: digests of the files that the energies depend on.
        finals: decides among the lowest draws; None: their energies as they stand do.
        known: prior of the space groups that are imposed; None: the general statistics.
    """

    def __init__(
        self,
        inner: Generator,
        candidates: int,
        symmetry: Symmetry,
        energies: Energies | None,
        inputs: Mapping[str, str],
        finals: Finals | None = None,
        known: "Signatures | None" = None,
    ) -> None:
        self._inner = inner
        self.candidates = candidates
        self.symmetry = symmetry
        self._energies = energies
        self._finals = finals
        self._known = known
        self.inputs = {**inner.inputs, **inputs, **(known.inputs if known else {})}

    @property
    def name(self) -> str:
        """Name of the wrapped generator."""
        return self._inner.name

    def __call__(self, tasks: Sequence[Task], progress: Progress | None = None) -> list[Placed]:
        """Return the best draw of every task, in order."""
        return self.best_of([[task] * self.candidates for task in tasks], progress)

    def best_of(
        self, rows: Sequence[Sequence[Task]], progress: Progress | None = None
    ) -> list[Placed]:
        """Return the best draw of every row, whose candidates may differ in their cells.

        Args:
            rows: one task per candidate, all with the seed of the row.
            progress: called with (rows done, a fraction; total number of rows).
        """
        drawn = [self._draw(task, c) for row in rows for c, task in enumerate(row)]
        possible = [d for d in drawn if isinstance(d, Task)]

        def share(done: float, total: int) -> None:
            if progress:
                progress(done / max(total, 1) * len(rows), len(rows))

        made = iter(self._inner(possible, share))
        placed = [
            next(made)
            if isinstance(d, Task)
            else Placed(None, d, 0, status=Status.SYMMETRY_IMPOSSIBLE)
            for d in drawn
        ]
        if self.candidates == 1 or self._energies is None:
            return placed
        values = self._energies([p.crystal for p in placed])
        size = self.candidates
        starts = range(0, len(placed), size)
        groups = [placed[i : i + size] for i in starts]
        energies = [values[i : i + size] for i in starts]
        if self._finals is None:
            kept = [int(e.argmin()) for e in energies]
        else:
            kept = choose([[p.crystal for p in group] for group in groups], energies, self._finals)
        return [_best(group, which) for group, which in zip(groups, kept, strict=True)]

    def _draw(self, task: Task, candidate: int) -> Task | str:
        if candidate:
            seed = np.random.SeedSequence([task.seed, candidate]).generate_state(1, np.uint64)[0]
            task = replace(task, seed=int(seed >> np.uint64(1)))
        if self.symmetry == "none":
            return task
        auto = self.symmetry == "auto"
        # with one draw per row every second row, with several every second candidate
        turn = candidate if self.candidates > 1 else task.seed
        if auto and turn % 2 == 0:
            return task
        kept = impose(task, self.symmetry, self._known)
        return task if auto and isinstance(kept, str) else kept


def _best(placed: Sequence[Placed], which: int) -> Placed:
    """The draw that was chosen, with the total cost of all draws."""
    if placed[which].crystal is None:  # no draw has an energy: prefer a structure to none
        which = next((i for i, p in enumerate(placed) if p.crystal is not None), which)
    calls = sum(p.score_calls for p in placed)
    return replace(placed[which], score_calls=calls, candidate=which)
