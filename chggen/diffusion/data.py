"""Training structures: from benchmark CSV files or the Materials Project to arrays.

The CSV columns are those of the public benchmarks (mp_20, mpts_52): ``cif`` is needed,
``e_above_hull`` is used if there.
"""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray

from chggen.diffusion.batch import Batch
from chggen.errors import ChggenError
from chggen.structure.crystal import Crystal

Progress = Callable[[int, int], None]
_CHUNK = 256


def _parse(cif: str) -> Crystal | str:
    """Crystal of a CIF text, or what is wrong with it."""
    from pymatgen.core import Structure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structure = Structure.from_str(cif, fmt="cif")
            return Crystal.from_structure(structure)
        except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
            return str(error).splitlines()[0] if str(error) else type(error).__name__


@dataclass(frozen=True)
class StructureData:
    """Many structures in flat arrays.

    Args:
        cells: [s, 3, 3] Å; atomic_numbers: [n]; frac_coords: [n, 3]; sizes: [s].
        digest: sha256 of the source, first 16 hex digits.
        skipped: structures that could not be read or are too large.
    """

    cells: NDArray[np.float64]
    atomic_numbers: NDArray[np.int64]
    frac_coords: NDArray[np.float64]
    sizes: NDArray[np.int64]
    digest: str
    skipped: int = 0

    @classmethod
    def of(cls, crystals: list[Crystal], digest: str, skipped: int = 0) -> Self:
        """Pack crystals."""
        if not crystals:
            raise ChggenError("no structures to train on")
        return cls(
            np.stack([c.cell for c in crystals]),
            np.concatenate([c.atomic_numbers for c in crystals]),
            np.concatenate([c.frac_coords for c in crystals]),
            np.array([len(c) for c in crystals]),
            digest,
            skipped,
        )

    @classmethod
    def from_csv(
        cls, path: Path, cache: Path | None = None, progress: Progress | None = None
    ) -> Self:
        """Read a CSV (or CSV.gz) with a ``cif`` column; parsed arrays are kept in ``cache``.

        Raises :class:`ChggenError` if the file is missing or has no such column.
        """
        import pandas as pd

        if not path.is_file():
            raise ChggenError(f"train.data: no such file '{path}'")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        stored = cache / f"{digest}.npz" if cache else None
        if stored and stored.is_file():
            return cls.load(stored, digest)
        try:
            table = pd.read_csv(path, usecols=["cif"])
        except (ValueError, OSError, UnicodeDecodeError) as error:
            raise ChggenError(f"train.data: '{path}' has no column 'cif' ({error})") from error
        texts = table["cif"].astype(str).tolist()
        crystals, bad = [], 0
        # joblib's workers are neither forked (torch's threads would be lost) nor do they run
        # the main module again (a Snakemake script has no guard)
        parallel = Parallel(n_jobs=-1, batch_size=_CHUNK, return_as="generator")
        for done, result in enumerate(parallel(delayed(_parse)(t) for t in texts), 1):
            if isinstance(result, Crystal) and len(result) > 1 and result.is_finite:
                crystals.append(result)
            else:
                bad += 1
            if progress and (done % _CHUNK == 0 or done == len(texts)):
                progress(done, len(texts))
        data = cls.of(crystals, digest, bad)
        if stored:
            data.store(stored)
        return data

    @classmethod
    def load(cls, path: Path, digest: str) -> Self:
        """Read arrays that :meth:`store` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(
                file["cells"],
                file["atomic_numbers"],
                file["frac_coords"],
                file["sizes"],
                digest,
                int(file["skipped"]),
            )

    def store(self, path: Path) -> None:
        """Keep the arrays for the next time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(
            part,
            cells=self.cells,
            atomic_numbers=self.atomic_numbers,
            frac_coords=self.frac_coords,
            sizes=self.sizes,
            skipped=self.skipped,
        )
        part.replace(path)

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
        """Structures picked by index as one batch."""
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
    cache: Path, energy_above_hull: float = 0.1, max_atoms: int = 52
) -> StructureData:
    """All Materials Project structures near the hull, with the user's key (MP_API_KEY).

    Cached as arrays under ``cache``. Content is CC BY 4.0: cite Jain et al.,
    doi:10.1063/1.4812323. Raises :class:`ChggenError` without a key or cache.
    """
    stored = cache / f"materials-project-{energy_above_hull}-{max_atoms}.npz"
    if stored.is_file():
        digest = hashlib.sha256(stored.read_bytes()).hexdigest()[:16]
        return StructureData.load(stored, digest)
    if not os.environ.get("MP_API_KEY"):
        raise ChggenError("train.data: not set, and MP_API_KEY is not in the environment")
    from mp_api.client import MPRester

    with MPRester() as client:
        documents = client.materials.summary.search(
            energy_above_hull=(0, energy_above_hull),
            num_sites=(2, max_atoms),
            fields=["material_id", "structure"],
        )
    crystals = [Crystal.from_structure(d.structure) for d in documents if d.structure.is_ordered]
    data = StructureData.of(crystals, "", len(documents) - len(crystals))
    data.store(stored)
    return StructureData.load(stored, hashlib.sha256(stored.read_bytes()).hexdigest()[:16])
