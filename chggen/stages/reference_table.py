"""``reference build``: structures of known phases to a table of their energies by a potential.

The work is done in parts, each a file that is written whole, in a folder beside the table.
A build that was killed goes on with the first part that is not there.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from chggen import provenance
from chggen.config.contracts import Contract
from chggen.config.energies import Potentials, check_precision
from chggen.config.stages import RelaxConfig
from chggen.errors import ChggenError, ConfigError, Status, TableError
from chggen.potential import NONE_OWN, NamedPotential, contract_columns, load_named
from chggen.reference.energy_table import TABLE
from chggen.reference.mp2020 import corrected_contract, corrected_phases
from chggen.reference.planning import PARTS, PLAN, planned
from chggen.relaxation.pool import Relaxation, relax
from chggen.run import progress as bars
from chggen.run.stopping import sigterm_noticed
from chggen.structure import files as structurefiles
from chggen.structure.crystal import Crystal, has_structure
from chggen.symmetry.analysis import space_group
from chggen.tables import parquet
from chggen.tables.schema import STRUCTURE, names

#: Structures of a part: a minute or so of one core.
PART_SIZE: Final = 64
#: Tolerances of the two space groups, Å, and their angle tolerance, degrees.
SYMPRECS: Final = {"space_group_number": 0.1, "space_group_number_narrow": 0.01}
_ANGLE: Final = 10.0
#: What a part keeps of a relaxation.
_KEPT: Final = (
    *("energy_per_atom", "energy_per_atom_initial", "fmax", "smax", "steps", "converged"),
    "volume_per_atom",
)
_LEVEL: Final = 19


class _ToldError(Exception):
    """The process is to end: the part under way is given up."""


def reference_table(  # noqa: PLR0913
    structures: Path,
    output: Path,
    settings: RelaxConfig,
    max_above_hull: float = 0.1,
    max_atoms: int = 40,
    minutes: float | None = None,
    source: str = "",
    progress: bars.Progress = bars.silent,
    *,
    potentials: Potentials = NONE_OWN,
) -> dict[str, Any]:
    """Relax known phases and write table ``phases`` of what is done.

    Criteria are the tight ones of section ``relax``. The parts, with structures, lie in
    ``OUTPUT.parts``; such a folder can be ``structures`` of another build, which starts from
    the relaxed ones. After ``minutes`` (and the part under way) or SIGTERM (at once) the build
    ends with a table of the parts that are whole.

    Args:
        structures: see :func:`.planned`.
        output: table to write.
        settings: section ``relax`` of the config.
        max_above_hull: eV/atom.
        max_atoms: most atoms in a cell.
        minutes: time for this call; None: to the end.
        source: where the structures come from, in words.
        progress: called with (phases done, phases in all).
        potentials: section ``potentials`` of the config.

    Returns:
        Numbers of phases: planned, done, converged, failed, and left out by reason.

    Raises:
        ChggenError: no structure can be used, or the folder is of another build.
    """
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    check_precision(settings.potential, settings.precision, potentials)
    model = load_named(settings.tight.potential_name, potentials, precision=settings.precision)
    folder = parts_folder(output)
    plan = _plan(structures, folder, settings, model, max_above_hull, max_atoms, source)
    size = plan["part_size"]
    rows = parquet.read(folder / PLAN, "planned_phases")
    with sigterm_noticed() as told:
        for number in _missing(folder, len(rows), size):
            begin = number * size

            def report(done: float, total: int, begin: int = begin) -> None:
                progress(begin + done, len(rows))
                if told() and done < total:
                    raise _ToldError

            try:
                made = relaxed_rows(rows[begin : begin + size], settings, model, report)
            except _ToldError:
                break
            parquet.write(folder / f"{number:05d}.parquet", "built_phases", made, plan)
            if told() or (ends is not None and time.monotonic() >= ends):
                break
    return pack(folder, output)


def parts_folder(output: Path) -> Path:
    """Folder of the plan and the parts of a table."""
    return output.with_suffix(".parts")


def relaxed_rows(
    rows: Sequence[Mapping[str, Any]],
    settings: RelaxConfig,
    model: NamedPotential,
    progress: bars.Progress = bars.silent,
) -> list[parquet.Row]:
    """Rows of table ``built_phases`` of rows of a plan, in the same order.

    Args:
        rows: of table ``planned_phases``.
        settings: section ``relax``; its tight criteria count.
        model: potential.
        progress: called with (structures done, structures in all).
    """
    good = [i for i, row in enumerate(rows) if has_structure(row)]
    crystals = [Crystal.from_row(rows[i]) for i in good]
    results = dict(
        zip(good, relax(crystals, settings.tight, model=model, progress=progress), strict=True)
    )
    contract = contract_columns(model)
    return [built(row, results.get(i), contract) for i, row in enumerate(rows)]


def built(
    row: Mapping[str, Any], result: Relaxation | None, contract: Mapping[str, str]
) -> parquet.Row:
    """Row of table ``built_phases``.

    Args:
        row: of the plan.
        result: what became of it; None if it had no structure.
        contract: of the potential.
    """
    made: parquet.Row = {key: row[key] for key in ("label", "composition", "status", "reason")}
    made["n_atoms"] = row["n_atoms"]
    if result is None:
        return made
    made |= {"status": result.status, "reason": result.reason, **contract}
    made |= {key: getattr(result, key) for key in _KEPT}
    if result.crystal is not None:
        made |= result.crystal.columns()
        made |= {
            name: space_group(result.crystal, symprec, _ANGLE).number
            for name, symprec in SYMPRECS.items()
        }
    return made


def pack(folder: Path, output: Path) -> dict[str, Any]:
    """Write table ``phases`` of the parts of a build; returns numbers of phases.

    MP2020 is added to uncorrected GGA/GGA+U energies (:func:`.corrected_phases`); the header
    then says so.

    Args:
        folder: of plan and parts.
        output: table to write.

    Raises:
        ChggenError: no part is there yet.
    """
    plan = parquet.read_header(folder / PLAN)
    columns = [
        *("label", "composition", "status", "reason", "n_atoms", *SYMPRECS),
        *("energy_per_atom", "volume_per_atom", "converged"),
    ]
    given = Contract(plan["functional"], plan["corrections"])
    contract = corrected_contract(given)
    needed = columns if contract == given else [*columns, *names(STRUCTURE)]
    rows = [
        row
        for part in sorted(folder.glob(PARTS))
        for row in corrected_phases(
            parquet.read_table(part, "built_phases", list(dict.fromkeys(needed))).to_pylist(), given
        )
    ]
    if not rows:
        raise ChggenError(f"'{folder}': no part is done yet, so there is nothing to write")
    numbers = {
        "planned": plan["planned"],
        "done": len(rows),
        "converged": sum(row["status"] == Status.OK for row in rows),
        "not_converged": sum(row["status"] == Status.NOT_CONVERGED for row in rows),
    }
    numbers["failed"] = numbers["done"] - numbers["converged"] - numbers["not_converged"]
    rows.sort(key=lambda row: _natural(row["label"]))
    header = {**plan, **numbers, "corrections": contract.corrections}
    if contract != given:
        header["added_corrections"] = contract.corrections
    kept = [{name: row[name] for name in columns} for row in rows]
    parquet.write(output, TABLE, kept, header, _LEVEL, compact=True)
    return {**numbers, "left_out": plan["left_out"]}


def _natural(label: str) -> tuple[str, int, str]:
    """Order of ids by their numbers: mp-20 before mp-100."""
    prefix, _, number = label.rpartition("-")
    return (prefix, int(number), "") if number.isdecimal() else (label, 0, label)


def _plan(
    structures: Path,
    folder: Path,
    settings: RelaxConfig,
    model: NamedPotential,
    max_above_hull: float,
    max_atoms: int,
    source: str,
) -> dict[str, Any]:
    """Header of the plan in a folder, which is made if it is not there.

    Raises:
        ConfigError: the folder holds another plan.
    """
    chosen = {
        "relax": settings.model_dump(mode="json"),
        "potential_hash": model.hash,
        "max_above_hull": max_above_hull,
        "max_atoms": max_atoms,
    }
    path = folder / PLAN
    if path.is_file():
        header = parquet.read_header(path)
        before = header.get("chosen", {})
        for key, now in chosen.items():
            if before.get(key) != now:
                raise ConfigError(
                    f"'{folder}' belongs to a build with another {key}"
                    f" ({_difference(before.get(key), now)}): name another --output, or delete"
                    " the folder"
                )
        return header
    rows, left_out = planned(structures, max_above_hull, max_atoms)
    header = provenance.header(
        "reference_table",
        settings.model_dump(mode="json"),
        {"structures": _digest(structures)},
        chosen=chosen,
        source=source or f"structures of {structures.name}",
        date=_date(structures),
        part_size=PART_SIZE,
        planned=len(rows),
        left_out=dict(left_out),
        **contract_columns(model),
    )
    parquet.write(path, "planned_phases", rows, header)
    return header


def _difference(before: Any, now: Any) -> str:  # noqa: ANN401
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(f"{k}: {before.get(k)} there, {now.get(k)} here" for k in sorted(keys))
    return f"{before} there, {now} here"


def _missing(folder: Path, planned_rows: int, size: int) -> Iterator[int]:
    """Numbers of the parts that are not there or cannot be read."""
    for number in range(-(-planned_rows // size)):
        path = folder / f"{number:05d}.parquet"
        try:
            parquet.read_table(path, "built_phases", ["label"])
        except TableError:
            yield number


def _digest(structures: Path) -> str:
    if (structures / PLAN).is_file():
        return provenance.digest(
            {p.name: provenance.file_digest(p) for p in sorted(structures.glob(PARTS))}
        )
    return structurefiles.structures_digest(structures)


def _date(structures: Path) -> str:
    plan = structures / PLAN
    if plan.is_file():
        return str(parquet.read_header(plan)["date"])
    return datetime.fromtimestamp(structures.stat().st_mtime, UTC).date().isoformat()
