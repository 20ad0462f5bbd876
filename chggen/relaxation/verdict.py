"""What a structure's numbers say about its relaxation: go on, done, or failed, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch_sim.state import SimState

from chggen.errors import Status
from chggen.potential.interface import (
    CUTOFF,
    MAX_NEIGHBOURS,
    density_neighbours,
    unknown_elements,
)
from chggen.structure.composition import SYMBOLS
from chggen.structure.crystal import Crystal, in_reduced_cell
from chggen.units import GPA_PER_EV_PER_A3

#: Range of (present / initial volume) outside which a cell has run away.
VOLUME_RATIOS: Final = (0.3, 3.0)

#: Distances below this share of the starting limit are a collapse; less than 1, because a
#: structure may start just above the limit.
COLLAPSE: Final = 0.7

#: Energy (eV/atom) that no crystal has: the potential has left what it was trained on.
LOWEST_ENERGY: Final = -50.0

#: Least height (Å) of a cell between opposite faces; flatter ones have too many images.
LEAST_HEIGHT: Final = 0.2

Ending = tuple[Status, str]


@dataclass(frozen=True)
class Criteria:
    """When a relaxation ends.

    Args:
        fmax: force criterion, eV/Å.
        smax: stress criterion, GPa; None if the cell is fixed.
        max_steps: step limit.
        min_distance: shortest distance (Å) that a structure may start with.
        elements: atomic numbers that the potential was trained on; None for any.
        potential: its name, for messages.
    """

    fmax: float
    smax: float | None
    max_steps: int
    min_distance: float
    elements: frozenset[int] | None = None
    potential: str = "the potential"


@dataclass(frozen=True)
class Reading:
    """The present state of one structure, as plain numbers."""

    energy: float  # eV
    fmax: float  # eV/Å
    smax: float  # GPa
    volume: float  # Å³
    height: float  # Å, least of the cell
    min_distance: float  # Å; zero if the potential does not tell
    isolated: bool


def _symbol(z: int) -> str:
    return SYMBOLS[z] if 0 < z < len(SYMBOLS) else f"atomic number {z}"


def refusal(crystal: Crystal, criteria: Criteria) -> Ending | None:
    """Why a structure cannot be relaxed at all; None if it can."""
    refused = _refused_content(crystal, criteria)
    if refused is not None:
        return refused
    if density_neighbours(crystal) > MAX_NEIGHBOURS:
        return Status.TOO_CLOSE, f"{crystal.volume_per_atom:.2g} Å³ per atom is too dense"
    height = _height(crystal)
    if height < LEAST_HEIGHT:
        return Status.FAILED, f"cell is only {height:.2g} Å high"
    limit, distance = criteria.min_distance, crystal.min_distance
    if distance < limit:
        return Status.TOO_CLOSE, f"shortest distance {distance:.2f} Å, limit {limit:.2f} Å"
    return None


def unskewed(crystal: Crystal) -> Crystal:
    """The crystal in its reduced cell if its own is only flat because it is skewed."""
    if not crystal.is_finite or _height(crystal) >= LEAST_HEIGHT:
        return crystal
    try:
        reduced = in_reduced_cell(crystal)
    except ValueError:  # no volume
        return crystal
    return reduced if _height(reduced) >= LEAST_HEIGHT else crystal


def _height(crystal: Crystal) -> float:
    return float(_volume_and_height(torch.from_numpy(crystal.cell[None]))[1])


def _refused_content(crystal: Crystal, criteria: Criteria) -> Ending | None:
    """What is wrong with a structure whatever its geometry."""
    if len(crystal) == 0:
        return Status.FAILED, "no atoms"
    if not crystal.is_finite:
        return Status.NOT_FINITE, "non-finite coordinates"
    unknown = unknown_elements(crystal, criteria.elements)
    if unknown:
        names = ", ".join(_symbol(z) for z in unknown)
        return Status.FAILED, f"{criteria.potential} was not trained on {names}"
    return None


def read(state: SimState, output: Mapping[str, Tensor]) -> list[Reading]:
    """Plain numbers of every structure of a batch, from the potential's output."""
    energy = output["energy"]
    force = torch.linalg.vector_norm(output["forces"], dim=1)
    columns = [
        energy,
        torch.zeros_like(energy).scatter_reduce_(0, state.system_idx, force, "amax"),
        output["stress"].abs().amax((1, 2)) * GPA_PER_EV_PER_A3,
        *_volume_and_height(state.row_vector_cell),
        output.get("min_distance", torch.zeros_like(energy)),
        output.get("isolated", torch.zeros_like(energy)),
    ]
    table = torch.stack([column.to(torch.float64) for column in columns], 1).tolist()
    return [Reading(e, f, s, v, h, d, bool(alone)) for e, f, s, v, h, d, alone in table]


def ending(start: Crystal, now: Reading, steps: int, criteria: Criteria) -> Ending | None:
    """Status and reason of a relaxation that is at its end; None if it goes on.

    Args:
        start: the structure at its start.
        now: present energy, forces, stress and distances.
        steps: taken so far.
        criteria: when a relaxation ends.
    """
    failure = _failure(start, now, criteria)
    if failure is not None:
        return failure[0], f"{failure[1]} at step {steps}"
    if now.isolated and steps == 0:
        return Status.ISOLATED_ATOM, f"an atom has no neighbour within {CUTOFF:g} Å"
    if now.isolated:
        return Status.EXPLODED, f"an atom lost all neighbours at step {steps}"
    if now.fmax < criteria.fmax and (criteria.smax is None or now.smax < criteria.smax):
        return Status.OK, ""
    if steps >= criteria.max_steps:
        text = f"{now.fmax:.2f} eV/Å and {now.smax:.1f} GPa after {steps} steps"
        return Status.NOT_CONVERGED, text
    return None


def _failure(start: Crystal, now: Reading, criteria: Criteria) -> Ending | None:
    """What has gone wrong, if anything."""
    ratio, per_atom = now.volume / start.volume, now.energy / len(start)
    low, high = VOLUME_RATIOS
    if not all(map(math.isfinite, (now.energy, now.fmax, now.smax, now.volume))):
        return Status.NOT_FINITE, "non-finite energy, force or stress"
    if not low < ratio < high:
        return Status.EXPLODED, f"volume changed by a factor of {ratio:.2f}"
    if now.height < LEAST_HEIGHT:
        return Status.EXPLODED, f"cell only {now.height:.2g} Å high"
    if per_atom < LOWEST_ENERGY:
        return Status.EXPLODED, f"{per_atom:.0f} eV/atom"
    if 0 < now.min_distance < COLLAPSE * criteria.min_distance:
        return Status.EXPLODED, f"atoms {now.min_distance:.2f} Å apart"
    return None


def _volume_and_height(cell: Tensor) -> tuple[Tensor, Tensor]:
    """Volume [S] and least height [S] of cells [S, 3, 3], row vectors."""
    normals = torch.linalg.cross(cell.roll(-1, 1), cell.roll(-2, 1))
    volume = (cell * normals).sum(2).abs().amin(1)
    return volume, volume / torch.linalg.vector_norm(normals, dim=2).amax(1)
