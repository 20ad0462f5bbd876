"""Which calculations a system has: known only once its structures are submitted."""

from pathlib import Path


def calculations(submitted: str | Path) -> list[str]:
    """Tables ``calculated`` of a system, one per structure that has its inputs.

    Asked by the Snakefile after checkpoint ``submit``; reads two columns.

    Args:
        submitted: table ``submitted`` of the system.
    """
    # loading pyarrow takes longer than most Snakefiles, and only this needs it
    from chggen.errors import Status
    from chggen.tables import parquet

    folder = Path(submitted).parent
    table = parquet.read_table(submitted, "submitted").select(["status", "directory"])
    return [
        f"{folder}/{row['directory']}/calculated.parquet"
        for row in table.to_pylist()
        if row["status"] == Status.OK
    ]
