"""Device of score network and potentials: the CPU, or a GPU if requested.

The device is a property of the machine and not of the campaign, so it is set in the
environment and not in a config; results differ by rounding only.
"""

import os
from typing import Final

import torch

from chggen.errors import ConfigError

#: Environment variable: ``cpu`` (default), ``cuda``, or ``auto`` (a GPU if there is one).
VARIABLE: Final = "CHGGEN_DEVICE"


def chosen() -> torch.device:
    """Device requested by :data:`VARIABLE`.

    Raises:
        ConfigError: it requests a GPU that PyTorch does not find, or has an unknown value.
    """
    value = os.environ.get(VARIABLE, "cpu")
    if value not in {"cpu", "cuda", "auto"}:
        raise ConfigError(f"{VARIABLE} = '{value}': must be cpu, cuda or auto")
    if value == "cpu":
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if value == "cuda":
        raise ConfigError(f"{VARIABLE} = 'cuda': PyTorch finds no GPU")
    return torch.device("cpu")
