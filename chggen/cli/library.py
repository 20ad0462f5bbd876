"""Command that makes libraries of known crystals for generation."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.errors import ConfigError
from chggen.run.progress import bar


def library(
    structures: Annotated[
        Path,
        typer.Argument(
            help="folder of CIFs, extxyz, CSV or Parquet; Parquet may have the columns"
            " material_id and e_above_hull (eV/atom)",
            show_default=False,
        ),
    ],
    prototypes: Annotated[
        Path | None, typer.Option(help="library of prototypes to write (Parquet)")
    ] = None,
    max_above_hull: Annotated[
        float, typer.Option(min=0, help="eV/atom; where the structures say it")
    ] = 0.1,
    max_atoms: Annotated[int, typer.Option(min=1, help="per primitive cell")] = 52,
    source: Annotated[str, typer.Option(help="where the structures come from")] = "",
) -> None:
    """Make a library of your own crystals (generate.prototypes.library)."""
    import json

    from chggen.symmetry.prototype_library import build

    if prototypes is None:
        raise ConfigError("library: name a table to write: --prototypes FILE")
    if prototypes.is_dir():
        raise ConfigError(f"--prototypes '{prototypes}': is a folder; name a file")
    with bar("read structures") as progress:
        numbers = build(structures, prototypes, max_above_hull, max_atoms, source, progress)
    typer.echo(json.dumps(numbers, indent=1))
