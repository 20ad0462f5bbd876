"""``chggen reference``: show or relax the competing phases of a system."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chggen.cli.options import Changes, ConfigFile, Output
from chggen.config import load as configfile
from chggen.config.energies import ReferenceConfig
from chggen.config.text import read_yaml
from chggen.errors import ConfigError
from chggen.run.progress import bar
from chggen.structure.composition import ATOMIC_NUMBERS, parse_formula

if TYPE_CHECKING:
    from chggen.reference.files import Phase
    from chggen.reference.reference import Reference

#: Energies closer than this (eV/atom) are the same.
_SAME = 1e-8
#: What the energy of a phase of the builtin table is.
_MEANING = {
    "record": "record",
    "hull": "hull point",
    "converted": "converted",
}
_LEGEND = (
    "record: a phase of the Materials Project; hull point: energy of the hull there, by a record;\n"
    "converted: from the Materials Project's corrections before 2020, ± one standard uncertainty"
)

app = typer.Typer(
    help="Show the competing phases of a chemical system, or relax them with the potential.",
    no_args_is_help=True,
)
System = Annotated[
    str, typer.Option(help="elements joined by '-', or the name of a system in --config")
]


@dataclass(frozen=True)
class _Chosen:
    """What a command is about."""

    elements: set[str]
    reference: Mapping[str, Any] = field(default_factory=dict)
    phases: Path | None = None
    referenced: Path | None = None


def _chosen(system: str, config: Path | None) -> _Chosen:
    if config is not None:
        campaign = configfile.parse(read_yaml(config))
        if system not in campaign.systems:
            raise ConfigError(f"--system '{system}': not in '{config}'")
        found = campaign.systems[system]
        given = found.reference.model_dump(exclude_unset=True)
        table = campaign.results / system / "referenced.parquet"
        return _Chosen(found.elements, given, found.phases, table)
    elements = set(system.split("-"))
    unknown = sorted(elements - set(ATOMIC_NUMBERS))
    if unknown:
        raise ConfigError(f"--system '{system}': unknown element '{unknown[0]}'")
    return _Chosen(elements)


@app.command("show")
def show(
    system: System,
    source: Annotated[
        str | None, typer.Option(help="builtin, file, materials-project or potential")
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            help="file of entries; for source potential: table of reference build or relax"
        ),
    ] = None,
    functional: Annotated[str | None, typer.Option(help="GGA/GGA+U or r2SCAN")] = None,
    potential: Annotated[
        str | None,
        typer.Option(
            help="for source potential: whose table of the package; default: the config's"
        ),
    ] = None,
    above: Annotated[
        float, typer.Option(help="list phases up to this far above the hull, eV/atom")
    ] = 0.1,
    config: ConfigFile = None,
) -> None:
    """Print the phases of a reference, their stability and their energies."""
    from chggen.config.stages import RelaxConfig
    from chggen.reference.computed import load_competing

    chosen = _chosen(system, config)
    given = dict(chosen.reference)
    if source == "potential" or (source is None and given.get("source") == "potential"):
        path = path or (chosen.referenced if chosen.phases else given.get("path"))
    elif path is not None:
        given["source"] = "file"
    given |= {"source": source or given.get("source", "builtin"), "functional": functional}
    own = given.get("path") if given["source"] in {"file", "potential"} else None
    given |= {"path": path or own}
    words = [f"{key}={json.dumps(str(value))}" for key, value in given.items() if value is not None]
    reference = configfile.parse_section(ReferenceConfig, "reference", None, words)
    relax = configfile.parse_section(RelaxConfig, "relax", config)
    named = potential or relax.tight.potential_name
    _print(load_competing(reference, chosen.elements, potential=named, relax=relax), above)


def _print(reference: "Reference", above: float) -> None:
    """Facts about a reference, then its phases: stable first, others up to ``above`` (eV/atom)."""
    from rich.console import Console
    from rich.table import Table

    from chggen.reference.hull import hull_formation_energy

    console = Console(highlight=False, soft_wrap=True)
    console.print(f"[bold]{reference.name}[/bold] ({reference.date or 'no date'})", markup=True)
    console.print(f"energies {reference.contract}, eV/atom; sha256 {reference.hash}")
    if reference.partial:
        console.print(f"[bold]warning:[/bold] {reference.partial}")
    stated = any(p.uncertainty is not None for p in reference.phases)
    table = Table("formula", "phase", box=None)
    for name in ("E_f", *(["±"] if stated else []), "above hull"):
        table.add_column(name, justify="right")
    table.add_column("stable")
    if stated:
        table.add_column("energy is")
    found = [reference.lowest[symbol] for symbol in reference.elements]
    # an element's own ground state is the line above
    found += [
        p
        for p in reference.phases
        if p.composition not in reference.elements or p.formation_energy_per_atom > _SAME
    ]
    hull = {p.composition: hull_formation_energy(reference, p.composition) for p in found}
    rows = [(max(0.0, p.formation_energy_per_atom - hull[p.composition]), p) for p in found]
    rows.sort(key=lambda row: (row[0] >= _SAME, len(parse_formula(row[1].composition)),
                               row[1].composition, row[0]))  # fmt: skip
    shown = [row for row in rows if row[0] < max(above, _SAME)]
    for over, phase in shown:
        unsure = f"{phase.uncertainty:.4f}" if phase.uncertainty else ""
        table.add_row(
            *(phase.composition, _name(phase), f"{phase.formation_energy_per_atom:.4f}"),
            *([unsure] if stated else []),
            *(f"{over:.4f}", "yes" if over < _SAME else ""),
            *([_MEANING.get(phase.source, "")] if stated else []),
        )
    console.print(table)
    if stated:
        console.print(_LEGEND)
    if len(rows) > len(shown):
        more = len(rows) - len(shown)
        console.print(f"{more} more lie {above:g} eV/atom or more above the hull (--above)")


def _name(phase: "Phase") -> str:
    """Id of a phase; nothing for one that has none."""
    return "" if phase.source and phase.label == phase.source else phase.label


@app.command("relax")
def relax(
    system: System,
    phases: Annotated[
        Path | None,
        typer.Option(help="structures of the phases; default: from the Materials Project"),
    ] = None,
    output: Output = Path("referenced.parquet"),
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Relax every competing phase with the potential (--set changes section relax)."""
    from chggen.config.stages import RelaxConfig
    from chggen.stages.reference import reference as run

    chosen = _chosen(system, config)
    settings = configfile.parse_section(RelaxConfig, "relax", config, changes or ())
    given = ReferenceConfig.model_validate({**chosen.reference, "source": "potential"})
    with bar("reference") as progress:
        run(
            system,
            chosen.elements,
            output,
            given,
            settings,
            progress,
            phases=phases or chosen.phases,
            potentials=configfile.parse_potentials(config),
        )


@app.command("build")
def build(
    structures: Annotated[
        Path,
        typer.Argument(
            help="known phases: folder of CIFs, extxyz, CSV or Parquet; tables may have the columns"
            " material_id and e_above_hull (eV/atom). The .parts folder of another build:"
            " start from its relaxed structures",
            show_default=False,
        ),
    ],
    output: Output = Path("phases.parquet"),
    max_above_hull: Annotated[
        float, typer.Option(min=0, help="eV/atom; where the structures say it")
    ] = 0.1,
    max_atoms: Annotated[int, typer.Option(min=1, help="in a cell")] = 40,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="time for this call; the next one goes on")
    ] = None,
    source: Annotated[str, typer.Option(help="where the structures come from")] = "",
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Make a table of energies of known phases by your potential, for reference 'potential'.

    Elements and the lowest phase of each composition come first. Killed or out of time, the
    same command goes on (--set changes section relax).
    """
    from chggen.config.stages import RelaxConfig
    from chggen.stages.reference_table import reference_table

    settings = configfile.parse_section(RelaxConfig, "relax", config, changes or ())
    with bar("reference build") as progress:
        numbers = reference_table(
            structures,
            output,
            settings,
            max_above_hull,
            max_atoms,
            minutes,
            source,
            progress,
            potentials=configfile.parse_potentials(config),
        )
    typer.echo(json.dumps(numbers))
