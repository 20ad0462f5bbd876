"""The library of known prototypes: making, reading and searching it.

The packaged one, ``chggen/data/prototypes.parquet``, comes from Materials Project crystals
(``chggen/data/SOURCES.md``); a user's own one extends it.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chggen import provenance
from chggen.errors import ChggenError, ConfigError, TableError
from chggen.run.progress import Progress, silent
from chggen.structure import files, readers
from chggen.structure.similarity import anonymous, assign, contents, ordered
from chggen.symmetry.prototypes import Prototype, described, without_copies
from chggen.tables import parquet

PACKAGED: Final = Path(__file__).parents[1] / "data/prototypes.parquet"
TABLE: Final = "prototypes"
#: Compression of the table: slow to write, as fast to read.
_LEVEL: Final = 19
#: Columns of a Parquet file of structures that are used if they are there.
_NAME, _HULL = "material_id", "e_above_hull"


def build(
    structures: Path,
    output: Path,
    max_above_hull: float = 0.1,
    max_atoms: int = 52,
    source: str = "",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write a library of the crystals of a file or folder.

    Args:
        structures: whatever generator ``file`` reads; Parquet may have the columns
            ``material_id`` and ``e_above_hull`` (eV/atom).
        output: table ``prototypes`` to write.
        max_above_hull: eV/atom; crystals above it stay out where the file says so.
        max_atoms: most atoms of a primitive cell.
        source: where the structures come from, for the table's header.
        progress: called with (structures read, structures in all, 0 if not known).

    Returns:
        Numbers of structures: read, kept, and left out by reason.

    Raises:
        ConfigError: the file cannot be read.
        ChggenError: it holds no crystal for the library.
    """
    try:
        files.check(structures)
    except ConfigError as error:
        raise ConfigError(f"'{structures}': {error}") from error
    left_out: Counter[str] = Counter()
    found: list[Prototype] = []
    read = 0
    total, facts = _facts(structures)
    for read, (entry, (name, above)) in enumerate(
        zip(readers.entries(structures), facts, strict=False), 1
    ):
        if above is not None and not above <= max_above_hull:
            left_out["above the hull"] += 1
            continue
        made = readers.load(entry)
        crystal = made.crystal
        one = described(crystal, name or entry.origin, above) if crystal else made.reason
        if isinstance(one, Prototype) and one.n_atoms > max_atoms:
            one = "number of atoms"
        if isinstance(one, Prototype):
            found.append(one)
        else:
            left_out[one.split(" (")[0]] += 1
        progress(read, total)
    # the lowest of copies is kept; entries of one prototype stand together, which compresses
    found.sort(key=lambda p: (p.above_hull or 0, p.name))
    kept = sorted(without_copies(found), key=_place)
    left_out["copies"] = len(found) - len(kept)
    if not kept:
        raise ChggenError(f"'{structures}': holds no crystal for a library ({dict(left_out)})")
    numbers = {"read": read, "kept": len(kept), "left_out": dict(left_out)}
    header = provenance.header(
        "library",
        {"max_above_hull": max_above_hull, "max_atoms": max_atoms},
        {"structures": files.structures_digest(structures)},
        source=source,
        **numbers,
    )
    parquet.write(output, TABLE, [entry.row() for entry in kept], header, _LEVEL)
    return numbers


def _place(entry: Prototype) -> tuple[object, ...]:
    return len(entry.counts), entry.counts, entry.n_atoms, entry.label, entry.elements, entry.name


def _facts(path: Path) -> tuple[int, Iterator[tuple[str, float | None]]]:
    """Number of structures (0: not known), and the name and hull distance of each."""
    if files.kind_of(path) != "parquet":
        return 0, iter(lambda: ("", None), None)
    names = pq.read_schema(path).names
    table = pq.read_table(path, columns=[c for c in (_NAME, _HULL) if c in names])
    rows = pq.read_metadata(path).num_rows
    given = table[_NAME].to_pylist() if _NAME in names else [""] * rows
    above = table[_HULL].to_pylist() if _HULL in names else [None] * rows
    return rows, zip(map(str, given), above, strict=True)


class Library:
    """Known prototypes by anonymous formula.

    Args:
        path: table of the user, beside the packaged one; None: the packaged one alone.

    Attributes:
        inputs: digests of the tables.

    Raises:
        ConfigError: a table is not there, damaged, foreign or empty; names the key.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._tables = [_read(PACKAGED)]
        self.inputs = {"prototypes": provenance.file_digest(PACKAGED)}
        if path is not None:
            try:
                self._tables.append(_read(path))
            except TableError as error:
                raise ConfigError(f"config: generate.prototypes.library: {error}") from error
            self.inputs["prototypes_library"] = provenance.file_digest(path)
        self._found: dict[tuple[int, ...], list[Prototype]] = {}

    def entries(self, counts: Sequence[int]) -> list[Prototype]:
        """Entries of an anonymous formula (rising counts), those of the user last."""
        key = tuple(counts)
        if key not in self._found:
            name = " ".join(map(str, key))
            rows = [
                row
                for table in self._tables
                for row in table.filter(pc.equal(table["anonymous"], name)).to_pylist()
            ]
            self._found[key] = [Prototype.from_row(row) for row in rows]
        return self._found[key]


def _read(path: Path) -> pa.Table:
    table = parquet.read_table(path, TABLE)
    if not len(table):
        raise TableError(f"{path}: holds no prototype")
    return table


@dataclass(frozen=True, eq=False)
class Donor:
    """A known crystal with the elements of a composition on its sites.

    Args:
        prototype: entry of the library.
        elements: [k] atomic number on each place of its formula.
        distance: chemical distance, summed over the elements that are replaced.
    """

    prototype: Prototype
    elements: tuple[int, ...]
    distance: float


def nearest(library: Library, composition: str, sizes: Collection[int]) -> list[Donor]:
    """Donors of a composition, the chemically nearest first.

    Args:
        library: known prototypes.
        composition: formula.
        sizes: numbers of atoms that the primitive cell may have.
    """
    content = contents(composition)
    counts = anonymous(content)
    entries = [e for e in library.entries(counts) if e.n_atoms in sizes]
    if not entries:
        return []
    distances, taken = assign(counts, ordered(content), [e.elements for e in entries])
    order = sorted(
        range(len(entries)),
        key=lambda i: (distances[i], entries[i].above_hull or 0, entries[i].name),
    )
    return [Donor(entries[i], tuple(taken[i].tolist()), float(distances[i])) for i in order]
