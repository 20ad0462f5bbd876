"""What the rest of the package asks of a potential with a name."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import torch
from torch import Tensor
from torch_sim.state import SimState

from chggen.compute.packing import pack
from chggen.config.contracts import Contract
from chggen.structure.crystal import Crystal

#: Radius (Å) within which neighbours are counted, that of CHGNet.
CUTOFF: Final = 6.0

#: Most neighbours per atom, by density, that are worth computing.
MAX_NEIGHBOURS: Final = 1000.0

#: Neighbours per atom of an ordinary solid; denser cells count as more atoms in a batch.
USUAL_NEIGHBOURS: Final = 100.0


class NamedPotential(Protocol):
    """A torch-sim model that knows what its energies are."""

    name: str
    contract: Contract
    #: of weights or settings, 16 hex digits
    hash: str
    #: atomic numbers that it was trained on; None if it does not say
    elements: frozenset[int] | None

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the states it takes."""

    def __call__(self, state: SimState) -> Mapping[str, Tensor]:
        """Energy [S] eV, forces [N, 3] eV/Å, stress [S, 3, 3] eV/Å³ (positive = tension).

        Raises ``RuntimeError`` where it cannot say.
        """

    def energies(self, state: SimState) -> Tensor:
        """Energies [S] in eV alone, as cheaply as it can."""


def state_of(
    positions: Tensor, cells: Tensor, atomic_numbers: Tensor, system: Tensor | None = None
) -> SimState:
    """Crystals as torch-sim takes them; masses are of no use here and one.

    Args:
        positions: [n, 3] Cartesian, Å.
        cells: [s, 3, 3] row vectors, Å.
        atomic_numbers: [n].
        system: [n] crystal of each atom, ascending; None for a single crystal.
    """
    return SimState(
        positions=positions,
        masses=torch.ones_like(positions[:, 0]),
        cell=cells.mT,
        pbc=True,
        atomic_numbers=atomic_numbers,
        system_idx=system,
    )


def packed_state(crystals: Sequence[Crystal], device: torch.device, dtype: torch.dtype) -> SimState:
    """Crystals as a batch for a potential on ``device`` in precision ``dtype``.

    Args:
        crystals: of any size.
        device: of the tensors.
        dtype: of positions and cells.
    """
    packed = pack(crystals, device, dtype)
    return state_of(packed.positions, packed.cells, packed.atomic_numbers, packed.system)


def density_neighbours(crystal: Crystal) -> float:
    """Expected number of neighbours per atom, from the density."""
    volume = crystal.volume_per_atom
    return 4 / 3 * math.pi * CUTOFF**3 / volume if volume > 0 else math.inf


def batch_weight(crystal: Crystal) -> float:
    """Atoms that a crystal counts for in a batch."""
    return len(crystal) * max(1.0, density_neighbours(crystal) / USUAL_NEIGHBOURS)


def unknown_elements(crystal: Crystal, elements: frozenset[int] | None) -> list[int]:
    """Atomic numbers of a crystal that are not among a potential's elements."""
    if elements is None:
        return []
    return sorted(set(crystal.atomic_numbers.tolist()) - elements)


def contract_columns(model: NamedPotential, prefix: str = "") -> dict[str, str]:
    """Columns that stand beside energies of a potential (``tables.contracts.CONTRACT``)."""
    return {
        f"{prefix}potential": model.name,
        f"{prefix}potential_hash": model.hash,
        f"{prefix}functional": model.contract.functional,
        f"{prefix}corrections": model.contract.corrections,
    }
