"""Commands on one system: all its shards together."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.cli.options import Changes, ConfigFile, Output
from chggen.config import load as configfile
from chggen.errors import ConfigError
from chggen.run.progress import bar


def choose(
    sources: Annotated[list[Path], typer.Argument(help="tables relaxed of all shards")],
    output: Output = Path("chosen.parquet"),
) -> None:
    """Choose the guests of a system by the breadth of their coordination."""
    from chggen.stages.choose import choose as run

    with bar("choose") as progress:
        lines = run(sources, output, progress)
    for line in lines:
        typer.echo(line)


def screen(
    sources: Annotated[list[Path], typer.Argument(help="tables relaxed and rerelaxed")],
    output: Output = Path("screened.parquet"),
    inpainted: Annotated[
        list[Path] | None,
        typer.Option(help="tables inpainted, for the space groups of the frameworks"),
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="file of entries; default: the built-in tables")
    ] = None,
    referenced: Annotated[
        Path | None, typer.Option(help="instead: table written by chggen reference relax")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
    final: Annotated[
        bool, typer.Option(help="relax what passes a first cut again, tightly (relax.final)")
    ] = True,
) -> None:
    """Screen structures: symmetry, E_d, duplicates, known phases, selection."""
    from chggen.config.energies import ReferenceConfig
    from chggen.config.screening import ScreenConfig
    from chggen.config.stages import RelaxConfig
    from chggen.screening.second import SecondLevel
    from chggen.stages.screen import screen as run

    settings = configfile.parse_section(ScreenConfig, "screen", config, changes or ())
    if reference and referenced:
        raise ConfigError("--reference and --referenced cannot be used together")
    given = ReferenceConfig(source="file", path=reference) if reference else ReferenceConfig()
    if referenced:
        given = ReferenceConfig(source="potential")
    relax = configfile.parse_section(RelaxConfig, "relax", config)
    if not final:
        relax = relax.model_copy(update={"final": None})
    second = SecondLevel(configfile.parse_potentials(config), relax=relax)
    with bar("screen") as progress:
        run(
            sources,
            output,
            given,
            settings,
            inpainted or [],
            progress,
            relax=relax,
            second=second,
            referenced=referenced,
        )


def report(
    system: Annotated[str, typer.Argument(help="name of the system in the config")],
    config: Annotated[Path, typer.Option("--config", "-c")] = Path("config/config.yaml"),
) -> None:
    """Write report.parquet and report.html of a system."""
    from chggen.campaign.plan import Campaign
    from chggen.stages.report import report as run

    campaign = Campaign.load(None, config)
    if system not in campaign.config.systems:
        raise ConfigError(f"config '{config}': no system '{system}'")
    names = ("generated", "relaxed", "refined", "inpainted", "rerelaxed")
    folder = Path(campaign.results) / system
    paths = {name: [Path(p) for p in campaign.tables(system, name)] for name in names}
    with bar("report") as progress:
        run(
            system,
            paths,
            folder / "screened.parquet",
            folder / "report.parquet",
            folder / "report.html",
            campaign.config,
            progress,
            referenced=next(iter(campaign.referenced(system)), None),
            # before the calculations end, the page is made without them
            collected=next((p for p in campaign.collected(system) if Path(p).is_file()), None),
        )
