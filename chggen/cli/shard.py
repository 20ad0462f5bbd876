"""Commands on one shard: structures of a composition."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.cli.options import Changes, ConfigFile, KeptSymmetry, Output, Source
from chggen.config import load as configfile
from chggen.errors import ConfigError
from chggen.run.progress import bar


def generate(
    composition: Annotated[str, typer.Argument(help="formula, e.g. Zn2P2S7")],
    output: Output = Path("generated.parquet"),
    lattices: Annotated[int, typer.Option(min=1, help="number of structures")] = 20,
    formula_units: Annotated[list[int] | None, typer.Option("--units", "-u")] = None,
    volume: Annotated[
        float | None, typer.Option(help="Å³ per atom; default: predicted from the composition")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="lattice seed")] = 0,
    campaign_seed: Annotated[int, typer.Option(min=0)] = 2025,
    symmetry: KeptSymmetry = "auto",
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Generate structures: sample cells and place atoms by reverse diffusion."""
    from chggen.campaign.seeds import Shard
    from chggen.config.stages import GenerateConfig
    from chggen.stages.generate import generate as run
    from chggen.structure.composition import canonical_formula, parse_formula

    formula = canonical_formula(composition)
    shard = Shard("-".join(parse_formula(formula)), formula, seed)
    cells = {
        "formula_units": formula_units or [1],
        "lattices": lattices,
        "volume_per_atom": volume or "auto",
    }
    settings = configfile.parse_section(GenerateConfig, "generate", config, changes or ())
    with bar("generate") as progress:
        kept = configfile.parse_symmetry(symmetry)
        own = configfile.parse_potentials(config)
        run(
            output,
            shard,
            cells,
            settings,
            campaign_seed,
            progress,
            symmetry=kept,
            potentials=own,
        )


def relax(
    source: Source,
    output: Output = Path("relaxed.parquet"),
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Relax generated or inpainted structures with a foundation potential."""
    from chggen.config.stages import RelaxConfig
    from chggen.stages.relax import relax as run

    settings = configfile.parse_section(RelaxConfig, "relax", config, changes or ())
    own = configfile.parse_potentials(config)
    with bar("relax") as progress:
        run(source, output, settings, progress, potentials=own)


def refine(
    source: Source,
    output: Output = Path("refined.parquet"),
    guests: Annotated[
        list[str] | None,
        typer.Option("--guest", "-g", help="element to remove; may be repeated; default: auto"),
    ] = None,
    chosen: Annotated[
        Path | None, typer.Option(help="table from chggen choose; default: auto by SOURCE alone")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Remove guests from relaxed structures and symmetrise the frameworks."""
    from chggen.config.stages import RefineConfig
    from chggen.stages.refine import refine as run
    from chggen.structure.composition import ATOMIC_NUMBERS

    unknown = [guest for guest in guests or () if guest not in ATOMIC_NUMBERS]
    if unknown:
        raise ConfigError(f"--guest '{unknown[0]}': unknown element")
    if guests and chosen:
        raise ConfigError("--guest and --chosen cannot be used together")
    settings = configfile.parse_section(RefineConfig, "refine", config, changes or ())
    with bar("refine") as progress:
        run(source, output, guests or "auto", settings, progress, chosen=chosen)


def inpaint(
    source: Source,
    output: Output = Path("inpainted.parquet"),
    campaign_seed: Annotated[int, typer.Option(min=0)] = 2025,
    symmetry: KeptSymmetry = "auto",
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Place guests in the frameworks by inpainting."""
    from chggen.config.stages import InpaintConfig
    from chggen.stages.inpaint import inpaint as run

    settings = configfile.parse_section(InpaintConfig, "inpaint", config, changes or ())
    with bar("inpaint") as progress:
        kept = configfile.parse_symmetry(symmetry)
        own = configfile.parse_potentials(config)
        run(source, output, settings, campaign_seed, progress, symmetry=kept, potentials=own)
