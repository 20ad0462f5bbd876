"""``chggen known``: are these crystals known?"""

from pathlib import Path
from typing import Annotated

import typer

from chggen.errors import ConfigError


def known(
    structures: Annotated[
        Path,
        typer.Argument(help="CIF, folder of CIFs, extxyz, CSV or Parquet", show_default=False),
    ],
) -> None:
    """Say of each structure whether it is a known crystal, or has a known prototype.

    Formula, space group and orbits, volume and distances are compared with the package's table
    of known crystals, as the screen does it.
    """
    from chggen.screening.known import KnownPhases
    from chggen.structure import composition as comp
    from chggen.structure import files, readers
    from chggen.symmetry.analysis import space_group
    from chggen.symmetry.labels import TOLERANCES

    try:
        files.check(structures)
    except ConfigError as error:
        raise ConfigError(f"'{structures}': {error}") from error
    phases = KnownPhases({})
    for entry in readers.entries(structures):
        read = readers.load(entry)
        if read.crystal is None:
            typer.echo(f"{entry.origin}: {read.reason}")
            continue
        (verdict,) = phases.verdicts([read.crystal])
        group = space_group(read.crystal, TOLERANCES[-1], -1.0)
        what = f"{comp.formula_of(read.crystal.atomic_numbers)}, {group.symbol} ({group.number})"
        typer.echo(f"{entry.origin}: {what}: {verdict}")
