"""Tasks of an evaluation: the cells and atoms that all generators are asked to fill."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chggen.cells.lattice import sample_lattices
from chggen.cells.volume import predict_volumes
from chggen.config.stages import LatticeConfig
from chggen.evaluation.settings import Cells
from chggen.evaluation.structures import Known
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task


def tasks_for(
    truth: Sequence[Known],
    cells: Cells,
    samples: int,
    seed: int,
    lattice: LatticeConfig,
) -> list[Task]:
    """Tasks of all structures: the ``samples`` of the first, of the second and so on.

    A task holds nothing of the known structure but its atoms and, with ``true``, its
    cell; coordinates are zero. Its random stream follows from the seed, the structure's
    row in the file and the number of the sample. All generators get the same tasks.

    Args:
        truth: structures to be found.
        cells: ``true``: the file's cell for every sample. ``sampled``: as a campaign does,
            one lattice per sample at the predicted volume, with the file's number of atoms.
            ``framework``: the file's cell with all atoms but the guests in their places.
        samples: per structure.
        seed: of the run.
        lattice: how cells are drawn.
    """
    volumes = (
        [v.volume_per_atom for v in predict_volumes([t.formula for t in truth])]
        if cells == "sampled"
        else [0.0] * len(truth)
    )
    tasks = []
    for known, volume in zip(truth, volumes, strict=True):
        numbers = known.crystal.atomic_numbers
        n = len(numbers)
        shapes = [known.crystal.cell] * samples
        if cells == "sampled":
            source = np.random.SeedSequence([seed, known.row, 0])
            shapes = [x.cell for x in sample_lattices(samples, volume * n, lattice, source)]
        for k, cell in enumerate(shapes):
            stream = int(np.random.SeedSequence([seed, known.row, 1, k]).generate_state(1)[0])
            guest = guests(numbers) if cells == "framework" else np.ones(n, bool)
            frac = np.where(guest[:, None], 0.0, known.crystal.frac_coords)
            tasks.append(Task(Crystal.of(cell, numbers, frac), guest, stream))
    return tasks


def guests(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Atoms of the rarest element; of several, the lightest (lithium rather than iron)."""
    species, counts = np.unique(numbers, return_counts=True)
    found: NDArray[np.bool_] = numbers == species[counts.argmin()]
    return found
