"""``submit``: selected structures to DFT input directories."""

from pathlib import Path

from chggen import progress as bars
from chggen import provenance, tables
from chggen.config import DftConfig
from chggen.crystal import Crystal, row_id
from chggen.dft.inputs import prepare
from chggen.errors import Status
from chggen.stages.lineage import LINEAGE, STRUCTURE


def submit(
    source: str | Path,
    output: str | Path,
    directory: str | Path,
    settings: DftConfig,
    progress: bars.Progress = bars.silent,
) -> None:
    """Write the inputs of every selected structure, and table ``submitted``.

    Nothing is run here. A structure whose inputs cannot be written keeps its row.

    Args:
        source: table ``screened``.
        output: table to write.
        directory: gets one directory per structure, named by its id.
        settings: section ``dft`` of the config.
        progress: called with (structures done, structures in all).
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    selected = [row for row in tables.read(source, "screened") if row["selected"]]
    rows = []
    for number, parent in enumerate(selected, 1):
        row = {key: parent[key] for key in LINEAGE} | {
            "id": row_id("submitted", parent["id"], settings.input_set),
            "parent_id": parent["id"],
            "status": Status.OK,
            "reason": "",
            **{key: parent[key] for key in STRUCTURE},
            "role": "candidate",
            "decomposition_energy": parent["decomposition_energy"],
            "engine": settings.engine,
            "input_set": settings.input_set,
        }
        place = directory / parent["id"]
        try:
            row["potcar"] = prepare(Crystal.from_row(parent), place, settings)
            row["directory"] = f"{directory.name}/{parent['id']}"
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            row |= {"status": Status.FAILED, "reason": f"inputs: {reason}"}
        rows.append(row)
        progress(number, len(selected))
    header = provenance.header(
        "submit",
        settings.model_dump(mode="json"),
        {Path(source).name: provenance.file_digest(source)},
    )
    tables.write(output, "submitted", rows, header)
