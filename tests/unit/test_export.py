"""``chggen export``: every format is read back by the library that owns it."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase.io import read as ase_read
from monty.serialization import loadfn
from pymatgen.core import Structure
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from typer.testing import CliRunner

from chggen.cli import app
from chggen.config.contracts import POTENTIALS
from chggen.config.energies import ReferenceConfig
from chggen.errors import ChggenError, ContractError, Status
from chggen.potential import load_potential
from chggen.reference.reference import load_reference
from chggen.structure import readers
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

RUNNER = CliRunner()
#: Formation energies are differences of these (eV/atom): any numbers do.
ENERGIES = {"Zn": -1.3, "S": -4.1, "ZnS": -3.9, "Mg": -1.5, "Cu": -3.7, "MgCu2": -3.2}


def crystals() -> dict[str, Crystal]:
    """Crystals with their space groups, atoms a little off their sites, primitive or not."""
    rng = np.random.default_rng(1)
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    laves = Structure.from_spacegroup(
        "Fd-3m", np.eye(3) * 7.03, ["Mg", "Cu"], [[0] * 3, [5 / 8] * 3]
    ).get_primitive_structure()
    found = {
        "Zn": Crystal.of(3.9 * fcc, [30], [[0, 0, 0]]),
        "S": Crystal.of(4.0 * np.eye(3), [16], [[0, 0, 0]]),
        "ZnS": Crystal.of(5.4 * fcc, [30, 16], [[0, 0, 0], [0.25] * 3]),
        "MgCu2": Crystal.from_structure(laves),
    }
    noisy = {}
    for name, crystal in found.items():
        shift = rng.normal(scale=0.002, size=crystal.frac_coords.shape)
        noisy[name] = Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + shift)
    return noisy


GROUPS = {"Zn": 225, "S": 221, "ZnS": 216, "MgCu2": 227}


def make(
    path: Path, potential: str = "chgnet-0.3.0", names: tuple[str, ...] = tuple(GROUPS)
) -> Path:
    """Table ``relaxed`` with these crystals and one row without a structure."""
    contract = POTENTIALS[potential]
    rows: list[dict[str, Any]] = []
    found = crystals()
    for index, name in enumerate(names):
        rows.append(
            {
                "id": f"row{index}",
                "system": "test",
                "composition": name,
                "route": "unconditional",
                "seed": 0,
                "index": index,
                "draw": 0,
                "random_seed": index,
                "status": Status.OK,
                "reason": "",
                "formula_units": 1,
                "energy_per_atom": ENERGIES[name],
                "converged": True,
                "potential": potential,
                "potential_hash": "0123456789abcdef",
                "functional": contract.functional,
                "corrections": contract.corrections,
                **found[name].columns(),
            }
        )
    bare = {k: rows[0][k] for k in ("system", "composition", "route", "seed", "draw")}
    rows.append(
        bare
        | {"id": "bad", "index": 99, "random_seed": 9, "status": Status.EXPLODED, "reason": "so"}
    )
    parquet.write(path, "relaxed", rows, {})
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return make(tmp_path / "relaxed.parquet")


def run(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_cif_has_the_symmetry_for_pymatgen_ase_and_chggen(table: Path, tmp_path: Path) -> None:
    assert "4 of 5 rows" in run(table, "-o", tmp_path / "cifs")
    files = sorted((tmp_path / "cifs").iterdir())
    assert len(files) == 4
    for path in files:
        name = path.name.split("-")[0]
        text = path.read_text("ascii")
        assert "at 0.1 A, 10 deg; symmetrised: atoms moved by at most 0.0" in text
        assert f"_symmetry_Int_Tables_number   {GROUPS[name]}" in text
        structure = Structure.from_file(path)
        assert SpacegroupAnalyzer(structure, 1e-4).get_space_group_number() == GROUPS[name]
        conventional = SpacegroupAnalyzer(structure).get_conventional_standard_structure()
        assert len(structure) == len(conventional)
        atoms = ase_read(path)
        assert len(atoms) == len(structure)
        assert atoms.get_volume() == pytest.approx(structure.volume)
        ours = [readers.load(entry).crystal for entry in readers.entries(path)]
        assert [len(c) for c in ours if c is not None] == [len(structure)]
        raw = crystals()[name]
        assert structure.volume / len(structure) == pytest.approx(raw.volume_per_atom, rel=1e-4)


@pytest.mark.parametrize(("cell", "atoms"), [("as-is", 6), ("primitive", 6), ("conventional", 24)])
def test_cells(table: Path, tmp_path: Path, cell: str, atoms: int) -> None:
    run(table, "-o", tmp_path / cell, "--cell", cell, "--where", "composition=MgCu2")
    (path,) = (tmp_path / cell).iterdir()
    structure = Structure.from_file(path)
    assert len(structure) == atoms
    exact = SpacegroupAnalyzer(structure, 1e-4).get_space_group_number()
    assert (exact == 227) == (cell != "as-is")
    if cell == "as-is":
        kept = crystals()["MgCu2"].to_structure().distance_matrix
        assert np.allclose(np.sort(structure.distance_matrix, None), np.sort(kept, None), atol=1e-5)
        assert "symmetrised" not in path.read_text()


def test_a_tolerance_below_the_noise_finds_less(table: Path, tmp_path: Path) -> None:
    one = ["--where", "composition=ZnS", "--symprec", "0.0001"]
    run(table, "-o", tmp_path / "a", *one)
    text = next((tmp_path / "a").iterdir()).read_text()
    assert "at 0.0001 A" in text
    assert "(216)" not in text


def test_poscar_is_read_by_pymatgen_and_ase(table: Path, tmp_path: Path) -> None:
    run(table, "-f", "poscar", "-o", tmp_path / "p")
    found = crystals()
    for path in (tmp_path / "p").iterdir():
        kept = found[path.name.split("-")[0]]
        structure, atoms = Structure.from_file(path), ase_read(path, format="vasp")
        assert path.suffix == ".vasp"
        assert structure.volume == pytest.approx(kept.volume)
        assert Counter(atoms.numbers) == Counter(kept.atomic_numbers.tolist())
        first = path.read_text("ascii").splitlines()[0]
        assert "eV/atom by chgnet-0.3.0" in first
    run(table, "-f", "poscar", "-o", tmp_path / "q", "--cell", "conventional")
    assert len(Structure.from_file(tmp_path / "q" / "ZnS-row2.vasp")) == 8


def test_extxyz_has_energy_and_contract(table: Path, tmp_path: Path) -> None:
    output = run(table, "-f", "extxyz", "-o", tmp_path / "all")
    assert "no forces and stress: --forces computes them" in output
    frames = ase_read(tmp_path / "all.extxyz", ":")
    assert [f.info["composition"] for f in frames] == list(GROUPS)
    for frame in frames:
        name = frame.info["composition"]
        assert frame.get_potential_energy() == pytest.approx(ENERGIES[name] * len(frame))
        assert "forces" not in frame.calc.results
        assert frame.info["functional"] == "GGA/GGA+U"
        assert frame.info["corrections"] == "MP2020"
        assert frame.info["potential_hash"] == "0123456789abcdef"
    run(table, "-f", "extxyz", "-o", tmp_path / "c.extxyz", "--cell", "conventional")
    for frame in ase_read(tmp_path / "c.extxyz", ":"):
        # the energy is that of the crystal before: not of these atoms
        assert frame.calc is None
        assert "symmetrised" in frame.info["symmetrised"]
        assert frame.info["energy_per_atom"] == ENERGIES[frame.info["composition"]]


def test_extxyz_with_forces_of_the_potential(tmp_path: Path) -> None:
    path = make(tmp_path / "relaxed.parquet", names=("ZnS", "MgCu2"))
    with pytest.raises(ChggenError, match=r"chgnet-0\.3\.0 \(0123456789abcdef\), not of this one"):
        run(path, "-f", "extxyz", "-o", tmp_path / "x", "--forces")
    model = load_potential("chgnet-0.3.0")
    rows = parquet.read(path, "relaxed")
    parquet.write(path, "relaxed", [r | {"potential_hash": model.hash} for r in rows[:2]], {})
    run(path, "-f", "extxyz", "-o", tmp_path / "x", "--forces")
    frames = ase_read(tmp_path / "x.extxyz", ":")
    assert [len(f) for f in frames] == [2, 6]
    from chgnet.model import CHGNet

    for frame in frames:
        structure = crystals()[frame.info["composition"]].to_structure()
        theirs = CHGNet.load(verbose=False, use_device="cpu").predict_structure(structure)
        assert frame.get_potential_energy() / len(frame) == pytest.approx(theirs["e"], abs=1e-4)
        assert np.allclose(frame.get_forces(), theirs["f"], atol=1e-3)
        # theirs is in GPa
        assert np.allclose(frame.get_stress(voigt=False) * 160.2177, theirs["s"], atol=0.02)


def test_entries_are_a_reference_with_the_right_contract(table: Path, tmp_path: Path) -> None:
    run(table, "-f", "json", "-o", tmp_path / "e", "--where", "composition!=MgCu2")
    path = tmp_path / "e.json"
    entries = loadfn(path)["entries"]
    assert [type(e).__name__ for e in entries] == ["ComputedStructureEntry"] * 3
    for entry in entries:
        name = entry.composition.reduced_formula
        assert entry.energy_per_atom == pytest.approx(ENERGIES[name])
        assert entry.parameters["run_type"] == "GGA"
        assert entry.parameters["corrections"] == "MP2020"
        assert entry.parameters["potential"] == "chgnet-0.3.0"
    sulfide = next(e for e in entries if e.composition.reduced_formula == "ZnS")
    assert [a.name for a in sulfide.energy_adjustments] == ["MP2020 anion correction (S)"]
    # the scheme applied once more changes nothing
    again = MaterialsProject2020Compatibility(check_potcar=False).process_entries(
        [sulfide.copy()], clean=True
    )
    assert again[0].energy_per_atom == pytest.approx(ENERGIES["ZnS"])
    reference = load_reference(ReferenceConfig(source="file", path=path), {"Zn", "S"})
    (phase,) = [p for p in reference.phases if p.composition == "ZnS"]
    expected = ENERGIES["ZnS"] - (ENERGIES["Zn"] + ENERGIES["S"]) / 2
    assert phase.formation_energy_per_atom == pytest.approx(expected)
    assert str(reference.contract) == "GGA/GGA+U with MP2020 corrections"
    assert reference.partial is None
    assert set(reference.structures) == {"row0", "row1", "row2"}
    wrong = ReferenceConfig(source="file", path=path, functional="r2SCAN")
    with pytest.raises(ContractError, match="r2SCAN"):
        load_reference(wrong, {"Zn", "S"})


def test_entries_of_r2scan_are_r2scan(tmp_path: Path) -> None:
    source = make(tmp_path / "relaxed.parquet", "chgnet-r2scan", ("Zn", "S", "ZnS"))
    run(source, "-f", "json", "-o", tmp_path / "e.json")
    entries = loadfn(tmp_path / "e.json")["entries"]
    assert {e.parameters["run_type"] for e in entries} == {"r2SCAN"}
    assert not any(e.energy_adjustments for e in entries)
    config = ReferenceConfig(source="file", path=tmp_path / "e.json", functional="r2SCAN")
    reference = load_reference(config, {"Zn", "S"})
    assert str(reference.contract) == "r2SCAN without corrections"
    assert min(p.formation_energy_per_atom for p in reference.phases) == pytest.approx(-1.2)


def test_entries_with_u_say_so(tmp_path: Path) -> None:
    oxide = Crystal.of(4.2 * np.eye(3), [26, 8], [[0, 0, 0], [0.5, 0.5, 0.5]])
    path = make(tmp_path / "relaxed.parquet", names=("ZnS",))
    row = parquet.read(path, "relaxed")[0] | oxide.columns() | {"composition": "FeO"}
    parquet.write(path, "relaxed", [row], {})
    run(path, "-f", "json", "-o", tmp_path / "e.json")
    (entry,) = loadfn(tmp_path / "e.json")["entries"]
    assert entry.parameters["run_type"] == "GGA+U"
    assert entry.parameters["hubbards"] == {"Fe": 5.3, "O": 0.0}
    names = {a.name for a in entry.energy_adjustments}
    assert names == {"MP2020 anion correction (oxide)", "MP2020 GGA/GGA+U mixing correction (Fe)"}
    assert entry.energy_per_atom == pytest.approx(ENERGIES["ZnS"])


def test_entries_with_dispersion_keep_their_functional(tmp_path: Path) -> None:
    path = make(tmp_path / "relaxed.parquet", names=("Zn", "S", "ZnS"))
    functional = "GGA/GGA+U + D3(BJ)"
    rows = [r | {"functional": functional} for r in parquet.read(path, "relaxed")[:3]]
    parquet.write(path, "relaxed", rows, {})
    run(path, "-f", "json", "-o", tmp_path / "e.json")
    config = ReferenceConfig(
        source="file", path=tmp_path / "e.json", functional=functional, corrections="MP2020"
    )
    found = load_reference(config, {"Zn", "S"})
    assert found.contract.functional == functional
    assert min(p.formation_energy_per_atom for p in found.phases) == pytest.approx(-1.2)
    with pytest.raises(ContractError, match="D3"):
        load_reference(ReferenceConfig(source="file", path=tmp_path / "e.json"), {"Zn", "S"})


def test_entries_never_mix(tmp_path: Path) -> None:
    path = make(tmp_path / "relaxed.parquet", names=("Zn", "S"))
    rows = parquet.read(path, "relaxed")
    other = POTENTIALS["chgnet-r2scan"]
    rows[1] |= {"potential": "chgnet-r2scan", "functional": other.functional, "corrections": "none"}
    parquet.write(path, "relaxed", rows, {})
    with pytest.raises(ChggenError, match="several kinds"):
        run(path, "-f", "json", "-o", tmp_path / "e.json")
    assert not (tmp_path / "e.json").exists()
    with pytest.raises(ChggenError, match="no chosen row"):
        run(path, "-f", "json", "-o", tmp_path / "e.json", "--where", "status=exploded")


def test_optimade_folder(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "o"
    run(table, "-f", "optimade", "-o", folder)
    content = yaml.safe_load((folder / "optimade.yaml").read_text("utf-8"))
    assert content["config_version"] == "0.2.0"
    assert "chgnet-0.3.0 (GGA/GGA+U, corrections MP2020)" in content["database_description"]
    (entry,) = content["entries"]
    assert entry["entry_type"] == "structures"
    (place,) = entry["entry_paths"]
    cifs = {p.stem for p in (folder / place["path"]).glob(place["matches"][0])}
    properties = json.loads((folder / entry["property_paths"][0]["path"]).read_text("utf-8"))
    assert set(properties) == cifs
    defined = {d["name"]: d for d in entry["property_definitions"]}
    assert defined["energy_per_atom"]["unit"] == "eV/atom"
    assert defined["energy_per_atom"]["type"] == "float"
    kinds = {"float": float, "integer": int, "string": str, "boolean": bool}
    for values in properties.values():
        assert set(values) == set(defined)
        for name, value in values.items():
            assert value is None or type(value) is kinds[defined[name]["type"]], name
    assert properties["ZnS-row2"]["energy_per_atom"] == ENERGIES["ZnS"]


def test_optimade_by_its_own_package(table: Path, tmp_path: Path) -> None:
    """Entries as optimade-maker makes them; where that package is installed."""
    maker = pytest.importorskip("optimade_maker.convert")
    run(table, "-f", "optimade", "-o", tmp_path / "o")
    maker.convert_archive(tmp_path / "o")
    lines = (tmp_path / "o" / "optimade.jsonl").read_text("utf-8").splitlines()
    entries = [e for e in map(json.loads, lines) if e.get("type") == "structures"]
    assert {e["attributes"]["chemical_formula_reduced"] for e in entries} == {
        "Cu2Mg",
        "S",
        "SZn",
        "Zn",
    }
    for entry in entries:
        found = entry["attributes"]
        energy = next(v for k, v in found.items() if k.endswith("_energy_per_atom"))
        name = next(v for k, v in found.items() if k.endswith("_composition"))
        assert energy == ENERGIES[name]
        assert next(v for k, v in found.items() if k.endswith("_draw")) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-f", "pdb"], r"--format 'pdb': must be one of cif, poscar, extxyz, json, optimade"),
        (["--cell", "niggli"], "--cell 'niggli': must be one of as-is, primitive, conventional"),
        (["--symprec", "0"], "--symprec 0: must be a positive number"),
        (["--symprec", "nan"], "--symprec nan: must be a positive number"),
        (["--angle-tolerance", "-1"], "--angle-tolerance -1: must be a positive number"),
        (["--forces"], "--forces: format 'cif' has no forces"),
        (["--where", "energy_per_atom"], "compare it with a value"),
    ],
)
def test_export_refuses_in_one_line(
    table: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    with pytest.raises(ChggenError, match=words) as caught:
        run(table, "-o", tmp_path / "x", *arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ["cif", "poscar", "optimade"])
def test_export_folder_where_a_file_is(table: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ChggenError, match=r"--output .*: is a file"):
        run(table, "-f", kind, "-o", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", ["extxyz", "json"])
def test_export_file_where_a_folder_is(table: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "taken.dat").mkdir()
    with pytest.raises(ChggenError, match="is a folder; name a file"):
        run(table, "-f", kind, "-o", tmp_path / "taken.dat")


def test_forces_need_a_potential(tmp_path: Path, table: Path) -> None:
    rows = parquet.read(table, "relaxed")
    parquet.write(table, "relaxed", [r | {"potential": None} for r in rows], {})
    with pytest.raises(ChggenError, match="--forces: row 'row0' names no potential"):
        run(table, "-f", "extxyz", "-o", tmp_path / "x", "--forces")
