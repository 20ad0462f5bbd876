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
def _torchsim_nl() -> NeighbourList:
    with quietly():
        from torch_sim.neighbors import torchsim_nl
    nl: NeighbourList = torchsim_nl
    return nl


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
        centre [e], neighbour [e] and vector from one to the other [e, 3] in Å.
    """
    pbc = torch.ones(len(cells), 3, dtype=torch.bool, device=positions.device)
    mapping, _, shifts = _torchsim_nl()(positions, cells, pbc, cutoff, system)
    centre, other = mapping[0].long(), mapping[1].long()
    offset = torch.einsum("ei,eij->ej", shifts.to(positions.dtype), cells[system[centre]])
    return centre, other, positions[other] - positions[centre] + offset
