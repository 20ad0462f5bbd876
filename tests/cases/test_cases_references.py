"""Cases of entry lists: each value, or one line that names file and entry."""

import gzip
import json
from pathlib import Path
from typing import Any, Self

import pytest

from chggen.campaign.fetching import fetch
from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.errors import ContractError, ReferenceCoverageError
from chggen.reference.reference import (
    KEY_VARIABLE,
    Reference,
    cache_path,
    coverage_problem,
    load_reference,
)

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
    ],
)
def test_fractional_compositions(tmp_path: Path, composition: Any, formula: str) -> None:
    total = sum(composition.values())
    given = entry("it", composition, -4.77 * total, correction=-0.1)
    found = {p.label: p for p in loaded(written(tmp_path, LI, O2, given)).phases}["it"]
    assert found.composition == formula


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "-3.2", True, [1.0]])
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
        refused(config, "line 2")


@pytest.mark.parametrize("run_type", ["SCAN", "R2SCAN", "HF", "something", "PBEsol"])
def test_run_types_of_another_functional(tmp_path: Path, run_type: str) -> None:
    other = LI2O | {"parameters": {"run_type": run_type}}
    refused(written(tmp_path, LI, O2, other), "li2o", run_type)


@pytest.mark.parametrize("parameters", [{"run_type": "GGA+U"}, {"run_type": "PBE"}, {}, None])
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
    assert "carry no correction ('o1' Li2O)" in str(warned.partial)
    assert loaded(written(tmp_path, LI, O2, LI2O)).partial is None
    refused(written(tmp_path, LI, O2, *bare), "compounds of O", "MaterialsProject2020")
    some = loaded(written(tmp_path, LI, O2, *bare, LI2O))
    assert "3 entries" in str(some.partial)


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
