"""The workflow around the verbs."""

from pathlib import Path
from typing import Annotated

import typer


def resume(
    profile: Annotated[
        str, typer.Option(help="as for snakemake: slurm, or a folder")
    ] = "profiles/local",
    configfile: Annotated[Path | None, typer.Option(help="as for snakemake")] = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="where the killed driver worked")
    ] = Path(),
    wait: Annotated[
        bool,
        typer.Option("--wait/--cancel", help="SLURM jobs that run: wait for them, or cancel them"),
    ] = True,
    watch: Annotated[
        float | None,
        typer.Option(help="minutes without a job and without a word: the driver hangs", min=0.01),
    ] = None,
    rounds: Annotated[int, typer.Option(help="with --watch, at most so many drivers", min=1)] = 5,
    arguments: Annotated[
        list[str] | None, typer.Argument(help="after --: passed on to snakemake")
    ] = None,
) -> None:
    """Go on where a driver was killed: clear what it left, unlock, start Snakemake again."""
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
