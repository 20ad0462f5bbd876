"""Training structures as arrays: batches, epochs, subsets; and those of the Materials Project.

:mod:`chggen.diffusion.reading` makes them from files.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

from chggen.diffusion.batch import Batch
from chggen.errors import ChggenError
from chggen.run.atomic import replacing
from chggen.structure.composition import formula_of
from chggen.structure.crystal import Crystal

#: Part of the digest; must change when the same file is read differently.
READING: Final = 2
_ARRAYS: Final = ("cells", "atomic_numbers", "frac_coords", "sizes")


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
            raise ChggenError(nothing(reasons or {}))
        return cls(
            np.stack([c.cell for c in crystals]),
            np.concatenate([c.atomic_numbers for c in crystals]),
            np.concatenate([c.frac_coords for c in crystals]),
            np.array([len(c) for c in crystals]),
            digest,
            dict(reasons or {}),
            hull_filter,
        )

    def where(self, keep: NDArray[np.bool_], reason: str, mark: str) -> Self:
        """Only some of the structures; the same data if that is all of them.

        Args:
            keep: [s] True for those that stay.
            reason: why the others are left out, as counted.
            mark: what the choice depends on; the digest is of this and the old digest.

        Raises:
            ChggenError: none stays.
        """
        if keep.all():
            return self
        reasons = {**self.reasons, reason: self.reasons.get(reason, 0) + int((~keep).sum())}
        if not keep.any():
            raise ChggenError(nothing(reasons))
        atoms = np.repeat(keep, self.sizes)
        return replace(
            self,
            cells=self.cells[keep],
            atomic_numbers=self.atomic_numbers[atoms],
            frac_coords=self.frac_coords[atoms],
            sizes=self.sizes[keep],
            digest=hashlib.sha256(f"{self.digest} {mark}".encode()).hexdigest()[:16],
            reasons=reasons,
        )

    def formulas(self) -> list[str]:
        """Reduced formula of each structure."""
        return [formula_of(z) for z in np.split(self.atomic_numbers, np.cumsum(self.sizes)[:-1])]

    @classmethod
    def load(cls, path: Path, digest: str) -> Self | None:
        """Arrays that :meth:`store` wrote; None if the file is missing or damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                return cls(
                    **{name: file[name] for name in _ARRAYS},
                    digest=digest,
                    reasons=facts["reasons"],
                    hull_filter=facts["hull_filter"],
                )
        except (OSError, ValueError, LookupError, zipfile.BadZipFile, zlib.error):
            return None

    def store(self, path: Path) -> None:
        """Write the arrays to a file, for :meth:`load`."""
        facts = {"reasons": dict(self.reasons), "hull_filter": self.hull_filter}
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(
                file,
                **{name: getattr(self, name) for name in _ARRAYS},
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


def nothing(reasons: Mapping[str, int]) -> str:
    """Why there is nothing to train on, in one line."""
    why = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    return f"no structures to train on ({why or 'no rows'})"


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
    stored = cache / f"materials-project-{READING}-{max_above_hull}-{max_atoms}.npz"
    if known := _stored(stored):
        return known
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
    data = StructureData.of(crystals, "", reasons, said)
    data.store(stored)
    return _stored(stored) or data


def _stored(path: Path) -> StructureData | None:
    if not path.is_file():
        return None
    return StructureData.load(path, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
