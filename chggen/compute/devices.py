"""Where score network and potentials compute: the processor, or a GPU where one is asked for.

A property of the machine and not of the campaign, so the environment says it and no config
does: results differ by rounding only.
"""

import os
from typing import Final

import torch

from chggen.errors import ConfigError

#: Environment variable: ``cpu`` (default), ``cuda``, or ``auto`` (a GPU if there is one).
VARIABLE: Final = "CHGGEN_DEVICE"


def chosen() -> torch.device:
    """Device that :data:`VARIABLE` asks for.

    Raises:
        ConfigError: it asks for a GPU that PyTorch does not see, or for something else.
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
