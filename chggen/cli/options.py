"""Arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

Source = Annotated[Path, typer.Argument(help="table to read", show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", help="table to write")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="config file with this command's section")
]
COMPARED = "diffusion,random,random_selected,pyxtal"
KeptSymmetry = Annotated[
    str,
    typer.Option(
        help="space groups imposed while sampling: none, auto, a number or a range (195-230)"
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", help="set a key of this command's section: key=value; may be repeated"
    ),
]
