"""Arguments and options that commands share."""

from pathlib import Path
from typing import Annotated

import typer

from chggen.errors import ConfigError

Source = Annotated[Path, typer.Argument(help="table to read", show_default=False)]


def _no_folder(path: Path) -> Path:
    """Hours of computing are not to end in a name that cannot be written."""
    if path.is_dir():
        raise ConfigError(f"--output '{path}': is a folder; name a file")
    taken = next((p for p in path.absolute().parents if p.exists()), None)
    if taken is not None and not taken.is_dir():
        raise ConfigError(f"--output '{path}': '{taken}' is a file, not a folder")
    return path


Output = Annotated[Path, typer.Option("--output", "-o", help="table to write", callback=_no_folder)]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="config file with this command's section")
]
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
