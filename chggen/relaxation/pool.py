"""Batched relaxation with a verdict per structure.

Structures are relaxed together, up to a number of atoms at once; as one finishes or fails
it leaves and the next takes its place. A failure is a row with a status and a reason, and
touches no other row.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from chggen.config.stages import RelaxConfig
from chggen.errors import Status
from chggen.potential import SimState, load_named
from chggen.potential.evaluation import Evaluator, Output, Potential
from chggen.potential.interface import (
    MAX_NEIGHBOURS,
    batch_weight,
    density_neighbours,
    state_of,
)
from chggen.relaxation import repulsion
from chggen.relaxation.bfgs import BFGS
from chggen.relaxation.constraints import Mask, holding, made_symmetric, symmetric
from chggen.relaxation.repair import repaired
from chggen.relaxation.trajectory import Trajectories
from chggen.relaxation.verdict import (
    Criteria,
    Ending,
    Reading,
    ending,
    read,
    refusal,
    unskewed,
)
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats
from chggen.structure.matching import displacement, displacement_columns


@dataclass(frozen=True)
class Relaxation:
    """What became of one structure; names and units as in ``schema.RELAXATION``.

    ``crystal`` is the final structure, None where the start was refused or numbers ran out.
    """

    crystal: Crystal | None
    status: Status
    reason: str = ""
    energy_per_atom: float | None = None
    energy_per_atom_initial: float | None = None
    delta_energy_per_atom: float | None = None
    rmsd: float | None = None
    rmsd_normalised: float | None = None
    max_displacement: float | None = None
    fmax: float | None = None
    smax: float | None = None
    steps: int = 0
    converged: bool = False
    stop_reason: str = ""
    wall_time: float = 0.0
    volume_per_atom: float | None = None
    min_distance: float | None = None
    repaired: bool = False


def relax(
    crystals: Sequence[Crystal],
    settings: RelaxConfig,
    *,
    model: Potential | None = None,
    progress: Callable[[int, int], None] | None = None,
    movable: Sequence[Mask | None] | None = None,
    trajectories: Trajectories | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Relaxation]:
    """Relax structures.

    Args:
        crystals: what to relax.
        settings: criteria and limits.
        model: potential; loaded by ``settings.potential`` if not given.
        progress: called with (structures done, structures in all) as they finish.
        movable: of each structure, true for the atoms that may move; None for all. Counts
            only with ``settings.fix_host``, and then no cell moves either.
        trajectories: keeps the way of each structure that was not refused.
        warn: called with what concerns the batch and no single structure: that memory
            ended and batches are smaller from there on. It is logged in any case.

    Returns:
        One row per structure, in the same order. Other structures change it only through
        rounding in the potential, which the way down amplifies: docs/relaxation.md says by
        how much in which precision.
    """
    potential = (
        load_named(settings.potential_name, precision=settings.precision)
        if model is None
        else model
    )
    masks = list(movable or []) if settings.fix_host else []
    criteria = Criteria(
        fmax=settings.fmax,
        smax=settings.smax if settings.relax_cell and not masks else None,
        max_steps=settings.max_steps,
        min_distance=settings.min_distance,
        elements=getattr(potential, "elements", None),
        potential=getattr(potential, "name", "the potential"),
    )
    masks = masks or [None] * len(crystals)
    items = [
        _prepared(i, crystal, mask, settings)
        for i, (crystal, mask) in enumerate(zip(crystals, masks, strict=True))
    ]
    rows = [_refused(item.start, criteria) for item in items]
    # largest first: the padding of the batch then only ever shrinks
    queue = [item for item in items if rows[item.index] is None]
    queue.sort(key=lambda item: -len(item.start))
    if queue:
        pool = _Pool(potential, criteria, settings.batch_atoms, trajectories, warn)
        pool.waiting.extend(queue)
        while pool.active or pool.waiting:
            for index, row in pool.turn():
                rows[index] = row
            if progress is not None:
                progress(sum(row is not None for row in rows), len(rows))
    return [row for row in rows if row is not None]


def _prepared(index: int, crystal: Crystal, mask: Mask | None, settings: RelaxConfig) -> "_Item":
    """A structure as it starts: repaired, made symmetric, with what may move."""
    crystal = unskewed(crystal)
    apart = repaired(crystal, settings.min_distance) if settings.repair else None
    start = apart or crystal
    allowed = None if mask is None else holding(mask)
    if settings.keep_symmetry and allowed is None:
        start = made_symmetric(start, settings.symmetry_symprec)
        allowed = symmetric(start)
    return _Item(index, start, projection=allowed, mask=mask, repaired=apart is not None)


def _refused(crystal: Crystal, criteria: Criteria) -> Relaxation | None:
    """The row of a structure that cannot be relaxed."""
    refused = refusal(crystal, criteria)
    if refused is None:
        return None
    status, reason = refused
    known = len(crystal) > 0 and crystal.is_finite
    overlap = status == Status.TOO_CLOSE and density_neighbours(crystal) <= MAX_NEIGHBOURS
    return Relaxation(
        None,
        status,
        reason,
        stop_reason=status.value,
        volume_per_atom=crystal.volume_per_atom if known else None,
        min_distance=crystal.min_distance if overlap else None,
    )


@dataclass
class _Item:
    """A structure on its way."""

    index: int
    start: Crystal
    steps: int = 0
    energy_initial: float = math.nan  # eV
    wall_time: float = 0.0  # s
    projection: Floats | None = None  # on what may move
    mask: Mask | None = None  # true for atoms that may move
    repaired: bool = False

    @property
    def weight(self) -> float:
        """Atoms it counts for in a batch."""
        return batch_weight(self.start)


class _Pool:
    """The structures under relaxation, and those waiting."""

    def __init__(
        self,
        potential: Potential,
        criteria: Criteria,
        batch_atoms: int,
        trajectories: Trajectories | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.trajectories = trajectories
        self.potential = potential
        self.criteria = criteria
        self.evaluate = Evaluator(potential, batch_atoms, warn)
        self.waiting: deque[_Item] = deque()
        self.active: list[_Item] = []
        self.bfgs = BFGS(relax_cell=criteria.smax is not None, device=potential.device)

    def turn(self) -> list[tuple[int, Relaxation]]:
        """Fill up, evaluate, dismiss what has ended, move the rest; returns what ended."""
        began = time.perf_counter()
        self._admit()
        state = self._state()
        output, errors = self._evaluate(state)
        items, ended, shortest = self.active, {}, math.inf
        if self.trajectories is not None:
            self.trajectories.add([item.index for item in items], state, output)
        for row, (item, now) in enumerate(zip(items, read(state, output), strict=True)):
            if item.steps == 0:
                item.energy_initial = now.energy
            end = ending(item.start, now, item.steps, self.criteria)
            if row in errors:
                end = Status.FAILED, f"rejected by the potential: {errors[row]}"
            if end is None:
                shortest = min(shortest, now.min_distance)
            else:
                ended[row] = self._result(row, item, now, end)
        forces, stress = output["forces"], output["stress"]
        if shortest < repulsion.reach(state.atomic_numbers):
            push, tension = repulsion.forces_and_stress(state)
            forces, stress = forces + push, stress + tension
        self._move(state, forces, stress, ended)
        share = (time.perf_counter() - began) / len(items)
        if self.trajectories is not None:
            for row in ended:
                self.trajectories.close(items[row].index)
        for item in items:
            item.steps += 1
            item.wall_time += share
        return [
            (items[row].index, replace(result, wall_time=items[row].wall_time))
            for row, result in ended.items()
        ]

    def _move(
        self, state: SimState, forces: Tensor, stress: Tensor, ended: Mapping[int, Relaxation]
    ) -> None:
        """Drop what has ended and take a step with the rest."""
        if ended:
            stay = [row for row in range(len(stress)) if row not in ended]
            kept = torch.zeros(len(stress), dtype=torch.bool, device=stress.device)
            kept[stay] = True
            forces, stress = forces[kept[state.system_idx]], stress[kept]
            self.active = [self.active[row] for row in stay]
            self.bfgs.keep(stay)
        if self.active:
            self.bfgs.advance(forces, stress)

    def _admit(self) -> None:
        """Take structures from the queue while there is room, at least one."""
        load = sum(item.weight for item in self.active)
        new: list[_Item] = []
        while self.waiting and (not load or load + self.waiting[0].weight <= self.evaluate.limit):
            new.append(self.waiting.popleft())
            load += new[-1].weight
        if new:
            self.active = self.active + new
            self.bfgs.add([item.start for item in new], [item.projection for item in new])

    def _state(self) -> SimState:
        """The batch as the potential takes it."""
        sizes = torch.tensor([len(item.start) for item in self.active])
        numbers = np.concatenate([item.start.atomic_numbers for item in self.active])
        device, dtype = self.potential.device, self.potential.dtype
        return state_of(
            self.bfgs.positions().to(device, dtype),
            self.bfgs.cells().to(device, dtype),
            torch.from_numpy(numbers).to(device),
            torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device),
        )

    def _evaluate(self, state: SimState) -> tuple[Output, dict[int, str]]:
        """The potential's output, without forces on atoms that are held; and its refusals."""
        output, errors = self.evaluate(state, [item.weight for item in self.active])
        if any(item.mask is not None for item in self.active):
            masks = [_mask(item) for item in self.active]
            free = torch.from_numpy(np.concatenate(masks)).to(self.potential.device)
            forces = torch.where(free[:, None], output["forces"], 0.0)
            output = {**output, "forces": forces}
        return output, errors

    def _result(self, row: int, item: _Item, now: Reading, end: Ending) -> Relaxation:
        """The final row of a structure."""
        status, reason = end
        n, crystal = len(item.start), None
        distance = now.min_distance or None
        moved = displacement_columns(None)
        if status not in {Status.NOT_FINITE, Status.FAILED}:
            cell = self.bfgs.cells()[row].cpu().numpy()
            frac_coords = self.bfgs.fractional(row).cpu().numpy()
            crystal = Crystal(cell, item.start.atomic_numbers, frac_coords)
        if crystal is not None and status in {Status.OK, Status.NOT_CONVERGED}:
            distance = crystal.min_distance
            moved = displacement_columns(displacement(item.start, crystal))
        names = {Status.OK: "converged", Status.NOT_CONVERGED: "max_steps"}
        return Relaxation(
            crystal=crystal,
            status=status,
            reason=reason,
            energy_per_atom=_number(now.energy / n),
            energy_per_atom_initial=_number(item.energy_initial / n),
            delta_energy_per_atom=_number((item.energy_initial - now.energy) / n),
            rmsd=moved["rmsd"],
            rmsd_normalised=moved["rmsd_normalised"],
            max_displacement=moved["max_displacement"],
            fmax=_number(now.fmax),
            smax=_number(now.smax),
            steps=item.steps,
            converged=status == Status.OK,
            stop_reason=names.get(status, status.value),
            volume_per_atom=crystal.volume_per_atom if crystal is not None else None,
            min_distance=distance,
            repaired=item.repaired,
        )


def _mask(item: _Item) -> Mask:
    everything: Mask = np.ones(len(item.start), dtype=np.bool_)
    return everything if item.mask is None else item.mask


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
