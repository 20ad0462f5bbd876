"""Neighbour lists: the only module that computes them, without overflow at any density.

On the CPU this is vesin (https://github.com/Luthaf/vesin), whose lists grow as needed.
torch-sim's default list, which is as fast on the CPU and faster on a GPU, has space for the
neighbours at 0.2 atoms per Å³ and raises an error above that; on a GPU it is tried first.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

Pairs = tuple[Tensor, Tensor, Tensor]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Import torch-sim without the messages of its dependencies.

    The native code of warp writes to stderr that there is no CUDA driver, and torch warns
    that the scripting of some modules at import is deprecated.
    """
    if torch.cuda.is_available():
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@cache
def overflow_error() -> type[Exception]:
    """Error of torch-sim's default list at too high a density."""
    return _gpu_list()[1]


@cache
def _gpu_list() -> tuple[Callable[..., Pairs], type[Exception]]:
    """torch-sim's list, and its error at too high a density."""
    with quietly():
        from nvalchemiops.neighbors.neighbor_utils import (  # type: ignore[import-untyped]
            NeighborOverflowError,
        )
        from torch_sim.neighbors import torchsim_nl
    return torchsim_nl, NeighborOverflowError


def neighbour_list(
    positions: Tensor, cells: Tensor, system: Tensor, cutoff: float, *, once: bool = False
) -> Pairs:
    """All pairs closer than ``cutoff`` (Å), periodic images included, at any density.

    Args:
        positions: [n, 3] Cartesian, Å, any image.
        cells: [s, 3, 3] row vectors, Å.
        system: [n] crystal of each atom, ascending.
        cutoff: radius, Å.
        once: return each pair in one direction only (which one is not defined).

    Returns:
        centre [e], ascending unless ``once``, neighbour [e] and vector from one to the other
        [e, 3] in Å, computed in the precision of the positions.

    Raises:
        RuntimeError: a coordinate is not finite, or a cell is flat.
    """
    # vesin terminates the process if a cell is not finite
    if not (bool(torch.isfinite(cells).all()) and bool(torch.isfinite(positions).all())):
        raise RuntimeError("coordinates are not finite numbers")
    centre, other, shifts = _pairs(positions, cells, system, cutoff, once=once)
    offset = torch.einsum("ei,eij->ej", shifts.to(positions.dtype), cells[system[centre]])
    return centre, other, positions[other] - positions[centre] + offset


def _pairs(positions: Tensor, cells: Tensor, system: Tensor, cutoff: float, *, once: bool) -> Pairs:
    """Centre [e], neighbour [e], shifts [e, 3]."""
    if positions.is_cuda:
        fast, overflow = _gpu_list()
        pbc = torch.ones(len(cells), 3, dtype=torch.bool, device=cells.device)
        try:
            mapping, _, shifts = fast(positions, cells, pbc, cutoff, system)
        except overflow:
            pass  # a crystal is too dense for it
        else:
            found = mapping[0].long(), mapping[1].long(), shifts
            if once:
                forward = _is_forward(*found)
                found = found[0][forward], found[1][forward], found[2][forward]
            return found
    sizes = torch.bincount(system, minlength=len(cells)).tolist()
    points = positions.detach().double().cpu().numpy()
    boxes = cells.detach().double().cpu().numpy()
    search = NeighborList(cutoff=cutoff, full_list=not once, sorted=not once, n_threads=1)
    pairs, shifts_found, first = [], [], 0
    for box, size in zip(boxes, sizes, strict=True):
        if size:
            found_pairs, found_shifts = search.compute(
                points=points[first : first + size], box=box, periodic=True, quantities="PS"
            )
            pairs.append(found_pairs.astype(np.int64) + first)
            shifts_found.append(found_shifts)
        first += size
    table = np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs])
    images = np.concatenate([np.zeros((0, 3), dtype=np.int32), *shifts_found])
    centre, other = torch.from_numpy(np.ascontiguousarray(table.T)).to(positions.device)
    return centre, other, torch.from_numpy(images).to(positions.device)


def torch_sim_list(
    positions: Tensor,
    cell: Tensor,
    pbc: Tensor,  # noqa: ARG001
    cutoff: float,
    system_idx: Tensor,
    self_interaction: bool = False,  # noqa: ARG001, FBT001, FBT002
) -> Pairs:
    """The list with the signature that torch-sim's models require.

    Args:
        positions: [n, 3] Cartesian, Å.
        cell: [s, 3, 3] row vectors, Å.
        pbc: not used; all crystals are periodic.
        cutoff: radius, Å.
        system_idx: [n] crystal of each atom, ascending.
        self_interaction: not used; no atom is a neighbour of itself.

    Returns:
        pairs [2, e], system of each [e], shifts [e, 3].
    """
    centre, other, shifts = _pairs(positions, cell.view(-1, 3, 3), system_idx, cutoff, once=False)
    return torch.stack([centre, other]), system_idx[centre], shifts.to(positions.dtype)


def _is_forward(centre: Tensor, other: Tensor, shifts: Tensor) -> Tensor:
    """[e] True for one of the two directions of every pair."""
    x, y, z = shifts.unbind(1)
    positive = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return (centre < other) | ((centre == other) & positive)
