"""DFT commands: submit, calculate, collect."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.cli.options import Changes, ConfigFile, Output, Source
from chggen.config import load as configfile
from chggen.run.progress import bar


def submit(
    source: Source,
    output: Output = Path("submitted.parquet"),
    phases: Annotated[
        Path | None,
        typer.Option(help="structures of the competing phases, if DFT computes them"),
    ] = None,
    referenced: Annotated[
        Path | None,
        typer.Option(help="instead: table referenced, the phases relaxed by the potential"),
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Write DFT inputs of the selected structures into folder dft beside the table."""
    from chggen.config.dft import DftConfig
    from chggen.stages.submit import submit as run

    settings = configfile.parse_section(DftConfig, "dft", config, changes or ())
    given = [referenced] if referenced else []
    with bar("submit") as progress:
        run(source, output, settings, progress, referenced=given, phases=phases)


def calculate(
    source: Source,
    identity: Annotated[str, typer.Argument(metavar="ID", help="id of the row in table submitted")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="table to write; default: in the calculation's folder"),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="stop cleanly within this many seconds")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Run one DFT calculation; an interrupted one continues where it stopped."""
    from chggen.config.dft import DftConfig, cannot_run
    from chggen.errors import ConfigError
    from chggen.stages.calculate import calculate as run

    settings = configfile.parse_section(DftConfig, "dft", config, changes or ())
    problem = cannot_run(settings)
    if problem:
        raise ConfigError(f"config: {problem}")
    target = output or source.parent / "dft" / identity / "calculated.parquet"
    with bar("calculate") as progress:
        # by hand the row is written whatever came of it
        run(
            source,
            identity,
            target,
            settings,
            progress,
            attempt=settings.attempts,
            seconds=seconds,
        )


def collect(
    calculated: Annotated[list[Path], typer.Argument(help="tables calculated")],
    submitted: Annotated[Path, typer.Option(help="table submitted")] = Path("submitted.parquet"),
    screened: Annotated[Path, typer.Option(help="table screened")] = Path("screened.parquet"),
    output: Output = Path("collected.parquet"),
    reference: Annotated[
        Path | None, typer.Option(help="JSON list of entries with the same functional, for E_d")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Collect DFT results: E_d, symmetry, and comparison with the potential."""
    from chggen.config.dft import DftConfig
    from chggen.config.energies import ReferenceConfig
    from chggen.config.screening import ScreenConfig
    from chggen.stages.collect import collect as run

    settings = configfile.parse_section(DftConfig, "dft", config, changes or ())
    screen = configfile.parse_section(ScreenConfig, "screen", config)
    given = None
    if reference:
        given = ReferenceConfig(source="file", path=reference, functional=settings.functional)
    with bar("collect") as progress:
        run(calculated, submitted, screened, output, settings, screen, given, progress)
