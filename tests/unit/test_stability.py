"""References: builtin tables, files, the Materials Project (a stand-in), coverage."""

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry

from chggen.config.contracts import GGA, NONE, R2SCAN, Contract
from chggen.config.energies import ReferenceConfig
from chggen.errors import ContractError, ReferenceCoverageError
from chggen.reference.files import hull_energy
from chggen.reference.hull import decomposition
from chggen.reference.reference import (
    KEY_VARIABLE,
    Reference,
    cache_path,
    contract_of,
    coverage_problem,
    element_energies,
    load_reference,
)

SYSTEM = {"Zn", "S"}
KEY = "not-a-real-key-0123456789abcdef"


def zinc_sulphide(energy: float = -7.5, **kwargs: Any) -> ComputedStructureEntry:
    structure = Structure.from_spacegroup(
        216, Lattice.cubic(5.41), ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    ).get_primitive_structure()
    return ComputedStructureEntry(structure, energy, entry_id="mp-10695", **kwargs)


def entries(**kwargs: Any) -> list[ComputedEntry]:
    """Elements at -1 and -4 eV/atom, ZnS at -1.25 eV/atom of formation."""
    return [
        ComputedEntry("Zn2", -2.0, entry_id="zn", **kwargs),
        ComputedEntry("S8", -32.0, entry_id="s", **kwargs),
        ComputedEntry("S8", -31.0, entry_id="s-high", **kwargs),
        zinc_sulphide(**kwargs),
        ComputedEntry("ZnO", -9.0, entry_id="elsewhere", **kwargs),
    ]


def write_json(path: Path, found: list[ComputedEntry]) -> ReferenceConfig:
    path.write_text(json.dumps([e.as_dict() for e in found]))
    return ReferenceConfig(source="file", path=path)


# --- builtin (more in test_builtin_reference) -------------------------------------------


def test_builtin_is_not_r2scan() -> None:
    problem = coverage_problem(ReferenceConfig(functional="r2SCAN"), SYSTEM)
    assert problem is not None
    assert "builtin" in problem


def test_elements_of_the_materials_project() -> None:
    energies = element_energies()
    assert len(energies) == 89
    # totals of PBE with the Materials Project's pseudopotentials
    assert energies["Li"] == pytest.approx(-1.909, abs=2e-3)
    assert energies["Si"] == pytest.approx(-5.425, abs=2e-3)


def test_hash_is_of_the_energies() -> None:
    first = load_reference(ReferenceConfig(), {"Zn", "P", "S"})
    assert first.hash == load_reference(ReferenceConfig(), {"S", "P", "Zn"}).hash
    assert first.hash != load_reference(ReferenceConfig(), {"P", "S"}).hash
    assert len(first.hash) == 16
    other = Reference("", "", Contract(GGA, NONE), first.elements, first.phases)
    assert other.hash != first.hash


# --- tables of the user's --------------------------------------------------------------

TABLE = """material_id,pretty_formula,formation_energy_per_atom,e_above_hull,cif
mp-1,ZnS,-0.9,0.1,"x
y"
mp-2,Zn,0.0,0.0,
mp-3,S8,0.02,0.02,
mp-4,ZnO,-1.8,0.0,
"""


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_table_of_a_public_benchmark(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(TABLE.encode()) if name.endswith("gz") else TABLE.encode())
    config = ReferenceConfig(source="file", path=path)
    assert coverage_problem(config, SYSTEM) is None
    reference = load_reference(config, SYSTEM)
    assert {p.composition for p in reference.phases} == {"ZnS", "S"}
    # the stable phase is not in the table, its energy is: -0.9 - 0.1
    assert hull_energy("ZnS", reference.phases) == pytest.approx(-1.0)
    mean = (reference.elements["Zn"] + reference.elements["S"]) / 2
    found = decomposition(reference, "ZnS", mean - 0.95, contract_of(config))
    assert found.decomposition_energy == pytest.approx(0.05)


def test_table_without_hull_distances(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("formula,formation_energy_per_atom\nZnS,-0.9\nZnS,-0.8\n")
    reference = load_reference(ReferenceConfig(source="file", path=path), SYSTEM)
    assert sorted(p.formation_energy_per_atom for p in reference.phases) == [-0.9, -0.8]
    assert len({p.label for p in reference.phases}) == 2


@pytest.mark.parametrize(
    ("text", "system", "word"),
    [
        ("formula,energy\nZnS,-1\n", "Zn S", "no column"),
        ("formula,formation_energy_per_atom\nZnS,low\n", "Zn S", "line 2"),
        ("formula,formation_energy_per_atom\nZnQ,-1\n", "Zn S", "line 2"),
        ("formula,formation_energy_per_atom\nZnS,-1\nZnO,-2\n", "Zn S Cd", "Cd"),
        ("formula,formation_energy_per_atom\nZnS,-1\n", "Zn S Rn", "Rn"),
        ("", "Zn S", "no column"),
    ],
)
def test_table_that_does_not_do(tmp_path: Path, text: str, system: str, word: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    problem = coverage_problem(ReferenceConfig(source="file", path=path), system.split())
    assert problem is not None
    assert word in problem
    assert "\n" not in problem


def test_unreadable_files_are_one_line(tmp_path: Path) -> None:
    for name, content in {
        "a.csv": b"\xff\xfe\x00", "b.csv.gz": b"not gzip", "c.json": b"{", "d.json": b"[1]",
        "e.json": b'{"entries": 3}',
    }.items():  # fmt: skip
        path = tmp_path / name
        path.write_bytes(content)
        problem = coverage_problem(ReferenceConfig(source="file", path=path), SYSTEM)
        assert problem is not None
        assert name in problem
    missing = coverage_problem(ReferenceConfig(source="file", path=tmp_path / "no.csv"), SYSTEM)
    assert missing is not None
    assert "no such" in missing


def test_table_gives_no_r2scan_elements(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("formula,formation_energy_per_atom\nZnS,-1\n")
    config = ReferenceConfig(source="file", path=path, functional="r2SCAN")
    problem = coverage_problem(config, SYSTEM)
    assert problem is not None
    assert "r2SCAN" in problem


# --- computed entries ------------------------------------------------------------------


def test_computed_entries(tmp_path: Path) -> None:
    config = write_json(tmp_path / "entries.json", entries())
    assert coverage_problem(config, SYSTEM) is None
    reference = load_reference(config, SYSTEM)
    assert reference.elements == {"Zn": -1.0, "S": -4.0}
    assert list(reference.structures) == ["mp-10695"]
    assert "elsewhere" not in {p.label for p in reference.phases}
    found = decomposition(reference, "ZnS", -3.5, contract_of(config))
    assert found.formation_energy_per_atom == pytest.approx(-1.0)
    assert found.decomposition_energy == pytest.approx(0.25)


def test_corrections_in_the_entries_count(tmp_path: Path) -> None:
    corrected = [*entries()[:3], zinc_sulphide(correction=-0.4)]
    config = write_json(tmp_path / "entries.json", corrected)
    found = decomposition(load_reference(config, SYSTEM), "ZnS", -3.5, contract_of(config))
    assert found.decomposition_energy == pytest.approx(0.45)


def test_entries_that_are_not_what_the_config_says(tmp_path: Path) -> None:
    path = tmp_path / "entries.json"
    config = write_json(path, entries(parameters={"run_type": "R2SCAN"}))
    with pytest.raises(ContractError, match="R2SCAN"):
        load_reference(config, SYSTEM)
    write_json(path, entries(parameters={"run_type": "GGA"}, correction=-0.2))
    load_reference(config, SYSTEM)
    path.write_text(json.dumps({"functional": R2SCAN, "entries": json.loads(path.read_text())}))
    with pytest.raises(ContractError, match="r2SCAN"):
        load_reference(config, SYSTEM)
    write_json(path, entries(correction=-0.2))
    with pytest.raises(ContractError, match="includes a correction"):
        load_reference(config.model_copy(update={"corrections": NONE}), SYSTEM)


def test_entries_without_an_element(tmp_path: Path) -> None:
    config = write_json(tmp_path / "entries.json", entries()[1:])
    problem = coverage_problem(config, SYSTEM)
    assert problem is not None
    assert "elemental Zn" in problem


# --- Materials Project -----------------------------------------------------------------


class StandIn:
    """An MPRester that never leaves the house."""

    db_version = "2026.10.01"

    def __init__(self, key: str, calls: list[Any], error: Exception | None = None) -> None:
        assert key == KEY
        self.calls, self.error = calls, error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def get_entries_in_chemsys(
        self, elements: list[str], additional_criteria: dict[str, list[str]]
    ) -> list[ComputedEntry]:
        if self.error:
            raise self.error
        self.calls.append((elements, additional_criteria))
        run_type = {"GGA_GGA+U": "GGA", "R2SCAN": "r2SCAN"}[additional_criteria["thermo_types"][0]]
        # what the service's entries carry does not all fit into plain JSON
        data = {"last_updated": datetime(2026, 1, 2, tzinfo=UTC), "number": np.float64(1.5)}
        return entries(parameters={"run_type": run_type}, data=data)


@pytest.mark.parametrize(
    ("functional", "thermo_type"), [("GGA/GGA+U", "GGA_GGA+U"), ("r2SCAN", "R2SCAN")]
)
def test_materials_project_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, functional: str, thermo_type: str
) -> None:
    config = ReferenceConfig(
        source="materials-project", functional=functional, cache=tmp_path / "cache"
    )
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    problem = coverage_problem(config, SYSTEM)
    assert problem is not None
    assert KEY_VARIABLE in problem

    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert coverage_problem(config, SYSTEM) is None
    calls: list[Any] = []
    first = load_reference(config, SYSTEM, lambda key: StandIn(key, calls))
    assert calls == [(["S", "Zn"], {"thermo_types": [thermo_type]})]
    assert first.contract == contract_of(config)
    assert thermo_type in first.name
    assert StandIn.db_version in first.name

    # from now on the cache answers, without a key
    monkeypatch.delenv(KEY_VARIABLE)
    assert coverage_problem(config, SYSTEM) is None
    second = load_reference(config, SYSTEM)
    assert second.hash == first.hash
    assert second.date == first.date
    assert len(calls) == 1
    files = list((tmp_path / "cache").iterdir())
    assert files == [cache_path(config, SYSTEM)]
    assert KEY not in files[0].read_text()
    assert not files[0].stat().st_mode & 0o022


def test_materials_project_failure_leaves_nothing_and_tells_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    config = ReferenceConfig(source="materials-project", cache=tmp_path)
    error = ConnectionError(f"401 for key {KEY}\nmore")
    with pytest.raises(ReferenceCoverageError, match="401") as caught:
        load_reference(config, SYSTEM, lambda key: StandIn(key, [], error))
    assert KEY not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_coverage_needs_neither_pymatgen_nor_torch(tmp_path: Path) -> None:
    config = write_json(tmp_path / "entries.json", entries())
    code = (
        "import sys\n"
        "from chggen.config.energies import ReferenceConfig\n"
        "from chggen.reference.reference import coverage_problem\n"
        f"config = ReferenceConfig(source='file', path={str(config.path)!r})\n"
        "assert coverage_problem(config, {'Zn', 'S'}) is None\n"
        "assert coverage_problem(ReferenceConfig(), {'Zn', 'S'}) is None\n"
        "assert not {'torch', 'pymatgen', 'scipy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
