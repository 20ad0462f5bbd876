"""Tables of the energies of known phases by one potential: what they are, and if they fit.

A table ``phases`` is made by ``chggen reference build``; some come with the package
(``chggen/data/phases_*.parquet``). It holds energies and no structures. A table ``referenced``
of ``chggen reference relax`` serves as well. Asked while the Snakefile is parsed, so nothing
here imports torch or pymatgen.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from chggen.config.contracts import POTENTIALS, Contract, comparable
from chggen.config.dispersion import split
from chggen.config.stages import RelaxConfig
from chggen.errors import ReferenceCoverageError, Status, TableError
from chggen.tables import parquet

TABLE: Final = "phases"
#: Tables that hold relaxed phases of one potential.
KINDS: Final = (TABLE, "referenced")
DATA: Final = Path(__file__).parents[1] / "data"
BUILD: Final = "chggen reference build"
#: Columns that a reference is made of.
_COLUMNS: Final = ("label", "composition", "status", "energy_per_atom")
#: Relative difference of two criteria that are the same.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class EnergyTable:
    """What the energies of a table are.

    Args:
        path: of the file.
        kind: ``phases`` or ``referenced``.
        potential: name of the potential.
        potential_hash: its hash.
        contract: of the energies.
        fmax: force criterion of the relaxations, eV/Å.
        smax: stress criterion, GPa; None if the cells were kept.
        source: where the structures come from.
        date: of the source.
    """

    path: Path
    kind: str
    potential: str
    potential_hash: str
    contract: Contract
    fmax: float
    smax: float | None
    source: str
    date: str

    def rows(self, elements: Iterable[str]) -> list[parquet.Row]:
        """Phases inside a chemical system, with label, composition, status and energy.

        Raises:
            ReferenceCoverageError: the table is damaged.
        """
        return _rows(self.path, _stamp(self.path), self.kind, _inside(elements))


def read(path: Path) -> EnergyTable:
    """What a table of energies says of itself.

    Raises:
        ReferenceCoverageError: not there, damaged, of another kind, or without a part of
            what its energies are.
    """
    try:
        kind = parquet.table_name(path)
        header = parquet.read_header(path)
    except (TableError, ValueError) as error:
        raise ReferenceCoverageError(f"{error}: {BUILD} makes a table of energies") from error
    if kind not in KINDS:
        raise ReferenceCoverageError(
            f"{path}: holds table '{kind}', not energies of known phases ({BUILD})"
        )
    try:
        fmax, smax = _criteria(header["settings"])
        return EnergyTable(
            path=path,
            kind=kind,
            potential=str(header["potential"]),
            potential_hash=str(header["potential_hash"]),
            contract=Contract(header["functional"], header["corrections"]),
            fmax=fmax,
            smax=smax,
            source=str(header["source"]),
            date=str(header["date"]),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise ReferenceCoverageError(f"{path}: its header lacks {error}") from error


@functools.cache
def shipped() -> tuple[EnergyTable, ...]:
    """Tables in the package, one per potential."""
    return tuple(read(path) for path in sorted(DATA.glob(f"{TABLE}_*.parquet")))


def shipped_table(potential: str) -> EnergyTable:
    """The package's table of a potential.

    Args:
        potential: its name or its hash.

    Raises:
        ReferenceCoverageError: there is none.
    """
    for table in shipped():
        if potential in {table.potential, table.potential_hash}:
            return table
    known = ", ".join(f"{t.potential} ({t.potential_hash})" for t in shipped()) or "none"
    raise ReferenceCoverageError(
        f"no table of phases relaxed by '{potential}' is in the package (there: {known}): make"
        f" one with {BUILD} and give it as {{source: potential, path: FILE}}"
    )


def table_problem(
    path: Path | None,
    elements: Iterable[str],
    relax: RelaxConfig,
    contract: Contract | None = None,
) -> str | None:
    """Why a table does not fit a chemical system and its relaxations; None if it does.

    The hash of a potential is not asked here: weights are read by the jobs
    (:func:`require_hash`).

    Args:
        path: of the user's table; None for the package's.
        elements: the system's.
        relax: section ``relax`` of the config.
        contract: of the potential; None if it is not known.
    """
    tight = relax.tight
    try:
        table = shipped_table(tight.potential_name) if path is None else read(path)
        rows = table.rows(elements)
    except ReferenceCoverageError as error:
        return str(error)
    if contract is not None and not comparable(contract, table.contract):
        return (
            f"'{table.path.name}' has energies of {table.potential} ({table.contract}), not of"
            f" relax.potential = '{tight.potential_name}' ({contract}): run {BUILD} with it"
        )
    # a name of the package has one hash; what a user's is of, only its weights say
    ours = all(split(n)[0] in POTENTIALS for n in (tight.potential_name, table.potential))
    if ours and tight.potential_name != table.potential:
        return (
            f"'{table.path.name}' has energies of {table.potential}, not of relax.potential ="
            f" '{tight.potential_name}': run {BUILD} with it"
        )
    if _looser(table.fmax, tight.fmax) or (tight.relax_cell and _looser(table.smax, tight.smax)):
        return (
            f"'{table.path.name}' was relaxed to {_criteria_words(table.fmax, table.smax)}, the"
            f" campaign relaxes to {_criteria_words(tight.fmax, tight.smax)}: E_d would be too"
            f" low; run {BUILD} with these criteria"
        )
    return missing_element(rows, elements, table)


def missing_element(
    rows: Sequence[parquet.Row], elements: Iterable[str], table: EnergyTable
) -> str | None:
    """Which element has no relaxed phase, in one line; None if all have one.

    Args:
        rows: of the table, inside the system.
        elements: the system's.
        table: what it is.
    """
    there = {r["composition"] for r in rows if r["status"] == Status.OK}
    missing = sorted(set(elements) - there)
    if not missing:
        return None
    return (
        f"'{table.path.name}' ({table.potential}) has no relaxed phase of elemental"
        f" {', '.join(missing)}: give a table that has, made by {BUILD}"
    )


def looser_campaign(table: EnergyTable, relax: RelaxConfig) -> str | None:
    """Warning about a campaign that relaxes less far than the table; None if it does not.

    Args:
        table: of the reference.
        relax: section ``relax`` of the config.
    """
    tight = relax.tight
    less = _looser(tight.fmax, table.fmax) or (not tight.relax_cell and table.smax is not None)
    if not less and not (table.smax is not None and _looser(tight.smax, table.smax)):
        return None
    smax = tight.smax if tight.relax_cell else None
    return (
        f"the campaign relaxes to {_criteria_words(tight.fmax, smax)}, its reference to"
        f" {_criteria_words(table.fmax, table.smax)}: E_d is overestimated, by some meV/atom"
    )


def require_hash(table: EnergyTable, name: str, found: str) -> None:
    """Raise :class:`ReferenceCoverageError` unless a table is of a potential.

    Args:
        table: of energies.
        name: of the potential.
        found: its hash.
    """
    if found != table.potential_hash:
        raise ReferenceCoverageError(
            f"'{table.path.name}' has energies of {table.potential} ({table.potential_hash}), not"
            f" of '{name}' ({found}): make a table of it with {BUILD} and give it as"
            " {source: potential, path: FILE}"
        )


def _looser(first: float | None, second: float) -> bool:
    return first is None or first > second * (1 + _ROUNDING)


def _criteria_words(fmax: float, smax: float | None) -> str:
    return f"{fmax:g} eV/Å" + (f" and {smax:g} GPa" if smax is not None else ", cell fixed")


def _criteria(settings: dict[str, Any]) -> tuple[float, float | None]:
    """Criteria of a section ``relax`` of any version, the final ones where there are any."""
    final = settings.get("final") or {}
    fmax = min(float(s["fmax"]) for s in (settings, final) if "fmax" in s)
    smax = min(float(s["smax"]) for s in (settings, final) if "smax" in s)
    return fmax, smax if settings["relax_cell"] else None


def _inside(elements: Iterable[str]) -> str:
    """Regular expression of the formulas that have no other element."""
    return rf"^(?:(?:{'|'.join(sorted(elements))})\d*)+$"


def _stamp(path: Path) -> tuple[int, int]:
    """Changes when a file does."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=64)
def _rows(path: Path, _stamp: tuple[int, int], kind: str, pattern: str) -> list[parquet.Row]:
    whole = _whole(path, _stamp, kind)
    inside = pc.match_substring_regex(whole["composition"], pattern)
    rows: list[parquet.Row] = whole.filter(inside).to_pylist()
    return rows


@functools.lru_cache(maxsize=4)
def _whole(path: Path, _stamp: tuple[int, int], kind: str) -> pa.Table:
    try:
        return parquet.read_table(path, kind, list(_COLUMNS))
    except TableError as error:
        raise ReferenceCoverageError(str(error)) from error
