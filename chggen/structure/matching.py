"""Which structures are the same: duplicates among candidates, and known phases.

pymatgen's StructureMatcher decides (Ong et al., doi:10.1016/j.commatsci.2012.10.028). It
is asked only about pairs that agree in composition, volume and mean interatomic
distances, all of which take microseconds to compare.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.distances import Floats, nearest_distances

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

#: Energy difference (eV/atom) up to which two structures can be duplicates; relaxations
#: that end at fmax 0.1 eV/Å in the same minimum differ by less.
ENERGY_WINDOW: Final = 0.02
#: Energy difference (eV/atom) that says nothing: the same crystal, relaxed in different cells
#: (docs/references.md has the measurement).
ENERGY_NOISE: Final = 0.002
#: Relative volume difference up to which two structures can be duplicates.
VOLUME_WINDOW: Final = 0.1
#: Same for a known phase, whose volume is another functional's.
KNOWN_VOLUME_WINDOW: Final = 0.25
#: Largest difference of two fingerprints (in units of the cube root of the volume per
#: atom, so about 0.3 Å) of structures that are compared at all.
FINGERPRINT_WINDOW: Final = 0.1
_NEIGHBOURS: Final = 12
#: Atoms per structure up to which StructureMatcher is asked how far atoms moved (0.2 s).
MATCH_ATOMS: Final = 200


@dataclass(frozen=True)
class Displacement:
    """How far the atoms of two structures are apart; names and units as in ``schema``.

    Attributes:
        rmsd: root mean square distance of paired atoms, Å.
        rmsd_normalised: the same in units of (V/n)^(1/3), pymatgen's ``get_rms_dist``.
        max_displacement: largest distance of a pair, Å.
    """

    rmsd: float
    rmsd_normalised: float
    max_displacement: float


def duplicates(
    crystals: Sequence[Crystal], energies: Sequence[float], valid: Sequence[bool] | None = None
) -> list[int | None]:
    """For each crystal the index of the one that stands for it, or None.

    Structures are taken by rising energy (ties by position), the valid ones first. Each is
    compared with the unique ones before it, and joins the first that matches: so what
    is pointed to is never itself a duplicate, and really matches (a chain of small
    differences does not join two structures that differ). Of the members within
    :data:`ENERGY_NOISE` of the lowest, the one with the fewest atoms stands for all: which of
    a crystal and its supercells is lower by a fraction of a meV is chance.

    Args:
        crystals: any compositions and cells, supercells included.
        energies: eV/atom, one per crystal.
        valid: which may stand for others of higher *or* lower energy (converged ones);
            None: all alike.

    Returns:
        Indices into ``crystals``; the result does not depend on their order but for
        exact ties in energy.
    """
    same = _Comparison(crystals, VOLUME_WINDOW)
    groups: dict[int, list[int]] = {}
    later = [not good for good in valid] if valid is not None else [False] * len(crystals)
    for index in sorted(range(len(crystals)), key=lambda i: (later[i], energies[i], i)):
        near = (i for i in groups if abs(energies[index] - energies[i]) <= ENERGY_WINDOW)
        head = next((i for i in near if same(i, index)), index)
        groups.setdefault(head, []).append(index)
    result: list[int | None] = [None] * len(crystals)
    for members in groups.values():
        head = members[0]
        equal = [
            i
            for i in members
            if later[i] == later[head]
            and energies[i] - energies[head] <= ENERGY_NOISE
            and len(crystals[i]) < len(crystals[head])
        ]
        for i in sorted(equal, key=lambda i: len(crystals[i])):  # stable: then by energy
            # the others matched the first member, but must match the one that stands for them
            if all(i == other or same(i, other) for other in members):
                head = i
                break
        for i in members:
            result[i] = None if i == head else head
    return result


def match_known(crystals: Sequence[Crystal], known: Mapping[str, "Structure"]) -> list[str | None]:
    """For each crystal the label of the known structure that it matches, or None.

    Volumes are scaled to each other, as the known ones are relaxed by other means. The
    first label in the order of ``known`` wins. Disordered known structures are passed
    over.
    """
    formulas = {comp.formula_of(crystal.atomic_numbers) for crystal in crystals}
    labels: list[str] = []
    ordered: list[Crystal] = []
    for label, structure in known.items():
        if structure.is_ordered and comp.formula_of(structure.atomic_numbers) in formulas:
            labels.append(label)
            ordered.append(Crystal.from_structure(structure))
    same = _Comparison([*ordered, *crystals], KNOWN_VOLUME_WINDOW)
    return [
        next((label for i, label in enumerate(labels) if same(i, len(labels) + index)), None)
        for index in range(len(crystals))
    ]


def fingerprint(crystal: Crystal) -> Floats | None:
    """Mean distances to the 12 nearest neighbours, per element, [elements · 12].

    In units of the cube root of the volume per atom; elements by atomic number. It is
    the average minimum distance of Widdowson et al. (doi:10.46793/match.87-3.529W)
    resolved by element: the same for every cell and setting of a crystal, and
    continuous in the positions. None for a cell without volume.
    """
    try:
        distances = nearest_distances(crystal.cell, crystal.frac_coords, _NEIGHBOURS)
    except ValueError:
        return None
    means = [
        distances[crystal.atomic_numbers == z].mean(axis=0)
        for z in np.unique(crystal.atomic_numbers)
    ]
    scaled: Floats = np.concatenate(means) / np.cbrt(crystal.volume_per_atom)
    return scaled


def mean_distances(crystal: Crystal) -> tuple[float, ...] | None:
    """The mean of :func:`fingerprint` over the neighbours, for each element by atomic number.

    One number of 0.9 to 1.4 (in cube roots of the volume per atom) per element: enough to
    tell most polymorphs of equal symmetry apart. None for a cell without volume.
    """
    found = fingerprint(crystal)
    if found is None:
        return None
    return tuple(found.reshape(-1, _NEIGHBOURS).mean(axis=1).tolist())


def displacement(first: Crystal, second: Crystal) -> Displacement | None:
    """Distances between paired atoms of two structures.

    The pairing and alignment are those of pymatgen's StructureMatcher, whose distances are
    in units of (V/n)^(1/3); for Å that is taken out again, with the geometric mean of the two
    volumes, to which the matcher scales both. Its tolerances are wide (by default it matches
    none of 56 relaxed random cells, so 54); the distances of what matches anyway stay. So a
    change of volume or shape counts only as far as it moves atoms in the average cell.

    Args:
        first: where the atoms started.
        second: where they ended. Of another size (a DFT code may have taken the primitive
            cell), the primitive cells are compared.

    Returns:
        None if the matcher finds no match, or for more than :data:`MATCH_ATOMS` atoms.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if len(first) > MATCH_ATOMS:
        return None
    primitive = len(first) != len(second)
    matcher = StructureMatcher(primitive_cell=primitive, ltol=0.4, stol=1.0, angle_tol=15)
    found = matcher.get_rms_dist(first.to_structure(), second.to_structure())
    if found is None:
        return None
    rms, largest = (float(value) for value in found)
    unit = (first.volume_per_atom * second.volume_per_atom) ** (1 / 6)
    return Displacement(rms * unit, rms, largest * unit)


def displacement_columns(found: Displacement | None) -> dict[str, float | None]:
    """Table columns of a displacement; nulls for None."""
    if found is None:
        return dict.fromkeys(field.name for field in fields(Displacement))
    return asdict(found)


class _Comparison:
    """Answers whether two of a list of crystals are the same, cheapest test first."""

    def __init__(self, crystals: Sequence[Crystal], volume_window: float) -> None:
        from pymatgen.analysis.structure_matcher import StructureMatcher

        self.crystals = crystals
        self.formulas = [comp.formula_of(c.atomic_numbers) for c in crystals]
        self.volumes = [c.volume_per_atom for c in crystals]
        self.fingerprints = [fingerprint(c) for c in crystals]
        self.volume_window = volume_window
        self.reduced: dict[int, Structure] = {}
        self.fit: Callable[..., bool] = StructureMatcher().fit

    def __call__(self, first: int, second: int) -> bool:
        if self.formulas[first] != self.formulas[second]:
            return False
        low, high = sorted((self.volumes[first], self.volumes[second]))
        if high > low * (1 + self.volume_window):
            return False
        a, b = self.fingerprints[first], self.fingerprints[second]
        if a is None or b is None or np.abs(a - b).max() > FINGERPRINT_WINDOW:
            return False
        return self.fit(self._reduced(first), self._reduced(second), skip_structure_reduction=True)

    def _reduced(self, index: int) -> "Structure":
        """Reduced primitive cell, made once; the matcher would make it for each pair.

        LLL reduction, which unlike Niggli's ends for every cell.
        """
        if index not in self.reduced:
            structure = self.crystals[index].to_structure().get_primitive_structure()
            self.reduced[index] = structure.get_reduced_structure(reduction_algo="LLL")
        return self.reduced[index]
