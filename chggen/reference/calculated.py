"""A reference made of the campaign's own calculations of the competing phases."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from chggen.config.contracts import Contract
from chggen.reference.files import Phase, formation_energy
from chggen.reference.reference import Reference
from chggen.structure import composition as comp

#: Phases that a warning names.
_MOST_NAMED = 6


def calculated_reference(
    rows: Sequence[Mapping[str, Any]], elements: Iterable[str], engine: str, contract: Contract
) -> tuple[Reference | None, str | None]:
    """Reference of the converged competing phases, and a warning about the others.

    Args:
        rows: of tables ``calculated``, role ``competing``, all of one contract.
        elements: the system's.
        engine: that computed them.
        contract: of their energies.

    Returns:
        The reference (None if an element has no converged calculation: then there is no
        scale of formation energies), and what is missing, in one line.
    """
    inside = [row for row in rows if row["role"] == "competing"]
    good = [row for row in inside if row["dft_energy_per_atom"] is not None]
    ground: dict[str, float] = {}
    for row in good:
        formula = row["composition"]
        if len(comp.parse_formula(formula)) == 1:
            symbol = next(iter(comp.parse_formula(formula)))
            ground[symbol] = min(row["dft_energy_per_atom"], ground.get(symbol, float("inf")))
    missing = sorted(set(elements) - set(ground))
    if missing:
        return None, (
            f"no calculation of elemental {', '.join(missing)} converged: no E_d from DFT"
        )
    phases = tuple(
        Phase(
            str(row["label"]),
            comp.canonical_formula(row["composition"]),
            formation_energy(
                row["dft_energy_per_atom"], comp.parse_formula(row["composition"]), ground
            ),
        )
        for row in good
    )
    warning = _lost(inside, good)
    reference = Reference(
        name=f"{len(good)} competing phases calculated with {engine}",
        date=datetime.now(UTC).date().isoformat(),
        contract=contract,
        elements=ground,
        phases=phases,
        partial=warning,
    )
    return reference, warning


def _lost(inside: Sequence[Mapping[str, Any]], good: Sequence[Mapping[str, Any]]) -> str | None:
    lost = [row for row in inside if row["dft_energy_per_atom"] is None]
    if not lost:
        return None
    named = ", ".join(f"{r['label']}: {r['status']}" for r in lost[:_MOST_NAMED])
    more = ", …" if len(lost) > _MOST_NAMED else ""
    return (
        f"{len(lost)} of {len(good) + len(lost)} competing phases did not converge"
        f" ({named}{more}): where they compete, E_d from DFT is underestimated"
    )
