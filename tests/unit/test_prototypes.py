"""Library of prototypes: crystals to entries and back, copies, bad libraries."""

from pathlib import Path

import ase.io
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.build import bulk
from ase.spacegroup import crystal as spacegroup_crystal
from pymatgen.analysis.structure_matcher import StructureMatcher

from chggen.errors import ChggenError, ConfigError
from chggen.structure.crystal import Crystal
from chggen.structure.distances import shortest_distance
from chggen.symmetry.analysis import space_group
from chggen.symmetry.prototype_library import Library, build, nearest
from chggen.symmetry.prototypes import Prototype, described, without_copies

STRICT = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.2, scale=False)


def of(atoms: ase.Atoms) -> Crystal:
    return Crystal.of(atoms.cell.array, atoms.numbers, atoms.get_scaled_positions())


KNOWN = {
    "rocksalt": (of(bulk("NaCl", "rocksalt", a=5.64)), 225, "AB 225 4a|4b", 2),
    "diamond": (of(bulk("Si", "diamond", a=5.43)), 227, "A 227 8b", 2),
    "wurtzite": (of(bulk("ZnO", "wurtzite", a=3.25, c=5.2, u=0.382)), 186, "AB 186 2b|2b", 4),
    "rutile": (
        of(spacegroup_crystal(
            ["Ti", "O"], [(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136,
            cellpar=[4.59, 4.59, 2.96, 90, 90, 90],
        )),
        136, "AB2 136 2a|4f", 6,
    ),
    "corundum": (
        of(spacegroup_crystal(
            ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167,
            cellpar=[4.76, 4.76, 12.99, 90, 90, 120],
        )),
        167, "A2B3 167 12c|18e", 10,
    ),
    "perovskite": (
        of(spacegroup_crystal(
            ["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221,
            cellpar=[3.9, 3.9, 3.9, 90, 90, 90],
        )),
        221, "ABC3 221 1a|1b|3c", 5,
    ),
    "monoclinic": (
        of(spacegroup_crystal(
            ["Zr", "O", "O"], [(0.2754, 0.0395, 0.2083), (0.07, 0.3317, 0.3447),
            (0.4496, 0.7569, 0.4792)], spacegroup=14,
            cellpar=[5.15, 5.21, 5.32, 90, 99.2, 90],
        )),
        14, "AB2 14 4e|4e 4e", 12,
    ),
    "triclinic": (
        Crystal.of(
            [[4.0, 0, 0], [0.7, 4.4, 0], [1.1, 0.4, 5.1]], [3, 9, 8],
            [[0.02, 0.11, 0.23], [0.41, 0.57, 0.13], [0.77, 0.31, 0.69]],
        ),
        1, "ABC 1 1a|1a|1a", 3,
    ),
}  # fmt: skip


def entry(name: str) -> Prototype:
    found = described(KNOWN[name][0], name, 0.0)
    assert isinstance(found, Prototype), found
    return found


@pytest.mark.parametrize("name", KNOWN)
def test_a_crystal_comes_back_with_its_space_group(name: str) -> None:
    crystal, number, label, atoms = KNOWN[name]
    made = entry(name)
    again = Prototype.from_row(made.row())
    assert again == made
    back = again.crystal()
    assert (made.label, len(back)) == (label, atoms)
    # exactly symmetric, though coordinates were rounded
    assert space_group(back, 1e-5, -1.0).number == number
    assert STRICT.fit(crystal.to_structure(), back.to_structure())


def test_a_supercell_is_stored_as_its_primitive_cell() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64).repeat((2, 1, 1))
    found = described(of(atoms), "x")
    assert isinstance(found, Prototype)
    assert found.n_atoms == 2


def test_rocksalt_gives_rocksalt_for_other_elements_at_the_asked_volume() -> None:
    made = entry("rocksalt").crystal((12, 8), 9.4)
    assert sorted(made.atomic_numbers.tolist()) == [8, 12]
    assert made.volume_per_atom == pytest.approx(9.4)
    assert space_group(made, 1e-4, -1.0).number == 225
    a = (8 * 9.4) ** (1 / 3)
    assert shortest_distance(made.cell, made.frac_coords) == pytest.approx(a / 2)


def test_copies_are_dropped_but_not_other_shapes_or_formulas() -> None:
    wurtzite, flat = (
        entry("wurtzite"),
        described(of(bulk("ZnO", "wurtzite", a=3.5, c=4.4, u=0.45)), "flat"),
    )
    near = described(of(bulk("ZnO", "wurtzite", a=3.26, c=5.19, u=0.381)), "near")
    other = described(of(bulk("GaN", "wurtzite", a=3.25, c=5.2, u=0.382)), "other")
    assert all(isinstance(p, Prototype) for p in (flat, near, other))
    kept = list(without_copies([wurtzite, near, flat, other]))  # type: ignore[list-item]
    assert [p.name for p in kept] == ["wurtzite", "flat", "other"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "cifs"
    found.mkdir()
    for name, (crystal, *_) in KNOWN.items():
        crystal.to_structure().to(filename=str(found / f"{name}.cif"))
    (found / "broken.cif").write_text("data_x\n_cell_length_a nonsense\n")
    return found


def test_a_library_of_a_folder_is_read_beside_the_packaged_one(
    folder: Path, tmp_path: Path
) -> None:
    numbers = build(folder, tmp_path / "mine.parquet")
    assert numbers["read"] == len(KNOWN) + 1
    assert numbers["kept"] == len(KNOWN)
    assert sum(numbers["left_out"].values()) == 1
    library = Library(tmp_path / "mine.parquet")
    assert set(library.inputs) == {"prototypes", "prototypes_library"}
    donors = nearest(library, "Cr2O3", {10})
    assert "corundum.cif" in {d.prototype.name for d in donors}
    assert len(donors) > 1
    assert {d.prototype.n_atoms for d in donors} == {10}
    assert [d.distance for d in donors] == sorted(d.distance for d in donors)


def test_crystals_too_far_above_the_hull_or_too_large_stay_out(tmp_path: Path) -> None:
    crystals = [KNOWN[name][0] for name in ("rocksalt", "rutile", "corundum")]
    table = pa.table(
        {
            "material_id": ["a", "b", "c"],
            "e_above_hull": [0.0, 0.3, 0.05],
            # vectors one after the other in one list, as large files have them
            "cell": [c.cell.ravel().tolist() for c in crystals],
            "atomic_numbers": [c.atomic_numbers.tolist() for c in crystals],
            "frac_coords": [c.frac_coords.ravel().tolist() for c in crystals],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    numbers = build(tmp_path / "x.parquet", tmp_path / "y.parquet", 0.1, 8)
    assert numbers["left_out"] == {"above the hull": 1, "number of atoms": 1, "copies": 0}
    names = pq.read_table(tmp_path / "y.parquet")["name"].to_pylist()
    assert names == ["a"]


def test_a_file_without_a_crystal_for_the_library_says_so(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "x.extxyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]))
    with pytest.raises(ChggenError, match="holds no crystal"):
        build(tmp_path / "x.extxyz", tmp_path / "y.parquet")
    with pytest.raises(ConfigError, match="no such file"):
        build(tmp_path / "absent.extxyz", tmp_path / "y.parquet")
    assert not (tmp_path / "y.parquet").exists()


@pytest.mark.parametrize("kind", ["absent", "damaged", "foreign", "empty"])
def test_bad_libraries_are_one_line_that_names_the_key(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "library.parquet"
    if kind == "damaged":
        build(folder, path)
        path.write_bytes(path.read_bytes()[:-50])
    elif kind == "foreign":
        pq.write_table(pa.table({"a": [1]}), path)
    elif kind == "empty":
        build(folder, path)
        pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(ConfigError, match=r"generate\.prototypes\.library") as error:
        Library(path)
    assert "\n" not in str(error.value)


def test_packaged_library_makes_sound_crystals() -> None:
    library = Library()
    counts = [(1,), (1, 1), (1, 1, 3), (1, 2, 4), (1, 1, 1, 1)]
    rng = np.random.default_rng(0)
    for key in counts:
        entries = library.entries(key)
        assert len({e.kind for e in entries}) > 10
        for one in rng.permutation(np.array(entries, dtype=object))[:20]:
            crystal = one.crystal()
            assert len(crystal) == one.n_atoms
            assert crystal.min_distance > 0.5
            assert space_group(crystal, 1e-3, -1.0).number == one.space_group
