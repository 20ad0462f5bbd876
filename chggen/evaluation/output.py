"""A run on the terminal, as JSON, and as a table of samples."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chggen.evaluation.facts import strict
from chggen.evaluation.figures import of_generator
from chggen.evaluation.outcomes import Outcome
from chggen.evaluation.run import Run
from chggen.run import atomic
from chggen.structure.crystal import row_id, structure_key
from chggen.tables import parquet

if TYPE_CHECKING:
    from rich.table import Table

#: Figures shown: (key, words, unit, digits); shares are shown in per cent.
SHOWN = (
    ("match_at_1", "match@1", "%", 1),
    ("match_at_k", "match@{k}", "%", 1),
    ("match_at_1_narrow", "match@1, narrow", "%", 1),
    ("match_at_k_narrow", "match@{k}, narrow", "%", 1),
    ("lowest_energy_at_k", "lowest energy of {k} is the known structure", "%", 1),
    ("within_10_mev", "within 10 meV/atom of it or below", "%", 1),
    ("energy_above_truth", "energy above known structure, median", "eV/atom", 3),
    ("energy_above_truth_best", "the same, best of {k}", "eV/atom", 3),
    ("lower_energy", "lower than known structure", "%", 1),
    ("new", "new: relaxed and no known crystal", "%", 1),
    ("too_close", "under 1 Å before relaxation", "%", 1),
    ("delta_energy", "ΔE generated → relaxed, median", "eV/atom", 3),
    ("rmsd", "RMSD generated → relaxed, median", "Å", 2),
    ("rmsd_normalised", "the same over (V/n)^(1/3)", "", 3),
    ("max_displacement", "largest displacement, median", "Å", 2),
    ("volume_change", "volume change generated → relaxed, median", "%", 1),
)
#: Figures shown by size class.
SHOWN_BY_SIZE = (
    ("match_at_1", "match@1"),
    ("match_at_k", "match@{k}"),
    ("lowest_energy_at_k", "lowest of {k}"),
    ("within_10_mev", "within 10 meV"),
)
#: CPU seconds per structure at which success is shown.
SHOWN_BUDGETS = (1, 2, 5, 10, 20, 50, 100)
#: Rates whose differences are shown.
SHOWN_PAIRED = (
    ("match_at_1", "match@1"),
    ("match_at_k", "match@{k}"),
    ("lowest_energy_at_k", "lowest of {k}"),
    ("within_10_mev", "within 10 meV/atom"),
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


def show(result: Mapping[str, Any]) -> None:
    """Print the figures, one column per generator; by size, and against CPU seconds."""
    from rich.console import Console

    console = Console(width=None if os.isatty(1) else 120)
    for table in (_figures(result), _by_size(result), _by_budget(result)):
        console.print(table)
    for line in _paired(result):
        console.print(line, highlight=False, soft_wrap=True)


def _table(title: str, result: Mapping[str, Any], *left: str) -> "Table":
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in left:
        table.add_column(column)
    for name in result["generators"]:
        table.add_column(name, justify="right")
    return table


def _figures(result: Mapping[str, Any]) -> "Table":
    k = result["samples_per_structure"]
    title = f"{result['n_structures']} structures × {k} samples, {result['cells']} cells"
    table = _table(f"{title} (95 % intervals)", result, "")
    figures = [of_generator(result, name) for name in result["generators"]]
    for key, words, unit, digits in SHOWN:
        cells = [_interval(found, key, unit, digits) for found in figures]
        table.add_row(_label(words.format(k=k), unit), *cells)
    for key, words, unit, digits in COSTS:
        cells = [_number(found[key], digits) for found in figures]
        table.add_row(_label(f"{words} per sample", unit), *cells)
    statuses = [found["statuses"] for found in figures]
    routes = [{r: x for r, x in f["by_route"].items() if x["n_samples"]} for f in figures]
    if any("prototypes" in some for some in routes):
        cells = [
            "\n".join(f"{r} {x['n_matched']} of {x['n_samples']}" for r, x in some.items())
            for some in routes
        ]
        table.add_row("matches by route", *cells)
    table.add_row("statuses", *["\n".join(f"{s} {c}" for s, c in x.items()) for x in statuses])
    return table


def _by_size(result: Mapping[str, Any]) -> "Table":
    k = result["samples_per_structure"]
    table = _table("by number of atoms (%)", result, "atoms", "")
    figures = [of_generator(result, name)["by_size"] for name in result["generators"]]
    for size, some in figures[0].items():
        for row, (key, words) in enumerate(SHOWN_BY_SIZE):
            label = f"{size}: {some['n_structures']} structures" if not row else ""
            cells = [_interval(found[size], key, "%", 0) for found in figures]
            table.add_row(label, words.format(k=k), *cells)
    return table


def _by_budget(result: Mapping[str, Any]) -> "Table":
    """Success against CPU seconds.

    Where a generator lacks samples for some structures, the success of stopping after those
    there are is a lower bound of what is found; for the lowest nothing is known.
    """
    title = "success (%) after CPU seconds per structure, generation + relaxation"
    table = _table(title, result, "CPU s", "")
    curves = [of_generator(result, n)["success_by_cpu_seconds"] for n in result["generators"]]
    for place, budget in enumerate(curves[0]["cpu_seconds"]):
        if budget not in SHOWN_BUDGETS:
            continue
        for key, words in (("found", "found"), ("lowest", "lowest is the known")):
            cells = [_success(curve, key, place) for curve in curves]
            table.add_row(f"{budget:g}" if key == "found" else "", words, *cells)
    return table


def _success(curve: Mapping[str, Any], key: str, place: int) -> str:
    ends = (key, f"{key}_low", f"{key}_high")
    if curve[key][place] is None and key == "found":
        return f">= {100 * curve['found_stopped'][place]:.0f}"
    return _interval({end: curve[end][place] for end in ends}, key, "%", 0)


def _paired(result: Mapping[str, Any]) -> Iterator[str]:
    """Lines with the differences of the rates."""
    pairs = {pair.replace("_minus_", " - "): values for pair, values in result["paired"].items()}
    against = result.get("against", {})
    pairs |= {
        f"{name}, this run - {against['file']} ({against['n_structures']} structures)": against[
            name
        ]
        for name in result["generators"]
        if name in against
    }
    if against and not against["n_structures"]:
        yield f"no structures in common with {against['file']}"
    for words, values in pairs.items():
        rates = [
            f"{rate.format(k=result['samples_per_structure'])} {_interval(values, key, '%', 1)}"
            for key, rate in SHOWN_PAIRED
            if key in values
        ]
        yield f"{words}, paired, %: {'; '.join(rates)}"


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
        _row(run, name, outcome)
        for name, outcomes in run.outcomes.items()
        for outcome in (*outcomes, *run.more.get(name, ()))
    ]
    parquet.write(path, "evaluated", rows, run.result)


def _row(run: Run, generator: str, outcome: Outcome) -> parquet.Row:
    known, placed = run.selection.known[outcome.structure], outcome.placed
    relaxed = outcome.relaxed
    crystal = (relaxed.crystal if relaxed else None) or placed.crystal
    row: parquet.Row = {
        "system": known.name,
        "composition": known.formula,
        "route": outcome.route,
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
        "known_phase": outcome.known,
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
