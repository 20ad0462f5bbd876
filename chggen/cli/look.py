"""Commands that inspect tables and configurations."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.cli.options import Output, Source
from chggen.config import load as configfile


def export(
    source: Source,
    output: Output = Path("export"),
    kind: Annotated[str, typer.Option("--format", "-f", help="cif or extxyz")] = "cif",
    ids: Annotated[list[str] | None, typer.Option("--id", help="only these rows")] = None,
    where: Annotated[
        str | None, typer.Option(help="only rows where this column is true (selected, symmetric)")
    ] = None,
) -> None:
    """Export structures of a table as CIF files or as one extended XYZ file."""
    from chggen.tables.export import export as run

    typer.echo(run(source, output, kind, ids, where))


def show(
    source: Source,
    columns: Annotated[list[str] | None, typer.Option("--column", "-k")] = None,
    sort: Annotated[str | None, typer.Option(help="column to sort by")] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1)] = 20,
) -> None:
    """Print a summary of a table and its first rows."""
    from chggen.tables.export import show as run

    run(source, columns, sort, rows)


def check(
    config: Annotated[Path, typer.Argument(help="configuration file")],
    schema: Annotated[bool, typer.Option(help="print the JSON schema instead")] = False,
) -> None:
    """Check a configuration and print the size of the campaign."""
    import json

    from chggen.campaign.plan import Campaign
    from chggen.config.model import Config

    if schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=1))
        return
    campaign = Campaign.load(configfile.read_yaml(config), config)
    for name, system in campaign.config.systems.items():
        formulas = system.formulas()
        attempts = len(formulas) * system.lattice_seeds * system.lattices_per_seed
        typer.echo(
            f"{name}: {len(formulas)} compositions x {system.lattice_seeds} seeds x"
            f" {system.lattices_per_seed} lattices = {attempts} structures"
        )
    for notice in (campaign.notice, campaign.leftover()):
        if notice:
            typer.echo(f"chggen: {notice}", err=True)
