"""Single-point energies of many crystals, without forces: what a ranking needs."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from chggen.crystal import Crystal
from chggen.potential.chgnet import CHGNetModel
from chggen.potential.layout import Layout

#: Å: with atoms closer than this a potential's energy means nothing.
LEAST_DISTANCE = 0.6


@torch.no_grad()
def energies_per_atom(
    crystals: Sequence[Crystal | None],
    model: CHGNetModel,
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

    def flush() -> None:
        structures = [crystal.to_structure() for _, crystal in batch]
        state = structures_to_state(structures, model.device, model.dtype)
        graph = model.graph(state)
        per_atom, _ = model.network(graph, Layout.of(graph), graph.vectors, state.atomic_numbers)
        total = per_atom.new_zeros(len(batch)).index_add_(0, graph.system_idx, per_atom)
        sizes = np.array([len(crystal) for _, crystal in batch])
        values = total.double().cpu().numpy() / sizes
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
