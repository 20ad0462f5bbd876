"""A run on the terminal, as JSON, and as a table of samples."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from chggen.evaluation.outcomes import Outcome
from chggen.evaluation.run import Run, strict
from chggen.run import atomic
from chggen.structure.crystal import row_id, structure_key
from chggen.tables import parquet

#: Figures shown: (key, words, unit, digits); shares are shown in per cent.
SHOWN = (
    ("match_at_1", "match@1", "%", 1),
    ("match_at_k", "match@{k}", "%", 1),
    ("match_at_1_narrow", "match@1, narrow", "%", 1),
    ("match_at_k_narrow", "match@{k}, narrow", "%", 1),
    ("energy_above_truth", "energy above known structure, median", "eV/atom", 3),
    ("energy_above_truth_best", "the same, best of {k}", "eV/atom", 3),
    ("lower_energy", "lower than known structure", "%", 1),
    ("too_close", "under 1 Å before relaxation", "%", 1),
    ("delta_energy", "ΔE generated → relaxed, median", "eV/atom", 3),
    ("rmsd", "RMSD generated → relaxed, median", "Å", 2),
    ("rmsd_normalised", "the same over (V/n)^(1/3)", "", 3),
    ("max_displacement", "largest displacement, median", "Å", 2),
)
#: Costs per sample, without interval.
COSTS = (
    ("score_calls", "score calls", "", 0),
    ("generation_cpu_seconds", "generation", "CPU s", 2),
    ("relaxation_cpu_seconds", "relaxation", "CPU s", 2),
    ("relaxation_steps", "relaxation steps", "", 0),
)


def write_json(result: Mapping[str, Any], path: Path) -> None:
    """Write strict JSON, replacing the file in one step."""
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    atomic.write_text(path, text + "\n")


def of_generator(result: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Figures of one generator in a result."""
    return result if name == "diffusion" else result[name]


def show(result: Mapping[str, Any]) -> None:
    """Print the figures, one column per generator."""
    from rich.console import Console
    from rich.table import Table

    names = result["generators"]
    k = result["samples_per_structure"]
    table = Table(
        title=f"{result['n_structures']} structures × {k} samples, {result['cells']} cells"
        " (95 % intervals)",
        title_justify="left",
    )
    for column in ("", *names):
        table.add_column(column, justify="left" if not column else "right")
    for key, words, unit, digits in SHOWN:
        cells = [_interval(of_generator(result, n), key, unit, digits) for n in names]
        table.add_row(_label(words.format(k=k), unit), *cells)
    for key, words, unit, digits in COSTS:
        cells = [_number(of_generator(result, n)[key], digits) for n in names]
        table.add_row(_label(f"{words} per sample", unit), *cells)
    statuses = [of_generator(result, n)["statuses"] for n in names]
    table.add_row("statuses", *["\n".join(f"{s} {c}" for s, c in x.items()) for x in statuses])
    console = Console(width=None if os.isatty(1) else 120)
    console.print(table)
    pairs = {
        f"diffusion - {pair.removeprefix('diffusion_minus_')}": values
        for pair, values in result["paired"].items()
    }
    against = result.get("against", {})
    pairs |= {
        f"{name}, this run - {against['file']} ({against['n_structures']} structures)": against[
            name
        ]
        for name in names
        if name in against
    }
    if against and not against["n_structures"]:
        console.print(f"no structures in common with {against['file']}", soft_wrap=True)
    for words, values in pairs.items():
        for key, rate in (("match_at_1", "match@1"), ("match_at_k", f"match@{k}")):
            if key in values:
                line = f"{words}, {rate}: {_interval(values, key, '%', 1)} %, paired"
                console.print(line, highlight=False, soft_wrap=True)


def _label(words: str, unit: str) -> str:
    return f"{words} ({unit})" if unit else words


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(values: Mapping[str, Any], key: str, unit: str, digits: int) -> str:
    scale = 100.0 if unit == "%" else 1.0
    value, low, high = (
        None if x is None else x * scale
        for x in (values[key], values[f"{key}_low"], values[f"{key}_high"])
    )
    if value is None:
        return "-"
    return f"{_number(value, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def write_table(run: Run, path: Path) -> None:
    """Write one row per sample as table ``evaluated``.

    ``system`` is the name of the known structure, ``index`` its row in the file, ``draw``
    the number of the sample; the structure is the relaxed one where there is one.
    """
    rows = [
        _row(run, name, outcome) for name, outcomes in run.outcomes.items() for outcome in outcomes
    ]
    parquet.write(path, "evaluated", rows, run.result)


def _row(run: Run, generator: str, outcome: Outcome) -> parquet.Row:
    known, placed = run.selection.known[outcome.structure], outcome.placed
    relaxed = outcome.relaxed
    crystal = (relaxed.crystal if relaxed else None) or placed.crystal
    row: parquet.Row = {
        "system": known.name,
        "composition": known.formula,
        "route": "unconditional",
        "seed": run.result["seed"],
        "index": known.row,
        "draw": outcome.sample,
        "random_seed": outcome.task.seed,
        "status": outcome.status,
        "reason": outcome.reason,
        "n_atoms": 0,
        "generator": generator,
        "score_calls": placed.score_calls,
        "matched": outcome.matched,
        "matched_narrow": outcome.matched_narrow,
        "energy_above_truth": strict(outcome.energy_above_truth),
        "min_distance_generated": strict(outcome.min_distance),
    }
    if crystal is not None:
        row |= crystal.columns()
    if relaxed is not None:
        result = {f.name: getattr(relaxed, f.name) for f in fields(relaxed)}
        row |= {k: v for k, v in result.items() if k not in {"crystal", "status", "reason"}}
        row |= run.result["potential"]
    place = [row[k] for k in ("system", "index", "draw", "random_seed", "generator")]
    content = [structure_key(crystal)] if crystal else []
    return row | {"id": row_id("evaluated", *place, *content)}
