"""What a run of ``chggen evaluate`` is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from chggen.config.energies import Potentials
from chggen.config.stages import GenerateConfig, RelaxConfig
from chggen.config.systems import Symmetry
from chggen.errors import ChggenError

#: Generators that can be compared; the first is the one that is evaluated. Candidates are
#: ranked for it and for ``random_selected``, which shows what the ranking does by itself.
GENERATORS: Final = ("diffusion", "random", "random_selected", "pyxtal")
CELLS: Final = ("true", "sampled", "framework")

Cells = Literal["true", "sampled", "framework"]


@dataclass(frozen=True)
class Evaluation:
    """Settings of a run.

    Args:
        structures: CSV with a ``cif`` column.
        limit: most structures taken from it.
        samples: structures generated per known one (K).
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
    seed: int = 1
    cells: Cells = "true"
    generators: tuple[str, ...] = GENERATORS
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
        for option in ("limit", "samples"):
            if getattr(self, option) < 1:
                raise ChggenError(f"--{option} {getattr(self, option)}: must be at least 1")

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


def parse_generators(text: str | Sequence[str]) -> tuple[str, ...]:
    """Names in ``diffusion,random``, each once, in the order of :data:`GENERATORS`."""
    given = text.split(",") if isinstance(text, str) else text
    names = {name.strip() for name in given} - {""}
    unknown = sorted(names - set(GENERATORS))
    if unknown or not names:
        raise ChggenError(
            f"--generators '{text}': "
            + (f"unknown generator '{unknown[0]}'" if unknown else "names none")
            + f" (known: {', '.join(GENERATORS)})"
        )
    return tuple(name for name in GENERATORS if name in names)
