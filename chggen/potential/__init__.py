"""Batched foundation potentials behind torch-sim's ModelInterface."""

from chggen.neighbours import quietly

with quietly():
    from torch_sim.state import SimState

from chggen.potential.checkpoints import NONE_OWN, load_named, load_potential
from chggen.potential.chgnet import CHGNetModel
from chggen.potential.interface import NamedPotential, contract_columns

__all__ = [
    "NONE_OWN",
    "CHGNetModel",
    "NamedPotential",
    "SimState",
    "contract_columns",
    "load_named",
    "load_potential",
]
