"""Training structures from files: Parquet, CSV, extxyz, CIFs and folders of them.

Each structure is looked at on its own, in as many processes as there are cores; of a large
file only the rows at hand are in memory, beside the arrays of those that are used. The
columns of tables are those of the public benchmarks (mp_20, mpts_52: ``cif``) or of chggen
(``cell``, ``atomic_numbers``, ``frac_coords``); ``e_above_hull`` is used if present.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from joblib import Parallel, delayed

from chggen.diffusion.data import READING, StructureData
from chggen.errors import ChggenError, ConfigError
from chggen.structure import files
from chggen.structure.composition import formula_of
from chggen.structure.crystal import Crystal
from chggen.structure.readers import Entry, entries, load

Progress = Callable[[int, int], None]
_CHUNK = 256
#: Column of the energy above the hull, eV/atom.
HULL_COLUMN: Final = "e_above_hull"
#: Å; atoms closer than this are considered overlapping.
_OVERLAP: Final = 0.5
#: Reason of the reader → its kind, as counted in the card.
_KINDS: Final = {
    "the row has no CIF": "no CIF",
    "partly occupied": "partly occupied sites",
    "no known element": "unknown element",
    "no atoms": "no atoms",
    "the row has no structure": "no atoms",
    "no volume": "cell or coordinates not usable",
    "occupied more than once": "sites occupied more than once",
    "says ": "formula and atoms disagree",
    "has no cell": "no cell",
}


def read(
    paths: Sequence[Path],
    cache: Path | None = None,
    progress: Progress | None = None,
    max_above_hull: float | None = None,
    key: str = "train.data",
) -> StructureData:
    """Structures of files and folders; those that cannot be used are counted by reason.

    Args:
        paths: files or folders, at least one, of any kind and in this order.
        cache: folder for the parsed arrays.
        progress: called with (structures read, total number of structures).
        max_above_hull: eV/atom; structures with a larger or no value in column
            ``e_above_hull`` are left out. None, or a file without the column: no filter.
        key: of the config, for messages.

    Raises:
        ChggenError: a file is missing, damaged, of no known kind or without the columns that
            are needed; or no structure can be used.
    """
    total = sum(_count(path, key) for path in paths)
    name = _digest(paths, max_above_hull)
    stored = cache / f"{name}.npz" if cache else None
    if stored and (known := StructureData.load(stored, name)):
        return known
    reasons: Counter[str] = Counter()
    hull = _HullFilter(max_above_hull, reasons)
    crystals = []
    # joblib's workers are neither forked (torch's threads would be lost) nor do they run
    # the main module again (a Snakemake script has no guard)
    parallel = Parallel(n_jobs=-1, batch_size=_CHUNK, return_as="generator")
    try:
        found = parallel(delayed(_usable)(entry) for entry in hull.passed(paths))
        for done, result in enumerate(found, 1):
            if isinstance(result, Crystal):
                crystals.append(result)
            else:
                reasons[result] += 1
            if progress and done % _CHUNK == 0:
                progress(done, max(total, done))
        data = StructureData.of(crystals, name, reasons, hull.words())
    except ChggenError as error:
        raise ChggenError(f"{key} = '{_named(paths)}': {error}") from error
    if progress:
        progress(total, total)
    if stored:
        data.store(stored)
    return data


def formulas_in(paths: Sequence[Path], key: str) -> set[str]:
    """Reduced formulas of all structures of some files, whether they could be trained on or not.

    Args:
        paths: files or folders of any kind.
        key: of the config, for messages.

    Raises:
        ChggenError: a file cannot be read, or a structure neither be read nor states its
            formula: it could not be kept out.
    """
    found = set()
    for path in paths:
        _count(path, key)
        for entry in entries(path):
            formula = entry.composition
            if formula is None:
                outcome = load(entry)
                if outcome.crystal is None:
                    raise ChggenError(
                        f"{key} = '{path}': {entry.origin}: {outcome.reason}; its formula is"
                        " not known"
                    )
                formula = formula_of(outcome.crystal.atomic_numbers)
            found.add(formula)
    return found


def without(data: StructureData, formulas: set[str]) -> StructureData:
    """The structures whose reduced formula is none of these.

    Args:
        data: structures.
        formulas: canonical reduced formulas.

    Raises:
        ChggenError: none is left.
    """
    keep = np.array([formula not in formulas for formula in data.formulas()])
    mark = hashlib.sha256(" ".join(sorted(formulas)).encode()).hexdigest()
    return data.where(keep, "formula in train.exclude", f"exclude {mark}")


def up_to(data: StructureData, max_atoms: int) -> StructureData:
    """The structures of at most ``max_atoms`` atoms.

    Args:
        data: structures.
        max_atoms: largest number of atoms in the cell.

    Raises:
        ChggenError: none is left.
    """
    return data.where(
        data.sizes <= max_atoms, f"more than {max_atoms} atoms", f"max_atoms {max_atoms}"
    )


def _usable(entry: Entry) -> Crystal | str:
    """Crystal of an entry, or the kind of its fault."""
    if entry.siblings > 1:
        return "several structures in one row"
    outcome = load(entry)
    if outcome.crystal is None:
        return next((k for words, k in _KINDS.items() if words in outcome.reason), "not readable")
    if len(outcome.crystal) < 2:  # noqa: PLR2004
        return "one atom"
    return "overlapping atoms" if outcome.crystal.min_distance < _OVERLAP else outcome.crystal


class _HullFilter:
    """Entries near the hull; counts the others, and knows which files have no column."""

    def __init__(self, limit: float | None, reasons: Counter[str]) -> None:
        self.limit = limit
        self.reasons = reasons
        self.without: list[str] = []
        self.applied = False

    def passed(self, paths: Iterable[Path]) -> Iterator[Entry]:
        """Entries of all files that pass."""
        for path in paths:
            has_column = False
            for entry in entries(path, [HULL_COLUMN]):
                has_column = has_column or HULL_COLUMN in entry.facts
                if self._passes(entry):
                    yield entry
            self.applied = self.applied or has_column
            if not has_column:
                self.without.append(path.name)

    def _passes(self, entry: Entry) -> bool:
        if self.limit is None or HULL_COLUMN not in entry.facts:
            return True
        above = _number(entry.facts[HULL_COLUMN])
        if not np.isfinite(above):
            self.reasons[f"no {HULL_COLUMN}"] += 1
        elif above > self.limit:
            self.reasons[f"more than {self.limit:g} eV/atom above the hull"] += 1
        else:
            return True
        return False

    def words(self) -> str:
        """Description of the filter, for card and log."""
        if self.limit is None:
            return "none"
        if not self.applied:
            return f"none: the data have no column '{HULL_COLUMN}'"
        text = f"{HULL_COLUMN} <= {self.limit:g} eV/atom"
        if self.without:
            text += f"; none in {', '.join(self.without)}: no column '{HULL_COLUMN}'"
        return text


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def _named(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _count(path: Path, key: str) -> int:
    """Number of structures of a file that was read through; of files in a folder."""
    import pyarrow.parquet as pq

    try:
        files.check(path, through=False)
        files.check(path)
        match files.kind_of(path):
            case "folder":
                return len(files.cif_files(path))
            case "csv":
                return sum(1 for _ in files.csv_rows(path, ["cif"]))
            case "parquet":
                return int(pq.read_metadata(path).num_rows)
            case "extxyz" | "cif":
                return sum(1 for _ in entries(path))
    except ConfigError as error:
        raise ChggenError(f"{key} = '{path}': {error}") from error


def _digest(paths: Sequence[Path], max_above_hull: float | None) -> str:
    """First 16 hex digits of a sha256 over what is read and how."""
    digest = hashlib.sha256()
    if len(paths) == 1 and paths[0].is_file():
        with paths[0].open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    else:
        digest.update("\n".join(files.structures_digest(path) for path in paths).encode())
    digest.update(f"{READING} {max_above_hull}".encode())
    return digest.hexdigest()[:16]
