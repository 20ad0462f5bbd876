"""Path and card of a checkpoint, read without importing torch.

The Snakefile checks at parse time that the checkpoint of a campaign exists and supports
all elements.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from chggen.config.energies import tensor_sizes
from chggen.config.stages import PRETRAINED
from chggen.diffusion.settings import NetworkSettings
from chggen.errors import CheckpointError, ConfigError
from chggen.provenance import PACKAGE

DIRECTORY = PACKAGE / "pretrained"
SCORE = DIRECTORY / "score.safetensors"


def resolve(checkpoint: str | Path) -> Path:
    """Path of a checkpoint; ``pretrained`` is the one in the package."""
    return SCORE if str(checkpoint) == PRETRAINED else Path(checkpoint)


def card_path(checkpoint: Path) -> Path:
    """Path of the card of a checkpoint."""
    return checkpoint.with_suffix(".json")


def read_card(checkpoint: str | Path) -> dict[str, Any]:
    """Card of a checkpoint; raises :class:`CheckpointError` if it or the weights are missing."""
    path = resolve(checkpoint)
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint '{checkpoint}'")
    try:
        card = json.loads(card_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint '{checkpoint}' has no readable card '{card_path(path).name}'"
        ) from error
    if not isinstance(card, dict) or "hash" not in card or "network" not in card:
        raise CheckpointError(f"checkpoint '{checkpoint}': its card lacks 'hash' or 'network'")
    return card


def check(checkpoint: str | Path) -> dict[str, Any]:
    """Card of a checkpoint, after a check of the number of weights; values are not read.

    Raises:
        CheckpointError: weights or card are missing or damaged, or they do not match.
    """
    card = read_card(checkpoint)
    try:
        found = sum(tensor_sizes(resolve(checkpoint)).values())
        NetworkSettings.model_validate(card["network"])
    except ConfigError as error:
        raise CheckpointError(f"checkpoint '{checkpoint}' {error}") from error
    except ValidationError as error:
        raise CheckpointError(
            f"checkpoint '{checkpoint}': its card does not describe a network of this version"
        ) from error
    if found != card.get("parameters", found):
        raise CheckpointError(
            f"checkpoint '{checkpoint}' has {found:,} weights, its card states"
            f" {card['parameters']:,}"
        )
    return card


def require_cell_head(card: Mapping[str, Any], where: str) -> None:
    """Raise :class:`ConfigError` if a network cannot draw cells.

    Args:
        card: of the checkpoint.
        where: key and value that name it.
    """
    if not card["network"].get("cell", False):
        raise ConfigError(
            f"{where}: has no head for the cell: generate.lattice.joint needs one"
            " (leave it out, or train a network with one)"
        )


def volume_elements() -> set[str]:
    """Elements in the training data of the packaged volume regression."""
    return set(json.loads((DIRECTORY / "volume.json").read_text(encoding="utf-8"))["elements"])


def unknown_elements(card: Mapping[str, Any], elements: Iterable[str]) -> list[str]:
    """Elements that are not in the training data of the checkpoint."""
    known = set(card.get("elements", {}))
    return sorted(set(elements) - known)
