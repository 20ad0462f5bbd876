"""``generate``: composition and lattice seed to raw structures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from chggen.generators.mixture import prototype_rows
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
    """One structure with what the table says of where it comes from."""

    placed: Placed
    formula_units: int | None
    generator: str
    cell: Lattice | None = None
    origin: str | None = None


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
    sequence = seed_sequence(campaign_seed, shard.composition, shard.seed, "generate")
    seeds = row_seeds(sequence, int(cells["lattices"]))
    order = _order(shard, cells, seeds, symmetry)
    if isinstance(generator, Source):
        made, facts = _loaded(generator, order, progress)
        inputs = dict(generator.inputs)
    else:
        lattice_seed = seed_sequence(campaign_seed, shard.composition, shard.seed, "lattice")
        ranked = selecting(generator, settings, settings.draws, symmetry, potentials)
        known, inputs, facts = _known(order, settings, potentials)
        inputs |= ranked.inputs
        made, volume = _mixed(ranked, known, order, cells, settings, lattice_seed, progress)
        facts |= volume
    common = _common(shard)
    checkpoint = inputs.get("checkpoint")
    rows = [
        _row(common | {"index": index, "random_seed": seed}, result, settings, checkpoint)
        for index, (seed, result) in enumerate(zip(seeds, made, strict=False))
    ]
    header = provenance.header(
        "generate",
        settings.model_dump(mode="json"),
        {**inputs, **_library(settings)},
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


def _order(
    shard: Shard, cells: Mapping[str, Any], seeds: Sequence[int], symmetry: Symmetry
) -> Order:
    volume = cells.get("volume_per_atom")
    return Order(
        shard.composition,
        shard.seed,
        int(cells.get("lattice_seeds", 1)),
        seeds,
        tuple(cells.get("formula_units", (1,))),
        None if volume in {None, "auto"} else float(volume),
        symmetry,
    )


def _known(
    order: Order, settings: GenerateConfig, potentials: Potentials
) -> tuple[dict[int, _Made], dict[str, str], dict[str, Any]]:
    """Rows from known prototypes by index, what they depend on, and facts for the header."""
    count = len(order.random_seeds)
    rows = prototype_rows(settings.prototypes.share, order.seed * count, count)
    if settings.generator != "diffusion" or not rows:
        return {}, {}, {}
    from chggen.generators.prototypes import PrototypeSource, nothing

    source = PrototypeSource(settings, potentials)
    facts: dict[str, Any] = {}
    if not source.donors(order):
        facts["no_prototype"] = nothing(order)
        LOGGER.warning("%s; all structures are drawn by the network", facts["no_prototype"])
    some = replace(order, random_seeds=[order.random_seeds[i] for i in rows])
    made, _ = _loaded(source, some, bars.silent)
    return dict(zip(rows, made, strict=True)), dict(source.inputs), facts


def _mixed(
    generator: Selecting,
    known: Mapping[int, _Made],
    order: Order,
    cells: Mapping[str, Any],
    settings: GenerateConfig,
    lattice_seed: np.random.SeedSequence,
    progress: bars.Progress,
) -> tuple[list[_Made], dict[str, Any]]:
    """Rows from known prototypes where there are any, all others by the generator."""
    count = len(order.random_seeds)
    made = {i: row for i, row in known.items() if row.placed.crystal is not None}
    rest = [i for i in range(count) if i not in made]
    facts: dict[str, Any] = {}
    if rest:
        seeds = [order.random_seeds[i] for i in rest]

        def report(done: float, _total: int) -> None:
            progress(len(made) + done, count)

        rows, facts = _filled(
            generator, order.composition, cells, settings, lattice_seed, seeds, report
        )
        for i, row in zip(rest, rows, strict=True):
            # where a known prototype was to be taken: why there was none
            made[i] = replace(row, origin=known[i].placed.reason) if i in known else row
    return [made[i] for i in range(count)], facts


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
    joint = settings.lattice.joint
    rows = [tasks_of(*row, joint=joint) for row in zip(numbers, drawn, seeds, strict=True)]
    made = [
        _Made(result, n, generator.name, own[result.candidate])
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
        made.append(_Made(placed, units, source.name, origin=loaded.origin or None))
        origins.append(loaded.origin)
    facts: dict[str, Any] = {"origins": origins}
    unreadable = list(getattr(source, "unreadable", ()))
    if unreadable:
        facts["unreadable"] = unreadable
    return made, facts


def _common(shard: Shard) -> parquet.Row:
    """Columns that all rows of a shard share."""
    return {
        "parent_id": None,
        "system": shard.system,
        "composition": shard.composition,
        "seed": shard.seed,
        "draw": 0,
    }


def _row(
    common: parquet.Row, made: _Made, settings: GenerateConfig, checkpoint: str | None
) -> parquet.Row:
    crystal = made.placed.crystal
    # rows from prototypes rest on no network, whatever made the others
    known = made.generator == "prototypes"
    network = None if known else checkpoint
    row: parquet.Row = common | {
        "route": "prototypes" if known else "unconditional",
        "generator": made.generator,
        "origin": made.origin,
        "candidates": settings.prototypes.candidates if known else settings.draws,
        "sampler": settings.sampler if made.generator == "diffusion" else None,
        "checkpoint": network,
        "score_calls": made.placed.score_calls if network else None,
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
