"""Single-point energies of many crystals, without forces: what a ranking needs."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from chggen.compute.packing import groups
from chggen.potential.interface import (
    MAX_NEIGHBOURS,
    NamedPotential,
    batch_weight,
    density_neighbours,
    packed_state,
    unknown_elements,
)
from chggen.structure.crystal import Crystal

#: Å: with atoms closer than this a potential's energy means nothing.
LEAST_DISTANCE = 0.6


def energies_per_atom(
    crystals: Sequence[Crystal | None],
    model: NamedPotential,
    batch_atoms: int,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float64]:
    """Energies in eV/atom; infinite where there is no crystal or none worth an energy.

    Args:
        crystals: of any size.
        model: potential.
        batch_atoms: most atoms evaluated at once (one crystal at least); dense crystals
            count as more.
        progress: called with the number of crystals done.
    """
    found = np.full(len(crystals), np.inf)
    usable = [(i, c) for i, c in enumerate(crystals) if c is not None and _worth_it(c, model)]
    for places in groups([batch_weight(crystal) for _, crystal in usable], batch_atoms):
        chosen = [usable[place] for place in places]
        values = _totals([crystal for _, crystal in chosen], model)
        values = values / [len(crystal) for _, crystal in chosen]
        found[[index for index, _ in chosen]] = np.where(np.isfinite(values), values, np.inf)
        if progress:
            progress(chosen[-1][0] + 1)
    return found


def _worth_it(crystal: Crystal, model: NamedPotential) -> bool:
    """Whether the potential has anything to say about a crystal."""
    return (
        len(crystal) > 0
        and crystal.is_finite
        and density_neighbours(crystal) <= MAX_NEIGHBOURS
        and crystal.min_distance >= LEAST_DISTANCE
        and not unknown_elements(crystal, model.elements)
    )


def _totals(chosen: Sequence[Crystal], model: NamedPotential) -> NDArray[np.float64]:
    """Energies in eV of one batch; infinite for what the potential refuses."""
    try:
        energies = model.energies(packed_state(chosen, model.device, model.dtype))
    except RuntimeError:
        # one structure that the potential cannot take spoils its batch: find it
        if len(chosen) == 1:
            return np.array([np.inf])
        return np.concatenate([_totals([crystal], model) for crystal in chosen])
    return energies.double().cpu().numpy()
