"""Batched relaxation with a verdict per structure (first cut, being optimised)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch_sim.optimizers import fire_init, fire_step
from torch_sim.optimizers.cell_filters import CellFilter
from torch_sim.state import SimState

from chggen.config import RelaxConfig
from chggen.crystal import Crystal
from chggen.errors import Status
from chggen.potential import load_potential
from chggen.units import GPA_PER_EV_PER_A3


@dataclass(frozen=True)
class Relaxation:
    """What became of one structure; names and units as in ``schema.RELAXATION``."""

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
    model=None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Relaxation]:
    """Relax every crystal; rows in = rows out, same order."""
    model = model or load_potential(settings.potential)
    out: list[Relaxation | None] = [None] * len(crystals)
    todo = []
    for k, c in enumerate(crystals):
        if not c.is_finite:
            out[k] = Relaxation(
                None, Status.NOT_FINITE, "input is not finite", stop_reason="not_finite"
            )
        elif c.min_distance < settings.min_distance:
            out[k] = Relaxation(
                None,
                Status.TOO_CLOSE,
                f"shortest distance {c.min_distance:.2f} Å",
                stop_reason="too_close",
                min_distance=c.min_distance,
            )
        else:
            todo.append(k)
    while todo:
        batch, n = [], 0
        while todo and (not batch or n + len(crystals[todo[0]]) <= settings.batch_atoms):
            batch.append(todo.pop(0))
            n += len(crystals[batch[-1]])
        for k, r in zip(batch, _batch([crystals[k] for k in batch], settings, model), strict=True):
            out[k] = r
        if progress:
            progress(sum(o is not None for o in out), len(out))
    return out  # type: ignore[return-value]


def _batch(cs, settings, model):
    t0 = time.perf_counter()
    idx = torch.repeat_interleave(torch.arange(len(cs)), torch.tensor([len(c) for c in cs]))
    flip = [np.sign(np.linalg.det(c.cell)) for c in cs]
    st = SimState(
        positions=torch.tensor(np.concatenate([c.cart_coords for c in cs]), dtype=model.dtype),
        masses=torch.ones(len(idx), dtype=model.dtype),
        cell=torch.tensor(np.stack([(f * c.cell).T for f, c in zip(flip, cs)]), dtype=model.dtype),
        pbc=True,
        atomic_numbers=torch.tensor(np.concatenate([c.atomic_numbers for c in cs])),
        system_idx=idx,
    )
    s = fire_init(st, model, cell_filter=CellFilter.frechet if settings.relax_cell else None)
    e0 = s.energy.clone()
    live = list(range(len(cs)))
    res = [None] * len(cs)
    for step in range(settings.max_steps + 1):
        fm = torch.zeros(s.n_systems).scatter_reduce_(0, s.system_idx, s.forces.norm(dim=1), "amax")
        sm = s.stress.abs().amax((1, 2)) * GPA_PER_EV_PER_A3
        bad = ~(torch.isfinite(s.energy) & torch.isfinite(fm))
        ok = (fm < settings.fmax) & ((sm < settings.smax) | (not settings.relax_cell))
        done = (
            (ok | bad).nonzero().squeeze(1).tolist()
            if step < settings.max_steps
            else list(range(s.n_systems))
        )
        for d in done:
            k = live[d]
            c = cs[k]
            sel = s.system_idx == d
            cell = s.cell[d].T.double().numpy() * flip[k]
            fr = s.positions[sel].double().numpy() @ np.linalg.inv(cell)
            new = Crystal.of(cell, c.atomic_numbers, fr)
            n = len(c)
            status = Status.NOT_FINITE if bad[d] else Status.OK if ok[d] else Status.NOT_CONVERGED
            res[k] = Relaxation(
                None if bad[d] else new,
                status,
                "" if ok[d] else status.value,
                float(s.energy[d]) / n,
                float(e0[k]) / n,
                float(e0[k] - s.energy[d]) / n,
                None,
                float(fm[d]),
                float(sm[d]),
                step,
                bool(ok[d]),
                "converged"
                if ok[d]
                else "max_steps"
                if status == Status.NOT_CONVERGED
                else status.value,
                0.0,
                new.volume_per_atom,
                new.min_distance,
            )
        if done:
            live = [k for d, k in enumerate(live) if d not in set(done)]
            if not live:
                break
            s.pop(done)
        s = fire_step(s, model)
    w = (time.perf_counter() - t0) / len(cs)
    from dataclasses import replace

    return [replace(r, wall_time=w) for r in res]
