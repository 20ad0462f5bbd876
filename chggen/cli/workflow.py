"""Commands that run the whole workflow."""

from pathlib import Path
from typing import Annotated

import typer


def resume(
    profile: Annotated[
        str, typer.Option(help="Snakemake profile: slurm, or a folder")
    ] = "profiles/local",
    configfile: Annotated[Path | None, typer.Option(help="Snakemake config file")] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="working directory of the killed driver")
    ] = Path(),
    wait: Annotated[
        bool,
        typer.Option("--wait/--cancel", help="wait for running SLURM jobs, or cancel them"),
    ] = True,
    watch: Annotated[
        float | None,
        typer.Option(
            help="restart the driver after this many minutes without jobs and output", min=0.01
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="with --watch: maximum number of drivers", min=1)] = 5,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="after --: arguments for snakemake")
    ] = None,
) -> None:
    """Resume a killed workflow: clean up, unlock and start Snakemake again."""
    from chggen.run.resume import Start
    from chggen.run.resume import resume as run

    given = ["--profile", profile]
    if configfile is not None:
        given += ["--configfile", str(configfile)]
    start = Start(directory.resolve(), (*given, *(arguments or ())))
    code = run(
        start,
        lambda line: typer.echo(f"resume: {line}"),
        wait=wait,
        watch=watch,
        rounds=rounds,
    )
    raise typer.Exit(code)
