"""Frameworks: guests out, hosts symmetrised, composition kept.

Guests are the atoms whose surroundings vary most; without them the rest of a relaxed
structure is often nearly symmetric (CHGGen, doi:10.1039/d5mh00774g). :func:`refine`
climbs a ladder of tolerances and makes the hosts exactly symmetric at the first step
that finds more than inversion.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from chggen.config.stages import RefineConfig
from chggen.errors import CompositionError, Status
from chggen.structure import composition as comp
from chggen.structure.bonds import closest_pair
from chggen.structure.coordination import coordination_entropies
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import SymmetrisationError, Symmetrised, space_group, symmetrise


@dataclass(frozen=True, eq=False)
class Framework:
    """What :func:`refine` made of a structure; fields as in the ``refined`` table.

    Args:
        status: ``ok`` or why there is no framework.
        reason: one line more; empty if ok.
        crystal: the hosts only; None unless ok.
        guests: elements taken out.
        guest_numbers: atomic numbers of the guests that belong in ``crystal``'s cell.
        formula_units: formula units of hosts and guests in that cell.
        ladder_step: step taken, or the step that the verdict is from; None if none.
        symprec: distance tolerance of that step, Å.
        angle_tolerance: its angle tolerance, degrees.
        space_group_number: space group of the symmetrised hosts.
        space_group_symbol: its Hermann-Mauguin symbol.
        displacement_rms: RMS displacement of the hosts, Å.
        displacement_max: largest displacement of a host, Å.
        strain_max: largest absolute principal strain of the cell.
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

    @property
    def n_guests(self) -> int:
        """Guest atoms that belong in the framework's cell."""
        return len(self.guest_numbers)


def choose_guests(crystals: Iterable[Crystal], elements: Iterable[str]) -> str:
    """The element with the broadest coordination numbers (highest entropy).

    The most electronegative element is never chosen: the paper's coordination analysis
    (ChemEnv) is of cations, and what is left must be a framework. On equal entropy the
    less electronegative element is taken; so it is also when no structure is usable.

    Raises:
        CompositionError: fewer than two elements, so that nothing would be left.
    """
    formula = comp.canonical(dict.fromkeys(elements, 1))
    ordered = list(comp.parse_formula(formula))  # by electronegativity
    if len(ordered) == 1:
        raise CompositionError(f"no guests to choose in '{formula}': one element only")
    entropies = coordination_entropies(crystals)
    return max(ordered[:-1], key=lambda symbol: round(entropies.get(symbol, 0.0), 9))


def refine(crystal: Crystal, guests: Sequence[str], settings: RefineConfig) -> Framework:
    """Framework of a structure: guests removed, hosts symmetrised.

    The first step of the ladder whose space group is above P-1 decides. If its
    displacement or strain is past the caps the structure is refused: the groups of
    later steps nearly always contain the first one, and the projection on a smaller
    invariant subspace cannot be shorter. (spglib is not monotonic, so a later step can
    find another branch that happens to be nearer; taking it would make the verdict
    depend on the length of the ladder, so it is not.) A step whose operations cannot
    be imposed is passed over.

    Args:
        crystal: relaxed structure, guests included.
        guests: elements to take out.
        settings: ladder, caps, kind of cell, size limit.

    Returns:
        A framework, or its status and reason; never raises for a bad structure.
    """
    names = tuple(dict.fromkeys(guests))
    numbers = [comp.ATOMIC_NUMBERS[symbol] for symbol in names]
    is_guest = np.isin(crystal.atomic_numbers, numbers)

    def refuse(status: Status, reason: str) -> Framework:
        return Framework(status, names, settings.host_cell, reason)

    if not is_guest.any() or is_guest.all():
        left = "no guest" if not is_guest.any() else "the structure consists of guests only"
        return refuse(Status.FAILED, f"{left} in the structure (guests: {' '.join(names)})")
    if not crystal.is_finite:
        return refuse(Status.NOT_FINITE, "cell or coordinates are not finite")
    hosts = crystal.take(~is_guest)
    notes: list[str] = []
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
        return _verdict(crystal, ideal, names, step, settings)
    reason = f"no space group above P-1 in {len(settings.ladder)} steps"
    return refuse(Status.NO_SYMMETRY, "; ".join([reason, *notes]))


def _verdict(
    crystal: Crystal, ideal: Symmetrised, names: tuple[str, ...], step: int, settings: RefineConfig
) -> Framework:
    """Framework of the deciding step, or its refusal."""
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
    )
    over = _over_cap(ideal, settings)
    if over:
        return replace(found, status=Status.DISPLACEMENT_CAP, reason=over)
    closest, before = closest_pair(ideal.crystal), closest_pair(crystal)
    # what the relaxed structure had already is no fault of the symmetrisation
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
    """Which cap the symmetrisation exceeds; empty if none."""
    for value, cap, what in (
        (ideal.displacement_max, settings.max_displacement, "a host would move {:.2f} Å"),
        (ideal.displacement_rms, settings.max_rms_displacement, "hosts would move {:.2f} Å RMS"),
        (ideal.strain_max, settings.max_strain, "the cell would be strained by {:.3f}"),
    ):
        if value > cap:
            return f"{what.format(value)}, cap {cap:g} ({ideal.symbol})"
    return ""
