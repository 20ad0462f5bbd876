"""What references are read from: tables of formation energies, lists of entries.

pymatgen is imported where it is needed, so that tables can be checked without it.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import numpy as np

from chggen.errors import CompositionError, ReferenceCoverageError
from chggen.structure import composition as comp

#: Column names that are understood: our own and those of mp_20 and mpts_52.
_FORMULA: Final = ("formula", "pretty_formula")
_ENERGY: Final = "formation_energy_per_atom"
_ABOVE: Final = "e_above_hull"
_LABEL: Final = "material_id"
#: A record closer to the hull than this (eV/atom) is on it.
_ON_HULL: Final = 1e-8
#: A derived hull point that other phases make up to this (eV/atom) is a mixture of
#: them; above the rounding of the linear programme, far below any energy that counts.
_MIXTURE: Final = 1e-6


@dataclass(frozen=True)
class Phase:
    """A competing phase.

    Args:
        label: its id in the source; 'hull' for a hull point derived from a record.
        composition: canonical formula.
        formation_energy_per_atom: eV/atom.
    """

    label: str
    composition: str
    formation_energy_per_atom: float


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
        with _open_text(path) as file:
            yield from records(file, f"'{path}'", elements)
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise ReferenceCoverageError(f"'{path}' cannot be read: {error}") from error


def _open_text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def records(lines: Iterable[str], where: str, elements: Iterable[str]) -> Iterator[Record]:
    """Records of CSV text that lie inside a chemical system; see :func:`read_table`.

    Args:
        lines: of the table, header first.
        where: name of the table in messages.
        elements: the system's.
    """
    system = set(elements)
    reader = csv.DictReader(lines)
    header = reader.fieldnames or []
    formula = next((name for name in _FORMULA if name in header), None)
    if formula is None or _ENERGY not in header:
        raise ReferenceCoverageError(f"{where} has no column {_FORMULA[0]} or no column {_ENERGY}")
    for row in reader:
        try:
            counts = comp.parse_formula(row[formula] or "")
            if not system.issuperset(counts):
                continue
            above = row.get(_ABOVE)
            yield Record(
                row.get(_LABEL) or f"line {reader.line_num}",
                comp.canonical(counts),
                _finite(row[_ENERGY], _ENERGY),
                _finite(above, _ABOVE) if above else None,
            )
        except (CompositionError, ValueError, TypeError) as error:
            raise ReferenceCoverageError(f"{where} line {reader.line_num}: {error}") from error


def _finite(text: str, column: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text}, not a finite number")
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
