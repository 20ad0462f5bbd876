"""Hydrogen's short bonds, supercells, stackings, low symmetry that is none."""

import csv
from pathlib import Path

import numpy as np
import pytest
from ase.build import make_supercell
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from chggen.config.dft import DftConfig
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import FinalConfig, RelaxConfig
from chggen.stages.relax import relax
from chggen.stages.screen import screen
from chggen.stages.submit import submit
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.symmetry.analysis import space_group
from chggen.tables import parquet
from chggen.tables.lineage import structure_columns


def generated(folder: Path, crystals: list[Crystal], system: str = "T") -> Path:
    """Table ``generated`` of crystals, as generator ``file`` would write it."""
    rows = [
        {"id": f"g{i}", "system": system, "route": "unconditional", "seed": 0, "index": i}
        | {"composition": comp.formula_of(crystal.atomic_numbers), "draw": 0, "random_seed": i}
        | {"status": "ok", "reason": "", "generator": "file", **structure_columns(crystal)}
        for i, crystal in enumerate(crystals)
    ]
    path = folder / "generated.parquet"
    parquet.write(path, "generated", rows, {})
    return path


def phases(folder: Path, energies: dict[str, float]) -> ReferenceConfig:
    """Reference of formation energies, eV/atom."""
    path = folder / "phases.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["material_id", "formula", "formation_energy_per_atom"])
        writer.writerows([f.lower(), f, e] for f, e in energies.items())
    return ReferenceConfig(source="file", path=path)


def screened(
    folder: Path,
    crystals: list[Crystal],
    reference: ReferenceConfig,
    settings: RelaxConfig | None = None,
    **keys: object,
) -> list[parquet.Row]:
    """Rows of table ``screened`` of crystals, relaxed and screened, in the order given."""
    settings = settings or RelaxConfig()
    source, out = folder / "relaxed.parquet", folder / "screened.parquet"
    relax(generated(folder, crystals), source, settings)
    screen([source], out, reference, ScreenConfig(known="structures", **keys), relax=settings)
    return sorted(parquet.read(out, "screened"), key=lambda row: row["index"])


def crystal_of(group: object, lattice: Lattice, species: list[str], coords: object) -> Crystal:
    structure = Structure.from_spacegroup(group, lattice, species, coords)
    return Crystal.from_structure(structure.get_primitive_structure())


LIOH = Crystal.of(
    np.diag([3.549, 3.549, 4.334]),
    [3, 3, 8, 8, 1, 1],
    [[0, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.194], [0.5, 0, 0.806], [0, 0.5, 0.415], [0.5, 0, 0.585]],
)


def test_hydroxide(tmp_path: Path) -> None:
    reference = phases(tmp_path, {"LiOH": -1.63, "Li2O": -2.07, "H2O": -0.90, "LiH": -0.45})
    (row,) = screened(tmp_path, [LIOH], reference)
    assert row["min_distance"] == pytest.approx(0.97, abs=0.02)
    assert (row["space_group_number"], row["symmetric"], row["too_close"]) == (129, True, False)
    assert (row["filter"], row["selected"]) == ("selected", True)
    assert row["dimensionality"] == 2
    # the paper's one limit for all pairs is still there for who wants it
    source = tmp_path / "relaxed.parquet"
    out = tmp_path / "paper.parquet"
    screen([source], out, reference, ScreenConfig(min_distance=1.0, known="structures"))
    (paper,) = parquet.read(out, "screened")
    assert (paper["filter"], paper["symmetric"]) == ("too_close", False)
    assert paper["filter_reason"] == "H-O distance 0.97 Å, limit 1.00 Å"


def salt(a: float = 5.69) -> Crystal:
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Crystal.of(cell, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])


def supercell(crystal: Crystal, matrix: object) -> Crystal:
    atoms = AseAtomsAdaptor.get_atoms(crystal.to_structure())
    made = make_supercell(atoms, np.array(matrix))
    return Crystal.of(made.cell.array, made.numbers, made.get_scaled_positions())


CONVENTIONAL = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]


def test_supercell_chosen(tmp_path: Path) -> None:
    cells = [supercell(salt(), 2 * np.eye(3)), supercell(salt(), CONVENTIONAL), salt()]
    reference = phases(tmp_path, {"NaCl": -2.1})
    rows = screened(tmp_path, cells, reference)
    (chosen,) = (row for row in rows if row["selected"])
    assert chosen["n_atoms"] == 2
    assert [row["filter"] for row in rows if row is not chosen] == ["duplicate"] * 2
    # also without the final relaxation, and where the supercell is lower by chance
    table = parquet.read(tmp_path / "relaxed.parquet", "relaxed")
    for row in table:
        row["energy_per_atom"] -= 5e-6 * (row["n_atoms"] > 2)
    parquet.write(tmp_path / "lower.parquet", "relaxed", table, {})
    out = tmp_path / "screened.parquet"
    screen([tmp_path / "lower.parquet"], out, reference, ScreenConfig(known="structures"))
    (chosen,) = (row for row in parquet.read(out, "screened") if row["selected"])
    assert chosen["n_atoms"] == 2


def test_a_supercell_alone_goes_to_dft_as_its_primitive_cell(tmp_path: Path) -> None:
    reference = phases(tmp_path, {"NaCl": -2.1})
    settings = RelaxConfig(final=None)
    (row,) = screened(tmp_path, [supercell(salt(), CONVENTIONAL)], reference, settings)
    assert row["selected"]
    submit(tmp_path / "screened.parquet", tmp_path / "submitted.parquet", DftConfig())
    (sent,) = parquet.read(tmp_path / "submitted.parquet", "submitted")
    assert (sent["status"], sent["n_atoms"], sent["formula_units"]) == ("ok", 2, 1)


def layer(shift: float, gap: float = 3.35) -> Crystal:
    """Two layers of BN over each other, moved by ``shift``."""
    cell = Lattice.hexagonal(2.51, 2 * gap).matrix
    frac = [[0, 0, 0], [1 / 3, 2 / 3, 0], [shift, shift / 2, 0.5]]
    frac.append([1 / 3 + shift, 2 / 3 + shift / 2, 0.5])
    return Crystal.of(cell, [5, 7, 5, 7], frac)


def test_stackings_are_one_family_and_leave_room_for_the_rest(tmp_path: Path) -> None:
    blende = crystal_of("F-43m", Lattice.cubic(3.62), ["B", "N"], [[0, 0, 0], [0.25] * 3])
    stackings = [layer(0.0), layer(0.25), layer(1 / 3), layer(0.5, 3.8), layer(0.1, 3.6)]
    reference = phases(tmp_path, {"BN": -1.3})
    rows = screened(
        tmp_path, [*stackings, blende], reference, RelaxConfig(final=None),
        threshold=2.0, max_selected=2,
    )  # fmt: skip
    assert [row["dimensionality"] for row in rows] == [2] * 5 + [3]
    assert len({row["family"] for row in rows[:5]}) == 1
    assert rows[5]["family"] == rows[5]["id"]
    flat = [row["filter"] for row in rows[:5]]
    assert flat.count("selected") == 1
    assert set(flat) <= {"selected", "same_family", "duplicate"}
    assert flat.count("same_family") >= 1
    assert rows[5]["selected"]
    best = min(rows[:5], key=lambda row: row["energy_per_atom"])
    assert best["selected"]


def test_low_symmetry_of_a_loose_relaxation_is_none(tmp_path: Path) -> None:
    # R-3m relaxed to loose criteria from a distorted start stays what the start was
    cell = Lattice.rhombohedral(4.10, 60).matrix @ np.diag([1.03, 1.0, 0.98])
    start = Crystal.of(cell, [11, 17], [[0.01, 0.0, 0.0], [0.5, 0.49, 0.5]])
    loose = RelaxConfig(fmax=1.0, smax=8.0, final=FinalConfig(fmax=0.005, smax=0.02))
    (row,) = screened(tmp_path, [start], phases(tmp_path, {"NaCl": -2.1}), loose)
    assert (row["status"], row["final"]) == ("ok", True)
    assert row["space_group_number_first"] < 16
    assert row["space_group_number"] == 225
    assert row["energy_per_atom"] < row["energy_per_atom_first"] - 1e-3
    assert space_group(Crystal.from_row(row), 0.1, 10).number == 225
