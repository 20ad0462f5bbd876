"""``chggen VERB``: every stage on Parquet files, without Snakemake."""

import io
import os
import sys
import warnings

import typer

from chggen.cli import (
    dft,
    known,
    library,
    look,
    model,
    predict,
    reference,
    shard,
    system,
    workflow,
)
from chggen.errors import ChggenError

# stages import torch and pymatgen, which take seconds: each command imports its own

app = typer.Typer(
    help="Crystal structure prediction by host-guided diffusion. Each command is one step of"
    " a campaign; tables are Parquet files.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    predict.predict,
    predict.new,
    shard.generate,
    shard.relax,
    system.choose,
    shard.refine,
    shard.inpaint,
    system.screen,
    dft.submit,
    dft.calculate,
    dft.collect,
    system.report,
    model.train,
    model.train_volume,
    model.evaluate,
    library.library,
    known.known,
    workflow.resume,
    look.export,
    look.show,
    look.check,
):
    app.command()(command)
app.add_typer(reference.app, name="reference")


def main() -> None:
    """Entry point: an error of the user is one line, exit code 1."""
    # waiting threads that spin make a busy machine many times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # spglib reports every structure it can do nothing with at a large tolerance
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    warnings.simplefilter("ignore")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that has no Å is no reason to stop
            stream.reconfigure(errors="replace")
    try:
        app()
    except ChggenError as error:
        sys.exit(f"chggen: {error}")
    except OSError as error:  # a full disk, a folder that is not one's own
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(f"chggen: {place}{error.strerror or error}")
