"""What references are read from: tables of formation energies, lists of entries.

pymatgen is imported where it is needed, so that tables can be checked without it.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from chggen.errors import CompositionError, ReferenceCoverageError
from chggen.reference.amounts import amounts, counts_of, shown
from chggen.structure import composition as comp
from chggen.structure.files import READING_ERRORS, allow_long_fields, first_line, open_text

#: Column names that are understood: our own and those of mp_20 and mpts_52.
_FORMULA: Final = ("formula", "pretty_formula")
_ENERGY: Final = "formation_energy_per_atom"
_ABOVE: Final = "e_above_hull"
_LABEL: Final = "material_id"
#: Formation energy (eV/atom) beyond that of any compound (fluorides reach -4.5).
_MOST_FORMATION: Final = 100.0
#: A record closer to the hull than this (eV/atom) is on it.
_ON_HULL: Final = 1e-8
#: A derived hull point that other phases make up to this (eV/atom) is a mixture of
#: them; above the rounding of the hull, far below any energy that counts.
_MIXTURE: Final = 1e-6


@dataclass(frozen=True)
class Phase:
    """A competing phase.

    Args:
        label: its id in the source; 'hull' for a hull point derived from a record.
        composition: canonical formula.
        formation_energy_per_atom: eV/atom.
        uncertainty: standard uncertainty of that energy, eV/atom; None if its source states none.
        source: what the energy is ('record', 'hull', 'converted'); empty if the reference has
            one kind only.
    """

    label: str
    composition: str
    formation_energy_per_atom: float
    uncertainty: float | None = None
    source: str = ""


@dataclass(frozen=True)
class Record:
    """One row of a table of formation energies (eV/atom); ``above`` may be unknown."""

    label: str
    composition: str
    energy: float
    above: float | None


def is_table(path: Path) -> bool:
    """True for CSV and CSV.gz, by name."""
    return path.name.lower().endswith((".csv", ".csv.gz"))


def read_table(path: Path, elements: Iterable[str]) -> Iterator[Record]:
    """Records of a CSV file (plain or gzipped) that lie inside a chemical system.

    Raises:
        ReferenceCoverageError: not readable, a column is missing, or a value is wrong.
    """
    try:
        with open_text(path) as file:
            yield from records(file, f"'{path}'", elements)
    except READING_ERRORS as error:
        raise ReferenceCoverageError(f"'{path}' cannot be read: {first_line(error)}") from error


def records(lines: Iterable[str], where: str, elements: Iterable[str]) -> Iterator[Record]:
    """Records of CSV text that lie inside a chemical system; see :func:`read_table`.

    Args:
        lines: of the table, header first.
        where: name of the table in messages.
        elements: the system's.
    """
    system = set(elements)
    allow_long_fields()  # tables of the Materials Project have a column of CIFs
    reader = csv.DictReader(lines, strict=True)
    header = reader.fieldnames or []
    formula = next((name for name in _FORMULA if name in header), None)
    if formula is None or _ENERGY not in header:
        raise ReferenceCoverageError(f"{where} has no column {_FORMULA[0]} or no column {_ENERGY}")
    known = {*_FORMULA, _ENERGY, _ABOVE, _LABEL}
    twice = sorted(name for name in known if header.count(name) > 1)
    if twice:
        raise ReferenceCoverageError(f"{where} has column {twice[0]} twice")
    for row in reader:
        try:
            given = amounts((row[formula] or "").strip())
            if system.issuperset(given):
                yield _record(row, given, f"line {reader.line_num}")
        except (CompositionError, ValueError) as error:
            named = row.get(_LABEL) or row[formula]
            of = f" ({named})" if named else ""
            raise ReferenceCoverageError(f"{where} line {reader.line_num}{of}: {error}") from error


def _record(row: Mapping[str | None, str | None], given: Mapping[str, float], line: str) -> Record:
    """One row of a table; raises ``ValueError`` for what it lacks."""
    if None in row or None in row.values():
        raise ValueError("has not as many fields as the header")
    energy = _finite(row[_ENERGY], _ENERGY)
    if len(given) == 1 and energy < -_ON_HULL:
        raise ValueError(f"{_ENERGY} of an element is {energy:g}, below zero")
    above = row.get(_ABOVE)
    return Record(
        row.get(_LABEL) or line,
        comp.canonical(counts_of(given)),
        energy,
        _finite(above, _ABOVE) if above else None,
    )


def _finite(text: str | None, column: str) -> float:
    try:
        # Python would read "1_5" and digits of other scripts
        value = float(text if text and text.isascii() and "_" not in text else "")
    except ValueError:
        raise ValueError(f"{column} is {shown(text)}, not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text}, not a finite number")
    if abs(value) > _MOST_FORMATION:
        raise ValueError(f"{column} is {text} eV/atom, beyond any compound")
    return value


def phases_of_records(found: Iterable[Record]) -> tuple[Phase, ...]:
    """Phases of a table, completed by the hull points that its records imply.

    A record's formation energy minus its energy above hull is the hull energy at its
    composition, also if the stable phase itself is not in the table. Such a point is
    added unless a stable record is there or other phases make it up as a mixture.
    Elements are 0 by definition; only their other allotropes are phases.
    """
    table = list(found)
    phases = [
        Phase(r.label, r.composition, r.energy)
        for r in table
        if r.energy > _ON_HULL or len(comp.parse_formula(r.composition)) > 1
    ]
    stable = {r.composition for r in table if r.above is not None and r.above <= _ON_HULL}
    implied: dict[str, float] = {}
    for r in table:
        compound = len(comp.parse_formula(r.composition)) > 1
        if r.above is not None and compound and r.composition not in stable:
            implied[r.composition] = min(
                implied.get(r.composition, np.inf), r.energy - max(r.above, 0.0)
            )
    points = {phase: None for phase in phases if phase.composition in stable} | {
        Phase("hull", composition, energy): None for composition, energy in implied.items()
    }
    for point in [p for p in points if p.label == "hull"]:
        rest = [p for p in points if p is not point]
        if hull_energy(point.composition, rest) <= point.formation_energy_per_atom + _MIXTURE:
            del points[point]
    return (*phases, *(p for p in points if p.label == "hull"))


def hull_energy(composition: str, phases: Iterable[Phase]) -> float:
    """Lowest formation energy (eV/atom) of any mixture of phases and elements."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core.composition import Composition

    target = comp.parse_formula(composition)
    entries = [PDEntry(Composition(symbol), 0.0) for symbol in target]
    for phase in phases:
        counts = comp.parse_formula(phase.composition)
        if set(counts) <= set(target):
            total = phase.formation_energy_per_atom * sum(counts.values())
            entries.append(PDEntry(Composition(counts), total))
    diagram = PhaseDiagram(entries)
    return float(diagram.get_hull_energy_per_atom(Composition(target)))


def formation_energy(
    energy_per_atom: float, counts: Mapping[str, int], elements: Mapping[str, float]
) -> float:
    """E_f = (E - Σ nᵢ μᵢ)/N in eV/atom, from the energy per atom E/N.

    Args:
        energy_per_atom: E/N, eV/atom.
        counts: atoms per element.
        elements: energy per atom of each element, eV.
    """
    mean = sum(n * elements[symbol] for symbol, n in counts.items()) / sum(counts.values())
    return energy_per_atom - mean
