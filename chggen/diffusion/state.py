"""The whole state of a training run in one file, from which any machine can go on.

Tensors are in safetensors on the CPU, numbers in the JSON of its header; there is no path
of a machine, no device and no pickle in it. The exact form continues bit by bit. The compact
form is for carrying: it holds the averaged weights in single precision, the weights as their
difference from the average in half precision, Adam's second moment as bfloat16, and the first
moment m as m/√v in eight bits. Adam forgets both moments within some tens of steps, and m/√v
is what its step is made of (Kingma and Ba, arXiv:1412.6980, algorithm 1).
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from chggen.diffusion.checkpoint import tensors_hash
from chggen.errors import CheckpointError
from chggen.run.atomic import write_bytes
from chggen.structure.files import first_line

#: Name of the file in the directory of a run.
NAME: Final = "state.safetensors"
_FIRST, _SECOND = "/exp_avg", "/exp_avg_sq"
_NUMBERS: Final = ("step", "epoch", "epoch_step", "seconds")


def collect(
    network: nn.Module, average: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """All tensors of a run, by group and name.

    Args:
        network: the network in training.
        average: averaged weights, by the names of the network's state.
        optimiser: its optimiser.
    """
    tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}/{key}"] = torch.as_tensor(value)
    return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}


def restore(
    tensors: Mapping[str, Tensor],
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    device: torch.device,
) -> dict[str, Tensor]:
    """Put the tensors of :func:`collect` into network and optimiser; returns the average.

    Args:
        tensors: by group and name.
        network: on ``device``; has the names and shapes of the saved one.
        optimiser: new optimiser of the network.
        device: where the average is put.

    Raises:
        CheckpointError: names or shapes are those of another network; says so, but not
            the path.
    """
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "optimiser": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = value.to(device)
    own = network.state_dict()
    for group in ("network", "average"):
        if {k: v.shape for k, v in groups[group].items()} != {k: v.shape for k, v in own.items()}:
            raise CheckpointError("is of a network with other weights")
    moments: dict[str, dict[str, Tensor]] = {}
    for name, value in groups["optimiser"].items():
        parameter, _, key = name.rpartition("/")
        moments.setdefault(parameter, {})[key] = value.cpu() if key == "step" else value
    network.load_state_dict(groups["network"])
    for name, weight in network.named_parameters():
        if name in moments:
            optimiser.state[weight] = moments[name]
    return groups["average"]


def write(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> int:
    """Write a state whole or not at all; returns its size in bytes.

    Args:
        path: file to write or replace.
        tensors: from :func:`collect`, or their compact form.
        numbers: what JSON can hold.
    """
    facts = {**numbers, "hash": _hash(tensors, numbers)}
    data = save_tensors(dict(tensors), metadata={"state": json.dumps(facts)})
    write_bytes(path, data)
    return len(data)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and numbers of a state in either form; a compact one is expanded.

    Raises:
        CheckpointError: the file is missing, damaged, or no state of a training run.
    """
    try:
        tensors, numbers = _read(path)
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(
            f"'{path}' is no state of a training run, or damaged ({first_line(error)})"
        ) from error
    return tensors, numbers


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    raw = path.read_bytes()
    tensors = load_tensors(raw)
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    numbers = json.loads(header.get("__metadata__", {}).get("state", "null"))
    if not isinstance(numbers, dict):
        raise TypeError("its header has no entry 'state'")
    for key in _NUMBERS:
        if not isinstance(numbers.get(key), int if key != "seconds" else int | float):
            raise TypeError(f"its header has no number '{key}'")
    # states of earlier versions have no hash
    if numbers.pop("hash", None) not in {None, _hash(tensors, numbers)}:
        raise ValueError("its values do not match their hash")
    return (_expanded(tensors) if numbers.pop("compact", False) else tensors), numbers


def _hash(tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> str:
    text = tensors_hash(tensors) + json.dumps(numbers, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pack(source: Path, target: Path) -> int:
    """Write the compact form of a state; returns its size in bytes.

    Args:
        source: a state in either form.
        target: file to write or replace.

    Raises:
        CheckpointError: ``source`` cannot be read, or is no state of a training run.
    """
    tensors, numbers = read(source)
    try:
        packed = _compact(tensors)
    except LookupError as error:
        raise CheckpointError(f"'{source}' lacks the tensor {first_line(error)}") from error
    return write(target, packed, {**numbers, "compact": True})


def _compact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    packed = dict(tensors)
    for name, value in tensors.items():
        group, _, rest = name.partition(".")
        if not value.is_floating_point():
            continue
        if group == "network":
            packed[name] = (value - tensors[f"average.{rest}"]).half()
        elif name.endswith(_SECOND):
            second = value.bfloat16()
            first = name.removesuffix(_SECOND) + _FIRST
            packed[name] = second
            packed[first] = _quotient(tensors[first], second).to(torch.float8_e4m3fn)
    return packed


def _expanded(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: value.float() for name, value in packed.items() if value.is_floating_point()}
    tensors = {**packed, **tensors}
    for name, value in packed.items():
        group, _, rest = name.partition(".")
        if group == "network" and value.is_floating_point():
            tensors[name] = tensors[f"average.{rest}"] + value.float()
        elif name.endswith(_SECOND):
            first = name.removesuffix(_SECOND) + _FIRST
            tensors[first] = tensors[first] * tensors[name].sqrt()
    return tensors


def _quotient(first: Tensor, second: Tensor) -> Tensor:
    """First moment over the root of the second; 0 where there was no gradient."""
    root = second.float().sqrt()
    return torch.where(root > 0, first / root, 0.0)
