"""Command line of the public benchmarks (benchmarks/cspbench.py, benchmarks/diffcsp15.py)."""

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chggen.config import load as configfile
from chggen.config.stages import GenerateConfig
from chggen.errors import ChggenError, ConfigError
from chggen.evaluation.benchmark import Benchmark, run
from chggen.evaluation.output import write_json
from chggen.evaluation.settings import Evaluation, parse_generators
from chggen.evaluation.targets import read_targets
from chggen.structure import files

#: Samples of each composition from which its cost is known, where a budget is in seconds.
_PROBE = 2
_WORDS = (
    ("found_narrow", "found"),
    ("lowest_narrow", "the lowest energy is the known crystal"),
    ("found", "found, wide tolerances"),
    ("lowest", "the lowest is the known crystal, wide tolerances"),
    ("second_lowest_narrow", "the lowest by the second potential is the known crystal"),
)


def main(
    name: str, description: str, targets: Path, arguments: Sequence[str] | None = None
) -> None:
    """Run a benchmark; a mistake of the user ends with one line and exit code 1.

    Args:
        name: of the benchmark.
        description: what it is, for ``--help``.
        targets: CSV of its compositions.
        arguments: of the command line; None: those of the process.
    """
    warnings.simplefilter("ignore")
    given = _parser(description).parse_args(arguments)
    try:
        result = run(_asked(name, targets, given))
        if given.json:
            write_json(result, given.json)
    except (ChggenError, OSError) as error:
        sys.exit(f"{name}: {files.first_line(error)}")
    show(result)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add(
        "--truth",
        type=Path,
        action="append",
        required=True,
        help="known crystals (CIFs, extxyz, CSV or Parquet), read after the search; repeatable",
    )
    add("--limit", type=int, help="first compositions of the table only")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--samples", type=int, default=10, help="per composition")
    budget.add_argument("--cpu-seconds", type=float, help="per composition, instead of samples")
    add("--generators", default="campaign", help="as in chggen evaluate")
    add("--symmetry", default="auto", help="as in chggen evaluate")
    add("--seed", type=int, default=1)
    add("--second", help="a second potential that ranks the relaxed samples again")
    add("--checkpoint", help="score network")
    add("--config", type=Path, help="config file with sections generate and potentials")
    add("--set", action="append", default=[], help="key=value of section generate; repeatable")
    add("--json", type=Path, help="write all results there")
    return parser


def _asked(name: str, targets: Path, given: argparse.Namespace) -> Benchmark:
    """Check everything that can be checked before the search."""
    for option in ("limit", "samples"):
        value = getattr(given, option)
        if value is not None and value < 1:
            raise ConfigError(f"--{option} {value}: must be at least 1")
    for path in given.truth:
        try:
            files.kind_of(path)
        except ConfigError as error:
            raise ConfigError(f"--truth '{path}': {error}") from error
    changes = [*given.set, *([f"checkpoint={given.checkpoint}"] if given.checkpoint else [])]
    settings = Evaluation(
        structures=targets,
        samples=_PROBE if given.cpu_seconds is not None else given.samples,
        cpu_seconds=given.cpu_seconds,
        seed=given.seed,
        cells="sampled",
        generators=parse_generators(given.generators),
        symmetry=configfile.parse_symmetry(given.symmetry),
        generate=configfile.parse_section(GenerateConfig, "generate", given.config, changes),
        potentials=configfile.parse_potentials(given.config),
    )
    return Benchmark(name, read_targets(targets, given.limit), given.truth, settings, given.second)


def show(result: Mapping[str, Any]) -> None:
    """Print the crystals and the sums, generator by generator."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120)
    amount, unit = next((v, k) for k, v in result["budget"].items())
    for name in result["generators"]:
        figures = result if name == result["generators"][0] else result[name]
        words = unit.replace("cpu_seconds", "CPU seconds")
        title = f"{result['benchmark']}, {name}: {amount:g} {words} per composition"
        table = Table(title=title, title_justify="left")
        columns = ("crystal", "atoms", "samples", "matches", "lowest", "gap, meV/atom", "CPU s", "")
        for column in columns:
            right = column not in {"crystal", "", "lowest"}
            table.add_column(column, justify="right" if right else "left")
        for row in figures["crystals"]:
            table.add_row(*_cells(row))
        console.print(table)
        for line in _sums(figures):
            console.print(line, highlight=False, soft_wrap=True)


def _cells(row: Mapping[str, Any]) -> Iterator[str]:
    """One line of the table; matches and lowest by the narrow tolerances."""
    gap = row.get("energy_gap")
    yield from (row["name"], str(row["n_atoms"]), str(row["n_samples"]))
    yield str(row.get("matches_narrow", "-"))
    yield "-" if row["lowest_narrow"] is None else "yes" if row["lowest_narrow"] else "no"
    yield "-" if gap is None else f"{1000 * gap:.0f}"
    yield f"{row['cpu_seconds']:.1f}"
    yield row["remark"]


def _sums(figures: Mapping[str, Any]) -> Iterator[str]:
    n = figures["n_with_truth"]
    for key, words in _WORDS:
        if f"n_{key}" in figures:
            ends = (100 * figures[f"{key}_low"], 100 * figures[f"{key}_high"])
            yield f"{words}: {figures[f'n_{key}']} of {n} [{ends[0]:.0f}, {ends[1]:.0f}] %"
    yield (
        f"CPU seconds per composition: {figures['cpu_seconds']:.1f},"
        f" samples: {figures['samples']:.1f}"
    )
