"""Extended XYZ: structures as ASE reads them, with energy, forces and stress."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from chggen.config.energies import Potentials
from chggen.errors import ChggenError, ConfigError
from chggen.export.files import require_file
from chggen.export.selection import Energy
from chggen.export.settings import Placed
from chggen.run.atomic import replacing
from chggen.structure.crystal import Crystal

#: Columns that are the structure, or lists of it.
_STRUCTURE: Final = frozenset({"cell", "atomic_numbers", "frac_coords", "guest_mask"})
#: Atoms per call of a potential.
_BATCH_ATOMS: Final = 400.0

#: Energy (eV), forces [n, 3] (eV/Å), stress [3, 3] (eV/Å³, positive = tension).
Labels = tuple[float, Any, Any]


def labels_of(
    rows: Sequence[Mapping[str, Any]], crystals: Sequence[Crystal], potentials: Potentials
) -> list[Labels | None]:
    """Energy, forces and stress of structures, by the potential that their rows name.

    Args:
        rows: with ``potential`` and ``potential_hash``.
        crystals: structure of each.
        potentials: section ``potentials`` of the config.

    Returns:
        None for a structure that the potential refused.

    Raises:
        ChggenError: a row names no potential, or one that cannot be loaded or has changed.
    """
    names = {(row.get("potential"), row.get("potential_hash")) for row in rows}
    lacking = next((row for row in rows if not row.get("potential")), None)
    if lacking is not None:
        raise ChggenError(
            f"--forces: row '{lacking['id']}' names no potential (tables relaxed, screened and"
            " referenced do)"
        )
    found: dict[int, Labels | None] = {}
    for name, digest in sorted(names, key=str):
        mine = [
            i for i, r in enumerate(rows) if (r["potential"], r["potential_hash"]) == (name, digest)
        ]
        computed = _computed(str(name), digest, [crystals[i] for i in mine], potentials)
        found |= dict(zip(mine, computed, strict=True))
    return [found[i] for i in range(len(rows))]


def _computed(
    name: str, digest: str | None, crystals: Sequence[Crystal], potentials: Potentials
) -> list[Labels | None]:
    from chggen.potential import load_named
    from chggen.potential.evaluation import Evaluator
    from chggen.potential.interface import batch_weight, packed_state

    try:
        model = load_named(name, potentials)
    except ConfigError as error:
        raise ChggenError(f"--forces: potential '{name}': {error}; give its --config") from error
    if model.hash != digest:
        raise ChggenError(
            f"--forces: the rows are of {name} ({digest}), not of this one ({model.hash})"
        )
    evaluate = Evaluator(model, _BATCH_ATOMS)
    labels: list[Labels | None] = []
    for start in range(0, len(crystals), 16):
        some = crystals[start : start + 16]
        state = packed_state(some, model.device, model.dtype)
        output, _ = evaluate(state, [batch_weight(c) for c in some])
        forces = output["forces"].detach().cpu().numpy().astype(np.float64)
        ends = np.cumsum([len(c) for c in some])
        for i, crystal in enumerate(some):
            energy = float(output["energy"][i])
            stress = output["stress"][i].detach().cpu().numpy().astype(np.float64)
            own = forces[ends[i] - len(crystal) : ends[i]]
            good = np.isfinite(energy) and np.isfinite(own).all() and np.isfinite(stress).all()
            labels.append((energy, own, stress) if good else None)
    return labels


def write_extxyz(
    items: Sequence[tuple[Mapping[str, Any], Placed, Energy | None]],
    output: Path,
    labels: Sequence[Labels | None] | None,
) -> Path:
    """Write one frame per structure; gives the file's path.

    ``energy`` is the total energy of just this geometry: the row's, if the cell is the
    table's own, or the one computed with the forces. Every other value of the row is in the
    comment line under the name of its column.

    Args:
        items: row, structure and energy of each.
        output: file; ``.extxyz`` is added if it has no suffix.
        labels: computed energies, forces and stresses; None for what could not be computed.
    """
    from ase.io import write

    path = output if output.suffix else output.with_suffix(".extxyz")
    require_file(path)
    computed = labels or [None] * len(items)
    frames = [_frame(*item, label) for item, label in zip(items, computed, strict=True)]
    with replacing(path) as unfinished:
        write(unfinished, frames, format="extxyz")
    return path


def _frame(
    row: Mapping[str, Any], structure: Placed, energy: Energy | None, label: Labels | None
) -> Any:  # noqa: ANN401 - ase.Atoms
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    crystal = structure.crystal
    atoms = Atoms(
        numbers=crystal.atomic_numbers,
        scaled_positions=crystal.frac_coords,
        cell=crystal.cell,
        pbc=True,
    )
    atoms.info = {
        key: value
        for key, value in row.items()
        if key not in _STRUCTURE and not isinstance(value, list) and value not in {None, ""}
    }
    if structure.symmetry:
        atoms.info["symmetrised"] = structure.symmetry
    if energy is not None:
        atoms.info |= {"functional": energy.functional, "corrections": energy.corrections}
    if label is not None:
        total, forces, stress = label
        atoms.calc = SinglePointCalculator(
            atoms, energy=total, forces=forces, stress=full_3x3_to_voigt_6_stress(stress)
        )
    elif energy is not None and structure.number is None:
        atoms.calc = SinglePointCalculator(atoms, energy=energy.per_atom * len(crystal))
    return atoms
