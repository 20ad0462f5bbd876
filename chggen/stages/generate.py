"""``generate``: composition and lattice seed to raw structures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chggen import provenance
from chggen.campaign.seeds import Shard, row_seeds, seed_sequence
from chggen.cells.drawing import draw_cells, shortage, tasks_of
from chggen.cells.lattice import Lattice
from chggen.cells.volume import predict_volume_per_atom
from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig
from chggen.config.systems import Symmetry
from chggen.errors import Status
from chggen.generators import make_generator
from chggen.generators.base import Order, Source
from chggen.generators.ranking import Selecting, selecting
from chggen.potential import NONE_OWN
from chggen.run import progress as bars
from chggen.structure import composition as comp
from chggen.structure.crystal import row_id, structure_key
from chggen.structure.task import Placed
from chggen.symmetry.orbits import fitting_lattices
from chggen.tables import parquet

LOGGER = logging.getLogger("chggen")


@dataclass(frozen=True)
class _Made:
    """One structure with what the table says of its cell."""

    placed: Placed
    formula_units: int | None
    cell: Lattice | None = None


def generate(
    output: str | Path,
    shard: Shard,
    cells: Mapping[str, Any],
    settings: GenerateConfig,
    campaign_seed: int,
    progress: bars.Progress = bars.silent,
    *,
    symmetry: Symmetry = "auto",
    potentials: Potentials = NONE_OWN,
) -> None:
    """Write table ``generated`` of one shard.

    Args:
        output: table to write.
        shard: system, composition, lattice seed.
        cells: ``formula_units`` (list), ``lattices`` (count), ``volume_per_atom``
            (Å³ or ``auto``), ``lattice_seeds`` (shards of the composition; 1 if not given,
            only generators with cells of their own ask).
        settings: section ``generate`` of the config.
        campaign_seed: seed of the campaign.
        progress: called with (structures done, structures in all).
        symmetry: space groups that are kept, as in the system's config.
        potentials: section ``potentials`` of the config.
    """
    generator = make_generator(settings, potentials)
    place = (shard.composition, shard.seed)
    sequence = seed_sequence(campaign_seed, *place, "generate")
    seeds = row_seeds(sequence, int(cells["lattices"]))
    if isinstance(generator, Source):
        volume = cells.get("volume_per_atom", "auto")
        order = Order(
            *place,
            int(cells.get("lattice_seeds", 1)),
            seeds,
            tuple(cells.get("formula_units", (1,))),
            None if volume == "auto" else float(volume),
        )
        made, facts = _loaded(generator, order, progress)
    else:
        lattice_seed = seed_sequence(campaign_seed, *place, "lattice")
        generator = selecting(generator, settings, settings.draws, symmetry, potentials)
        made, facts = _filled(
            generator, shard.composition, cells, settings, lattice_seed, seeds, progress
        )
    common = _common(shard, settings, generator.inputs.get("checkpoint"))
    rows = [
        _row(common | {"index": index, "random_seed": seed}, result)
        for index, (seed, result) in enumerate(zip(seeds, made, strict=False))
    ]
    header = provenance.header(
        "generate",
        settings.model_dump(mode="json"),
        {**generator.inputs, **_library(settings)},
        cells=dict(cells),
        campaign_seed=campaign_seed,
        symmetry=symmetry,
        **facts,
    )
    parquet.write(output, "generated", rows, header)


def _library(settings: GenerateConfig) -> dict[str, str]:
    """Digest of the user's known cells."""
    own = settings.lattice.library
    return {"known_cells": provenance.file_digest(own)} if own and settings.draws_cells else {}


def _filled(
    generator: Selecting,
    composition: str,
    cells: Mapping[str, Any],
    settings: GenerateConfig,
    lattice_seed: np.random.SeedSequence,
    seeds: Sequence[int],
    progress: bars.Progress,
) -> tuple[list[_Made], dict[str, Any]]:
    """Cells of the campaign, filled by a generator."""
    count = len(seeds)
    units = [cells["formula_units"][i % len(cells["formula_units"])] for i in range(count)]
    volume = cells["volume_per_atom"]
    if volume == "auto":
        volume = predict_volume_per_atom(composition).volume_per_atom
    numbers = [np.array(comp.atomic_numbers(composition, u)) for u in units]
    kinds = fitting_lattices(generator.symmetry)
    drawn = draw_cells(numbers, volume, settings.lattice, lattice_seed, generator.candidates, kinds)
    rows = [tasks_of(*row) for row in zip(numbers, drawn, seeds, strict=True)]
    made = [
        _Made(result, n, own[result.candidate])
        for result, n, own in zip(generator.best_of(rows, progress), units, drawn, strict=True)
    ]
    lacking = shortage(numbers, settings.lattice, kinds)
    for line in lacking:
        LOGGER.warning("%s: %s", composition, line)
    return made, {"volume_per_atom": volume, "cell_shortage": lacking}


def _loaded(
    source: Source, order: Order, progress: bars.Progress
) -> tuple[list[_Made], dict[str, Any]]:
    """Structures with cells of their own, of the composition that was asked for."""
    made, origins = [], []
    for loaded in source.structures(order, progress):
        placed, units = loaded.placed, None
        if placed.crystal is not None:
            symbols = [comp.SYMBOLS[z] for z in placed.crystal.atomic_numbers]
            counts = {symbol: symbols.count(symbol) for symbol in symbols}
            units = comp.formula_units(counts, order.composition)
            if units is None:
                reason = f"is {comp.canonical(counts)}, not {order.composition}"
                placed = Placed(None, reason, placed.score_calls)
        made.append(_Made(placed, units))
        origins.append(loaded.origin)
    facts: dict[str, Any] = {"origins": origins}
    unreadable = list(getattr(source, "unreadable", ()))
    if unreadable:
        facts["unreadable"] = unreadable
    return made, facts


def _common(shard: Shard, settings: GenerateConfig, checkpoint: str | None) -> parquet.Row:
    """Columns that all rows of a shard share."""
    return {
        "parent_id": None,
        "system": shard.system,
        "composition": shard.composition,
        "route": "unconditional",
        "seed": shard.seed,
        "draw": 0,
        "generator": settings.generator,
        "sampler": settings.sampler if settings.generator == "diffusion" else None,
        "checkpoint": checkpoint,
        "candidates": settings.draws,
    }


def _row(common: parquet.Row, made: _Made) -> parquet.Row:
    crystal = made.placed.crystal
    row: parquet.Row = common | {
        "score_calls": made.placed.score_calls if common["checkpoint"] else None,
        "bravais_type": made.cell.bravais_type if made.cell else None,
        "cell_source": made.cell.source if made.cell else None,
        "formula_units": made.formula_units,
        **sampled_columns(made.placed),
    }
    place = [row[k] for k in ("system", "composition", "seed", "index", "random_seed")]
    how = [row["checkpoint"], row["sampler"]] if row["checkpoint"] else [row["generator"]]
    content = [structure_key(crystal)] if crystal else []
    return row | {"id": row_id("generated", *place, *how, *content)}


def sampled_columns(result: Placed) -> parquet.Row:
    """Status, structure and distances of what a generator gave."""
    kept = result.symmetry
    # of failures too, so that they count among the draws of their kind
    symmetry = {
        "imposed_space_group_number": kept.number if kept else None,
        "imposed_sites": (kept.sites or None) if kept else None,
    }
    if result.crystal is None:
        return symmetry | {"status": result.status, "reason": result.reason, "n_atoms": 0}
    return symmetry | {
        "status": Status.OK,
        "reason": "",
        **result.crystal.columns(),
        "volume_per_atom": result.crystal.volume_per_atom,
        "min_distance": result.crystal.min_distance,
    }
