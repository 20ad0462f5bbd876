"""Command that makes libraries of known crystals for generation."""

from pathlib import Path
from typing import Annotated, Any

import typer

from chggen.errors import ConfigError
from chggen.run.progress import bar


def library(
    structures: Annotated[
        Path,
        typer.Argument(
            help="folder of CIFs, extxyz, CSV or Parquet; tables may have the columns"
            " material_id and e_above_hull (eV/atom)",
            show_default=False,
        ),
    ],
    cells: Annotated[Path | None, typer.Option(help="table of cells to write (Parquet)")] = None,
    prototypes: Annotated[
        Path | None, typer.Option(help="library of prototypes to write (Parquet)")
    ] = None,
    max_above_hull: Annotated[
        float, typer.Option(min=0, help="eV/atom; where the structures say it")
    ] = 0.1,
    max_atoms: Annotated[int, typer.Option(min=1, help="per primitive cell")] = 52,
    source: Annotated[str, typer.Option(help="where the structures come from")] = "",
) -> None:
    """Make libraries of your own crystals, for generation.

    generate.lattice.library takes cells, generate.prototypes.library prototypes.
    """
    import json

    from chggen.cells import library_building
    from chggen.symmetry import prototype_library

    if cells is None and prototypes is None:
        raise ConfigError("library: name a table to write: --cells FILE or --prototypes FILE")
    numbers: dict[str, Any] = {}
    for name, path, build in (
        ("cells", cells, library_building.build),
        ("prototypes", prototypes, prototype_library.build),
    ):
        if path is None:
            continue
        if path.is_dir():
            raise ConfigError(f"--{name} '{path}': is a folder; name a file")
        with bar(f"{name}: read structures") as progress:
            numbers[name] = build(structures, path, max_above_hull, max_atoms, source, progress)
    typer.echo(json.dumps(numbers, indent=1))
