"""``calculate``: one submitted structure through the DFT engine."""

from pathlib import Path

from chggen import provenance
from chggen.config.dft import DftConfig
from chggen.dft import attempts as memory
from chggen.dft.engine import Engine, Result
from chggen.dft.engines import load_engine
from chggen.errors import Status, TableError, UnfinishedError
from chggen.run import progress as bars
from chggen.structure.crystal import row_id
from chggen.tables import parquet
from chggen.tables.lineage import LINEAGE, structure_columns

#: What another attempt, with more time and memory, may mend.
_AGAIN = frozenset({Status.OUT_OF_TIME, Status.INTERRUPTED})


def calculate(
    source: str | Path,
    identity: str,
    output: str | Path,
    settings: DftConfig,
    progress: bars.Progress = bars.silent,
    *,
    attempt: int = 1,
    seconds: float | None = None,
) -> None:
    """Run what is left of one calculation, and write its table ``calculated`` (one row).

    A job that is killed cannot write a row. So one attempt more than ``settings.attempts``
    is made, which computes nothing and writes down what the others left.

    Args:
        source: table ``submitted``.
        identity: id of the row.
        output: table to write.
        settings: section ``dft`` of the config.
        progress: called with (steps done, steps in all).
        attempt: which one this is, from 1.
        seconds: time of this job; the engine stops before it is over.

    Raises:
        UnfinishedError: out of time or memory, and attempts are left.
        TableError: the table has no such row, or it has no inputs.
    """
    row = _submitted(source, identity)
    directory = Path(source).parent / row["directory"]
    engine = load_engine(settings)
    result = _result(engine, directory, settings, attempt, seconds)
    progress(len(result.finished), len(engine.recipe))
    if result.status in _AGAIN and attempt < settings.attempts:
        raise UnfinishedError(
            f"{result.reason}: attempt {attempt} of {settings.attempts} ended"
            f" ({result.status}); the next one continues from there"
        )
    header = provenance.header(
        "calculate",
        settings.model_dump(mode="json"),
        {Path(source).name: provenance.file_digest(source)},
    )
    content = _row(row, engine, result, memory.attempts(directory))
    parquet.write(output, "calculated", [content], header)


def _submitted(source: str | Path, identity: str) -> parquet.Row:
    row = next((r for r in parquet.read(source, "submitted") if r["id"] == identity), None)
    if row is None:
        raise TableError(f"{source}: has no row '{identity}'")
    if row["directory"] is None:
        raise TableError(f"{source}: row '{identity}' has no inputs ({row['reason']})")
    return row


def _result(
    engine: Engine, directory: Path, settings: DftConfig, attempt: int, seconds: float | None
) -> Result:
    """Run the engine, or only read what is there if all attempts are used up."""
    if memory.attempts(directory):
        found = engine.run(directory, seconds=0.0)
        if found.status not in _AGAIN:
            return found  # killed when all was done, or asked for again
    if attempt <= settings.attempts:
        memory.count_attempt(directory)
        return engine.run(directory, seconds=seconds)
    found = engine.run(directory, seconds=0.0)
    done = ", ".join(found.finished) or "nothing"
    reason = f"no attempt finished; completed steps: {done}"
    return Result(
        Status.INTERRUPTED,
        reason,
        crystal=found.crystal,
        run_type=found.run_type,
        finished=found.finished,
        corrected_errors=found.corrected_errors,
        wall_time=found.wall_time,
    )


def _row(parent: parquet.Row, engine: Engine, result: Result, attempts: int) -> parquet.Row:
    row = {key: parent[key] for key in (*LINEAGE, "role", "label", "directory")} | {
        "id": row_id("calculated", parent["id"]),
        "parent_id": parent["id"],
        "status": result.status,
        "reason": result.reason,
        "n_atoms": 0,
        "engine": engine.name,
        "dft_energy_per_atom": result.dft_energy_per_atom,
        "dft_correction_per_atom": result.correction_per_atom,
        "dft_functional": engine.contract.functional,
        "dft_corrections": engine.contract.corrections,
        "run_type": result.run_type,
        "fmax": result.fmax,
        "smax": result.smax,
        "converged": result.status == Status.OK,
        "finished": list(result.finished),
        "corrected_errors": list(result.corrected_errors),
        "attempts": attempts,
        "wall_time": result.wall_time,
    }
    # an engine may take another cell of the crystal than it was given (GPAW: the primitive one)
    return row | (structure_columns(result.crystal) if result.crystal is not None else {})
