"""Checkpoints of foundation potentials, read from the wheels that carry them."""

import hashlib
from collections.abc import Mapping
from importlib.resources import as_file, files
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor

from chggen.contracts import POTENTIALS
from chggen.errors import CheckpointError
from chggen.potential.chgnet import CHGNetModel

#: File of each checkpoint, below ``chgnet/pretrained``.
FILES: Final = {
    "chgnet-0.3.0": "0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar",
    "chgnet-0.2.0": "0.2.0/chgnet_0.2.0_e30f77s348m32.pth.tar",
    "chgnet-r2scan": "r2scan/chgnet_r2scan_transfer_learning_e15f36s161m23.pth.tar",
}


def load_potential(
    name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> CHGNetModel:
    """Load a potential.

    Args:
        name: a key of :data:`chggen.contracts.POTENTIALS`.
        device: where to compute.
        dtype: precision; single is what the weights were trained in.

    Raises:
        CheckpointError: for an unknown name or a file that cannot be read.
    """
    if name not in FILES:
        raise CheckpointError(f"unknown potential '{name}', known: {', '.join(FILES)}")
    args, weights = read_checkpoint(name)
    return CHGNetModel(
        name,
        args,
        weights,
        contract=POTENTIALS[name],
        digest=weights_digest(weights),
        device=torch.device(device),
        dtype=dtype,
    )


def read_checkpoint(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Model arguments and tensors of a checkpoint.

    The files hold tensors and plain values only, so that torch's restricted unpickler
    (``weights_only``) reads them and no code in them could run.

    Raises:
        CheckpointError: if the file is missing or holds anything else.
    """
    try:
        with as_file(files("chgnet") / "pretrained" / FILES[name]) as path:
            saved = torch.load(path, map_location="cpu", weights_only=True)["model"]
        return dict(saved["model_args"]), dict(saved["state_dict"])
    except (OSError, RuntimeError, KeyError, ModuleNotFoundError, UnpicklingError) as error:
        raise CheckpointError(f"cannot read the weights of {name}: {error}") from error


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Sha256 over names and values in the order of the names, first 16 hex digits."""
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(key.encode())
        digest.update(weights[key].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
