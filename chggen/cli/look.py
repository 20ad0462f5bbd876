"""Commands that inspect tables and configurations."""

import textwrap
from pathlib import Path
from typing import Annotated

import typer

from chggen.cli.options import ConfigFile, Source
from chggen.config import load as configfile
from chggen.config.text import read_yaml

#: Formulas that ``check`` prints of a system.
_TOLD = 200


def export(
    source: Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="folder, or the file (extxyz, json)")
    ] = Path("export"),
    kind: Annotated[
        str, typer.Option("--format", "-f", help="cif, poscar, extxyz, json or optimade")
    ] = "cif",
    ids: Annotated[list[str] | None, typer.Option("--id", help="only these rows")] = None,
    where: Annotated[
        str | None,
        typer.Option(help="only rows that meet this: selected; rank=1; decomposition_energy<0.05"),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(
            help="as-is (P1), primitive or conventional; default: conventional for cif and"
            " optimade, as-is for the others",
            show_default=False,
        ),
    ] = None,
    symprec: Annotated[float, typer.Option(help="Å, at which structures are symmetrised")] = 0.1,
    angle_tolerance: Annotated[float, typer.Option(help="degrees, of the same")] = 10.0,
    forces: Annotated[
        bool, typer.Option(help="extxyz: compute forces and stress with the row's potential")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Export structures: CIF, POSCAR, extended XYZ, pymatgen's entries, OPTIMADE."""
    from chggen.export.export import export as run
    from chggen.export.export import tolerance_of

    line = run(
        source,
        output,
        kind,
        ids,
        where,
        tolerance=tolerance_of(kind, cell, symprec, angle_tolerance),
        forces=forces,
        potentials=configfile.parse_potentials(config),
    )
    typer.echo(line)


def show(
    source: Source,
    columns: Annotated[
        list[str] | None, typer.Option("--column", "-k", help="only this; may be repeated")
    ] = None,
    sort: Annotated[str | None, typer.Option(help="column to sort by")] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", "-n", min=1, help="default: 20, with --csv all", show_default=False),
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", "-w", help="all columns, in long lines")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="CSV of all columns to stdout")] = False,
) -> None:
    """Print a summary of a table and its first rows."""
    from chggen.tables import show as tables

    if csv:
        # a file's encoding does not depend on the terminal's
        typer.echo(tables.to_csv(source, columns, sort, rows).encode("utf-8"), nl=False)
        return
    tables.show(source, columns, sort, rows or 20, wide=wide)


def check(
    config: Annotated[Path, typer.Argument(help="configuration file")],
    schema: Annotated[bool, typer.Option(help="print the JSON schema instead")] = False,
) -> None:
    """Check a configuration and print the size of the campaign."""
    import json

    from chggen.campaign.fetching import fetch
    from chggen.campaign.plan import Campaign
    from chggen.config.model import Config

    if schema:
        typer.echo(json.dumps(Config.model_json_schema(), indent=1))
        return
    campaign = Campaign.load(read_yaml(config), config)
    for name, system in campaign.config.systems.items():
        formulas = system.formulas()
        attempts = len(formulas) * system.lattice_seeds * system.lattices_per_seed
        typer.echo(
            f"{name}: {len(formulas)} compositions x {system.lattice_seeds} seeds x"
            f" {system.lattices_per_seed} lattices = {attempts} structures"
        )
        # as they were understood: Co is not CO
        told = formulas[:_TOLD]
        if len(formulas) > len(told):
            told.append(f"... and {len(formulas) - len(told)} more")
        for line in (f"elements: {' '.join(sorted(system.elements))}", " ".join(told)):
            typer.echo(textwrap.indent(textwrap.fill(line, 76), "  "))
    warnings = fetch(campaign.config, client=None)
    for notice in (campaign.notice, campaign.leftover(), *warnings):
        if notice:
            typer.echo(f"chggen: {notice}", err=True)
