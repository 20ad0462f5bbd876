"""Batched foundation potentials behind torch-sim's ModelInterface."""

from chggen.compute.neighbours import quietly

with quietly():
    from torch_sim.state import SimState

from chggen.potential.chgnet.model import CHGNetModel
from chggen.potential.interface import NamedPotential, contract_columns
from chggen.potential.load import NONE_OWN, load_named, load_potential

__all__ = [
    "NONE_OWN",
    "CHGNetModel",
    "NamedPotential",
    "SimState",
    "contract_columns",
    "load_named",
    "load_potential",
]
