"""SevenNets: those in the wheel of sevenn by name, and checkpoints of the user's.

A checkpoint of sevenn is a pickle of tensors, plain values and a few numpy arrays. It is
read by torch's restricted unpickler (``weights_only``), allowed to make numpy arrays of
numbers and nothing else, so that no code in a file can run; sevenn's own loader, which
unpickles anything, is never called. The files in the wheel must moreover be the ones that
were tested here, by sha256.

Park et al., J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190;
multi-fidelity: Kim et al., J. Am. Chem. Soc. 147, 1042 (2025), doi:10.1021/jacs.4c14455.
"""

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from chggen.compute.neighbours import torch_sim_list
from chggen.errors import CheckpointError
from chggen.provenance import digest


class WheelFile(NamedTuple):
    """A potential in the wheel of sevenn."""

    #: below ``sevenn/pretrained_potentials``
    path: str
    #: of the file, all 64 hex digits; sevenn 0.13.0
    sha256: str
    #: task of a model that was trained on several
    modal: str | None = None


_MULTI: Final = WheelFile(
    "SevenNet_MF_0/checkpoint_sevennet_mf_0.pth",
    "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd",
)
FILES: Final = {
    "sevennet-0": WheelFile(
        "SevenNet_0__11Jul2024/checkpoint_sevennet_0.pth",
        "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36",
    ),
    "sevennet-l3i5": WheelFile(
        "SevenNet_l3i5/checkpoint_l3i5.pth",
        "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d",
    ),
    "sevennet-mf-0-pbe": _MULTI._replace(modal="PBE"),
    "sevennet-mf-0-r2scan": _MULTI._replace(modal="R2SCAN"),
}

_NUMBERS: Final = ("float16", "float32", "float64", "int32", "int64", "bool")

Checkpoint = Mapping[str, Any]


def load_from_wheel(name: str, device: torch.device) -> tuple[Any, str, frozenset[int]]:
    """A SevenNet of the wheel: torch-sim's model, hash and atomic numbers.

    Args:
        name: a key of :data:`FILES`.
        device: where it computes.

    Raises:
        CheckpointError: the file is not there, or not the one that is known.
    """
    file = FILES[name]
    found = importlib.util.find_spec("sevenn")
    folder = Path(found.origin).parent if found and found.origin else Path()
    path = folder / "pretrained_potentials" / file.path
    try:
        checkpoint = read(path, file.sha256)
        model = build(checkpoint, file.modal, device)
    except (OSError, RuntimeError, UnpicklingError, LookupError, TypeError, ValueError) as error:
        line = str(error).partition("\n")[0]
        raise CheckpointError(f"potential '{name}': cannot read '{path}': {line}") from error
    found_hash = digest({"weights": weights_digest(checkpoint), "modal": file.modal})
    return model, found_hash, frozenset(checkpoint["config"]["_type_map"])


def read(path: Path, sha256: str | None = None) -> Checkpoint:
    """Content of a checkpoint of sevenn; no code in it can run.

    Args:
        path: of the file.
        sha256: that it must have; None for a file of the user's.

    Raises:
        UnpicklingError: it holds anything but tensors, plain values and arrays of numbers.
        ValueError: it is another file than is expected, or no checkpoint of sevenn.
    """
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("not the file that is known: its sha256 is another (sevenn==0.13.0?)")
    with torch.serialization.safe_globals(_arrays_of_numbers()):
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or not {"config", "model_state_dict"} <= set(found):
        raise ValueError("has no 'config' and 'model_state_dict' of sevenn")
    return found


def _arrays_of_numbers() -> list[Any]:
    """What the restricted unpickler may make beyond tensors, under the names in old files too."""
    from numpy._core.multiarray import _reconstruct, scalar

    makers = [
        (maker, f"numpy.{core}.multiarray.{name}")
        for maker, name in ((_reconstruct, "_reconstruct"), (scalar, "scalar"))
        for core in ("core", "_core")
    ]
    return [*makers, np.ndarray, np.dtype, *(type(np.dtype(name)) for name in _NUMBERS)]


def build(checkpoint: Checkpoint, modal: str | None, device: torch.device) -> Any:  # noqa: ANN401
    """torch-sim's model of a checkpoint that was read.

    Args:
        checkpoint: of :func:`read`.
        modal: task, for a model that was trained on several.
        device: where it computes.

    Raises:
        ValueError: the model lacks the task, or needs one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries that are only there to train
        from sevenn.checkpoint import SevenNetCheckpoint, _config_cp_routine
        from sevenn.torchsim import SevenNetModel

        # what sevenn 0.13's own reader sets, but for the unpickling
        own = SevenNetCheckpoint("")
        own._model_state_dict = dict(checkpoint["model_state_dict"])  # noqa: SLF001
        own._config = _config_cp_routine(dict(checkpoint["config"]))  # noqa: SLF001
        own._loaded = True  # noqa: SLF001
        return SevenNetModel(
            own.build_model(), modal=modal, neighbor_list_fn=torch_sim_list, device=device
        )


def weights_digest(checkpoint: Checkpoint) -> str:
    """Sha256 over names and values of the weights, in the order of the names."""
    weights: Mapping[str, Tensor] = checkpoint["model_state_dict"]
    found = hashlib.sha256()
    for key in sorted(weights):
        found.update(key.encode())
        found.update(weights[key].detach().contiguous().numpy().tobytes())
    return found.hexdigest()
