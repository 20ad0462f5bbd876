"""``generate``: composition and lattice seed to raw structures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from chggen import composition as comp
from chggen import progress as bars
from chggen import provenance, tables
from chggen.campaign import Shard, row_seeds, seed_sequence
from chggen.config import GenerateConfig
from chggen.crystal import Crystal, row_id
from chggen.diffusion.checkpoint import load_network
from chggen.diffusion.generation import sample
from chggen.diffusion.sampler import make_sampler
from chggen.errors import Status
from chggen.lattice import Lattice, sample_lattices
from chggen.placement import Placed, Task
from chggen.volume import predict_volume_per_atom


def generate(
    output: str | Path,
    shard: Shard,
    cells: Mapping[str, Any],
    settings: GenerateConfig,
    campaign_seed: int,
    progress: bars.Progress = bars.silent,
) -> None:
    """Write table ``generated`` of one shard.

    Args:
        output: table to write.
        shard: system, composition, lattice seed.
        cells: ``formula_units`` (list), ``lattices`` (count), ``volume_per_atom``
            (Å³ or ``auto``).
        settings: section ``generate`` of the config.
        campaign_seed: seed of the campaign.
        progress: called with (structures done, structures in all).
    """
    count = int(cells["lattices"])
    units = [cells["formula_units"][i % len(cells["formula_units"])] for i in range(count)]
    volume = cells["volume_per_atom"]
    if volume == "auto":
        volume = predict_volume_per_atom(shard.composition).volume_per_atom
    numbers = [np.array(comp.atomic_numbers(shard.composition, u)) for u in units]
    place = (shard.composition, shard.seed)
    lattices = sample_lattices(
        count,
        np.array([volume * len(z) for z in numbers]),
        settings.lattice,
        seed_sequence(campaign_seed, *place, "lattice"),
    )
    seeds = row_seeds(seed_sequence(campaign_seed, *place, "generate"), count)
    tasks = [
        Task(Crystal.of(lattice.cell, z, np.zeros((len(z), 3))), np.ones(len(z), bool), seed)
        for lattice, z, seed in zip(lattices, numbers, seeds, strict=True)
    ]
    network, card = load_network(settings.checkpoint)
    sampled = sample(tasks, network, make_sampler(settings.sampler), settings.batch_atoms, progress)
    rows = [
        _row(shard, index, task.seed, result, lattice, units[index], settings, card["hash"])
        for index, (task, result, lattice) in enumerate(zip(tasks, sampled, lattices, strict=True))
    ]
    inputs = {"checkpoint": card["hash"]}
    header = provenance.header(
        "generate",
        settings.model_dump(mode="json"),
        inputs,
        cells=dict(cells),
        campaign_seed=campaign_seed,
        volume_per_atom=volume,
    )
    tables.write(output, "generated", rows, header)


def _row(
    shard: Shard,
    index: int,
    seed: int,
    result: Placed,
    lattice: Lattice,
    units: int,
    settings: GenerateConfig,
    checkpoint: str,
) -> tables.Row:
    row: tables.Row = {
        "parent_id": None,
        "system": shard.system,
        "composition": shard.composition,
        "route": "unconditional",
        "seed": shard.seed,
        "index": index,
        "draw": 0,
        "random_seed": seed,
        "generator": settings.generator,
        "sampler": settings.sampler,
        "checkpoint": checkpoint,
        "score_calls": result.score_calls,
        "bravais_type": lattice.bravais_type,
        "formula_units": units,
        **sampled_columns(result),
    }
    place = [row[k] for k in ("system", "composition", "seed", "index", "random_seed")]
    content = [result.crystal.cell, result.crystal.frac_coords] if result.crystal else []
    return row | {"id": row_id("generated", *place, checkpoint, settings.sampler, *content)}


def sampled_columns(result: Placed) -> tables.Row:
    """Status, structure and distances of what a sampler gave."""
    if result.crystal is None:
        return {"status": Status.SAMPLING_FAILED, "reason": result.reason, "n_atoms": 0}
    return {
        "status": Status.OK,
        "reason": "",
        **result.crystal.columns(),
        "volume_per_atom": result.crystal.volume_per_atom,
        "min_distance": result.crystal.min_distance,
    }
