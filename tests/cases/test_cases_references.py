"""Cases of entry lists: each value, or one line that names file and entry."""

import gzip
import json
from pathlib import Path
from typing import Any, Self

import pytest
from botocore.exceptions import BotoCoreError
from typer.testing import CliRunner

from chggen.campaign.fetching import fetch
from chggen.cli import app
from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.errors import ConfigError, ContractError, ReferenceCoverageError
from chggen.reference.reference import (
    KEY_VARIABLE,
    Reference,
    cache_path,
    coverage_problem,
    load_reference,
)
from chggen.reference.structures import given_phases

SYSTEM = {"Li", "O"}


def entry(label: str, composition: Any, energy: Any, **more: Any) -> dict[str, Any]:
    return {
        "@module": "pymatgen.entries.computed_entries",
        "@class": "ComputedEntry",
        "energy": energy,
        "composition": composition,
        "entry_id": label,
        "correction": 0.0,
        "parameters": {"run_type": "GGA"},
        "data": {},
    } | more


LI = entry("li", {"Li": 2.0}, -3.8)
O2 = entry("o", {"O": 2.0}, -9.8)
LI2O = entry("li2o", {"Li": 4.0, "O": 2.0}, -28.62, correction=-1.0)


def written(folder: Path, *entries: Any, name: str = "entries.json") -> ReferenceConfig:
    path = folder / name
    data = json.dumps(list(entries)).encode()
    path.write_bytes(gzip.compress(data) if name.lower().endswith(".gz") else data)
    return ReferenceConfig(source="file", path=path)


def loaded(config: ReferenceConfig) -> Reference:
    assert coverage_problem(config, SYSTEM) is None
    return load_reference(config, SYSTEM)


def energies(reference: Reference) -> dict[str, float]:
    return {p.label: p.formation_energy_per_atom for p in reference.phases}


def refused(config: ReferenceConfig, *words: str) -> None:
    """One line before any job, and the same when it is loaded."""
    problem = coverage_problem(config, SYSTEM)
    assert problem is not None
    assert "\n" not in problem
    for word in (config.path.name if config.path else "", *words):
        assert word in problem
    with pytest.raises((ReferenceCoverageError, ContractError)) as error:
        load_reference(config, SYSTEM)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "composition",
    [
        {"Li+": 4.0, "O2-": 2.0},
        {"Li1+": 4.0, "O2-": 2.0},
        {"Li": 4.0, "O": 2.0, "Na": 0.0},
        {"Li+": 2.0, "Li": 2.0, "O2-,spin=1": 2.0},
        {"Li+1": 4.0, "O-2": 2.0},
        {"Li0+": 4.0, " O ": 2},
        {"@module": "pymatgen.core.composition", "@class": "Composition", "Li": 4, "O": 2},
        "Li4 O2",
        "Li4O2",
    ],
)
def test_oxidation_states_and_amounts_of_zero(tmp_path: Path, composition: Any) -> None:
    plain = energies(loaded(written(tmp_path, LI, O2, LI2O)))
    other = LI2O | {"composition": composition}
    assert energies(loaded(written(tmp_path, LI, O2, other))) == pytest.approx(plain)
    assert plain["li2o"] == pytest.approx((-29.62 + 4 * 1.9 + 2 * 4.9) / 6)


@pytest.mark.parametrize(
    ("composition", "word"),
    [
        ({"Li": 4.0, "Xx": 1.0}, "Xx"),
        ({"Li": -4.0, "O": 2.0}, "negative"),
        ({"Li": "four", "O": 2.0}, "four"),
        ({"Li": True, "O": 2.0}, "true"),
        ({}, "empty"),
        ({"Li2": 2.0, "O": 1.0}, "Li2"),
        ({"X": 1.0, "O": 1.0}, "X"),
        ({"Li": 10**400, "O": 1.0}, "Li"),
        ({"Li": 1e308, "O": 1.0}, "fraction"),
        ({"Li": float("nan"), "O": 1.0}, "NaN"),
        ({"Li": 3.14159, "O": 2.0}, "fraction"),
        ("not a formula", "formula"),
        (None, "null"),
        ({"Li": 0.1234567, "O": 1.0}, "fraction"),
    ],
)
def test_compositions_that_are_none(tmp_path: Path, composition: Any, word: str) -> None:
    refused(written(tmp_path, LI, O2, LI2O | {"composition": composition}), "li2o", word)


@pytest.mark.parametrize(
    ("composition", "formula"),
    [
        ({"Li": 5.5, "O": 4.5}, "Li11O9"),
        ({"Li": 0.5, "O": 0.5}, "LiO"),
        ({"Li": 0.667, "O": 0.333}, "Li2O"),
        ({"Li": 1 / 7, "O": 6 / 7}, "LiO6"),
        ({"Li": 0.246912, "O": 0.123456}, "Li2O"),
        ({"Li": 4.0000000001, "O": 2}, "Li2O"),
        ("Li5.5O4.5", "Li11O9"),
    ],
)
def test_fractional_compositions(tmp_path: Path, composition: Any, formula: str) -> None:
    total = sum(composition.values()) if isinstance(composition, dict) else 10.0
    given = entry("it", composition, -4.77 * total, correction=-0.1 * total)
    found = {p.label: p for p in loaded(written(tmp_path, LI, O2, given)).phases}["it"]
    assert found.composition == formula
    lithium = {"Li11O9": 11 / 20, "LiO": 1 / 2, "Li2O": 2 / 3, "LiO6": 1 / 7}[formula]
    expected = -4.87 + 1.9 * lithium + 4.9 * (1 - lithium)
    assert found.formation_energy_per_atom == pytest.approx(expected, abs=1e-3)


def test_deuterium_is_hydrogen(tmp_path: Path) -> None:
    config = written(tmp_path, LI, entry("d2", {"D": 2}, -6.7), entry("lid", {"Li": 1, "D": 1}, -6))
    phases = load_reference(config, {"Li", "H"}).phases
    assert {p.label: p.composition for p in phases}["lid"] == "LiH"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "-3.2", True, [1.0], 10**400])
@pytest.mark.parametrize("key", ["energy", "correction"])
def test_energies_that_are_no_numbers(tmp_path: Path, key: str, value: Any) -> None:
    config = written(tmp_path, LI, O2, LI2O | {key: value})
    if key == "correction" and value is None:
        assert energies(loaded(config))["li2o"] == pytest.approx((-28.62 + 7.6 + 9.8) / 6)
    else:
        refused(config, "li2o", key)


@pytest.mark.parametrize("value", ["nan", "inf", "text", ""])
@pytest.mark.parametrize("column", ["formation_energy_per_atom", "e_above_hull"])
def test_energies_of_tables(tmp_path: Path, column: str, value: str) -> None:
    row = {"formation_energy_per_atom": "-2.0", "e_above_hull": "0.0"} | {column: value}
    path = tmp_path / "table.csv"
    path.write_text(f"material_id,formula,{','.join(row)}\na,Li2O,{','.join(row.values())}\n")
    config = ReferenceConfig(source="file", path=path)
    if column == "e_above_hull" and not value:
        assert coverage_problem(config, SYSTEM) is None
    else:
        refused(config, "line 2", "(a)", column)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("Li2O,-1,95", "fields"),  # a decimal comma
        ("Li2O", "fields"),
        ("Li,-0.5", "below zero"),
        ("Li2Xx,-1.9", "Xx"),
        (",-1.9", "formula"),
    ],
)
def test_rows_of_tables_that_are_none(tmp_path: Path, lines: str, says: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"formula,formation_energy_per_atom\nLiO,-1.0\n{lines}\n")
    refused(ReferenceConfig(source="file", path=path), "line 3", says)


@pytest.mark.parametrize("name", ["table.csv", "TABLE.CSV.GZ"])
def test_tables_of_other_programs(tmp_path: Path, name: str) -> None:
    """A byte-order mark, a formula with decimals, and a column of long CIFs."""
    path = tmp_path / name
    long = "x" * 200_000
    text = f"\ufeffformula,formation_energy_per_atom,cif\nLi5.5O4.5,-1.5,{long}\nLi2 O,-2,y\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith("GZ") else data)
    phases = loaded(ReferenceConfig(source="file", path=path)).phases
    assert {p.composition for p in phases} == {"Li11O9", "Li2O"}
    if name.endswith("GZ"):
        path.write_bytes(path.read_bytes()[:-12])
        refused(ReferenceConfig(source="file", path=path), "cannot be read")


@pytest.mark.parametrize("run_type", ["SCAN", "R2SCAN", "HF", "something", "PBEsol", 3, ["GGA"]])
def test_run_types_of_another_functional(tmp_path: Path, run_type: Any) -> None:
    other = LI2O | {"parameters": {"run_type": run_type}}
    refused(written(tmp_path, LI, O2, other), "li2o", json.dumps(run_type))


@pytest.mark.parametrize(
    "parameters", [{"run_type": "GGA+U"}, {"run_type": "GGA_U"}, {"run_type": "PBE"}, {}, None]
)
def test_run_types_that_fit(tmp_path: Path, parameters: Any) -> None:
    assert "li2o" in energies(loaded(written(tmp_path, LI, O2, LI2O | {"parameters": parameters})))


@pytest.mark.parametrize(
    "name",
    ["MP GGA(+U)/r2SCAN mixing adjustment", "MP Anion Correction", "MP Aqueous hydrate"],
)
def test_adjustments_of_another_scheme(tmp_path: Path, name: str) -> None:
    adjustment = {
        "@module": "pymatgen.entries.computed_entries",
        "@class": "ConstantEnergyAdjustment",
        "value": -60.0,
        "name": name,
    }
    other = LI2O | {"energy_adjustments": [adjustment]}
    refused(written(tmp_path, LI, O2, other), "li2o", name)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "MP2020 oxide", "cls": {"@class": "MaterialsProjectDFTMixingScheme"}},
        {"name": "mine", "description": "Place GGA(+U) energy onto the r2SCAN hull"},
        {"@class": "ManualEnergyAdjustment", "name": "Manual energy adjustment", "value": -60.0},
        {},
    ],
)
def test_adjustments_that_hide_their_scheme(tmp_path: Path, change: Any) -> None:
    adjustment = {"@class": "ConstantEnergyAdjustment", "value": -1.0} | change
    refused(written(tmp_path, LI, O2, LI2O | {"energy_adjustments": [adjustment]}), "li2o")


def test_a_correction_beyond_the_scheme(tmp_path: Path) -> None:
    refused(written(tmp_path, LI, O2, LI2O | {"correction": -60.0}), "li2o", "-10 eV/atom")


def test_adjustments_of_mp2020_count(tmp_path: Path) -> None:
    adjustment = {
        "@module": "pymatgen.entries.computed_entries",
        "@class": "CompositionEnergyAdjustment",
        "adj_per_atom": -0.687,
        "n_atoms": 2,
        "name": "MP2020 anion correction (oxide)",
    }
    other = LI2O | {"energy_adjustments": [adjustment]}
    found = energies(loaded(written(tmp_path, LI, O2, other)))["li2o"]
    assert found == pytest.approx((-28.62 - 2 * 0.687 + 7.6 + 9.8) / 6)


def test_uncorrected_entries(tmp_path: Path) -> None:
    bare = [
        entry(f"o{n}", {"Li": 2.0, "O": float(n)}, -14.0 - 5 * n, correction=0.0) for n in (1, 2, 3)
    ]
    warned = loaded(written(tmp_path, LI, O2, bare[0]))
    assert "1 of 3 entries without a correction" in str(warned.partial)
    assert "'o1' Li2O: -0.229 eV/atom" in str(warned.partial)  # a third of -0.687
    right = LI2O | {"correction": 2 * -0.687}
    assert loaded(written(tmp_path, LI, O2, right)).partial is None
    other = str(loaded(written(tmp_path, LI, O2, LI2O)).partial)
    assert "'li2o' Li2O: -0.167, not -0.229 eV/atom" in other
    refused(written(tmp_path, LI, O2, *bare), "compounds of O", "MaterialsProject2020")
    some = loaded(written(tmp_path, LI, O2, *bare, LI2O))
    assert "3 of 6 entries without" in str(some.partial)


def test_uncorrected_nitrides_are_found_by_pymatgen(tmp_path: Path) -> None:
    """Nothing but their oxidation states tells which of the less common anions are corrected."""
    elements = [LI, entry("n", {"N": 2}, -16.0)]
    bare = [entry(f"n{n}", {"Li": 3, "N": 1}, -15.0 - n / 10) for n in range(3)]
    config = written(tmp_path, *elements, *bare)
    with pytest.raises(ContractError, match=r"none of the 3 entries with MP2020 anion .*\(N\)"):
        load_reference(config, {"Li", "N"})
    azides = [entry(f"n{n}", {"Li": 1, "N": 3}, -27.0 - n / 10) for n in range(3)]  # N of -1/3
    assert load_reference(written(tmp_path, *elements, *azides), {"Li", "N"}).partial is None


def test_entries_that_the_scheme_does_not_take_are_counted(tmp_path: Path) -> None:
    iron = entry("fe", {"Fe": 1}, -8.5)
    oxide = entry("hematite", {"Fe": 2, "O": 3}, -33.0, correction=-3.0)
    found = load_reference(written(tmp_path, iron, O2, oxide), {"Fe", "O"})
    assert "1 of 3 entries with U values" in str(found.partial)
    plus_u = oxide | {"parameters": {"run_type": "GGA+U", "hubbards": {"Fe": 5.3}}}
    plus_u["correction"] = 3 * -0.687 + 2 * -2.256
    assert load_reference(written(tmp_path, iron, O2, plus_u), {"Fe", "O"}).partial is None


ANTIFLUORITE = {
    "lattice": {"matrix": [[0.0, 2.3, 2.3], [2.3, 0.0, 2.3], [2.3, 2.3, 0.0]]},
    "sites": [
        {"species": [{"element": symbol, "occu": 1}], "abc": [x, x, x]}
        for symbol, x in (("O", 0.0), ("Li", 0.25), ("Li", 0.75))
    ],
}


def with_structure(**change: Any) -> dict[str, Any]:
    structure = {"@module": "pymatgen.core.structure", "@class": "Structure", **ANTIFLUORITE}
    return LI2O | {"@class": "ComputedStructureEntry", "structure": structure | change}


def test_structures_of_entries(tmp_path: Path) -> None:
    found = loaded(written(tmp_path, LI, O2, with_structure()))
    assert set(found.structures) == {"li2o"}
    bare = with_structure() | {"composition": None, "energy": -14.31, "correction": -0.687}
    assert {p.label: p.composition for p in loaded(written(tmp_path, LI, O2, bare)).phases}[
        "li2o"
    ] == "Li2O"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sites": ANTIFLUORITE["sites"][:2]}, "its structure is O1 Li1, its composition Li4 O2"),
        ({"sites": []}, "sites"),
        ({"sites": [{"species": 3, "abc": [0, 0, 0]}]}, "species"),
        ({"sites": [{"species": [{"element": "Xx", "occu": 1}], "abc": [0, 0, 0]}]}, "Xx"),
        ({"sites": [{"species": [{"element": "Li", "occu": 1}], "abc": [0, None, 0]}]}, "null"),
        ({"lattice": {"matrix": [[0, 0, 0]] * 3}}, "volume"),
        ({"lattice": {"matrix": [[1.0, 0, 0]] * 2}}, "volume"),
        ({"lattice": {"matrix": [[float("nan"), 0, 0]] * 3}}, "NaN"),
        ({"lattice": 3}, "lattice"),
    ],
)
def test_damaged_structures_are_said_before_any_job(tmp_path: Path, change: Any, says: str) -> None:
    refused(written(tmp_path, LI, O2, with_structure(**change)), "entry 2 (li2o)", says)


def checked(folder: Path, path: Path) -> Any:
    config = folder / "campaign.yaml"
    reference = {"source": "file", "path": str(path)}
    system = {"compositions": ["Li2O"], "guests": ["Li"], "reference": reference}
    config.write_text(json.dumps({"systems": {"Li-O": system}}))
    return CliRunner().invoke(app, ["check", str(config)])


def test_check_says_what_is_doubtful(tmp_path: Path) -> None:
    given = written(tmp_path, LI, O2, entry("li2o", {"Li+": 4, "O2-": 2}, -28.62)).path
    assert given is not None
    result = checked(tmp_path, given)
    assert result.exit_code == 0
    assert "chggen: systems.Li-O.reference: 1 of 3 entries without a correction" in result.stderr
    written(tmp_path, LI, O2, LI2O | {"energy": None})
    result = checked(tmp_path, given)
    assert isinstance(result.exception, ConfigError)
    assert "entry 2 (li2o): energy is null" in str(result.exception)


def test_labels_are_one_line(tmp_path: Path) -> None:
    refused(written(tmp_path, LI, O2, LI2O | {"entry_id": "a\nb", "energy": None}), "(a b)")
    assert "0" in energies(loaded(written(tmp_path, LI, O2, LI2O | {"entry_id": 0})))


@pytest.mark.parametrize("name", ["entries.json.gz", "ENTRIES.JSON.GZ"])
def test_compressed_lists(tmp_path: Path, name: str) -> None:
    plain = energies(loaded(written(tmp_path, LI, O2, LI2O)))
    assert energies(loaded(written(tmp_path, LI, O2, LI2O, name=name))) == plain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"3",
        b'{"entries": {}}',
        b"[null]",
        b"[[]]",
        b"[",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        gzip.compress(b"[]"),
    ],
)
@pytest.mark.parametrize("name", ["entries.json", "entries.json.gz"])
def test_files_that_are_no_lists(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    refused(ReferenceConfig(source="file", path=path))


def test_copies_of_an_id_are_phases_each(tmp_path: Path) -> None:
    higher = LI2O | {"energy": -27.0}
    assert {"li2o", "li2o (2)"} <= set(energies(loaded(written(tmp_path, LI, O2, LI2O, higher))))


class Rester:
    """Stands in for MPRester; counts what it is asked."""

    asked = 0

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_entries_in_chemsys(self, elements: Any, additional_criteria: Any) -> Any:
        Rester.asked += 1
        return self.answer(elements, additional_criteria)


def raising(error: Exception) -> Any:
    def answer(*_: Any) -> Any:
        raise error

    return answer


def campaign(cache: Path) -> Config:
    reference = {"source": "materials-project", "cache": str(cache)}
    system = {"compositions": ["Li2O"], "guests": ["Li"], "reference": reference}
    return Config.model_validate({"systems": {"Li-O": system}})


def test_the_materials_project_is_asked_before_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a" * 32)
    config, Rester.asked = campaign(tmp_path), 0
    for _ in range(2):
        fetch(config, lambda _key: Rester(lambda *_: [LI, O2, LI2O]))
    assert Rester.asked == 1
    monkeypatch.delenv(KEY_VARIABLE)  # as on a node without network
    assert coverage_problem(config.systems["Li-O"].reference, SYSTEM) is None


@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: [LI, LI2O],  # no entry of oxygen
        lambda *_: [LI, O2, LI2O | {"energy": None}],
        lambda *_: None,
        raising(TypeError("unexpected keyword 'thermo_types'")),
        raising(AttributeError("no attribute")),
        raising(KeyError("data")),
        raising(AssertionError()),
        raising(BotoCoreError()),
        raising(OSError(f"https://x?key={'a' * 32}")),
    ],
)
def test_an_answer_that_cannot_be_used_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "a" * 32)
    with pytest.raises(ReferenceCoverageError, match="Materials Project") as error:
        fetch(campaign(tmp_path), lambda _key: Rester(answer))
    assert "\n" not in str(error.value)
    assert "a" * 32 not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_incomplete_is_named(tmp_path: Path) -> None:
    reference = campaign(tmp_path).systems["Li-O"].reference
    cache_path(reference, SYSTEM).write_text(json.dumps([LI, LI2O]))
    problem = coverage_problem(reference, SYSTEM)
    assert problem is not None
    assert "elemental O" in problem
    assert "delete the file" in problem


def test_without_key_and_cache_it_is_one_line(tmp_path: Path) -> None:
    config = ReferenceConfig(source="potential", cache=tmp_path)
    with pytest.raises(ReferenceCoverageError, match=KEY_VARIABLE) as error:
        given_phases(config, SYSTEM, None)
    assert "\n" not in str(error.value)
    assert fetch(campaign(tmp_path), client=None) == []  # check: nothing is asked for


@pytest.mark.parametrize("energy", [1e308, -1e300, 1e15])
def test_energies_beyond_any_atom(tmp_path: Path, energy: float) -> None:
    refused(written(tmp_path, LI, O2, LI2O | {"energy": energy}), "li2o", "eV/atom")


@pytest.mark.parametrize("amount", [1e-12, -1e-12])
def test_amounts_that_are_rounding_of_zero(tmp_path: Path, amount: float) -> None:
    other = LI2O | {"composition": {"Li": 4.0, "O": 2.0, "Na": amount}}
    assert "li2o" in energies(loaded(written(tmp_path, LI, O2, other)))


def test_a_run_type_among_the_data(tmp_path: Path) -> None:
    other = LI2O | {"parameters": {}, "data": {"run_type": "SCAN"}}
    refused(written(tmp_path, LI, O2, other), "li2o", "SCAN")


@pytest.mark.parametrize("identity", ["a\nb", "\n", "\ud800", 0])
def test_ids_are_one_line_of_text(tmp_path: Path, identity: Any) -> None:
    labels = energies(loaded(written(tmp_path, LI, O2, LI2O | {"entry_id": identity})))
    assert all(label and label.isprintable() and label.encode() for label in labels)


@pytest.mark.parametrize("value", ["-1_5", "-1e300", "-١"])
def test_numbers_of_tables_that_python_would_take(tmp_path: Path, value: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"formula,formation_energy_per_atom\nLi2O,-2.0\nLi2O2,{value}\n", "utf-8")
    refused(ReferenceConfig(source="file", path=path), "line 3")


def test_a_column_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    column = "formation_energy_per_atom"
    path.write_text(f"formula,{column},{column}\nLi2O,-2.0,-3.0\n")
    refused(ReferenceConfig(source="file", path=path), column, "twice")
