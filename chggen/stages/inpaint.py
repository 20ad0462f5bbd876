"""``inpaint``: guests back into the frameworks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chggen import provenance
from chggen.campaign.seeds import row_seeds, seed_sequence
from chggen.config.energies import Potentials
from chggen.config.stages import InpaintConfig
from chggen.config.systems import Symmetry
from chggen.errors import Status
from chggen.generators.diffusion import DiffusionGenerator
from chggen.generators.ranking import selecting
from chggen.potential import NONE_OWN
from chggen.run import progress as bars
from chggen.stages.generate import sampled_columns
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.structure.task import Task
from chggen.tables import parquet
from chggen.tables.lineage import descend


def inpaint(
    source: str | Path,
    output: str | Path,
    settings: InpaintConfig,
    campaign_seed: int,
    progress: bars.Progress = bars.silent,
    *,
    symmetry: Symmetry = "auto",
    potentials: Potentials = NONE_OWN,
) -> None:
    """Draw guests into every framework; writes ``inpainted``.

    A framework gives ``settings.draws`` rows; a row without a framework gives one row
    that says so.

    Args:
        source: table ``refined``.
        output: table to write.
        settings: section ``inpaint`` of the config.
        campaign_seed: seed of the campaign.
        progress: called with (structures done, structures in all).
        symmetry: as in the system's config. A framework without its guests has a group of
            its own, often higher than the crystal's, so that a number or a range cannot be
            asked of it and means ``auto`` here.
        potentials: section ``potentials`` of the config.
    """
    frameworks = parquet.read(source, "refined")
    kept: Symmetry = "none" if symmetry == "none" else "auto"
    generator = selecting(
        DiffusionGenerator(settings), settings, settings.candidates, kept, potentials
    )
    checkpoint = generator.inputs["checkpoint"]
    tasks, parents, draws = [], [], []
    for row in frameworks:
        if row["status"] != Status.OK:
            continue
        place = (row["composition"], row["seed"])
        which = f"{row['index']}/{row['framework']}" if row["framework"] else row["index"]
        stream = seed_sequence(campaign_seed, *place, f"inpaint/{which}")
        for draw, seed in enumerate(row_seeds(stream, settings.draws)):
            tasks.append(task(row, seed))
            parents.append(row)
            draws.append(draw)
    sampled = generator(tasks, progress)
    out: dict[str, list[parquet.Row]] = {}
    for parent, draw, drawn, result in zip(parents, draws, tasks, sampled, strict=True):
        row = _lineage(parent, draw, drawn.seed, settings, checkpoint)
        row |= sampled_columns(result) | {
            "score_calls": result.score_calls,
            "formula_units": parent["formula_units"],
            "guest_mask": drawn.guest.tolist(),
            "host_space_group_number": parent["space_group_number"],
        }
        if result.crystal is not None:
            row["host_displacement_max"] = _moved(drawn, result.crystal)
        out.setdefault(parent["id"], []).append(row)
    rows = [
        row
        for framework in frameworks
        for row in out.get(framework["id"], [])
        or [_lineage(framework, 0, framework["random_seed"], settings, checkpoint)]
    ]
    header = provenance.header(
        "inpaint",
        settings.model_dump(mode="json"),
        {Path(source).name: provenance.file_digest(source), **generator.inputs},
        campaign_seed=campaign_seed,
        symmetry=symmetry,
    )
    parquet.write(output, "inpainted", rows, header)


def task(framework: Mapping[str, Any], seed: int) -> Task:
    """Hosts of a framework, with its guests (anywhere) behind them."""
    host = Crystal.from_row(framework)
    guests = guest_numbers(framework)
    crystal = Crystal.of(
        host.cell,
        np.concatenate([host.atomic_numbers, guests]),
        np.concatenate([host.frac_coords, np.zeros((len(guests), 3))]),
    )
    return Task(crystal, np.arange(len(crystal)) >= len(host), seed)


def guest_numbers(framework: Mapping[str, Any]) -> NDArray[np.int64]:
    """Atomic numbers of the guests that belong in a framework's cell."""
    unit = comp.parse_formula(framework["composition"])
    return np.array(
        [
            comp.ATOMIC_NUMBERS[guest]
            for guest in framework["guests"]
            for _ in range(unit[guest] * framework["formula_units"])
        ],
        dtype=np.int64,
    )


def _moved(drawn: Task, crystal: Crystal) -> float:
    """Largest distance of a host from its site, after the common translation, Å."""
    hosts = ~drawn.guest
    delta = crystal.frac_coords[hosts] - drawn.crystal.frac_coords[hosts]
    delta -= np.round(delta)
    moved = delta @ drawn.crystal.cell
    return float(np.linalg.norm(moved - moved.mean(axis=0), axis=1).max())


def _lineage(
    parent: Mapping[str, Any], draw: int, seed: int, settings: InpaintConfig, checkpoint: str
) -> parquet.Row:
    return descend(parent) | {
        "id": row_id("inpainted", parent["id"], draw, seed, checkpoint, settings.sampler),
        "route": "inpainting",
        "draw": draw,
        "random_seed": seed,
        "generator": "diffusion",
        "sampler": settings.sampler,
        "checkpoint": checkpoint,
        "candidates": settings.candidates,
    }
