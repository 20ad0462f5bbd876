"""Commands that begin with a formula: ``predict`` and ``new``."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from chggen.errors import ConfigError

Guests = Annotated[
    str | None,
    typer.Option(
        help="elements that are removed and put back, joined by commas, or auto",
        show_default=False,
    ),
]
Cores = Annotated[str, typer.Option(help="jobs at a time, or all")]


def predict(
    formula: Annotated[str, typer.Argument(help="e.g. Li3PS4")],
    budget: Annotated[str, typer.Option("--budget", "-b", help="time: 10m, 90s, 1h30m")] = "10m",
    guests: Guests = None,
    cores: Cores = "all",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="folder; default: predict-FORMULA", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("--candidates", "-n", min=1, help="to print")] = 5,
) -> None:
    """Predict crystals of a formula in a given time: config, campaign and answer."""
    from chggen.prediction import answer
    from chggen.prediction.budget import parse_budget
    from chggen.prediction.predict import predict as run
    from chggen.prediction.predict import question

    seconds = parse_budget(budget)
    asked = question(formula, _guests(guests), seconds, _cores(cores), output)
    try:
        screened = run(asked, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo(f"chggen: interrupted; the same command goes on in '{asked.folder}'", err=True)
        raise typer.Exit(130) from None
    best = answer.best(screened, count)
    if not best:
        typer.echo(f"{asked.formula}: no structure relaxed; see {asked.results}/report.html")
        return
    for line in answer.aligned(answer.table(best)):
        typer.echo(line)
    folder = asked.folder / "cifs"
    shutil.rmtree(folder, ignore_errors=True)
    from chggen.export.export import export

    export(screened, folder, "cif", [row["id"] for row in best])
    typer.echo(f"report: {asked.results}/report.html   CIFs: {folder}   config: {asked.config}")


def new(
    words: Annotated[list[str], typer.Argument(help="a system (Li-P-S) or formulas")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="file; default: SYSTEM.yaml", show_default=False),
    ] = None,
    guests: Guests = None,
    cores: Cores = "all",
) -> None:
    """Write a commented config for a system or formulas, and say what it will cost."""
    from chggen.prediction import calibrate
    from chggen.prediction.new import check, write_config

    chosen = [] if guests in {None, "auto"} else _guests(guests) or []
    check(words, output, chosen)
    typer.echo(write_config(words, output, chosen, calibrate.measure(_cores(cores))))


def _guests(text: str | None) -> list[str] | None:
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ConfigError(f"--guests '{text}': must be elements joined by commas, or auto")
    return words


def _cores(text: str) -> int:
    from chggen.prediction.predict import cores_of

    return len(os.sched_getaffinity(0)) if text == "all" else cores_of(text)
