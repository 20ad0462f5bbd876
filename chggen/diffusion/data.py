"""Training structures: from benchmark CSV files or the Materials Project to arrays.

The CSV columns are those of the public benchmarks (mp_20, mpts_52): ``cif`` is required,
``e_above_hull`` is used if present.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from chggen.diffusion.batch import Batch
from chggen.errors import ChggenError, ConfigError
from chggen.run.atomic import replacing
from chggen.structure.crystal import Crystal
from chggen.structure.files import csv_rows
from chggen.structure.readers import cif_entries, load

Progress = Callable[[int, int], None]
_CHUNK = 256
#: Part of the digest; must change when the same file is read differently.
_READING = 2


#: Column of the energy above the hull, eV/atom.
HULL_COLUMN: Final = "e_above_hull"
#: Å; atoms closer than this are considered overlapping.
_OVERLAP: Final = 0.5
#: Reason of the CIF reader → its kind, as counted in the card.
_KINDS: Final = {
    "partly occupied": "partly occupied sites",
    "no known element": "unknown element",
    "no atoms": "no atoms",
    "no volume": "cell or coordinates not usable",
    "occupied more than once": "sites occupied more than once",
    "says ": "formula and atoms disagree",
}


def _parse(cif: str) -> Crystal | str:
    """Crystal of a CIF text, or the kind of its fault."""
    if not cif.strip():
        return "no CIF"
    found = list(cif_entries(cif, ""))
    if len(found) > 1:
        return "several structures in one row"
    outcome = load(found[0])
    if outcome.crystal is None:
        return next((k for words, k in _KINDS.items() if words in outcome.reason), "not readable")
    if len(outcome.crystal) < 2:  # noqa: PLR2004
        return "one atom"
    return "overlapping atoms" if outcome.crystal.min_distance < _OVERLAP else outcome.crystal


def _selected(
    path: Path, max_above_hull: float | None, skipped: Counter[str]
) -> tuple[list[str], str]:
    """CIF texts that pass the filter, and a description of the filter; counts those left out."""
    texts, has_column = [], False
    for row in csv_rows(path, ["cif"], [HULL_COLUMN]):
        has_column = has_column or HULL_COLUMN in row
        if max_above_hull is not None and HULL_COLUMN in row:
            above = _number(row[HULL_COLUMN])
            if not np.isfinite(above):
                skipped[f"no {HULL_COLUMN}"] += 1
                continue
            if above > max_above_hull:
                skipped[f"more than {max_above_hull:g} eV/atom above the hull"] += 1
                continue
        texts.append(row["cif"])
    if max_above_hull is None:
        return texts, "none"
    if not has_column:
        return texts, f"none: the data have no column '{HULL_COLUMN}'"
    return texts, f"{HULL_COLUMN} <= {max_above_hull:g} eV/atom"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


@dataclass(frozen=True)
class StructureData:
    """Many structures in flat arrays.

    Args:
        cells: [s, 3, 3] Å; atomic_numbers: [n]; frac_coords: [n, 3]; sizes: [s].
        digest: sha256 of the source, first 16 hex digits.
        reasons: structures left out, counted by reason.
        hull_filter: limit on the energy above the hull, in words.
    """

    cells: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    frac_coords: NDArray[np.float64]
    sizes: NDArray[np.int64]
    digest: str
    reasons: Mapping[str, int] = field(default_factory=dict)
    hull_filter: str = "none"

    @property
    def skipped(self) -> int:
        """Number of structures left out."""
        return sum(self.reasons.values())

    @classmethod
    def of(
        cls,
        crystals: list[Crystal],
        digest: str,
        reasons: Mapping[str, int] | None = None,
        hull_filter: str = "none",
    ) -> Self:
        """Pack crystals into flat arrays.

        Args:
            crystals: structures, at least one.
            digest: sha256 of their source, first 16 hex digits.
            reasons: number of structures left out, by reason.
            hull_filter: limit on the energy above the hull, in words.

        Raises:
            ChggenError: there are no crystals.
        """
        if not crystals:
            why = ", ".join(f"{n} {reason}" for reason, n in sorted((reasons or {}).items()))
            raise ChggenError(f"no structures to train on ({why or 'no rows'})")
        return cls(
            np.stack([c.cell for c in crystals]),
            np.concatenate([c.atomic_numbers for c in crystals]),
            np.concatenate([c.frac_coords for c in crystals]),
            np.array([len(c) for c in crystals]),
            digest,
            dict(reasons or {}),
            hull_filter,
        )

    @classmethod
    def from_csv(
        cls,
        path: Path,
        cache: Path | None = None,
        progress: Progress | None = None,
        max_above_hull: float | None = None,
    ) -> Self:
        """Read a CSV (or CSV.gz) with a ``cif`` column; rows that cannot be used are counted.

        Args:
            path: the file.
            cache: folder for the parsed arrays.
            progress: called with (structures parsed, total number of structures).
            max_above_hull: eV/atom; rows with a larger or no value in column
                ``e_above_hull`` are left out. None, or a file without the column: no filter.

        Raises:
            ChggenError: the file is missing, damaged, or has no column ``cif`` or no structure.
        """
        if not path.is_file():
            raise ChggenError(f"train.data: no such file '{path}'")
        digest = hashlib.sha256(path.read_bytes())
        digest.update(f"{_READING} {max_above_hull}".encode())
        name = digest.hexdigest()[:16]
        stored = cache / f"{name}.npz" if cache else None
        if stored and stored.is_file():
            return cls.load(stored, name)
        reasons: Counter[str] = Counter()
        try:
            texts, hull_filter = _selected(path, max_above_hull, reasons)
        except ConfigError as error:
            raise ChggenError(f"train.data: '{path}': {error}") from error
        crystals = []
        # joblib's workers are neither forked (torch's threads would be lost) nor do they run
        # the main module again (a Snakemake script has no guard)
        parallel = Parallel(n_jobs=-1, batch_size=_CHUNK, return_as="generator")
        for done, result in enumerate(parallel(delayed(_parse)(t) for t in texts), 1):
            if isinstance(result, Crystal):
                crystals.append(result)
            else:
                reasons[result] += 1
            if progress and (done % _CHUNK == 0 or done == len(texts)):
                progress(done, len(texts))
        data = cls.of(crystals, name, reasons, hull_filter)
        if stored:
            data.store(stored)
        return data

    @classmethod
    def load(cls, path: Path, digest: str) -> Self:
        """Read arrays that :meth:`store` wrote."""
        with np.load(path, allow_pickle=False) as file:
            facts = json.loads(str(file["facts"]))
            return cls(
                file["cells"],
                file["atomic_numbers"],
                file["frac_coords"],
                file["sizes"],
                digest,
                facts["reasons"],
                facts["hull_filter"],
            )

    def store(self, path: Path) -> None:
        """Write the arrays to a file, for :meth:`load`."""
        facts = {"reasons": dict(self.reasons), "hull_filter": self.hull_filter}
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(
                file,
                cells=self.cells,
                atomic_numbers=self.atomic_numbers,
                frac_coords=self.frac_coords,
                sizes=self.sizes,
                facts=json.dumps(facts),
            )

    def facts(self) -> dict[str, Any]:
        """Entries on the data for the card and the log."""
        return {
            "digest": self.digest,
            "structures": len(self),
            "atoms": self.n_atoms,
            "largest": int(self.sizes.max()),
            "skipped": self.skipped,
            "skipped_because": dict(sorted(self.reasons.items())),
            "hull_filter": self.hull_filter,
        }

    def __len__(self) -> int:
        """Return the number of structures."""
        return len(self.sizes)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all structures."""
        return int(self.sizes.sum())

    @property
    def elements(self) -> list[int]:
        """Atomic numbers that occur, ascending."""
        return sorted({int(z) for z in np.unique(self.atomic_numbers)})

    def batch(self, index: NDArray[np.int64], device: torch.device | str = "cpu") -> Batch:
        """The structures of given indices as one batch."""
        ends = np.cumsum(self.sizes)
        atoms = np.concatenate([np.arange(ends[i] - self.sizes[i], ends[i]) for i in index])
        sizes = torch.as_tensor(self.sizes[index], device=device)
        system = torch.repeat_interleave(torch.arange(len(index), device=device), sizes)
        cells = torch.as_tensor(self.cells[index], dtype=torch.float32, device=device)
        frac = torch.as_tensor(self.frac_coords[atoms], dtype=torch.float32, device=device)
        numbers = torch.as_tensor(self.atomic_numbers[atoms], device=device)
        positions = torch.einsum("ni,nij->nj", frac, cells[system])
        return Batch(positions, cells, numbers, system, sizes)

    def epoch(self, seed: np.random.SeedSequence, atoms: int) -> Iterator[NDArray[np.int64]]:
        """Indices of batches of at most ``atoms`` atoms, each structure once, shuffled."""
        order = np.random.default_rng(seed).permutation(len(self))
        start, total = 0, 0
        for place, index in enumerate(order):
            if total and total + self.sizes[index] > atoms:
                yield order[start:place]
                start, total = place, 0
            total += int(self.sizes[index])
        yield order[start:]


def materials_project(
    cache: Path, max_above_hull: float | None = 0.1, max_atoms: int = 52
) -> StructureData:
    """All Materials Project structures near the hull, with the user's key (MP_API_KEY).

    The arrays are cached in ``cache``. The content is CC BY 4.0: cite Jain et al.,
    doi:10.1063/1.4812323.

    Args:
        cache: folder of the arrays.
        max_above_hull: eV/atom; None: no limit.
        max_atoms: largest number of atoms per structure.

    Raises:
        ChggenError: there is neither a key nor a cache.
    """
    stored = cache / f"materials-project-{_READING}-{max_above_hull}-{max_atoms}.npz"
    if stored.is_file():
        digest = hashlib.sha256(stored.read_bytes()).hexdigest()[:16]
        return StructureData.load(stored, digest)
    if not os.environ.get("MP_API_KEY"):
        raise ChggenError("train.data: not set, and MP_API_KEY is not in the environment")
    from mp_api.client import MPRester

    limit = {} if max_above_hull is None else {"energy_above_hull": (0, max_above_hull)}
    with MPRester() as client:
        documents = client.materials.summary.search(
            num_sites=(2, max_atoms), fields=["material_id", "structure"], **limit
        )
    crystals = [Crystal.from_structure(d.structure) for d in documents if d.structure.is_ordered]
    left = len(documents) - len(crystals)
    reasons = {"partly occupied sites": left} if left else {}
    said = "none" if max_above_hull is None else f"energy_above_hull <= {max_above_hull:g} eV/atom"
    StructureData.of(crystals, "", reasons, said).store(stored)
    return StructureData.load(stored, hashlib.sha256(stored.read_bytes()).hexdigest()[:16])
