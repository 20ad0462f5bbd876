"""Draw docs/training.png: training loss of the runs in docs/training/*.jsonl.

python docs/plot_training.py
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
WINDOW = 12  # records per point


def main() -> None:
    """Plot the running median of the loss over training steps."""
    figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for path in sorted((HERE / "training").glob("*.jsonl")):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        records = [r for r in records if r.get("loss") is not None]
        steps = np.array([r["step"] for r in records], dtype=float)
        losses = np.array([r["loss"] for r in records])
        # a resumed run repeats the steps since its last save
        steps, last = np.unique(steps[::-1], return_index=True)
        losses = losses[::-1][last]
        window = min(WINDOW, len(losses))
        # a median: single batches with extreme losses occur (and are clipped)
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(losses, window), axis=1)
        line = axes.plot(steps[window - 1 :], smooth, label=path.stem, lw=1.6)[0]
        axes.plot(steps, losses, color=line.get_color(), alpha=0.2, lw=0.7)
    axes.set(xlabel="step (384 atoms)", ylabel="loss per component, all σ", ylim=(0.38, 0.7))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(HERE / "training.png", dpi=150)


if __name__ == "__main__":
    main()
