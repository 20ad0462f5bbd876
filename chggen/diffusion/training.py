"""Training of the score network on CPU or GPU: batches, exact resumption, logs.

All random numbers of a step are derived from (seed, epoch, step), so that a run that was
killed and resumed uses the same batches and noise as an uninterrupted one.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from chggen.diffusion import state
from chggen.diffusion.batch import Batch, Graph
from chggen.diffusion.checkpoint import save_network
from chggen.diffusion.data import StructureData
from chggen.diffusion.network import ScoreNetwork
from chggen.diffusion.objective import (
    Noised,
    add_noise,
    error_by_level,
    everyone,
    sample_cell_sigma,
    sample_guests,
    sample_sigma,
)
from chggen.diffusion.settings import Preset, TrainingSettings
from chggen.errors import CheckpointError, ChggenError, UnfinishedError
from chggen.run.stopping import sigterm_noticed
from chggen.structure.composition import SYMBOLS

#: Noise levels (Å) of the validation table.
LEVELS = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 2.0)
SAVE_EVERY = 300.0  # seconds
LOG_EVERY = 20.0
#: Loss of a batch above which it teaches nothing; a network that predicts zero has 1.
ENORMOUS = 100.0
#: So many such batches in a row, and the training has diverged.
_DIVERGED = 100

Log = Callable[[dict[str, Any]], None]


def learning_rate(step: int, total: int, settings: TrainingSettings) -> float:
    """Warm-up, plateau, then linear decay to zero over the last part of training.

    Args:
        step: optimiser step, from 0.
        total: number of steps of the training.
        settings: rate at the plateau, warm-up and share of the decay.
    """
    warm = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    left = (total - step) / max(total * settings.decay_share, 1)
    return settings.learning_rate * warm * min(1.0, max(left, 0.0))


@dataclass
class Trainer:
    """State of a training run.

    Args:
        network: the network in training.
        preset: its settings.
        data: training structures.
        epochs: passes over the data.
        device: device to train on.
        compiled: use torch.compile (faster after some minutes; needs a C++ compiler).
    """

    network: ScoreNetwork
    preset: Preset
    data: StructureData
    epochs: int
    device: torch.device
    compiled: bool = False
    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    seconds: float = 0.0  # of all cores on a CPU, of wall time on a GPU
    skipped: int = 0
    skipped_in_a_row: int = 0
    average: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(
        cls, preset: Preset, data: StructureData, epochs: int, device: str, *, compiled: bool
    ) -> Self:
        """New network, initialised with the seed of the settings.

        Args:
            preset: settings of network and training.
            data: training structures.
            epochs: passes over the data.
            device: device to train on.
            compiled: use torch.compile.
        """
        torch.manual_seed(preset.training.seed)
        network = ScoreNetwork(preset.network).to(device)
        trainer = cls(network, preset, data, epochs, torch.device(device), compiled)
        trainer.average = {k: v.clone() for k, v in network.state_dict().items()}
        return trainer

    def __post_init__(self) -> None:
        """Make the optimiser, and the compiled network if requested."""
        settings = self.preset.training
        kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(
            self.network.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        predict = self.network.joint
        self.forward = torch.compile(predict, dynamic=True) if self.compiled else predict
        self.total = self.epochs * math.ceil(self.data.n_atoms / settings.batch_atoms * 1.02)

    def batches(self) -> Iterator[Noised]:
        """Noisy batches from the current step to the last one."""
        settings = self.preset.training
        while self.epoch < self.epochs:
            shuffle = np.random.SeedSequence([settings.seed, self.epoch])
            for number, index in enumerate(self.data.epoch(shuffle, settings.batch_atoms)):
                if number < self.epoch_step:
                    continue
                self.epoch_step = number + 1
                seed = np.random.SeedSequence([settings.seed, self.epoch, number])
                yield self._noised(self.data.batch(index, self.device), seed)
            self.epoch, self.epoch_step = self.epoch + 1, 0

    def _noised(self, batch: Batch, seed: np.random.SeedSequence) -> Noised:
        settings = self.preset.training
        rng = np.random.default_rng(seed)
        sigma = sample_sigma(batch.n_systems, settings, rng)
        guests = sample_guests(batch, settings.mask_share, rng)
        noise = torch.as_tensor(rng.standard_normal(batch.positions.shape, dtype=np.float32))
        if not self.preset.network.cell:
            return add_noise(batch, sigma, guests, noise)
        free = everyone(batch, guests).cpu()
        cell_sigma = sample_cell_sigma(sigma, free, settings, rng)
        cell_noise = torch.as_tensor(rng.standard_normal((batch.n_systems, 6), dtype=np.float32))
        return add_noise(batch, sigma, guests, noise, cell_sigma, cell_noise)

    def update(self, noised: Noised) -> float:
        """One optimiser step; returns the loss per component.

        A batch whose loss is enormous, or whose gradient is not finite, is counted, changes
        no weight and returns infinity: one infinity would make every weight NaN.

        Raises:
            ChggenError: there were many such batches in a row.
        """
        settings = self.preset.training
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.total, settings)
        graph = self.network.graph(noised.batch)
        loss = self._loss(noised, graph)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.step += 1
        if not (float(loss.detach()) <= ENORMOUS and bool(norm.isfinite())):
            self._skip(float(loss.detach()))
            return math.inf
        self.skipped_in_a_row = 0
        self.optimiser.step()
        # the decay starts low, so that early weights are forgotten, and rises to its set value
        keep = min(settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        return float(loss.detach())

    def _skip(self, loss: float) -> None:
        self.skipped += 1
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= _DIVERGED:
            raise ChggenError(
                f"training has diverged: {_DIVERGED} batches in a row have no usable loss"
                f" (the last one {loss:g}); nothing was saved since they began"
            )

    def _loss(self, noised: Noised, graph: Graph) -> Tensor:
        """Error per component of the positions, plus that of the cells with their weight."""
        half = self.preset.training.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            u, strain = self.forward(noised.batch, graph, noised.sigma, noised.cell_sigma)
        loss = noised.residual(u.float()).square().mean()
        cells = noised.cell_residual(strain.float())
        if len(cells):
            loss = loss + self.preset.training.cell_weight * cells.square().mean()
        return loss

    def averaged(self) -> ScoreNetwork:
        """Network with the averaged weights, ready for evaluation, on the CPU."""
        network = ScoreNetwork(self.preset.network)
        network.load_state_dict({k: v.cpu() for k, v in self.average.items()})
        return network.eval()

    def save(self, directory: Path) -> None:
        """Write the state of the run; tensors in safetensors, numbers in JSON."""
        numbers = {
            "step": self.step,
            "epoch": self.epoch,
            "epoch_step": self.epoch_step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "epochs": self.epochs,
            "data": self.data.digest,
            "preset": self.preset.model_dump(mode="json"),
        }
        tensors = state.collect(self.network, self.average, self.optimiser)
        state.write(directory / state.NAME, tensors, numbers)

    def resume(self, directory: Path) -> bool:
        """Load the state in ``directory``; False if there is none.

        Raises:
            CheckpointError: it is damaged, or belongs to other data or settings.
        """
        path = directory / state.NAME
        if not path.exists():
            return False
        tensors, numbers = state.read(path)
        mine = {"data": self.data.digest, "preset": self.preset.model_dump(mode="json")}
        for key, value in mine.items():
            if numbers.get(key) != value:
                raise CheckpointError(
                    f"{path}: was written with another '{key}'; remove it to start anew"
                )
        try:
            self.average = state.restore(tensors, self.network, self.optimiser, self.device)
        except CheckpointError as error:
            raise CheckpointError(f"'{path}' {error}") from error
        self.step, self.epoch = numbers["step"], numbers["epoch"]
        self.epoch_step, self.seconds = numbers["epoch_step"], numbers["seconds"]
        self.skipped = numbers.get("skipped", 0)
        return True


def train(
    trainer: Trainer,
    directory: Path,
    validation: StructureData | None,
    log: Log,
    minutes: float | None = None,
) -> Path:
    """Train to the end and save regularly; returns the path of the final checkpoint.

    Args:
        trainer: new trainer; continues from a saved state in ``directory``.
        directory: folder of state, log and final checkpoint.
        validation: structures for the validation table, or None.
        log: called with a record from time to time.
        minutes: time after which this call ends the training, with the state saved and a
            checkpoint of the averaged weights so far; None: at its last step.

    Raises:
        UnfinishedError: SIGTERM came; the state is saved.
    """
    trainer.resume(directory)
    saved = logged = began = time.monotonic()
    # on a shared CPU, or in a process that is halted for a while, wall time says little
    worked = time.process_time if trainer.device.type == "cpu" else time.monotonic
    before = trainer.seconds - worked()
    losses: list[float] = []
    with sigterm_noticed() as stop:
        for noised in trainer.batches():
            losses.append(trainer.update(noised))
            now = time.monotonic()
            trainer.seconds = before + worked()
            if now - logged > LOG_EVERY:
                log(_progress(trainer, losses))
                losses, logged = [], now
            if stop():
                trainer.save(directory)
                raise UnfinishedError(
                    f"training was stopped by SIGTERM at step {trainer.step} of {trainer.total};"
                    " its state is saved, the same command goes on"
                )
            if minutes is not None and now - began > 60 * minutes:
                break
            # a state from which the training may only diverge is not kept
            if now - saved > SAVE_EVERY and not trainer.skipped_in_a_row:
                trainer.save(directory)
                saved = now
    trainer.save(directory)
    return finish(trainer, directory, validation, log)


def _progress(trainer: Trainer, losses: list[float]) -> dict[str, Any]:
    usual = [loss for loss in losses if math.isfinite(loss)]
    return {
        "step": trainer.step,
        "of": trainer.total,
        "epoch": trainer.epoch,
        "loss": round(float(np.mean(usual)), 5) if usual else None,
        "skipped": trainer.skipped,
        "minutes": round(trainer.seconds / 60, 2),
    }


def finish(trainer: Trainer, directory: Path, validation: StructureData | None, log: Log) -> Path:
    """Validate the averaged network and write checkpoint and card.

    Args:
        trainer: trainer at the end of its training.
        directory: folder of the checkpoint.
        validation: structures for the validation table, or None.
        log: called with that table.
    """
    network = trainer.averaged()
    card: dict[str, Any] = {
        "elements": _coverage(trainer.data),
        "data": trainer.data.facts(),
        "training": trainer.preset.training.model_dump(mode="json"),
        "epochs": trainer.epoch,
        "steps": trainer.step,
        "skipped_batches": trainer.skipped,
        "hours": round(trainer.seconds / 3600, 3),
        "hardware": f"{trainer.device.type}, {torch.get_num_threads()} threads,"
        f" {platform.machine()}",
        "torch": torch.__version__,
    }
    if validation is not None:
        shuffle = np.random.SeedSequence(0)
        batches = [validation.batch(i) for i in validation.epoch(shuffle, 1000)]
        errors = error_by_level(network, batches, LEVELS)
        card["validation"] = {
            "digest": validation.digest,
            "structures": len(validation),
            "error_per_component": {
                str(level): {k: round(v, 4) for k, v in error.items()}
                for level, error in errors.items()
            },
        }
        log({"validation": card["validation"]["error_per_component"]})
    path = directory / "score.safetensors"
    save_network(path, network, card)
    return path


def _coverage(data: StructureData) -> dict[str, int]:
    numbers, counts = np.unique(data.atomic_numbers, return_counts=True)
    return {SYMBOLS[int(z)]: int(n) for z, n in zip(numbers, counts, strict=True)}
