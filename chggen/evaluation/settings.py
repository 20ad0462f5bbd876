"""What a run of ``chggen evaluate`` is asked for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig, RelaxConfig
from chggen.config.systems import Symmetry
from chggen.errors import ChggenError

#: Generators that can be compared. ``campaign`` takes ``generate.prototypes.share`` of the
#: samples from known prototypes, the rest from ``diffusion``. Candidates are ranked for
#: ``diffusion`` and for ``random_selected``, which shows what the ranking does by itself.
GENERATORS: Final = (
    "campaign",
    "diffusion",
    "prototypes",
    "random",
    "random_selected",
    "pyxtal",
)
CELLS: Final = ("true", "sampled", "framework")
#: Size classes of the figures: fewest and most atoms of each.
SIZES: Final = ((1, 2), (3, 4), (5, 7), (8, 10), (11, 14), (15, 30), (31, 52), (53, 10**6))

#: Generators that are compared where none is named, by :data:`CELLS`.
COMPARED: Final = {
    "sampled": "campaign,diffusion,prototypes,random",
    "true": "diffusion,random,random_selected,pyxtal",
    "framework": "diffusion,random,random_selected",
}

Cells = Literal["true", "sampled", "framework"]


@dataclass(frozen=True)
class Evaluation:
    """Settings of a run.

    Args:
        structures: CSV with a ``cif`` column.
        limit: most structures taken from it.
        samples: structures generated per known one (K).
        cpu_seconds: per known structure: generators whose K samples cost less draw more, for
            the figures against CPU seconds alone; None: K samples.
        seed: of the choice of structures and of every sample.
        cells: ``true`` cells of the file, ``sampled`` as a campaign draws them, or the
            file's ``framework``, with only its rarest element to be placed (inpainting).
        generators: what is compared, of :data:`GENERATORS`.
        min_atoms: fewest atoms per cell.
        max_atoms: most atoms per cell.
        max_above_hull: eV/atom; stays out if the file has no such column.
        symmetry: space groups that diffusion keeps, as in a system's config.
        generate: section ``generate``; its ``generator`` is replaced by each in turn.
        relax: criteria of all relaxations, of the truth too.
        potentials: section ``potentials``, for ``generate.ranking_potential``.
    """

    structures: Path
    limit: int = 100
    samples: int = 5
    cpu_seconds: float | None = None
    seed: int = 1
    cells: Cells = "sampled"
    generators: tuple[str, ...] = ("diffusion", "random", "random_selected", "pyxtal")
    min_atoms: int = 3
    max_atoms: int = 14
    max_above_hull: float = 0.05
    symmetry: Symmetry = "auto"
    generate: GenerateConfig = field(default_factory=GenerateConfig)
    relax: RelaxConfig = field(default_factory=lambda: RelaxConfig(max_steps=250))
    potentials: Potentials = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot be, naming the option."""
        if self.min_atoms > self.max_atoms:
            raise ChggenError(
                f"--min-atoms {self.min_atoms}: is larger than --max-atoms {self.max_atoms}"
            )
        if self.cells not in CELLS:
            raise ChggenError(f"--cells '{self.cells}': known are {', '.join(CELLS)}")
        if self.cells == "framework" and "pyxtal" in self.generators:
            raise ChggenError("--cells framework: --generators must leave out pyxtal")
        own = [name for name in self.generators if name in {"campaign", "prototypes"}]
        if self.cells != "sampled" and own:
            raise ChggenError(
                f"--cells {self.cells}: --generators must leave out {own[0]}: known prototypes"
                " bring their own cells"
            )
        for option in ("limit", "samples"):
            if getattr(self, option) < 1:
                raise ChggenError(f"--{option} {getattr(self, option)}: must be at least 1")

        if self.cpu_seconds is not None and not 0 < self.cpu_seconds < math.inf:
            raise ChggenError(f"--cpu-seconds {self.cpu_seconds}: must be positive")

    def drawn(self, generator: str) -> GenerateConfig:
        """Section ``generate`` with another generator.

        Args:
            generator: one that fills cells.
        """
        # the config may name a source of whole structures, with keys that only it has
        update: dict[str, Any] = {"generator": generator, "path": None, "options": {}}
        return self.generate.model_copy(update=update)

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "structures": str(self.structures),
            "generators": list(self.generators),
            "generate": self.generate.model_dump(mode="json"),
            "relax": self.relax.model_dump(mode="json"),
            "potentials": {k: v.model_dump(mode="json") for k, v in self.potentials.items()},
        }


def size_class(atoms: int) -> str:
    """Size class of a number of atoms (at least 1): ``3-4``; ``53+`` for the largest."""
    low, high = next((low, high) for low, high in SIZES if low <= atoms <= high)
    return f"{low}+" if (low, high) == SIZES[-1] else f"{low}-{high}"


def parse_generators(text: str | Sequence[str]) -> tuple[str, ...]:
    """Names in ``diffusion,random``, each once, in the order given."""
    given = text.split(",") if isinstance(text, str) else text
    names = tuple(dict.fromkeys(name.strip() for name in given if name.strip()))
    unknown = [name for name in names if name not in GENERATORS]
    if unknown or not names:
        raise ChggenError(
            f"--generators '{text}': "
            + (f"unknown generator '{unknown[0]}'" if unknown else "names none")
            + f" (known: {', '.join(GENERATORS)})"
        )
    return names
