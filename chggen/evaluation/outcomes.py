"""What became of every sample: relaxation, match, energy above the known structure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from chggen.errors import Status
from chggen.evaluation.sampling import UNCONDITIONAL, Sample
from chggen.relaxation.pool import Relaxation
from chggen.run.progress import Progress, silent
from chggen.structure.composition import formula_of
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed, Task
from chggen.symmetry.known_crystals import Features, KnownCrystals

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

#: Tolerances (ltol, stol, angle_tol in degrees): the wide ones are those of the published
#: match rates, the narrow ones pymatgen's own.
WIDE = (0.3, 0.5, 10.0)
NARROW = (0.2, 0.3, 5.0)

#: Statuses of a relaxation that left a structure with an energy.
RELAXED = (Status.OK, Status.NOT_CONVERGED)

#: CPU seconds of a sample: attributes of a sample and of an outcome.
COSTS = ("generation_cpu_seconds", "relaxation_cpu_seconds")

#: Å, under which two generated atoms count as on top of each other.
CLOSE = 1.0


@dataclass(frozen=True, eq=False)
class Outcome:
    """One sample.

    Args:
        structure: place of its known structure in the run.
        sample: 0 to K - 1.
        task: what was asked for.
        placed: what the generator gave.
        relaxed: what the relaxation made of it; None where there was nothing to relax.
        status: ``ok``, ``not_converged`` or why there is no result.
        reason: one line more.
        matched: the relaxed sample is the relaxed known structure, wide tolerances.
        matched_narrow: by the narrow ones too.
        energy_above_truth: relaxed energies, sample minus known structure, eV/atom.
        generation_cpu_seconds: its part of what the generator took; NaN where not measured.
        relaxation_cpu_seconds: its part of what the relaxations took.
        route: ``prototypes`` or ``unconditional``.
        known: name of the known crystal that the relaxed sample is by its label
            (:mod:`chggen.symmetry.known_crystals`); None if it is none.
    """

    structure: int
    sample: int
    task: Task
    placed: Placed
    relaxed: Relaxation | None
    status: Status
    reason: str
    matched: bool = False
    matched_narrow: bool = False
    energy_above_truth: float = math.nan
    generation_cpu_seconds: float = math.nan
    relaxation_cpu_seconds: float = math.nan
    route: str = UNCONDITIONAL
    known: str | None = None

    @property
    def new(self) -> bool:
        """True for a relaxed sample that is no known crystal, by StructureMatcher or label."""
        return self.status in RELAXED and not self.matched and self.known is None

    @property
    def matched_by_label(self) -> bool:
        """True for one that StructureMatcher finds to be the known structure, and its label too."""
        return self.matched and self.known is not None

    @property
    def cpu_seconds(self) -> float:
        """Generation and relaxation."""
        return self.generation_cpu_seconds + self.relaxation_cpu_seconds

    @property
    def min_distance(self) -> float:
        """Shortest distance before relaxation, Å; NaN without a structure."""
        return math.nan if self.placed.crystal is None else self.placed.crystal.min_distance

    @property
    def delta_energy(self) -> float:
        """Energy generated minus relaxed, eV/atom; NaN where not relaxed."""
        return self._of_relaxed("delta_energy_per_atom")

    @property
    def rmsd(self) -> float:
        """RMS displacement by relaxation, Å (:class:`Displacement`); NaN where undefined."""
        return self._of_relaxed("rmsd")

    @property
    def rmsd_normalised(self) -> float:
        """The same in units of (V/n)^(1/3); NaN where undefined."""
        return self._of_relaxed("rmsd_normalised")

    @property
    def max_displacement(self) -> float:
        """Largest displacement of an atom by relaxation, Å; NaN where undefined."""
        return self._of_relaxed("max_displacement")

    @property
    def volume_change(self) -> float:
        """Change of the volume by relaxation, |V_relaxed / V_generated - 1|; NaN if not relaxed."""
        after, before = self._of_relaxed("volume_per_atom"), self.placed.crystal
        return math.nan if before is None else abs(after / before.volume_per_atom - 1)

    def _of_relaxed(self, name: str) -> float:
        if self.relaxed is None or self.status not in RELAXED:
            return math.nan
        value = getattr(self.relaxed, name)
        return math.nan if value is None else float(value)


def judge(
    samples: Sequence[Sample], truth: Sequence[Relaxation], progress: Progress = silent
) -> list[Outcome]:
    """Outcomes of samples, in order.

    A known structure that could not be relaxed cannot be found: its samples stay in the
    denominators, with status ``parent_failed``.

    Args:
        samples: what was generated and relaxed.
        truth: the known structures, relaxed, by the places that the samples name.
        progress: called with (samples done, samples in all).
    """
    outcomes = []
    for done, sample in enumerate(samples, 1):
        outcomes.append(_judge(sample, truth[sample.draw.structure]))
        progress(done, len(samples))
    return outcomes


def _judge(sample: Sample, truth: Relaxation) -> Outcome:
    relaxed, draw = sample.relaxed, sample.draw

    def outcome(status: Status, reason: str, **found: float | str | None) -> Outcome:
        place = (draw.structure, draw.sample, sample.task, sample.placed, relaxed, status, reason)
        found |= {name: getattr(sample, name) for name in COSTS}
        return Outcome(*place, route=sample.route, **found)  # type: ignore[arg-type]

    if truth.crystal is None or truth.status not in RELAXED or truth.energy_per_atom is None:
        return outcome(Status.PARENT_FAILED, f"known structure: {truth.status} {truth.reason}")
    if relaxed is None:
        return outcome(Status.SAMPLING_FAILED, sample.placed.reason)
    if relaxed.crystal is None or relaxed.status not in RELAXED or relaxed.energy_per_atom is None:
        return outcome(relaxed.status, relaxed.reason)
    wide = same(relaxed.crystal, truth.crystal, WIDE)
    return outcome(
        relaxed.status,
        relaxed.reason,
        matched=wide,
        # what the wide tolerances refuse, the narrow ones do too
        matched_narrow=wide and same(relaxed.crystal, truth.crystal, NARROW),
        known=_known(relaxed.crystal),
        energy_above_truth=relaxed.energy_per_atom - truth.energy_per_atom,
    )


def _known(crystal: Crystal) -> str | None:
    found = _known_crystals().same(Features.of(crystal), formula_of(crystal.atomic_numbers))
    return found.name if found else None


@cache
def _known_crystals() -> KnownCrystals:
    return KnownCrystals()


def same(first: Crystal, second: Crystal, tolerances: tuple[float, float, float]) -> bool:
    """Whether pymatgen's StructureMatcher matches two crystals; False too where it fails.

    It compares primitive cells, so supercells of a crystal are the crystal.

    Args:
        first: a crystal.
        second: another one.
        tolerances: ltol, stol (both without unit) and angle_tol (degrees).
    """
    if formula_of(first.atomic_numbers) != formula_of(second.atomic_numbers):
        return False
    try:
        found = _matcher(tolerances).fit(first.to_structure(), second.to_structure())
    except (ValueError, IndexError, TypeError, ArithmeticError, RuntimeError):
        return False
    return bool(found)


@cache
def _matcher(tolerances: tuple[float, float, float]) -> "StructureMatcher":
    from pymatgen.analysis.structure_matcher import StructureMatcher

    ltol, stol, angle_tol = tolerances
    return StructureMatcher(ltol=ltol, stol=stol, angle_tol=angle_tol)
