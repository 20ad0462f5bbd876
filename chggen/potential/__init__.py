"""Batched foundation potentials behind torch-sim's ModelInterface."""

from chggen.neighbours import quietly

with quietly():
    from torch_sim.state import SimState

from chggen.potential.checkpoints import load_potential
from chggen.potential.chgnet import CHGNetModel

__all__ = ["CHGNetModel", "SimState", "load_potential"]
