"""What is needed to do a run again."""

import math
from typing import Any

import numpy as np
import torch

from chggen import provenance
from chggen.evaluation.outcomes import NARROW, WIDE
from chggen.evaluation.settings import Evaluation
from chggen.potential import NamedPotential


def reproduction(
    settings: Evaluation, model: NamedPotential, card: dict[str, Any], module: str
) -> dict[str, Any]:
    """Network, potential, tolerances, settings and versions of a run.

    Args:
        settings: of the run.
        model: potential of the relaxations.
        card: of the score network.
        module: whose code, with all it imports, the run depends on.
    """
    return {
        "checkpoint": {"name": settings.generate.checkpoint, "hash": card["hash"]},
        "potential": {
            "potential": settings.relax.potential_name,
            "potential_hash": model.hash,
            "functional": model.contract.functional,
            "corrections": model.contract.corrections,
        },
        "tolerances": {
            name: dict(zip(("ltol", "stol", "angle_tol"), values, strict=True))
            for name, values in (("wide", WIDE), ("narrow", NARROW))
        },
        "settings": settings.record(),
        "code_digest": provenance.code_digest(module),
        "versions": provenance.versions(),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }


def strict(value: Any) -> Any:  # noqa: ANN401
    """The same with None for what JSON has no number for, and plain Python numbers."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.bool_):
        return bool(value)
    return int(value) if isinstance(value, np.integer) else value
