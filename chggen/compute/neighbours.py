"""One way to torch-sim's batched neighbour list, with its imports kept quiet."""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

NeighbourList = Callable[..., tuple[Tensor, Tensor, Tensor]]


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Import torch-sim without its dependencies' remarks.

    warp's native code writes to the process's stderr that there is no CUDA driver, and
    torch calls the scripting that some modules do at import deprecated.
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
def _lists() -> tuple[NeighbourList, NeighbourList, type[Exception]]:
    """The fast list, one without limits, and what the fast one raises beyond its own."""
    with quietly():
        from nvalchemiops.neighbors.neighbor_utils import (  # type: ignore[import-untyped]
            NeighborOverflowError,
        )
        from torch_sim.neighbors import torch_nl_n2, torchsim_nl
    return torchsim_nl, torch_nl_n2, NeighborOverflowError


def neighbour_list(
    positions: Tensor, cells: Tensor, system: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs closer than ``cutoff`` (Å), periodic images included.

    Args:
        positions: [n, 3] Cartesian, Å, any image.
        cells: [s, 3, 3] row vectors, Å.
        system: [n] crystal of each atom, ascending.
        cutoff: radius, Å.

    Returns:
        centre [e], ascending, neighbour [e] and vector from one to the other [e, 3] in Å.
    """
    centre, other, shifts = _pairs(positions, cells, system, cutoff)
    if bool((centre.diff() < 0).any()):  # the fast list is in order
        order = torch.argsort(centre, stable=True)
        centre, other, shifts = centre[order], other[order], shifts[order]
    offset = torch.einsum("ei,eij->ej", shifts.to(positions.dtype), cells[system[centre]])
    return centre, other, positions[other] - positions[centre] + offset


def _pairs(
    positions: Tensor, cells: Tensor, system: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Centre [e], neighbour [e], shifts [e, 3].

    The fast list holds a number of neighbours that fits 0.2 atoms per Å³. Where a crystal
    exceeds it (atoms drawn at random can crowd), the batch is halved until that crystal
    is alone, and only it takes the list without limit.
    """
    fast, unlimited, overflow = _lists()
    pbc = torch.ones(len(cells), 3, dtype=torch.bool, device=positions.device)
    try:
        mapping, _, shifts = fast(positions, cells, pbc, cutoff, system)
    except overflow:
        if len(cells) == 1:
            mapping, _, shifts = unlimited(positions, cells, pbc, cutoff, system)
        else:
            half = len(cells) // 2
            cut = int((system < half).sum())
            low = _pairs(positions[:cut], cells[:half], system[:cut], cutoff)
            high = _pairs(positions[cut:], cells[half:], system[cut:] - half, cutoff)
            high = (high[0] + cut, high[1] + cut, high[2])
            return tuple(torch.cat(both) for both in zip(low, high, strict=True))  # type: ignore[return-value]
    return mapping[0].long(), mapping[1].long(), shifts
