"""The way of each relaxation, kept as a trajectory of torch-sim (HDF5)."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_sim.state import SimState
from torch_sim.trajectory import TorchSimTrajectory

from chggen.potential.evaluation import Output
from chggen.potential.interface import state_of
from chggen.run.atomic import replacing


class Trajectories:
    """Every geometry at which the potential was asked, of each structure.

    A file appears when its structure ends, whole: arrays ``positions`` (Å), ``cell`` (column
    vectors, as torch-sim has them), ``energy`` (eV), ``forces`` (eV/Å), ``stress`` (eV/Å³,
    positive = tension), one frame per step; ``atomic_numbers`` once.

    Args:
        files: where to write, of each structure.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self._frames: defaultdict[int, list[dict[str, Tensor]]] = defaultdict(list)
        self._numbers: dict[int, Tensor] = {}

    def add(self, indices: Sequence[int], state: SimState, output: Output) -> None:
        """Note a frame of the structures in a batch.

        Args:
            indices: of the structures in the batch.
            state: the batch.
            output: energies, forces and stress of the potential.
        """
        sizes = torch.bincount(state.system_idx).tolist()
        atoms = zip(
            state.positions.cpu().split_with_sizes(sizes),
            output["forces"].cpu().split_with_sizes(sizes),
            state.atomic_numbers.cpu().split_with_sizes(sizes),
            strict=True,
        )
        for row, (positions, forces, numbers) in enumerate(atoms):
            index = indices[row]
            self._numbers[index] = numbers
            self._frames[index].append(
                {
                    "positions": positions,
                    "cell": state.cell[row].cpu(),
                    "forces": forces,
                    "energy": output["energy"][row : row + 1].cpu(),
                    "stress": output["stress"][row].cpu(),
                }
            )

    def close(self, index: int) -> None:
        """Write the file of a structure that has ended."""
        frames, numbers = self._frames.pop(index), self._numbers.pop(index)
        file = self.files[index]
        with (
            replacing(file) as unfinished,
            TorchSimTrajectory(unfinished, mode="w", coerce_to_float32=False) as trajectory,
        ):
            states = [
                state_of(frame["positions"], frame["cell"][None].mT, numbers) for frame in frames
            ]
            steps = list(range(len(frames)))
            trajectory.write_state(states, steps)
            for key in ("energy", "forces", "stress"):
                values = torch.stack([frame[key] for frame in frames])
                trajectory.write_arrays({key: values}, steps)
