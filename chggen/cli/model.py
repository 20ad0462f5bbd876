"""Commands that train and evaluate models."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from chggen.cli.options import Changes, ConfigFile, KeptSymmetry
from chggen.config import load as configfile
from chggen.run.progress import bar


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Parquet, CSV, extxyz, CIF or folder of CIFs; may be repeated"),
    ] = None,
    validation: Annotated[
        list[Path] | None, typer.Option(help="the same, for validation errors; may be repeated")
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option(help="the same: its formulas are left out; may be repeated"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="run directory")] = None,
    pack: Annotated[
        Path | None,
        typer.Option(help="write the run's state, as small as it can be, and do nothing else"),
    ] = None,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Train a score network; an interrupted run continues where it stopped."""
    from chggen.config.stages import TrainConfig

    given: dict[str, list[Path] | None] = {
        "data": data,
        "validation": validation,
        "exclude": exclude,
        "output": [output] if output else None,
    }
    extra = [f"{key}={_yaml(value)}" for key, value in given.items() if value]
    settings = configfile.parse_section(TrainConfig, "train", config, [*(changes or ()), *extra])
    if pack is not None:
        from chggen.diffusion import state

        size = state.pack(settings.output / state.NAME, pack)
        typer.echo(f"{pack}  {size:,} bytes; as {state.NAME} in a run directory it goes on there")
        return
    from chggen.stages.train import train as run

    with bar("read structures") as progress:
        path = run(settings, lambda record: typer.echo(_record(record), err=True), progress)
    typer.echo(path)


def _yaml(paths: list[Path]) -> str:
    """One path, or a list of several, as YAML."""
    names = [str(path) for path in paths]
    return json.dumps(names[0] if len(names) == 1 else names)


def train_volume(
    data: Annotated[list[Path], typer.Option(help="CSV with a cif column; may be repeated")],
    validation: Annotated[
        list[Path], typer.Option(help="CSV with a cif column, for validation errors")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="folder")] = Path("runs/volume"),
) -> None:
    """Train the regression of volume per atom on composition (takes minutes)."""
    from chggen.cells.volume_training import train

    typer.echo(json.dumps(train(data, validation, output), indent=1))


def _record(record: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in record.items())


def evaluate(
    structures: Annotated[
        Path, typer.Option(help="CSV with columns cif and (optional) e_above_hull")
    ],
    limit: Annotated[int, typer.Option(min=1, help="number of known structures")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="samples per structure (K)")] = 5,
    cpu_seconds: Annotated[
        float | None,
        typer.Option(
            help="per structure: draw more samples up to it, for success against CPU seconds"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    json: Annotated[Path | None, typer.Option(help="write all results to this JSON file")] = None,
    table: Annotated[
        Path | None, typer.Option(help="write one row per sample to this Parquet file")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="draw success against CPU seconds (.svg, .png or .pdf)"),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="compare with the --json file of an earlier run")
    ] = None,
    cells: Annotated[
        str, typer.Option(help="sampled (as in a campaign), true (from the file) or framework")
    ] = "sampled",
    generators: Annotated[
        str | None,
        typer.Option(
            help="compared; the figures of the first stand at the top of --json"
            " (default: campaign,diffusion,prototypes,random where cells are sampled)"
        ),
    ] = None,
    symmetry: KeptSymmetry = "auto",
    checkpoint: Annotated[str | None, typer.Option(help="score network")] = None,
    sampler: Annotated[str | None, typer.Option(help="fast or paper")] = None,
    min_atoms: Annotated[int, typer.Option(min=1)] = 3,
    max_atoms: Annotated[int, typer.Option(min=1)] = 14,
    max_above_hull: Annotated[float, typer.Option(help="eV/atom")] = 0.05,
    config: ConfigFile = None,
    changes: Changes = None,
) -> None:
    """Measure how often known crystals are found from their composition, and at which cost.

    --set and --config are about section generate.
    """
    from chggen.config.stages import GenerateConfig
    from chggen.evaluation import chart, output
    from chggen.evaluation.against import compare, read_earlier
    from chggen.evaluation.run import Run
    from chggen.evaluation.run import evaluate as run
    from chggen.evaluation.settings import COMPARED, Evaluation, parse_generators

    given = {"checkpoint": checkpoint, "sampler": sampler}
    extra = [f"{key}={value}" for key, value in given.items() if value is not None]
    asked = Evaluation(
        structures=structures,
        limit=limit,
        samples=samples,
        cpu_seconds=cpu_seconds,
        seed=seed,
        cells=cells,  # type: ignore[arg-type]  # it looks itself
        generators=parse_generators(
            COMPARED.get(cells, COMPARED["true"]) if generators is None else generators
        ),
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
    if figure is not None:
        chart.check(figure)

    def write(done: Run) -> None:
        if against and earlier:
            done.result["against"] = compare(done.result, earlier, against)
        if json is not None:
            output.write_json(done.result, json)
        if table is not None:
            output.write_table(done, table)
        if figure is not None:
            chart.write(done.result, figure)

    done = run(asked, after=write)
    write(done)
    output.show(done.result)
