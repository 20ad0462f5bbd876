"""``submit``: selected structures and competing phases to DFT input directories."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from chggen import provenance
from chggen.config.dft import DftConfig
from chggen.config.energies import ReferenceConfig
from chggen.dft.engine import Engine
from chggen.dft.engines import load_engine
from chggen.errors import Status
from chggen.reference.structures import given_phases
from chggen.run import progress as bars
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, has_structure, row_id, structure_key
from chggen.symmetry.primitive import primitive
from chggen.tables import parquet
from chggen.tables.lineage import LINEAGE, STRUCTURE, structure_columns

#: Folder of the calculations, beside the table.
FOLDER = "dft"


def submit(
    source: str | Path,
    output: str | Path,
    settings: DftConfig,
    progress: bars.Progress = bars.silent,
    *,
    referenced: Sequence[str | Path] = (),
    phases: str | Path | None = None,
) -> None:
    """Write the inputs of every selected structure, and table ``submitted``.

    Nothing is run here, and nothing is deleted: a structure's directory ``dft/{id}`` is
    named by what it is and by the method, so that one which is submitted again finds its
    calculation. A structure whose inputs cannot be written keeps its row.

    Args:
        source: table ``screened``.
        output: table to write; the directories are made beside it.
        settings: section ``dft`` of the config.
        progress: called with (structures done, structures in all).
        referenced: table ``referenced``: competing phases as the potential relaxed them.
        phases: structures of the competing phases, where no table has them.

    Raises:
        ConfigError, ReferenceCoverageError: ``phases`` cannot be read, or lacks an element.
    """
    output = Path(output)
    engine = load_engine(settings)
    rows = [_candidate(row) for row in parquet.read(source, "screened") if row["selected"]]
    if settings.calculates_phases:
        rows += _competing(source, referenced, phases)
    ids = _ids(rows, settings)
    for number, row in enumerate(rows, 1):
        row.update(engine=engine.name, id=ids[number - 1])
        if row["status"] == Status.OK:
            row.update(_prepared(row, engine, output.parent))
        progress(number, len(rows))
    inputs = [Path(path) for path in (source, *referenced)]
    header = provenance.header(
        "submit",
        settings.model_dump(mode="json"),
        {path.name: provenance.file_digest(path) for path in inputs},
        method=settings.method,
    )
    parquet.write(output, "submitted", rows, header)


def _candidate(parent: parquet.Row) -> parquet.Row:
    """Row of a selected structure, in its primitive cell."""
    crystal = Crystal.from_row(parent)
    smaller = primitive(crystal)
    row = {key: parent[key] for key in (*LINEAGE, *STRUCTURE, "decomposition_energy")}
    if len(smaller) < len(crystal):
        row |= structure_columns(smaller)
    return row | {
        "parent_id": parent["id"],
        "role": "candidate",
        "status": Status.OK,
        "reason": "",
    }


def _competing(
    source: str | Path, referenced: Sequence[str | Path], phases: str | Path | None
) -> Iterator[parquet.Row]:
    """Rows of the competing phases, without id."""
    for path in referenced:
        for row in parquet.read(path, "referenced"):
            if row["status"] == Status.OK and has_structure(row):
                yield {key: row[key] for key in (*LINEAGE, *STRUCTURE, "label")} | {
                    "parent_id": row["id"],
                    "role": "competing",
                    "status": Status.OK,
                    "reason": "",
                }
    if phases is not None and not referenced:
        yield from _of_files(Path(phases), parquet.read(source, "screened"))


def _of_files(path: Path, screened: Sequence[parquet.Row]) -> Iterator[parquet.Row]:
    """Structures of a file that lie in the chemical system that was screened."""
    elements = {symbol for row in screened for symbol in comp.parse_formula(row["composition"])}
    system = next((row["system"] for row in screened), "")
    for index, phase in enumerate(given_phases(ReferenceConfig(), elements, path).phases):
        row = phase.row(system, index) | {
            "role": "competing",
            "status": Status.OK if phase.crystal else Status.FAILED,
            "reason": phase.reason,
        }
        if phase.crystal is not None:
            row |= structure_columns(phase.crystal)
        yield row


def _ids(rows: Sequence[parquet.Row], settings: DftConfig) -> list[str]:
    """Ids, which name the directories; no row's depends on which others there are.

    A candidate goes by its lineage and its structure, a phase of a table by the id it has
    there (of its starting structure and the potential: what it relaxes to depends on its
    batch in the last digits), one of a file by its structure alone, not by its place in
    the file. Copies of a structure in a file are numbered.
    """
    found, seen = [], Counter[str]()
    method = provenance.digest(settings.method)
    for row in rows:
        parent = row.get("parent_id")
        content = structure_key(Crystal.from_row(row)) if has_structure(row) else row.get("label")
        origin = f"{parent} {content}" if row["role"] == "candidate" else str(parent or content)
        found.append(row_id("submitted", row["role"], origin, seen[origin], method))
        seen[origin] += 1
    return found


def _prepared(row: parquet.Row, engine: Engine, folder: Path) -> parquet.Row:
    """Write the inputs of a row; gives what changes in it."""
    place = f"{FOLDER}/{row['id']}"
    try:
        written = engine.prepare(Crystal.from_row(row), folder / place)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return {"status": Status.FAILED, "reason": f"inputs: {reason}"}
    return {"directory": place, **written}
