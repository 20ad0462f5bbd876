"""``chggen VERB``: every stage on Parquet files, without Snakemake."""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from chggen import configfile
from chggen.errors import ChggenError
from chggen.progress import bar

# stages import torch and pymatgen, which take seconds: each command imports its own

app = typer.Typer(
    help="Crystal structure prediction by host-guided diffusion. Each verb is one step of"
    " the campaign; tables are Parquet files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Source = Annotated[Path, typer.Argument(help="table to read", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="table to write")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="take this verb's section from a config file")
]
COMPARED = "diffusion,random,random_selected,pyxtal"
KeptSymmetry = Annotated[
    str, typer.Option(help="space groups kept: none, auto, a number or 195-230")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="key=value of this verb's section; may be repeated"),
]


@app.command()
def generate(
    composition: Annotated[str, typer.Argument(help="formula, e.g. Zn2P2S7")],
    output: Output = Path("generated.parquet"),
    lattices: Annotated[int, typer.Option(min=1, help="structures to attempt")] = 20,
    formula_units: Annotated[list[int] | None, typer.Option("--units", "-u")] = None,
    volume: Annotated[float | None, typer.Option(help="Å³ per atom; default: regression")] = None,
    seed: Annotated[int, typer.Option(min=0, help="lattice seed")] = 0,
    campaign_seed: Annotated[int, typer.Option(min=0)] = 2025,
    symmetry: KeptSymmetry = "auto",
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Draw cells and place atoms by reverse diffusion."""
    from chggen.campaign import Shard
    from chggen.composition import canonical_formula, parse_formula
    from chggen.config import GenerateConfig
    from chggen.stages.generate import generate as run

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


@app.command()
def relax(
    source: Source,
    output: Output = Path("relaxed.parquet"),
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Relax generated or inpainted structures with a foundation potential."""
    from chggen.config import RelaxConfig
    from chggen.stages.relax import relax as run

    settings = configfile.parse_section(RelaxConfig, "relax", config, changes or ())
    own = configfile.parse_potentials(config)
    with bar("relax") as progress:
        run(source, output, settings, progress, potentials=own)


@app.command()
def refine(
    source: Source,
    output: Output = Path("refined.parquet"),
    guests: Annotated[
        list[str] | None, typer.Option("--guest", "-g", help="element; default: auto")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Take guests out of relaxed structures and symmetrise the framework."""
    from chggen.config import RefineConfig
    from chggen.stages.refine import refine as run

    settings = configfile.parse_section(RefineConfig, "refine", config, changes or ())
    with bar("refine") as progress:
        run(source, output, guests or "auto", settings, progress)


@app.command()
def inpaint(
    source: Source,
    output: Output = Path("inpainted.parquet"),
    campaign_seed: Annotated[int, typer.Option(min=0)] = 2025,
    symmetry: KeptSymmetry = "auto",
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Draw guests back into the frameworks."""
    from chggen.config import InpaintConfig
    from chggen.stages.inpaint import inpaint as run

    settings = configfile.parse_section(InpaintConfig, "inpaint", config, changes or ())
    with bar("inpaint") as progress:
        kept = configfile.parse_symmetry(symmetry)
        own = configfile.parse_potentials(config)
        run(source, output, settings, campaign_seed, progress, symmetry=kept, potentials=own)


@app.command()
def screen(
    sources: Annotated[list[Path], typer.Argument(help="tables relaxed and rerelaxed")],
    output: Output = Path("screened.parquet"),
    inpainted: Annotated[
        list[Path] | None, typer.Option(help="tables inpainted, for the frameworks' space groups")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(help="your own entries; default: the built-in tables")
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Symmetry, decomposition energy, duplicates, known phases, selection."""
    from chggen.config import RelaxConfig, ScreenConfig
    from chggen.energyspecs import ReferenceConfig
    from chggen.stages.screen import screen as run
    from chggen.stages.second import SecondLevel

    settings = configfile.parse_section(ScreenConfig, "screen", config, changes or ())
    given = ReferenceConfig(source="file", path=reference) if reference else ReferenceConfig()
    second = SecondLevel(
        configfile.parse_potentials(config),
        relax=configfile.parse_section(RelaxConfig, "relax", config),
    )
    with bar("screen") as progress:
        run(sources, output, given, settings, inpainted or [], progress, second=second)


@app.command()
def submit(
    source: Source,
    output: Output = Path("submitted.parquet"),
    directory: Annotated[Path, typer.Option("--directory", "-d")] = Path("dft"),
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Write DFT inputs of the selected structures."""
    from chggen.config import SubmitConfig
    from chggen.stages.submit import submit as run

    settings = configfile.parse_section(SubmitConfig, "submit", config, changes or ())
    with bar("submit") as progress:
        run(source, output, directory, settings, progress)


@app.command()
def report(
    system: Annotated[str, typer.Argument(help="name of the system in the config")],
    config: Annotated[Path, typer.Option("--config", "-c")] = Path("config/config.yaml"),
) -> None:
    """Write report.parquet and report.html of a system from its tables."""
    from chggen.campaign import Campaign
    from chggen.errors import ConfigError
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
        )


@app.command()
def train(
    data: Annotated[Path | None, typer.Option(help="CSV with a cif column")] = None,
    validation: Annotated[Path | None, typer.Option(help="the same, for the error table")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="run directory")] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Train a score network; a run that was stopped goes on where it was."""
    from chggen.config import TrainConfig
    from chggen.stages.train import train as run

    given: dict[str, Any] = {"data": data, "validation": validation, "output": output}
    extra = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = configfile.parse_section(TrainConfig, "train", config, [*(changes or ()), *extra])
    with bar("read structures") as progress:
        path = run(settings, lambda record: typer.echo(_record(record), err=True), progress)
    typer.echo(path)


@app.command("train-volume")
def train_volume(
    data: Annotated[list[Path], typer.Option(help="CSV with a cif column; may be repeated")],
    validation: Annotated[list[Path], typer.Option(help="the same, for the error")],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder")] = Path("runs/volume"),
) -> None:
    """Train the regression from composition to volume per atom (minutes)."""
    import json

    from chggen.volume import train_volume_model

    typer.echo(json.dumps(train_volume_model(data, validation, output), indent=1))


def _record(record: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in record.items())


@app.command()
def evaluate(
    structures: Annotated[Path, typer.Option(help="CSV with a cif column (e_above_hull if there)")],
    limit: Annotated[int, typer.Option(min=1, help="known structures taken")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="samples per structure (K)")] = 5,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    json: Annotated[Path | None, typer.Option(help="write all figures here")] = None,
    table: Annotated[Path | None, typer.Option(help="write one row per sample (Parquet)")] = None,
    against: Annotated[Path | None, typer.Option(help="--json of an earlier run")] = None,
    cells: Annotated[str, typer.Option(help="true (of the file), sampled or framework")] = "true",
    generators: Annotated[
        str, typer.Option(help="compared")
    ] = "diffusion,random,random_selected,pyxtal",
    symmetry: KeptSymmetry = "auto",
    checkpoint: Annotated[str | None, typer.Option(help="score network")] = None,
    sampler: Annotated[str | None, typer.Option(help="fast or paper")] = None,
    min_atoms: Annotated[int, typer.Option(min=1)] = 3,
    max_atoms: Annotated[int, typer.Option(min=1)] = 14,
    max_above_hull: Annotated[float, typer.Option(help="eV/atom")] = 0.05,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Measure how often known crystals are found again, against random starts.

    --set and --config are about section generate.
    """
    from chggen.config import GenerateConfig
    from chggen.evaluation import output
    from chggen.evaluation.against import compare, read_earlier
    from chggen.evaluation.run import Run
    from chggen.evaluation.run import evaluate as run
    from chggen.evaluation.settings import Evaluation, parse_generators

    given = {"checkpoint": checkpoint, "sampler": sampler}
    extra = [f"{key}={value}" for key, value in given.items() if value is not None]
    asked = Evaluation(
        structures=structures,
        limit=limit,
        samples=samples,
        seed=seed,
        cells=cells,  # type: ignore[arg-type]  # it looks itself
        generators=parse_generators(generators),
        min_atoms=min_atoms,
        max_atoms=max_atoms,
        max_above_hull=max_above_hull,
        symmetry=configfile.parse_symmetry(symmetry),
        generate=configfile.parse_section(
            GenerateConfig, "generate", config, [*(changes or ()), *extra]
        ),
        potentials=configfile.parse_potentials(config),
    )
    earlier = read_earlier(against, structures) if against else None

    def write(done: Run) -> None:
        if against and earlier:
            done.result["against"] = compare(done.result, earlier, against)
        if json is not None:
            output.write_json(done.result, json)
        if table is not None:
            output.write_table(done, table)

    done = run(asked, after=write)
    write(done)
    output.show(done.result)


@app.command()
def export(
    source: Source,
    output: Output = Path("export"),
    kind: Annotated[str, typer.Option("--format", "-f", help="cif or extxyz")] = "cif",
    ids: Annotated[list[str] | None, typer.Option("--id", help="only these rows")] = None,
    where: Annotated[
        str | None, typer.Option(help="only rows where this column is true (selected, symmetric)")
    ] = None,
) -> None:
    """Write structures of a table as CIF files or one extended XYZ file."""
    from chggen.export import export as run

    typer.echo(run(source, output, kind, ids, where))


@app.command()
def show(
    source: Source,
    columns: Annotated[list[str] | None, typer.Option("--column", "-k")] = None,
    sort: Annotated[str | None, typer.Option(help="column to sort by")] = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1)] = 20,
) -> None:
    """Print a table on the terminal: what became of the rows, and the first of them."""
    from chggen.export import show as run

    run(source, columns, sort, rows)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="configuration file")],
    schema: Annotated[bool, typer.Option(help="print the JSON schema instead")] = False,
) -> None:
    """Check a configuration as a campaign would, and say what it would make."""
    import json

    from chggen.campaign import Campaign
    from chggen.config import Config

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


def main() -> None:
    """Entry point: an error of the user is one line, exit code 1."""
    # waiting threads that spin make a busy machine many times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # spglib reports every structure it can do nothing with at a large tolerance
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    warnings.simplefilter("ignore")
    try:
        app()
    except ChggenError as error:
        sys.exit(f"chggen: {error}")


if __name__ == "__main__":
    main()
