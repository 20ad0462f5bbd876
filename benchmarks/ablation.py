"""Ablation of the score network at equal training cost.

    python benchmarks/ablation.py --data train.csv.gz --validation val.csv.gz [--minutes 5]

Every variant trains for the same CPU minutes (after compilation, one thread) with a schedule
that ends at this time. Its averaged weights are evaluated on the first ``--judged`` validation
structures: error per component E|u + e|²/3 by noise level, without the mean of the noise
(``centred`` in the model card). Results are written to ``--json`` after each variant; variants
that are already in the file are skipped.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from chggen.diffusion.data import StructureData
from chggen.diffusion.objective import error_by_level
from chggen.diffusion.reading import read
from chggen.diffusion.settings import PRESETS, Preset
from chggen.diffusion.training import LEVELS, Trainer, finish

WARM = 12  # steps before timing starts: compilation, kernels
TIMED = 25  # steps whose mean time sets the length of the schedule

#: Variants as changes of the preset ``small`` (network, training).
VARIANTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "small: 64+32+16, 3 layers, 5 Å, 24": ({}, {}),
    "paper's s = f(x)/σ": ({"sigma_conditioning": False}, {}),
    "l_max 1: 96+48, 4 layers": ({"channels": (96, 48), "layers": 4}, {}),
    "wide: 96+48+24, 4 layers": (
        {"channels": (96, 48, 24), "layers": 4},
        {"learning_rate": 2e-3},
    ),
    "2 layers": ({"layers": 2}, {}),
    "reach 6.5 Å, 40 neighbours": ({"cutoff": 6.5, "neighbours": 40}, {}),
    "no clean hosts in training": ({}, {"mask_share": 0.0}),
    "σ log-uniform over the whole range": ({}, {"core_share": 0.0}),
    "no average of weights": ({}, {"ema_decay": 0.0}),
    "batches of 192 atoms": ({}, {"batch_atoms": 192}),
}


def main() -> None:
    """Train and evaluate every variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True, help="CSV with a cif column")
    parser.add_argument("--validation", type=Path, required=True, help="the same")
    parser.add_argument("--minutes", type=float, default=5, help="CPU minutes per variant")
    parser.add_argument("--judged", type=int, default=300, help="validation structures")
    parser.add_argument("--cache", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--json", type=Path, default=Path("runs/ablation/ablation.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = read([args.data], args.cache)
    validation = read([args.validation], args.cache)
    batches = [validation.batch(np.arange(i, i + 50)) for i in range(0, args.judged, 50)]
    found = json.loads(args.json.read_text()) if args.json.is_file() else {}
    for name, (network, training) in VARIANTS.items():
        if name in found:
            continue
        small = PRESETS["small"]
        preset = Preset(
            network=small.network.model_copy(update=network),
            training=small.training.model_copy(update=training),
        )
        trainer = trained(preset, data, 60 * args.minutes)
        # saved, so that recovery can also be measured (chggen evaluate --checkpoint)
        folder = args.cache / str(len(found))
        folder.mkdir(parents=True, exist_ok=True)
        finish(trainer, folder, None, lambda _record: None)
        errors = error_by_level(trainer.averaged(), batches, LEVELS)
        found[name] = {
            "parameters": sum(p.numel() for p in trainer.network.parameters()),
            "steps": trainer.step,
            "minutes": args.minutes,
            "error": {str(level): round(e["centred"], 4) for level, e in errors.items()},
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(name, found[name], flush=True)


def trained(preset: Preset, data: StructureData, seconds: float) -> Trainer:
    """Train for a number of CPU seconds, with a schedule that ends at this time."""
    torch.compiler.reset()
    trainer = Trainer.start(preset, data, 1000, "cpu", compiled=True)
    trainer.total = 10**6
    start = 0.0
    for number, noised in enumerate(trainer.batches()):
        if number == WARM:
            start = time.process_time()
        if number == WARM + TIMED:
            each = (time.process_time() - start) / TIMED
            trainer.total = int(seconds / each)
        if number >= trainer.total:
            break
        trainer.update(noised)
    return trainer


if __name__ == "__main__":
    main()
