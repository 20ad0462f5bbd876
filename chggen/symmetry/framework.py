"""Frameworks: remove the guests, symmetrise the hosts, keep the composition.

Guests are the atoms with the most variable coordination; without them a relaxed structure
is often nearly symmetric (CHGGen, doi:10.1039/d5mh00774g). :func:`refine` searches a ladder
of tolerances and symmetrises the hosts exactly at the steps with a space group
above P-1, if their bonds do not change.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from chggen.config.stages import RefineConfig
from chggen.errors import Status
from chggen.structure import composition as comp
from chggen.structure.bonds import closest_pair
from chggen.structure.coordination import changed_coordination
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import SymmetrisationError, Symmetrised, space_group, symmetrise

#: Largest difference (Å) between two crystals that count as equal (rounding).
_SAME: Final = 1e-2


@dataclass(frozen=True, eq=False)
class Framework:
    """Result of :func:`refine`; fields as in the ``refined`` table.

    Args:
        status: ``ok`` or the kind of failure.
        reason: one line of explanation; empty if ok.
        crystal: the hosts only; None unless ok.
        guests: elements removed.
        guest_numbers: atomic numbers of the guests that belong in the cell of ``crystal``.
        formula_units: formula units of hosts and guests in that cell.
        ladder_step: step used, or step of the rejected framework; None if none.
        symprec: distance tolerance of that step, Å.
        angle_tolerance: its angle tolerance, degrees.
        space_group_number: space group of the symmetrised hosts.
        space_group_symbol: its Hermann-Mauguin symbol.
        displacement_rms: RMS displacement of the hosts, Å.
        displacement_max: largest displacement of a host, Å.
        strain_max: largest absolute principal strain of the cell.
        coordination_changed: hosts that lose or gain a bond with another host.
        host_cell: input, primitive or conventional.
    """

    status: Status
    guests: tuple[str, ...]
    host_cell: str
    reason: str = ""
    crystal: Crystal | None = None
    guest_numbers: list[int] = field(default_factory=list)
    formula_units: int | None = None
    ladder_step: int | None = None
    symprec: float | None = None
    angle_tolerance: float | None = None
    space_group_number: int | None = None
    space_group_symbol: str | None = None
    displacement_rms: float | None = None
    displacement_max: float | None = None
    strain_max: float | None = None
    coordination_changed: int | None = None

    @property
    def n_guests(self) -> int:
        """Number of guest atoms that belong in the cell of the framework."""
        return len(self.guest_numbers)


@dataclass(frozen=True, eq=False)
class _Rung:
    """Result of one step of the ladder."""

    framework: Framework
    ideal: Symmetrised

    @property
    def usable(self) -> bool:
        return self.framework.status is Status.OK

    def same(self, other: "_Rung") -> bool:
        """True if both steps found the same operations and thus the same crystal."""
        if (self.ideal.number, self.ideal.order) != (other.ideal.number, other.ideal.order):
            return False
        mine, its = self.ideal.aligned, other.ideal.aligned
        moved = np.abs(mine.cart_coords - its.cart_coords).max()
        return max(moved, np.abs(mine.cell - its.cell).max()) < _SAME


def refine(crystal: Crystal, guests: Sequence[str], settings: RefineConfig) -> list[Framework]:
    """Frameworks of a structure: guests removed, hosts symmetrised.

    Every step of the ladder with a space group above P-1 gives a framework; a step is skipped
    if its operations cannot be imposed or if an earlier step gave the same result. A
    framework is rejected if hosts would lose or gain bonds with other hosts
    (:func:`chggen.structure.coordination.changed_coordination`; ``keep_coordination``), or if
    its displacement or strain exceeds the limits. Of the others,

    - ``ladder_choice: first`` selects that of the first step above P-1, as in the paper. If
      it is rejected there is no framework.
    - ``best`` selects the one with the most operations per cell among that of the first step
      above P-1 and those of later steps that move no host by more than the symprec of the
      first step, the accuracy at which the structure was found symmetric. A rejected first
      step therefore does not end the search. (spglib is not monotonic: a later step can find
      another group with smaller displacements.)

    Up to ``frameworks_per_structure`` are returned: the selected one, then the other
    frameworks that are not rejected, ordered by their largest displacement.

    Args:
        crystal: relaxed structure, guests included.
        guests: elements to remove.
        settings: ladder, choice, limits, kind of cell, size limit.

    Returns:
        The frameworks, the selected one first; or one that is not ``ok``, with its reason.
        Never raises for an invalid structure.
    """
    names = tuple(dict.fromkeys(guests))
    numbers = [comp.ATOMIC_NUMBERS[symbol] for symbol in names]
    is_guest = np.isin(crystal.atomic_numbers, numbers)

    def refuse(status: Status, reason: str) -> list[Framework]:
        return [Framework(status, names, settings.host_cell, reason)]

    if not is_guest.any() or is_guest.all():
        left = "no guest" if not is_guest.any() else "nothing but guests"
        return refuse(Status.FAILED, f"{left} in the structure (guests: {' '.join(names)})")
    if not crystal.is_finite:
        return refuse(Status.NOT_FINITE, "cell or coordinates are not finite")
    rungs, notes = _climb(crystal, crystal.take(~is_guest), names, settings)
    if not rungs:
        reason = f"no space group above P-1 in {len(settings.ladder)} steps"
        return refuse(Status.NO_SYMMETRY, "; ".join([reason, *notes]))
    chosen = _choose(rungs, settings)
    if chosen is None:
        return [rungs[0].framework]
    others = [rung for rung in rungs if rung.usable and rung is not chosen]
    others.sort(key=lambda rung: rung.ideal.displacement_max)
    return [r.framework for r in [chosen, *others][: settings.frameworks_per_structure]]


def _climb(
    crystal: Crystal, hosts: Crystal, names: tuple[str, ...], settings: RefineConfig
) -> tuple[list[_Rung], list[str]]:
    """Distinct results of the steps above P-1, in order, and why other steps failed."""
    rungs: list[_Rung] = []
    notes: list[str] = []
    one = settings.ladder_choice == "first" and settings.frameworks_per_structure == 1
    for step, tolerance in enumerate(settings.ladder):
        symprec, angle = tolerance.symprec, tolerance.angle_tolerance
        found = space_group(hosts, symprec, angle)
        if found.reason:
            notes.append(f"step {step}: {found.reason}")
        if not found.symmetric:
            continue
        try:
            ideal = symmetrise(hosts, symprec, angle, settings.host_cell)
        except SymmetrisationError as error:
            notes.append(f"step {step}: {found.symbol} not usable, {error}")
            continue
        changed = changed_coordination(hosts, ideal.aligned)
        if changed is None:
            notes.append(f"step {step}: {found.symbol} not usable, too many neighbours")
            continue
        rung = _Rung(_verdict(crystal, ideal, names, step, changed, settings), ideal)
        if not any(rung.same(other) for other in rungs):
            rungs.append(rung)
        if one:
            break
    return rungs, notes


def _choose(rungs: Sequence[_Rung], settings: RefineConfig) -> _Rung | None:
    """The result selected by ``ladder_choice``; None if no result is allowed."""
    first = rungs[0]
    if settings.ladder_choice == "first":
        return first if first.usable else None
    step = first.framework.ladder_step or 0
    near = settings.ladder[step].symprec
    allowed = [
        rung
        for rung in rungs
        if rung.usable and (rung is first or rung.ideal.displacement_max <= near)
    ]
    if not allowed:
        return None
    return max(allowed, key=lambda rung: (rung.ideal.order, -rung.ideal.displacement_max))


def _verdict(
    crystal: Crystal,
    ideal: Symmetrised,
    names: tuple[str, ...],
    step: int,
    changed: int,
    settings: RefineConfig,
) -> Framework:
    """Framework of a step, or why it is rejected."""
    found = Framework(
        Status.OK,
        names,
        settings.host_cell,
        ladder_step=step,
        symprec=settings.ladder[step].symprec,
        angle_tolerance=settings.ladder[step].angle_tolerance,
        space_group_number=ideal.number,
        space_group_symbol=ideal.symbol,
        displacement_rms=ideal.displacement_rms,
        displacement_max=ideal.displacement_max,
        strain_max=ideal.strain_max,
        coordination_changed=changed,
    )
    if changed and settings.keep_coordination:
        reason = f"{changed} of {len(ideal.aligned)} hosts would change bonds ({ideal.symbol})"
        return replace(found, status=Status.COORDINATION_CHANGED, reason=reason)
    over = _over_cap(ideal, settings)
    if over:
        return replace(found, status=Status.DISPLACEMENT_CAP, reason=over)
    closest, before = closest_pair(ideal.crystal), closest_pair(crystal)
    # properties of the relaxed structure itself are not caused by the symmetrisation
    if closest and closest.ratio < min(1.0, before.ratio if before else 1.0):
        reason = f"after symmetrisation of the hosts: {closest}"
        return replace(found, status=Status.TOO_CLOSE, reason=reason)
    symbols = Counter(comp.SYMBOLS[int(z)] for z in crystal.atomic_numbers)
    scaled = {symbol: count * ideal.multiplicity for symbol, count in symbols.items()}
    broken = [f"{count} {symbol}" for symbol, count in scaled.items() if count.denominator != 1]
    if broken:
        reason = f"the {settings.host_cell} cell of the hosts would hold {', '.join(broken)}"
        return replace(found, status=Status.COMPOSITION_DRIFT, reason=reason)
    counts = {symbol: int(count) for symbol, count in scaled.items()}
    if sum(counts.values()) > settings.max_atoms:
        reason = f"{sum(counts.values())} atoms in the cell, more than {settings.max_atoms}"
        return replace(found, status=Status.COMPOSITION_DRIFT, reason=reason)
    return replace(
        found,
        crystal=ideal.crystal,
        guest_numbers=[comp.ATOMIC_NUMBERS[s] for s in names for _ in range(counts.get(s, 0))],
        formula_units=comp.formula_units(counts, comp.canonical(counts)),
    )


def _over_cap(ideal: Symmetrised, settings: RefineConfig) -> str:
    """Limit that the symmetrisation exceeds; empty if none."""
    for value, cap, what in (
        (ideal.displacement_max, settings.max_displacement, "a host would move {:.2f} Å"),
        (ideal.displacement_rms, settings.max_rms_displacement, "hosts would move {:.2f} Å RMS"),
        (ideal.strain_max, settings.max_strain, "the cell would be strained by {:.3f}"),
    ):
        if value > cap:
            return f"{what.format(value)}, cap {cap:g} ({ideal.symbol})"
    return ""
