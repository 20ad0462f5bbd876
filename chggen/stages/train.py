"""``train``: structures to a score network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from chggen.config.base import paths_of
from chggen.config.stages import TrainConfig
from chggen.diffusion.data import StructureData, materials_project
from chggen.diffusion.reading import formulas_in, read, up_to, without
from chggen.diffusion.settings import PRESETS
from chggen.diffusion.training import Trainer
from chggen.diffusion.training import train as run
from chggen.run import progress as bars


def train(
    settings: TrainConfig,
    log: Callable[[dict[str, Any]], None],
    progress: bars.Progress = bars.silent,
) -> Path:
    """Train a score network and write checkpoint, card and log; resumes by itself.

    Args:
        settings: section ``train`` of the config.
        log: called with one record now and then.
        progress: called with (structures read, structures in all) while reading data.

    Returns:
        Path of the checkpoint, to be named in ``generate.checkpoint``.

    Raises:
        ChggenError: a file cannot be read, or holds nothing to train on.
        CheckpointError: the output directory has the state of another training.
        UnfinishedError: SIGTERM came; the state is saved.
    """
    preset = PRESETS[settings.preset]
    preset = preset.model_copy(
        update={
            "training": preset.training.model_copy(update={"batch_atoms": settings.batch_atoms})
        }
    )
    output = settings.output
    output.mkdir(parents=True, exist_ok=True)
    cache = output / "cache"
    data = _training_data(settings, cache, progress)
    validation = (
        read(
            paths_of(settings.validation),
            cache,
            progress,
            settings.max_above_hull,
            "train.validation",
        )
        if settings.validation
        else None
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trainer = Trainer.start(preset, data, settings.epochs, device, compiled=settings.compile)

    def both(record: dict[str, Any]) -> None:
        log(record)
        with (output / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    both({"data": data.facts()})
    return run(trainer, output, validation, both, settings.minutes)


def _training_data(settings: TrainConfig, cache: Path, progress: bars.Progress) -> StructureData:
    """What the settings say to train on."""
    left_out = formulas_in(paths_of(settings.exclude), "train.exclude")
    data = (
        read(paths_of(settings.data), cache, progress, settings.max_above_hull)
        if settings.data
        else materials_project(cache, settings.max_above_hull)
    )
    if left_out:
        data = without(data, left_out)
    return data if settings.max_atoms is None else up_to(data, settings.max_atoms)
