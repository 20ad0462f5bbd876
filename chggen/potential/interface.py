"""What the rest of the package asks of a potential with a name."""

from collections.abc import Mapping
from typing import Final, Protocol

import torch
from torch import Tensor
from torch_sim.state import SimState

from chggen.config.contracts import Contract

#: Radius (Å) within which neighbours are counted, that of CHGNet.
CUTOFF: Final = 6.0


class NamedPotential(Protocol):
    """A torch-sim model that knows what its energies are."""

    name: str
    contract: Contract
    #: of weights or settings, 16 hex digits
    hash: str

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


def contract_columns(model: NamedPotential, prefix: str = "") -> dict[str, str]:
    """Columns that stand beside energies of a potential (``schema.CONTRACT``)."""
    return {
        f"{prefix}potential": model.name,
        f"{prefix}potential_hash": model.hash,
        f"{prefix}functional": model.contract.functional,
        f"{prefix}corrections": model.contract.corrections,
    }
