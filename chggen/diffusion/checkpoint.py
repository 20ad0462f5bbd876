"""Checkpoints of the score network: weights in safetensors, facts in a JSON card.

Nothing is ever unpickled. The card describes the weights: settings, data digest, elements,
errors by noise level, hardware, time. Its ``hash`` must match the weights.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from chggen.diffusion.card import card_path, read_card, resolve
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.settings import NetworkSettings
from chggen.errors import CheckpointError
from chggen.run.atomic import write_bytes, write_text


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Sha256 over names, shapes and values in sorted order, first 16 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def save_network(path: Path, network: ScoreNetwork, card: Mapping[str, Any]) -> str:
    """Write weights and card to the same folder; returns the hash.

    Args:
        path: .safetensors file; the card is the .json file of the same name.
        network: network whose weights and settings are written.
        card: further entries of the card.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    digest = tensors_hash(tensors)
    full = {
        "hash": digest,
        "parameters": sum(v.numel() for v in tensors.values()),
        "network": network.settings.model_dump(mode="json"),
        **card,
    }
    write_bytes(path, save_tensors(tensors))
    write_text(card_path(path), json.dumps(full, indent=1) + "\n")
    return digest


def load_network(
    checkpoint: str | Path, device: torch.device | str = "cpu"
) -> tuple[ScoreNetwork, dict[str, Any]]:
    """Network in evaluation mode, with its card.

    Args:
        checkpoint: ``pretrained``, or a .safetensors file with its card in the same folder.
        device: device of the network.

    Raises:
        CheckpointError: a file is missing or damaged, or card and weights do not match.
    """
    path = resolve(checkpoint)
    card = read_card(path)
    try:
        tensors = load_tensors(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint '{path}' is not readable ({error})") from error
    if tensors_hash(tensors) != card.get("hash"):
        raise CheckpointError(f"checkpoint '{path}': weights do not match the hash in the card")
    try:
        network = ScoreNetwork(NetworkSettings(**card["network"]))
        network.load_state_dict(tensors)
    except (RuntimeError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise CheckpointError(
            f"checkpoint '{path}' was written by another version ({line})"
        ) from error
    network.to(device).eval().requires_grad_(requires_grad=False)
    return network, card
