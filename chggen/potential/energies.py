"""Single-point energies of many crystals, without forces: what a ranking needs."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from chggen.potential.interface import NamedPotential
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
        batch_atoms: most atoms evaluated at once (one crystal at least).
        progress: called with the number of crystals done.
    """
    from torch_sim.io import structures_to_state

    found = np.full(len(crystals), np.inf)
    batch: list[tuple[int, Crystal]] = []

    def totals(chosen: Sequence[Crystal]) -> NDArray[np.float64]:
        structures = [crystal.to_structure() for crystal in chosen]
        try:
            energies = model.energies(structures_to_state(structures, model.device, model.dtype))
        except RuntimeError:
            # one structure that the potential cannot take spoils its batch: find it
            if len(chosen) == 1:
                return np.array([np.inf])
            return np.concatenate([totals([crystal]) for crystal in chosen])
        return energies.double().cpu().numpy()

    def flush() -> None:
        sizes = np.array([len(crystal) for _, crystal in batch])
        values = totals([crystal for _, crystal in batch]) / sizes
        found[[index for index, _ in batch]] = np.where(np.isfinite(values), values, np.inf)
        batch.clear()

    atoms = 0
    for index, crystal in enumerate(crystals):
        if crystal is None or not crystal.is_finite or crystal.min_distance < LEAST_DISTANCE:
            continue
        if batch and atoms + len(crystal) > batch_atoms:
            flush()
            atoms = 0
            if progress:
                progress(index)
        batch.append((index, crystal))
        atoms += len(crystal)
    if batch:
        flush()
    return found
