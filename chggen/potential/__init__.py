"""Batched foundation potentials behind torch-sim's ModelInterface."""

import warnings

with warnings.catch_warnings():
    # torch-sim and nvalchemiops script functions at import, which torch calls deprecated
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)
    from torch_sim.state import SimState

    from chggen.potential.checkpoints import load_potential
    from chggen.potential.chgnet import CHGNetModel

__all__ = ["CHGNetModel", "SimState", "load_potential"]
