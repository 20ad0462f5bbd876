"""Tasks of an evaluation: the cells and atoms that all generators are asked to fill."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from chggen.cells.drawing import draw_cells, shortage, tasks_of
from chggen.cells.volume import predict_volumes
from chggen.config.stages import GenerateConfig
from chggen.config.systems import Symmetry
from chggen.evaluation.settings import Cells, Evaluation
from chggen.evaluation.structures import Known
from chggen.generators.ranking import Selecting
from chggen.structure.crystal import Crystal
from chggen.structure.task import Generator, Placed, Progress, Task
from chggen.symmetry.orbits import fitting_lattices


def tasks_for(
    truth: Sequence[Known],
    cells: Cells,
    samples: int,
    seed: int,
    settings: GenerateConfig,
    symmetry: Symmetry = "auto",
) -> list[list[Task]]:
    """Rows of tasks of all structures: the ``samples`` of the first, of the second and so on.

    A task holds nothing of the known structure but its atoms and, with ``true``, its
    cell; coordinates are zero. Its random stream follows from the seed, the structure's
    row in the file and the number of the sample. All generators get the same rows.

    Args:
        truth: structures to be found.
        cells: ``true``: the file's cell for every sample. ``sampled``: as a campaign draws
            them, one per candidate of a sample, at the predicted volume, with the file's
            number of atoms. ``framework``: the file's cell with all atoms but the guests in
            their places.
        samples: per structure.
        seed: of the run.
        settings: how cells are drawn, and how many candidates a sample has.
        symmetry: space groups that the cells must fit.

    Returns:
        For each sample the tasks of its candidates; a single one if all have the same cell.
    """
    rows = []
    for known in truth:
        numbers = known.crystal.atomic_numbers
        streams = [
            int(np.random.SeedSequence([seed, known.row, 1, k]).generate_state(1)[0])
            for k in range(samples)
        ]
        if cells == "sampled":
            drawn = draw_cells(
                [numbers] * samples,
                predict_volumes([known.formula])[0].volume_per_atom,
                settings.lattice,
                np.random.SeedSequence([seed, known.row, 0]),
                settings.draws,
                fitting_lattices(symmetry),
            )
            joint = settings.lattice.joint
            rows += [
                tasks_of(numbers, *row, joint=joint) for row in zip(drawn, streams, strict=True)
            ]
            continue
        guest = guests(numbers) if cells == "framework" else np.ones(len(numbers), bool)
        frac = np.where(guest[:, None], 0.0, known.crystal.frac_coords)
        given = Crystal.of(known.crystal.cell, numbers, frac)
        rows += [[Task(given, guest, stream)] for stream in streams]
    return rows


def cells_lacking(truth: Sequence[Known], settings: Evaluation) -> list[str]:
    """For which structures the library of cells has none, one line for each kind.

    Raises:
        ConfigError: the user's library cannot be read.
    """
    if settings.cells != "sampled":
        return []
    contents = [known.crystal.atomic_numbers for known in truth]
    return shortage(contents, settings.generate.lattice, fitting_lattices(settings.symmetry))


def fill(
    generator: Generator, rows: Sequence[Sequence[Task]], progress: Progress | None = None
) -> list[Placed]:
    """One structure per row, with as many of its candidates as the generator draws.

    A generator of single draws gets the first candidate of each row.

    Args:
        generator: places the atoms.
        rows: tasks of the candidates of each sample, as from :func:`tasks_for`; the only
            task of a row stands for all its candidates.
        progress: called with (rows done, a fraction; number of rows).
    """
    if not isinstance(generator, Selecting):
        return generator([row[0] for row in rows], progress)
    draws = range(generator.candidates)
    return generator.best_of([[row[i % len(row)] for i in draws] for row in rows], progress)


def guests(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Atoms of the rarest element; of several, the lightest (lithium rather than iron)."""
    species, counts = np.unique(numbers, return_counts=True)
    found: NDArray[np.bool_] = numbers == species[counts.argmin()]
    return found
