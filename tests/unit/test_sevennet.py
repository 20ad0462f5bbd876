"""SevenNets by name, and MP2020 corrections that let uncorrected energies meet a hull.

What needs the package is skipped where it is not installed; the corrections never are.
"""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from pymatgen.entries.compatibility import MaterialsProject2020Compatibility
from pymatgen.entries.computed_entries import ComputedStructureEntry

from chggen.campaign.plan import Campaign
from chggen.config.contracts import (
    GGA,
    MP2020,
    NONE,
    R2SCAN,
    SEVENNETS,
    Contract,
    require_comparable,
)
from chggen.config.energies import PotentialConfig, ReferenceConfig, untrained_elements
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import CheckpointError, ConfigError, ContractError, Status
from chggen.potential import load_named, sevennet
from chggen.potential.energies import energies_per_atom
from chggen.potential.interface import packed_state
from chggen.reference import mp2020 as corrections
from chggen.reference.computed import relaxed_reference
from chggen.reference.hull import decomposition
from chggen.reference.mp2020 import added, hubbard_u, mp2020
from chggen.reference.reference import load_reference
from chggen.relaxation.pool import relax
from chggen.screening.second import SecondLevel
from chggen.stages.screen import screen
from chggen.structure.crystal import Crystal
from chggen.tables import parquet
from tests.unit.test_second_level import blende, cesium, salt

torch.set_num_threads(1)

RAW, CORRECTED = Contract(GGA, NONE), Contract(GGA, MP2020)
#: A potential whose energies count as uncorrected GGA/GGA+U, of no package.
PAIRS = PotentialConfig(
    kind="lennard-jones",
    functional=GGA,
    corrections=NONE,
    options={"sigma": 2.1, "epsilon": 0.2},
)
needs_sevenn = pytest.mark.skipif(
    importlib.util.find_spec("sevenn") is None, reason="sevenn is not installed"
)


def known(name: str) -> Structure:
    """Crystals of the Materials Project's kind, from their published settings."""
    if name == "NaCl":
        return Structure.from_spacegroup(
            225, Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
    if name == "Li2O2":
        return Structure.from_spacegroup(
            194,
            Lattice.hexagonal(3.16, 7.69),
            ["Li", "Li", "O"],
            [[0, 0, 0], [1 / 3, 2 / 3, 0.75], [1 / 3, 2 / 3, 0.149]],
        )
    if name == "Fe2O3":
        return Structure.from_spacegroup(
            167,
            Lattice.hexagonal(5.03, 13.75),
            ["Fe", "O"],
            [[0, 0, 0.355], [0.306, 0, 0.25]],
        )
    return Structure.from_spacegroup(
        62,
        Lattice.orthorhombic(10.33, 6.01, 4.69),
        ["Li", "Fe", "P", "O", "O", "O"],
        [
            [0, 0, 0],
            [0.282, 0.25, 0.975],
            [0.095, 0.25, 0.418],
            [0.097, 0.25, 0.743],
            [0.457, 0.25, 0.206],
            [0.166, 0.046, 0.285],
        ],
    )


# --- corrections ---------------------------------------------------------------------------

#: eV per atom of anion or metal, of Wang et al. 2021.
OXIDE, PEROXIDE, CHLORIDE, IRON = -0.687, -0.465, -0.614, -2.256


@pytest.mark.parametrize(
    ("name", "run_type", "hubbards", "expected"),
    [
        ("LiFePO4", "GGA+U", {"Fe": 5.3}, (4 * OXIDE + IRON) / 7),
        ("Fe2O3", "GGA+U", {"Fe": 5.3}, (3 * OXIDE + 2 * IRON) / 5),
        ("Li2O2", "GGA", {}, 2 * PEROXIDE / 4),
        ("NaCl", "GGA", {}, CHLORIDE / 2),
    ],
)
def test_corrections_are_those_of_pymatgen(name, run_type, hubbards, expected):
    structure = known(name)
    found = mp2020(Crystal.from_structure(structure))
    assert (found.run_type, found.scheme, found.reason) == (run_type, MP2020, "")
    assert found.per_atom == pytest.approx(expected, abs=2e-3)
    entry = ComputedStructureEntry(
        structure, -1.0, parameters={"run_type": run_type, "hubbards": hubbards}
    )
    scheme = MaterialsProject2020Compatibility(check_potcar=False)
    processed = scheme.process_entry(entry, inplace=False)
    assert found.per_atom == pytest.approx(processed.correction / len(structure), abs=1e-9)
    assert len(found.terms) == len(processed.energy_adjustments)
    assert found.columns("second_") == {
        "second_correction_per_atom": found.per_atom,
        "second_added_corrections": "MP2020",
        "second_run_type": run_type,
    }


@pytest.mark.parametrize(
    ("formula", "metals"),
    [
        ("Fe2O3", {"Fe"}),
        ("FeF2", {"Fe"}),
        ("LiMn2O4", {"Mn"}),
        ("V2CrMoWO12", {"V", "Cr", "Mo", "W"}),
        ("NiCoO2", {"Ni", "Co"}),
        ("FeS2", set()),
        ("FeCl3", set()),
        ("Fe4N", set()),
        ("Fe", set()),
        ("TiO2", set()),
        ("CuO", set()),
        ("FeClO", {"Fe"}),
    ],
)
def test_a_hubbard_u_where_the_input_set_has_one(formula, metals):
    found = hubbard_u(formula)
    assert set(found) == metals
    assert all(value > 3 for value in found.values())


def test_elements_have_no_correction():
    iron = Structure.from_spacegroup(229, Lattice.cubic(2.83), ["Fe"], [[0, 0, 0]])
    assert mp2020(iron).per_atom == 0
    assert mp2020(iron).run_type == "GGA"


def test_only_what_can_be_corrected_meets_another_contract():
    require_comparable(RAW, "a", CORRECTED, "b")
    require_comparable(RAW, "a", RAW, "b")
    for first, second in [
        (CORRECTED, RAW),
        (Contract(R2SCAN, NONE), CORRECTED),
        (RAW, Contract(R2SCAN, NONE)),
        (Contract("GGA/GGA+U + D3(BJ)", NONE), CORRECTED),
        (Contract("PBEsol", NONE), Contract("PBEsol", MP2020)),
    ]:
        with pytest.raises(ContractError):
            require_comparable(first, "a", second, "b")
        crystal = Crystal.from_structure(known("NaCl"))
        assert added(crystal, first, second) is corrections.NOTHING
    same = added(Crystal.from_structure(known("NaCl")), CORRECTED, CORRECTED)
    assert (same.per_atom, same.scheme) == (0, None)


# --- in the screen -------------------------------------------------------------------------


def table(folder: Path, contract: Contract, name="pairs", digest="0" * 16) -> Path:
    """Three structures of ZnS as a table of relaxed ones, energies made up."""
    rows = [
        {"id": str(i), "parent_id": f"p{i}", "system": "Zn-S", "composition": "ZnS"}
        | {"route": "unconditional", "seed": 0, "index": i, "draw": 0, "random_seed": i}
        | {"status": "ok", "reason": "", "formula_units": 1, **crystal.columns()}
        | {"energy_per_atom": -3.5 + 0.1 * i, "converged": True, "potential": name}
        | {"potential_hash": digest, "functional": contract.functional}
        | {"corrections": contract.corrections, "min_distance": crystal.min_distance}
        for i, crystal in enumerate((blende(), salt(), cesium()))
    ]
    path = folder / "relaxed.parquet"
    parquet.write(path, "relaxed", rows, {})
    return path


def screened(source: Path, level=None, **settings):
    out = source.with_name("screened.parquet")
    given = {"threshold": 5.0, "max_selected": 2} | settings
    screen(
        [source], out, ReferenceConfig(), ScreenConfig(known="structures", **given), second=level
    )
    rows = sorted(parquet.read(out, "screened"), key=lambda row: row["index"])
    return rows, parquet.read_header(out)


def test_uncorrected_energies_meet_a_corrected_hull(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows, _ = screened(table(tmp_path / "a", RAW))
    plain, _ = screened(table(tmp_path / "b", CORRECTED))
    sulfide = mp2020(blende()).per_atom
    assert sulfide == pytest.approx(-0.503 / 2, abs=2e-3)
    for row, other in zip(rows, plain, strict=True):
        assert row["energy_per_atom"] == other["energy_per_atom"]
        assert (row["corrections"], row["added_corrections"]) == ("none", "MP2020")
        assert row["correction_per_atom"] == pytest.approx(sulfide)
        assert row["run_type"] == "GGA"
        assert (other["corrections"], other["added_corrections"]) == ("MP2020", None)
        assert (other["correction_per_atom"], other["run_type"]) == (0, None)
        for name in ("formation_energy_per_atom", "decomposition_energy"):
            assert row[name] == pytest.approx(other[name] + sulfide)


def test_what_cannot_be_corrected_is_refused(tmp_path):
    with pytest.raises(ContractError, match="r2SCAN without corrections"):
        screened(table(tmp_path, Contract(R2SCAN, NONE)))


def test_a_structure_without_a_correction_keeps_its_row(tmp_path, monkeypatch):
    usual = corrections.mp2020

    def refuse(crystal):
        if crystal.volume_per_atom > 19.6:  # blende alone
            return corrections.Correction(None, "GGA", (), "no MP2020 correction: for a test")
        return usual(crystal)

    assert blende().volume_per_atom > 19.6 > salt().volume_per_atom
    monkeypatch.setattr(corrections, "mp2020", refuse)
    rows, _ = screened(table(tmp_path, RAW))
    assert [row["status"] for row in rows] == ["failed", "ok", "ok"]
    assert rows[0]["decomposition_energy"] is None
    assert rows[0]["correction_per_atom"] is None
    assert rows[0]["filter"] == "failed"
    assert "no MP2020 correction: for a test" in rows[0]["filter_reason"]
    assert all(row["decomposition_energy"] is not None for row in rows[1:])
    level = SecondLevel({"pairs": PAIRS})
    rows, _ = screened(table(tmp_path, CORRECTED), level, second_potential="pairs")
    assert rows[0]["second_reason"] == "no MP2020 correction: for a test"
    assert rows[0]["second_energy_per_atom"] is not None
    assert rows[0]["second_decomposition_energy"] is None
    assert rows[0]["second_agrees"] is None
    assert rows[1]["second_decomposition_energy"] is not None


def test_the_second_level_says_where_both_agree(tmp_path):
    level = SecondLevel({"pairs": PAIRS})
    source = table(tmp_path, CORRECTED)
    rows, header = screened(source, level, second_potential="pairs")
    assert header["second_added_corrections"] == "MP2020"
    reference = load_reference(ReferenceConfig(), {"Zn", "S"})
    energies = energies_per_atom([blende(), salt()], load_named("pairs", {"pairs": PAIRS}), 100)
    for row, energy, crystal in zip(rows, energies, (blende(), salt()), strict=False):
        assert (row["second_corrections"], row["second_added_corrections"]) == ("none", "MP2020")
        expected = decomposition(reference, "ZnS", energy + mp2020(crystal).per_atom, CORRECTED)
        second = row["second_decomposition_energy"]
        assert second == pytest.approx(expected.decomposition_energy, abs=1e-5)
        assert row["second_agrees"] == (second < 5.0)
    assert rows[2]["second_agrees"] is None  # not selected
    # pairs attract far less than any solid is bound by: with a small threshold they disagree
    limits = [row["second_decomposition_energy"] for row in rows[:2]]
    rows, _ = screened(source, level, second_potential="pairs", threshold=min(limits) - 0.01)
    assert [row["second_agrees"] for row in rows[:2]] == [False, False]


def test_the_phases_that_a_potential_relaxed_are_corrected_too(tmp_path):
    structures = {"NaCl": known("NaCl"), "Na": None, "Cl": None}
    structures["Na"] = Structure(Lattice.cubic(4.2), ["Na"] * 2, [[0, 0, 0], [0.5, 0.5, 0.5]])
    structures["Cl"] = Structure(Lattice.cubic(4.2), ["Cl"] * 2, [[0, 0, 0], [0.3, 0.3, 0.3]])
    rows = [
        {"id": name, "label": name, "system": "Na-Cl", "composition": name, "status": "ok"}
        | {"route": "reference", "reason": "", "energy_per_atom": -3.0, "converged": True}
        | {"seed": 0, "index": 0, "draw": 0, "random_seed": 0}
        | {"potential": "pairs", "potential_hash": "0", "functional": GGA, "corrections": NONE}
        | Crystal.from_structure(structure).columns()
        for name, structure in structures.items()
    ]
    header = {"source": "a folder", "potential": "pairs", "potential_hash": "0"}
    header |= {"functional": GGA, "corrections": NONE, "date": "2026-01-01"}
    parquet.write(tmp_path / "referenced.parquet", "referenced", rows, header)
    found = relaxed_reference(tmp_path / "referenced.parquet", {"Na", "Cl"})
    assert found.contract == CORRECTED
    assert found.name.endswith("relaxed by pairs, MP2020 added")
    (phase,) = [p for p in found.phases if p.composition == "NaCl"]
    assert phase.formation_energy_per_atom == pytest.approx(CHLORIDE / 2, abs=2e-3)
    assert found.elements == {"Cl": -3.0, "Na": -3.0}


# --- names, before any job -----------------------------------------------------------------


def campaign(formula="ZnS", **sections) -> Campaign:
    return Campaign.load({"systems": {"X": {"compositions": [formula]}}} | sections, "x")


@pytest.mark.parametrize(
    ("section", "key"), [("screen", "second_potential"), ("relax", "potential")]
)
def test_a_missing_package_is_said_in_one_line(monkeypatch, section, key):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        campaign(**{section: {key: "sevennet-0"}})
    text = str(caught.value)
    assert text == (
        f"config: {section}.{key} = 'sevennet-0': the package 'sevenn' is not installed:"
        ' pip install "chggen[sevennet]"'
    )
    with pytest.raises(CheckpointError, match=r'pip install "chggen\[sevennet\]"'):
        load_named("sevennet-0")


def test_elements_without_training_are_known_before_any_job():
    for name in SEVENNETS:
        assert untrained_elements(name, {"Ra", "O", "Po", "Cm"}, {}) == ["Po", "Ra", "Cm"]


@needs_sevenn
def test_the_config_takes_the_names():
    assert campaign(screen={"second_potential": "sevennet-0", "second_threshold": 0.1}).shards
    assert campaign(relax={"potential": "sevennet-l3i5"}).shards
    with pytest.raises(ConfigError, match="sevennet-mf-0-r2scan energies"):
        campaign(relax={"potential": "sevennet-mf-0-r2scan"})
    with pytest.raises(ConfigError, match=r"relax\.precision = 'float64': is for CHGNets only"):
        campaign(relax={"potential": "sevennet-0", "precision": "float64"})


# --- the models ----------------------------------------------------------------------------


def rattled(seed: int, scale=0.05) -> Crystal:
    crystal, rng = Crystal.from_structure(known("NaCl")), np.random.default_rng(seed)
    cell = crystal.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    frac = crystal.frac_coords + rng.normal(0, scale / 5.6, crystal.frac_coords.shape)
    return Crystal.of(cell, crystal.atomic_numbers, frac)


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("sevenn")
    return load_named("sevennet-0")


def evaluate(model, *crystals):
    return model(packed_state(crystals, model.device, model.dtype))


@needs_sevenn
def test_forces_and_stress_are_derivatives_of_the_energy(model):
    crystal, step = rattled(1), 0.02
    output = evaluate(model, crystal)
    forces, stress = output["forces"].numpy(), output["stress"][0].numpy()

    def slope(change):
        plus, minus = (evaluate(model, change(h))["energy"].item() for h in (step, -step))
        return (plus - minus) / (2 * step)

    inverse = np.linalg.inv(crystal.cell)
    for atom, axis in ((0, 0), (3, 1), (6, 2)):

        def moved(h, atom=atom, axis=axis):
            shift = np.zeros_like(crystal.frac_coords)
            shift[atom] = h * np.eye(3)[axis] @ inverse
            return Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + shift)

        assert -slope(moved) == pytest.approx(forces[atom, axis], abs=2e-3)
    step = 0.003
    for i, j in ((0, 0), (1, 1), (0, 2)):

        def strained(h, i=i, j=j):
            strain = np.eye(3)
            strain[i, j] += h / 2
            strain[j, i] += h / 2
            return Crystal.of(crystal.cell @ strain, crystal.atomic_numbers, crystal.frac_coords)

        assert slope(strained) / crystal.volume == pytest.approx(stress[i, j], abs=1e-4)


@needs_sevenn
def test_the_batch_does_not_matter(model):
    crystals = [rattled(2), blende(), rattled(3), cesium()]
    together = evaluate(model, *crystals)
    starts = np.cumsum([0, *map(len, crystals)])
    for i, crystal in enumerate(crystals):
        alone = evaluate(model, crystal)
        part = slice(starts[i], starts[i + 1])
        assert together["energy"][i] == pytest.approx(alone["energy"].item(), abs=1e-4)
        np.testing.assert_allclose(together["forces"][part], alone["forces"], atol=1e-4)
        np.testing.assert_allclose(together["stress"][i], alone["stress"][0], atol=1e-5)


@needs_sevenn
def test_the_energies_are_those_of_the_package(model):
    from sevenn.calculator import SevenNetCalculator

    crystal = rattled(4)
    atoms = crystal.to_structure().to_ase_atoms()
    atoms.calc = SevenNetCalculator("7net-0", device="cpu")
    ours = evaluate(model, crystal)
    assert ours["energy"].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-4)
    np.testing.assert_allclose(ours["forces"], atoms.get_forces(), atol=1e-4)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(ours["stress"][0], stress, atol=1e-5)


@needs_sevenn
def test_what_each_name_is(model):
    models = {name: load_named(name) for name in sevennet.FILES}
    assert len({m.hash for m in models.values()}) == len(models)
    assert load_named("sevennet-0").hash == model.hash
    for name, found in models.items():
        assert found.name == name
        expected = Contract(R2SCAN, NONE) if name.endswith("r2scan") else RAW
        assert found.contract == expected
        assert len(found.elements) == 89
    energies = {n: energies_per_atom([blende()], m, 100)[0] for n, m in models.items()}
    corrected = energies["sevennet-0"] + mp2020(blende()).per_atom
    chgnet = energies_per_atom([blende()], load_named("chgnet-0.3.0"), 100)[0]
    assert corrected == pytest.approx(chgnet, abs=0.05)
    for name in ("sevennet-l3i5", "sevennet-mf-0-pbe"):
        assert energies[name] == pytest.approx(energies["sevennet-0"], abs=0.03)
    r2scan = energies_per_atom([blende()], load_named("chgnet-r2scan"), 100)[0]
    assert energies["sevennet-mf-0-r2scan"] == pytest.approx(r2scan, abs=0.1)


@needs_sevenn
def test_one_bad_structure_does_not_stop_a_relaxation(model):
    polonium = Crystal.of(blende().cell, [84, 16], blende().frac_coords)
    crushed = Crystal.of(blende().cell * 0.1, [30, 16], blende().frac_coords)
    settings = RelaxConfig(fmax=0.05, smax=0.5)
    rows = relax([blende(5.5), polonium, crushed, blende(5.6)], settings, model=model)
    assert [rows[0].status, rows[3].status] == [Status.OK, Status.OK]
    assert rows[1].reason == "sevennet-0 was not trained on Po"
    assert rows[1].energy_per_atom is None
    assert rows[2].status != Status.OK
    assert rows[2].reason
    assert rows[0].energy_per_atom == pytest.approx(rows[3].energy_per_atom, abs=1e-3)
    lengths = np.linalg.norm(rows[0].crystal.cell, axis=1) * np.sqrt(2)
    np.testing.assert_allclose(lengths, 5.41, atol=0.05)  # experiment 5.41 Å, PBE 5.45 Å


@needs_sevenn
def test_a_second_opinion_from_end_to_end(tmp_path):
    energies = energies_per_atom([blende(), salt(), cesium()], load_named("chgnet-0.3.0"), 100)
    source = table(tmp_path, CORRECTED)
    rows = parquet.read(source, "relaxed")
    chgnet = load_named("chgnet-0.3.0")
    for row, energy in zip(rows, energies, strict=True):
        row |= {"energy_per_atom": float(energy), "potential": chgnet.name}
        row |= {"potential_hash": chgnet.hash}
    parquet.write(source, "relaxed", rows, {})
    rows, header = screened(source, second_potential="sevennet-0", second_threshold=1.0)
    assert header["second_potential"] == "sevennet-0"
    assert header["second_added_corrections"] == "MP2020"
    for row in rows[:2]:
        assert (row["second_functional"], row["second_corrections"]) == (GGA, NONE)
        assert row["second_added_corrections"] == "MP2020"
        assert row["second_run_type"] == "GGA"
        assert row["second_reference_hash"] == row["reference_hash"]
        gap = row["second_decomposition_energy"] - row["decomposition_energy"]
        assert abs(gap) < 0.1
        assert row["second_agrees"] is True
    assert [row["second_rank"] for row in rows] == [1, 2, None]
    assert abs(rows[0]["second_decomposition_energy"]) < 0.05  # zinc blende is on the hull


# --- files ---------------------------------------------------------------------------------


def wheel_file() -> Path:
    folder = Path(importlib.util.find_spec("sevenn").origin).parent / "pretrained_potentials"
    return folder / sevennet.FILES["sevennet-0"].path


def definition(path: Path, **options) -> dict[str, PotentialConfig]:
    given = PotentialConfig(
        kind="sevennet", path=path, functional=GGA, corrections=NONE, options=options
    )
    return {"mine": given}


@needs_sevenn
def test_a_file_of_ones_own(model, tmp_path):
    path = tmp_path / "mine.pth"
    shutil.copy(wheel_file(), path)
    mine = load_named("mine", definition(path))
    energies = [energies_per_atom([blende()], m, 100)[0] for m in (mine, model)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)
    several = wheel_file().parents[1] / sevennet.FILES["sevennet-mf-0-pbe"].path
    with pytest.raises(CheckpointError, match=r"'mine'.*modal") as caught:
        load_named("mine", definition(several))
    assert "\n" not in str(caught.value)
    assert load_named("mine", definition(several, modal="PBE")).contract == RAW


@needs_sevenn
def test_another_file_in_the_wheel_is_refused(monkeypatch):
    other = sevennet.FILES["sevennet-0"]._replace(sha256="0" * 64)
    monkeypatch.setitem(sevennet.FILES, "sevennet-0", other)
    with pytest.raises(CheckpointError, match=r"'sevennet-0'.*sha256") as caught:
        load_named("sevennet-0")
    assert "\n" not in str(caught.value)


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


@needs_sevenn
def test_code_in_a_file_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"config": Payload(), "model_state_dict": {}}, tmp_path / "bad.pth")
    objects = np.array([Payload()], dtype=object)
    torch.save({"config": objects, "model_state_dict": {}}, tmp_path / "objects.pth")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("bad", "objects", "other", "text"):
        with pytest.raises(CheckpointError, match=f"'mine'.*{name}.pth") as caught:
            load_named("mine", definition(tmp_path / f"{name}.pth"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
