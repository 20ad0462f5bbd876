"""Arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
