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
from typing import Protocol

import numpy as np
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from torch import Tensor
from torch_sim.state import SimState

from chggen.config import RelaxConfig
from chggen.crystal import Crystal
from chggen.errors import Status
from chggen.potential import load_potential
from chggen.potential.bfgs import BFGS
from chggen.units import GPA_PER_EV_PER_A3

#: Range of (present / initial volume) outside which a cell has run away.
VOLUME_RATIOS = (0.3, 3.0)

#: Distances below this share of ``settings.min_distance`` during relaxation are a collapse;
#: less than 1, because a structure may start just above the limit.
COLLAPSE = 0.7

#: Energy (eV/atom) that no crystal has: the potential has left what it was trained on.
LOWEST_ENERGY = -50.0

#: Most neighbours per atom (volume average) that are worth computing.
MAX_NEIGHBOURS = 1000.0

#: Neighbours per atom of an ordinary solid; denser cells count as more atoms in a batch.
USUAL_NEIGHBOURS = 100.0

#: Radius (Å) of the neighbour count.
CUTOFF = 6.0

#: Atoms per structure up to which StructureMatcher is asked for an RMSD.
MATCH_ATOMS = 60


class Potential(Protocol):
    """What a potential must do here; torch-sim's ModelInterface does."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of states it takes."""

    def __call__(self, state: SimState) -> Mapping[str, Tensor]:
        """Energy [S], forces [N, 3], stress [S, 3, 3] of a batch.

        Optional: ``min_distance`` [S] and ``isolated`` [S].
        """


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
    fmax: float | None = None
    smax: float | None = None
    steps: int = 0
    converged: bool = False
    stop_reason: str = ""
    wall_time: float = 0.0
    volume_per_atom: float | None = None
    min_distance: float | None = None


def relax(
    crystals: Sequence[Crystal],
    settings: RelaxConfig,
    *,
    model: Potential | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Relaxation]:
    """Relax structures.

    Args:
        crystals: what to relax.
        settings: criteria and limits.
        model: potential; loaded by ``settings.potential`` if not given.
        progress: called with (structures done, structures in all) as they finish.

    Returns:
        One row per structure, in the same order.
    """
    rows: list[Relaxation | None] = [_refusal(c, settings) for c in crystals]
    queue = [i for i, row in enumerate(rows) if row is None]
    # largest first: the batch's padding then only ever shrinks
    queue.sort(key=lambda i: (-len(crystals[i]), i))
    if queue:
        potential = load_potential(settings.potential) if model is None else model
        pool = _Pool(crystals, queue, settings, potential)
        while pool.active or pool.waiting:
            for index, row in pool.turn():
                rows[index] = row
            if progress is not None:
                progress(sum(row is not None for row in rows), len(rows))
    return [row for row in rows if row is not None]


def _refusal(crystal: Crystal, settings: RelaxConfig) -> Relaxation | None:
    """The row of a structure that is not to be relaxed, else None."""
    if len(crystal) == 0 or not crystal.is_finite:
        text = "no atoms" if len(crystal) == 0 else "coordinates are not numbers"
        status = Status.FAILED if len(crystal) == 0 else Status.NOT_FINITE
        return Relaxation(None, status, text, stop_reason=status.value)
    if _neighbours(crystal) > MAX_NEIGHBOURS:
        text = f"{crystal.volume_per_atom:.2g} Å³ per atom is too dense"
        return Relaxation(
            None, Status.TOO_CLOSE, text, stop_reason=Status.TOO_CLOSE.value,
            volume_per_atom=crystal.volume_per_atom,
        )  # fmt: skip
    distance = crystal.min_distance
    if distance < settings.min_distance:
        text = f"shortest distance {distance:.2f} Å, limit {settings.min_distance:.2f} Å"
        return Relaxation(
            None, Status.TOO_CLOSE, text, stop_reason=Status.TOO_CLOSE.value,
            volume_per_atom=crystal.volume_per_atom, min_distance=distance,
        )  # fmt: skip
    return None


def _neighbours(crystal: Crystal) -> float:
    """Expected number of neighbours per atom, from the density."""
    sphere = 4 / 3 * math.pi * CUTOFF**3
    return sphere / crystal.volume_per_atom if crystal.volume_per_atom > 0 else math.inf


@dataclass
class _Active:
    """A structure being relaxed."""

    index: int
    start: Crystal
    weight: float  # atoms it counts for in the batch
    steps: int = 0
    energy_initial: float = math.nan  # eV
    wall_time: float = 0.0  # s


@dataclass(frozen=True)
class _Reading:
    """The present state of one structure, as plain numbers."""

    energy: float  # eV
    fmax: float  # eV/Å
    smax: float  # GPa
    volume: float  # Å³
    min_distance: float  # Å; infinite if the potential does not tell
    isolated: bool


class _Pool:
    """The structures under relaxation, and those waiting in ``queue``."""

    def __init__(
        self,
        crystals: Sequence[Crystal],
        queue: list[int],
        settings: RelaxConfig,
        potential: Potential,
    ) -> None:
        self.waiting = deque(queue)
        self.crystals = crystals
        self.settings = settings
        self.potential = potential
        self.active: list[_Active] = []
        self.bfgs = BFGS(relax_cell=settings.relax_cell, device=potential.device)

    def turn(self) -> list[tuple[int, Relaxation]]:
        """Fill up, evaluate, dismiss what has ended, move the rest; returns what ended."""
        began = time.perf_counter()
        self._admit()
        state = self._state()
        output = self._evaluate(state)
        ended: dict[int, Relaxation] = {}
        for row, (item, reading) in enumerate(zip(self.active, _read(state, output), strict=True)):
            if item.steps == 0:
                item.energy_initial = reading.energy
            verdict = _verdict(item, reading, self.settings)
            if verdict is not None:
                ended[row] = self._result(row, item, reading, verdict)
        forces, stress = output["forces"], output["stress"]
        items = self.active
        if ended:
            stay = [row for row in range(len(items)) if row not in ended]
            kept = torch.ones(len(items), dtype=torch.bool, device=forces.device)
            kept[list(ended)] = False
            forces, stress = forces[kept[state.system_idx]], stress[kept]
            self.active = [items[row] for row in stay]
            self.bfgs.keep(stay)
        if self.active:
            self.bfgs.advance(forces, stress)
        share = (time.perf_counter() - began) / len(items)
        for item in items:
            item.steps += 1
            item.wall_time += share
        return [
            (items[row].index, replace(result, wall_time=items[row].wall_time))
            for row, result in ended.items()
        ]

    def _admit(self) -> None:
        """Take structures from the queue while there is room, at least one."""
        load = sum(item.weight for item in self.active)
        new = []
        while self.waiting:
            crystal = self.crystals[self.waiting[0]]
            weight = len(crystal) * max(1.0, _neighbours(crystal) / USUAL_NEIGHBOURS)
            if load and load + weight > self.settings.batch_atoms:
                break
            load += weight
            new.append(_Active(self.waiting.popleft(), crystal, weight))
        if new:
            self.active += new
            self.bfgs.add([item.start for item in new])

    def _state(self) -> SimState:
        """The batch as the potential takes it."""
        sizes = torch.tensor([len(item.start) for item in self.active])
        numbers = np.concatenate([item.start.atomic_numbers for item in self.active])
        device, dtype = self.potential.device, self.potential.dtype
        positions = self.bfgs.positions().to(device, dtype)
        return SimState(
            positions=positions,
            masses=torch.ones_like(positions[:, 0]),
            cell=self.bfgs.cells().mT.to(device, dtype),
            pbc=True,
            atomic_numbers=torch.from_numpy(numbers).to(device),
            system_idx=torch.repeat_interleave(torch.arange(len(sizes)), sizes).to(device),
        )

    def _evaluate(self, state: SimState) -> Mapping[str, Tensor]:
        """The potential's output; if it refuses the batch, structure by structure."""
        try:
            return self.potential(state)
        except RuntimeError:
            if state.n_systems == 1:
                zero = torch.full_like(state.cell, math.nan)
                return {
                    "energy": zero[:, 0, 0],
                    "forces": torch.full_like(state.positions, math.nan),
                    "stress": zero,
                }
        outputs = [self._evaluate(single) for single in state.split()]
        shared = set.intersection(*(set(output) for output in outputs))
        return {key: torch.cat([output[key] for output in outputs]) for key in shared}

    def _result(
        self, row: int, item: _Active, reading: _Reading, verdict: tuple[Status, str]
    ) -> Relaxation:
        """The final row of a structure."""
        status, reason = verdict
        n, finite = len(item.start), status != Status.NOT_FINITE
        crystal = None
        if finite:
            cell = self.bfgs.cells()[row].cpu().numpy()
            frac_coords = self.bfgs.fractional(row).cpu().numpy()
            crystal = Crystal(cell, item.start.atomic_numbers, frac_coords)
        ok = status == Status.OK
        return Relaxation(
            crystal=crystal,
            status=status,
            reason=reason,
            energy_per_atom=_number(reading.energy / n),
            energy_per_atom_initial=_number(item.energy_initial / n),
            delta_energy_per_atom=_number((item.energy_initial - reading.energy) / n),
            rmsd=rmsd(item.start, crystal) if crystal and ok else None,
            fmax=_number(reading.fmax),
            smax=_number(reading.smax),
            steps=item.steps,
            converged=ok,
            stop_reason={Status.OK: "converged", Status.NOT_CONVERGED: "max_steps"}.get(
                status, status.value
            ),
            volume_per_atom=crystal.volume_per_atom if crystal else None,
            min_distance=crystal.min_distance if crystal else None,
        )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _read(state: SimState, output: Mapping[str, Tensor]) -> list[_Reading]:
    """Plain numbers of every structure of a batch."""
    energy = output["energy"]
    force = torch.linalg.vector_norm(output["forces"], dim=1)
    columns = [
        energy,
        torch.zeros_like(energy).scatter_reduce_(0, state.system_idx, force, "amax"),
        output["stress"].abs().amax((1, 2)) * GPA_PER_EV_PER_A3,
        torch.linalg.det(state.cell).abs(),
        output.get("min_distance", torch.full_like(energy, math.inf)),
        output.get("isolated", torch.zeros_like(energy)),
    ]
    table = torch.stack([column.to(torch.float64) for column in columns], 1).tolist()
    return [_Reading(*numbers[:-1], bool(numbers[-1])) for numbers in table]


def _verdict(item: _Active, now: _Reading, settings: RelaxConfig) -> tuple[Status, str] | None:
    """Status and reason of a structure that has ended; None if it goes on."""
    n, ratio = len(item.start), now.volume / item.start.volume
    low, high = VOLUME_RATIOS
    verdict = None
    if not all(map(math.isfinite, (now.energy, now.fmax, now.smax, now.volume))):
        verdict = Status.NOT_FINITE, f"energy, force or stress at step {item.steps}"
    elif now.isolated and item.steps == 0:
        verdict = Status.ISOLATED_ATOM, f"no neighbour within {CUTOFF:g} Å"
    elif now.isolated:
        verdict = Status.EXPLODED, f"an atom lost all its neighbours by step {item.steps}"
    elif not low < ratio < high:
        verdict = Status.EXPLODED, f"volume times {ratio:.2f} by step {item.steps}"
    elif now.energy < LOWEST_ENERGY * n:
        verdict = Status.EXPLODED, f"{now.energy / n:.0f} eV/atom by step {item.steps}"
    elif now.min_distance < COLLAPSE * settings.min_distance:
        verdict = Status.EXPLODED, f"atoms {now.min_distance:.2f} Å apart by step {item.steps}"
    elif now.fmax < settings.fmax and (now.smax < settings.smax or not settings.relax_cell):
        verdict = Status.OK, ""
    elif item.steps >= settings.max_steps:
        verdict = (
            Status.NOT_CONVERGED,
            f"{now.fmax:.2f} eV/Å, {now.smax:.1f} GPa after {item.steps} steps",
        )
    return verdict


def rmsd(first: Crystal, second: Crystal) -> float | None:
    """Largest distance between paired atoms of two structures, Å.

    The pairing and alignment are those of pymatgen's StructureMatcher, whose distances are
    in units of (V/n)^(1/3); that is taken out again, with the geometric mean of the two
    volumes, to which the matcher scales both.

    Returns:
        None if the matcher finds no match (its tolerances: ltol 0.2, stol 0.3, 5°), or for
        more than :data:`MATCH_ATOMS` atoms, where it takes long.
    """
    if len(first) > MATCH_ATOMS:
        return None
    matcher = StructureMatcher(primitive_cell=False)
    found = matcher.get_rms_dist(first.to_structure(), second.to_structure())
    if found is None:
        return None
    return float(found[1]) * (first.volume_per_atom * second.volume_per_atom) ** (1 / 6)
