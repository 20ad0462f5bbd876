"""What a campaign costs: seconds of one core by stage, scaled to this machine.

The constants are CPU seconds of one core, measured on the stages themselves for Li3PS4 (8 to 32
atoms; docs/predict.md). A short timing of the potential on this machine, as busy as it is
(:mod:`chggen.prediction.calibrate`), scales all of them.
"""

from dataclasses import dataclass
from typing import Final

#: Seconds per atom and candidate: 29 score calls and a single-point energy.
DRAW: Final = 0.0065
#: Seconds per atom and relaxation step of one structure, in a batch.
STEP: Final = 0.0015
#: Steps of a relaxation, of generated structures and of draws of guests, on average; they
#: start near their minima.
STEPS: Final = 8.0
#: Steps of the final, tight relaxation, on average.
FINAL_STEPS: Final = 20.0
#: Seconds per structure of refine, and of the verdicts of the screen.
REFINE: Final = 0.1
JUDGE: Final = 0.3
#: Frameworks per structure.
FRAMEWORKS: Final = 0.8
#: Seconds of one evaluation of the probe (energy, forces and stress of its atoms).
PROBE: Final = 0.037
#: What a job takes to start over what the timing of the potential takes to start: tables of
#: Wyckoff positions, first calls and the like come on top.
STARTS: Final = {
    "generate": 1.8, "relax": 1.2, "refine": 0.8, "inpaint": 1.8, "screen": 1.5, "report": 1.2,
}  # fmt: skip
#: Seconds of one start of Snakemake, as a multiple of the same.
DRIVER: Final = 0.6
#: Start of a job on a quiet machine, s.
START: Final = 7.0


@dataclass(frozen=True)
class Machine:
    """How fast a machine is, as busy as it is.

    Args:
        start: seconds that a job takes to start: Python, libraries, network and potential.
        scale: seconds here over those of the constants.
        cores: jobs at a time.
    """

    start: float = START
    scale: float = 1.0
    cores: int = 2

    def slower(self, factor: float) -> "Machine":
        """The same machine, everything so many times slower."""
        return Machine(self.start * factor, self.scale * factor, self.cores)


@dataclass(frozen=True)
class Size:
    """How much a campaign of one composition does.

    Args:
        atoms: in a formula unit.
        units: formula units of its cells.
        shards: independent sets of lattices.
        lattices: structures per shard.
        candidates: draws per structure.
        finalists: of them, relaxed a few steps before one is kept.
        share: of the structures that are known prototypes.
        draws: structures per framework; 0: no frameworks.
        fillings: candidates of each of these draws.
        selected: most structures that are selected.
    """

    atoms: int
    units: tuple[int, ...]
    shards: int
    lattices: int
    candidates: int
    finalists: int = 3
    share: float = 0.25
    draws: int = 0
    fillings: int = 4
    selected: int = 20

    @property
    def structures(self) -> int:
        """Generated structures in all."""
        return self.shards * self.lattices

    @property
    def mean_atoms(self) -> float:
        """Atoms in a cell, on average over the structures."""
        units = [self.units[i % len(self.units)] for i in range(self.lattices)]
        return self.atoms * sum(units) / len(units)


#: Steps of each finalist (``generate.finalist_steps``).
_FINALIST_STEPS: Final = 10


def rounds(size: Size, machine: Machine) -> int:
    """Shards that a core does one after the other."""
    return -(-size.shards // machine.cores)


def search_seconds(size: Size, machine: Machine) -> float:
    """Wall seconds of ``generate`` and ``relax``.

    Args:
        size: of the campaign.
        machine: that runs it.
    """
    atoms = size.mean_atoms
    drawn = size.lattices * (1 - size.share)
    per_shard = drawn * atoms * size.candidates * DRAW
    if size.finalists > 1 and size.candidates > 1:
        finalists = min(size.finalists, size.candidates)
        per_shard += drawn * atoms * finalists * _FINALIST_STEPS * STEP
    per_shard += size.lattices * atoms * STEPS * STEP
    return rounds(size, machine) * (
        _starts(machine, "generate", "relax") + machine.scale * per_shard
    )


def framework_seconds(size: Size, machine: Machine) -> float:
    """Wall seconds of ``refine``, ``inpaint`` and the relaxation after it; 0 without draws.

    Args:
        size: of the campaign.
        machine: that runs it.
    """
    if not size.draws:
        return 0.0
    made = size.lattices * FRAMEWORKS * size.draws
    per_shard = size.lattices * REFINE + made * size.mean_atoms * size.fillings * DRAW
    if size.fillings > 1:
        per_shard += made * size.mean_atoms * min(3, size.fillings) * _FINALIST_STEPS * STEP
    per_shard += made * size.mean_atoms * STEPS * STEP
    starts = _starts(machine, "refine", "inpaint", "relax")
    return rounds(size, machine) * (starts + machine.scale * per_shard)


def ending_seconds(size: Size, machine: Machine) -> float:
    """Wall seconds of ``screen`` and ``report``, one core for both.

    Args:
        size: of the campaign.
        machine: that runs it.
    """
    rows = size.structures * (1 + FRAMEWORKS * size.draws)
    again = min(2 * size.selected, rows)
    work = rows * JUDGE + again * size.mean_atoms * FINAL_STEPS * STEP
    return _starts(machine, "screen", "report") + machine.scale * work


def _starts(machine: Machine, *stages: str) -> float:
    return machine.start * sum(STARTS[stage] for stage in stages)


def seconds(size: Size, machine: Machine) -> float:
    """Wall seconds of the whole campaign, Snakemake's own included.

    Args:
        size: of the campaign.
        machine: that runs it.
    """
    drivers = 2 if size.draws else 1
    return (
        search_seconds(size, machine)
        + framework_seconds(size, machine)
        + ending_seconds(size, machine)
        + drivers * DRIVER * machine.start
    )
