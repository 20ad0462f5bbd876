"""Labels of crystals and the table of known ones: which structures are known."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chggen.config.model import Config
from chggen.config.screening import ScreenConfig
from chggen.errors import ConfigError, TableError
from chggen.report import novelty, story
from chggen.report.sections import Rates
from chggen.screening.known import KnownPhases
from chggen.structure.crystal import Crystal
from chggen.symmetry.known_crystals import PACKAGED, Features, KnownCrystals
from chggen.symmetry.labels import Label, label, labels, normalised
from chggen.tables import parquet

HALF = 0.5


def rocksalt(a: float = 5.69, z: tuple[int, int] = (11, 17)) -> Crystal:
    cell = a * np.array([[0, HALF, HALF], [HALF, 0, HALF], [HALF, HALF, 0]])
    return Crystal.of(cell, z, [[0, 0, 0], [HALF, HALF, HALF]])


def caesium_chloride(a: float = 3.45, z: tuple[int, int] = (11, 17)) -> Crystal:
    return Crystal.of(a * np.eye(3), z, [[0, 0, 0], [HALF, HALF, HALF]])


def rutile() -> Crystal:
    u = 0.305
    frac = [[0, 0, 0], [HALF, HALF, HALF], [u, u, 0], [-u, -u, 0]]
    frac += [[HALF + u, HALF - u, HALF], [HALF - u, HALF + u, HALF]]
    return Crystal.of(np.diag([4.6, 4.6, 2.96]), [22, 22, 8, 8, 8, 8], frac)


def anatase() -> Crystal:
    """Conventional cell of TiO2 in I4_1/amd, origin choice 1."""
    u = 0.2081
    ti = [[0, 0, 0], [0, HALF, 0.25]]
    o = [[0, 0, u], [0, 0, -u], [0, HALF, 0.25 + u], [0, HALF, 0.25 - u]]
    frac = np.array(ti + o)
    frac = np.concatenate([frac[:2], frac[:2] + HALF, frac[2:], frac[2:] + HALF])
    return Crystal.of(np.diag([3.80, 3.80, 9.61]), [22] * 4 + [8] * 8, frac)


def quartz() -> Crystal:
    """α-SiO2, P3_121."""
    a, c, u, (x, y, z) = 4.91, 5.40, 0.4697, (0.4135, 0.2669, 0.1191)
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]]
    third = 1 / 3
    si = [[u, 0, third], [0, u, 2 * third], [-u, -u, 0]]
    o = [[x, y, z + third], [-y, x - y, z + 2 * third], [y - x, -x, z]]
    o += [[y, x, 2 * third - z], [x - y, -y, third - z], [-x, y - x, -z]]
    return Crystal.of(cell, [14] * 3 + [8] * 6, np.array([*si, *o]))


CRYSTALS = {
    "rocksalt": (rocksalt(), Label(225, "1|1")),
    "caesium chloride": (caesium_chloride(), Label(221, "1|1")),
    "rutile": (rutile(), Label(136, "1|2")),
    "anatase": (anatase(), Label(141, "1|2")),
    "quartz": (quartz(), Label(152, "1|2")),
}


def changed(crystal: Crystal, matrix: np.ndarray, shift: np.ndarray, seed: int) -> Crystal:
    """The same crystal in another cell, rotated, shifted, its atoms in another order."""
    rng = np.random.default_rng(seed)
    count = round(abs(np.linalg.det(matrix)))
    reach = np.arange(-8, 9)
    grid = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), -1).reshape(-1, 3)
    inside = grid @ np.linalg.inv(matrix)
    inside = inside[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
    assert len(inside) == count
    frac = (crystal.frac_coords @ np.linalg.inv(matrix))[:, None] + inside[None]
    numbers = np.repeat(crystal.atomic_numbers, count)
    order = rng.permutation(len(numbers))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Crystal.of(
        matrix @ crystal.cell @ turn, numbers[order], frac.reshape(-1, 3)[order] + shift
    )


MATRICES = st.lists(st.integers(-2, 2), min_size=9, max_size=9).map(
    lambda values: np.array(values, dtype=float).reshape(3, 3)
)


@pytest.mark.parametrize("name", CRYSTALS)
def test_labels_are_those_of_the_tables(name: str) -> None:
    crystal, wanted = CRYSTALS[name]
    assert labels(crystal) == {wanted}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(CRYSTALS)),
    MATRICES.filter(lambda m: 1 <= abs(round(np.linalg.det(m))) <= 4),
    st.tuples(*[st.floats(0, 1)] * 3),
    st.integers(0, 99),
)
def test_known_labels_do_not_depend_on_the_cell(
    name: str, matrix: np.ndarray, shift: tuple[float, ...], seed: int
) -> None:
    crystal, wanted = CRYSTALS[name]
    other = changed(crystal, matrix, np.array(shift), seed)
    for symprec in (0.01, 0.1):
        assert label(other, symprec) == wanted


def test_multiplicities_of_any_cell_are_normalised_alike() -> None:
    assert normalised([[8, 8], [4]]) == normalised([[2], [4, 4]]) == "1|2,2"
    assert normalised([[3, 1], [4]]) == "1,3|4"
    # the order within an element and among elements says nothing
    assert normalised([[4], [1, 3]]) == "1,3|4"


def test_a_crystal_without_a_space_group_has_no_label() -> None:
    flat = Crystal.of(np.diag([4.0, 4.0, 0.0]), [11], [[0, 0, 0]])
    assert label(flat, 0.1) is None
    assert label(Crystal.of(np.full((3, 3), np.nan), [11], [[0, 0, 0]]), 0.1) is None


@pytest.fixture(scope="module")
def table() -> KnownCrystals:
    return KnownCrystals()


def known(table: KnownCrystals, crystal: Crystal, formula: str) -> str | None:
    found = table.same(Features.of(crystal), formula)
    return found.name if found else None


def rattled(crystal: Crystal, sigma: float, strain: float, seed: int = 0) -> Crystal:
    rng = np.random.default_rng(seed)
    cell = crystal.cell @ (np.eye(3) + strain * rng.normal(size=(3, 3)))
    noise = rng.normal(scale=sigma, size=(len(crystal), 3)) @ np.linalg.inv(crystal.cell)
    return Crystal.of(cell, crystal.atomic_numbers, crystal.frac_coords + noise)


def test_known_crystals_are_recognised_after_the_noise_of_a_relaxation(
    table: KnownCrystals,
) -> None:
    assert known(table, rocksalt(), "NaCl") == "mp-22862"
    assert known(table, rattled(rocksalt(), 0.01, 0.002), "NaCl") == "mp-22862"
    assert known(table, rutile(), "TiO2") == "mp-2657"
    assert known(table, rattled(rutile(), 0.01, 0.002), "TiO2") == "mp-2657"
    large = changed(rocksalt(), 2 * np.eye(3), np.zeros(3), 1)
    assert known(table, rattled(large, 0.005, 0.001), "NaCl") == "mp-22862"


def test_a_known_polymorph_is_not_taken_for_another(table: KnownCrystals) -> None:
    assert known(table, caesium_chloride(), "NaCl") != "mp-22862"
    assert known(table, anatase(), "TiO2") not in {None, "mp-2657"}
    # NaCl of another volume, and with its sites far from where they are
    assert known(table, rocksalt(6.3), "NaCl") != "mp-22862"
    crystal = rutile()
    moved = np.where(np.abs(crystal.frac_coords - 0.305) < 1e-6, 0.22, crystal.frac_coords)
    assert known(table, replace(crystal, frac_coords=moved), "TiO2") != "mp-2657"


def test_a_known_prototype_of_other_elements_is_named(table: KnownCrystals) -> None:
    # the prototype of the nearest chemistry: a halide or hydride of an alkali metal
    found = table.prototype(Features.of(rocksalt(z=(55, 85))), "CsAt")
    assert found is not None
    assert found.labels == {Label(225, "1|1")}
    assert found.formula != "CsAt"
    assert set(found.formula) & set("CsAtIBrRb")
    assert table.same(Features.of(rocksalt(z=(55, 85))), "CsAt") is None


def test_structures_without_symmetry_are_not_known_by_their_label(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    crystal = Crystal.of(5 * np.eye(3), [3, 3, 8, 8], rng.random((4, 3)))
    features = Features.of(crystal)
    assert all(one.space_group == 1 for one in features.labels)
    table = KnownCrystals(_table(tmp_path, features, Label(1, "1,1|1,1")))
    # even where everything agrees: so it does for most disordered structures
    assert table.of_formula("LiO")[0].labels == features.labels
    assert table.same(features, "LiO") is None
    assert table.prototype(features, "LiO") is None
    symmetric = replace(features, labels=frozenset({Label(14, "1,1|1,1")}))
    table = KnownCrystals(_table(tmp_path, features, Label(14, "1,1|1,1")))
    assert table.same(symmetric, "LiO") is not None


def _table(folder: Path, features: Features, one: Label) -> Path:
    path = folder / f"known{one.space_group}.parquet"
    row = {
        "number": 1,
        "formula": "LiO",
        "anonymous": "1 1",
        "volume": round(100 * features.volume_per_atom),
        "space_group_number": one.space_group,
        "orbits": one.orbits,
        "distances": [round(200 * (d - 0.5)) for d in features.distances or ()],
    }
    parquet.write(path, "known", [row], {})
    return path


# structures of the reference, and the table -----------------------------------------------


def test_known_by_structure_where_there_is_one_and_else_by_label() -> None:
    crystals = [rocksalt(), caesium_chloride(3.4)]
    structures = {"mine.cif": caesium_chloride(3.4).to_structure()}
    first, second = KnownPhases(structures).verdicts(crystals)
    assert (first.known_phase, first.known_by) == ("mp-22862", "label")
    assert (second.known_phase, second.known_by) == ("mine.cif", "structure")
    first, second = KnownPhases(structures, "structures").verdicts(crystals)
    assert (first.known_phase, first.known_by) == (None, None)
    assert second.known_by == "structure"
    assert not any(v.known_phase for v in KnownPhases(structures, "off").verdicts(crystals))


def test_a_known_crystal_that_the_matcher_refused_is_not_known_by_its_label() -> None:
    # mp-22862 is at hand and is something else: its label has no say
    structures = {"mp-22862-GGA": caesium_chloride(3.4).to_structure()}
    (found,) = KnownPhases(structures).verdicts([rocksalt()])
    assert found.known_phase != "mp-22862"


def test_known_has_three_settings() -> None:
    assert ScreenConfig().known == "label"
    with pytest.raises(ValueError, match="known"):
        ScreenConfig(known="perhaps")  # type: ignore[arg-type]


# the table itself -------------------------------------------------------------------------


def test_a_damaged_table_of_known_crystals_is_one_line(tmp_path: Path) -> None:
    half = tmp_path / "half.parquet"
    half.write_bytes(PACKAGED.read_bytes()[: PACKAGED.stat().st_size // 2])
    other = PACKAGED.with_name("prototypes.parquet")
    for path, words in (
        (half, "not a readable Parquet file"),
        (tmp_path / "none.parquet", "no such table"),
        (other, "holds table 'prototypes'"),
    ):
        with pytest.raises(TableError, match=words) as caught:
            KnownCrystals(path)
        assert "\n" not in str(caught.value)


def test_damage_inside_the_table_of_known_crystals_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "torn.parquet"
    content = bytearray(PACKAGED.read_bytes())
    middle = len(content) // 2
    content[4:middle] = bytes(middle - 4)
    path.write_bytes(content)
    with pytest.raises(TableError, match="not a readable Parquet file") as caught:
        KnownCrystals(path).of_formula("NaCl")
    assert "\n" not in str(caught.value)


def test_known_crystals_load_without_torch_and_pymatgen() -> None:
    code = (
        "import sys; from chggen.symmetry.known_crystals import KnownCrystals;"
        "assert KnownCrystals().of_formula('NaCl');"
        "assert not {'torch', 'pymatgen'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# words and counts -------------------------------------------------------------------------


def test_known_new_and_same_prototype_in_the_report() -> None:
    row = {
        "composition": "NaCl", "symmetric": True, "decomposition_products": "1.000 NaCl",
        "space_group_symbol": "Fm-3m", "space_group_number": 225, "decomposition_energy": 0.0,
        "known_phase": None, "known_by": None, "prototype_of": None,
    }  # fmt: skip
    by_label = row | {"known_phase": "mp-22862", "known_by": "label"}
    like = row | {"prototype_of": "mp-22862 (NaCl)"}
    assert str(novelty.short(row)) == "new"
    assert str(novelty.short(by_label)) == "mp-22862 (by its label)"
    assert "same prototype as mp-22862" in str(novelty.short(like))
    (said,) = (str(line) for line in story.best_of(pd.DataFrame([by_label])))
    assert "the known phase mp-22862, recognised by its label." in said
    (said,) = (str(line) for line in story.best_of(pd.DataFrame([like])))
    assert "It is new, in the same prototype as mp-22862" in said
    (said,) = (str(line) for line in story.best_of(pd.DataFrame([row])))
    assert "It is the known phase" not in said
    assert "prototype" not in said


def test_novelty_is_of_the_unique_structures_below_the_threshold() -> None:
    rate = {"quantity": "novelty", "route": "all", "composition": "all", "draw_kind": "all"}
    rate |= {"k": 3, "n": 4, "value": 0.75, "low": 0.3, "high": 0.95}
    said = str(novelty.counted(Rates([rate])))
    assert "3 of the 4 unique structures below the threshold are new (75" in said
    assert str(novelty.counted(Rates([]))) == ""


def test_known_phases_are_checked_as_the_config_says() -> None:
    system = {"Na-Cl": {"compositions": ["NaCl"]}}
    for known, with_structures, without in (
        ("label", True, True),
        ("structures", True, False),
        ("off", False, False),
    ):
        config = Config(systems=system, screen={"known": known})
        assert novelty.checked(config, structures=True) is with_structures
        assert novelty.checked(config, structures=False) is without


def test_known_as_a_command(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from chggen.cli import app

    path = tmp_path / "mine"
    path.mkdir()
    rocksalt().to_structure().to(str(path / "a.cif"))
    rocksalt(z=(55, 85)).to_structure().to(str(path / "b.cif"))
    (path / "c.cif").write_text("data_x\n_cell_length_a nonsense\n")
    lines = CliRunner().invoke(app, ["known", str(path)]).output.splitlines()
    assert lines[0].endswith("NaCl, Fm-3m (225): known as mp-22862 (by label)")
    assert "new, same prototype as mp-" in lines[1]
    assert lines[2].startswith("c.cif: ")
    assert len(lines) == 3
    missing = CliRunner().invoke(app, ["known", str(tmp_path / "none")])
    assert isinstance(missing.exception, ConfigError)
