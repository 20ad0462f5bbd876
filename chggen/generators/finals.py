"""The last round of a ranking: different draws of low energy, relaxed by a few steps.

A single-point energy tells good draws from bad ones, but among the best it mostly tells how
close to its minimum each of them is. A few steps of relaxation, cell and positions, take
this difference out; they are spent on draws that differ, since several draws in one
minimum have one answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chggen.config.stages import RelaxConfig
from chggen.potential import NamedPotential
from chggen.relaxation.pool import relax
from chggen.structure.crystal import Crystal
from chggen.structure.matching import fingerprint

Floats = NDArray[np.float64]

#: Largest difference of the fingerprints (mean interatomic distances by element over the cube
#: root of the volume per atom) of two draws that count as one: some 0.15 Å.
SAME: Final = 0.05


@dataclass(frozen=True)
class Finals:
    """How the best draw is chosen among the last few.

    Args:
        count: draws per structure that are relaxed.
        settle: energies in eV/atom of crystals after the steps; infinite if there is none.
    """

    count: int
    settle: Callable[[Sequence[Crystal]], Floats]


def settling(
    model: NamedPotential, steps: int, batch_atoms: int
) -> Callable[[Sequence[Crystal]], Floats]:
    """Energies after so many steps of relaxation, cell and positions.

    Args:
        model: potential.
        steps: per crystal.
        batch_atoms: most atoms relaxed at once.
    """
    settings = RelaxConfig(max_steps=steps, batch_atoms=min(batch_atoms, 400))

    def settle(crystals: Sequence[Crystal]) -> Floats:
        ended = relax(crystals, settings, model=model)
        reached = [None if end.crystal is None else end.energy_per_atom for end in ended]
        return np.array([np.inf if energy is None else energy for energy in reached])

    return settle


def choose(
    crystals: Sequence[Sequence[Crystal | None]], energies: Sequence[Floats], finals: Finals
) -> list[int]:
    """Index of the draw to keep, for each structure.

    Args:
        crystals: draws of every structure; None where a draw failed.
        energies: of the draws, eV/atom; infinite where there is none.
        finals: who decides among the best.

    Returns:
        The draw of lowest energy after relaxation; where nothing could be relaxed, the
        one of lowest energy as it stands.
    """
    entries = [
        (row, place)
        for row, (drawn, values) in enumerate(zip(crystals, energies, strict=True))
        for place in different(drawn, values, finals.count)
    ]
    best = [int(values.argmin()) for values in energies]
    lowest = np.full(len(best), np.inf)
    settled = finals.settle([c for r, p in entries if (c := crystals[r][p]) is not None])
    for (row, place), energy in zip(entries, settled, strict=True):
        if energy < lowest[row]:
            lowest[row], best[row] = energy, place
    return best


def different(crystals: Sequence[Crystal | None], energies: Floats, count: int) -> list[int]:
    """Indices of the draws of lowest energy that differ from each other, lowest first.

    One alone if no other draw differs: there is nothing left to decide then.

    Args:
        crystals: draws of one composition; None where a draw failed.
        energies: eV/atom; infinite where there is none.
        count: most draws returned.
    """
    found: list[int] = []
    seen: list[Floats] = []
    for place in np.argsort(energies, kind="stable"):
        crystal = crystals[place]
        if len(found) == count or crystal is None or not np.isfinite(energies[place]):
            break
        mark = fingerprint(crystal)
        if mark is None or any(np.abs(mark - other).max() <= SAME for other in seen):
            continue
        found.append(int(place))
        seen.append(mark)
    return found
