"""The built-in reference: every chemical system, offline, with uncertainties."""

import importlib.resources
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from chggen.cli import app
from chggen.config.contracts import GGA, MP2020, Contract
from chggen.config.energies import ReferenceConfig
from chggen.config.load import parse
from chggen.errors import ReferenceCoverageError
from chggen.reference.builtin import SOURCES, TABLE, builtin_table, read_builtin
from chggen.reference.files import Phase
from chggen.reference.hull import decomposition, hull_formation_energy
from chggen.reference.reference import (
    Reference,
    coverage_problem,
    element_energies,
    load_reference,
    uncertain_phases,
)
from chggen.report.text import plus_minus
from chggen.structure import composition as comp

CONTRACT = Contract(GGA, MP2020)
SCRIPT = Path(__file__).parents[2] / "docs" / "fit_reference.py"


def content() -> bytes:
    return (importlib.resources.files("chggen") / "data" / TABLE).read_bytes()


def builtin(formula: str) -> Reference:
    return load_reference(ReferenceConfig(), set(comp.parse_formula(formula)))


def total(reference: Reference, formula: str, formation: float) -> float:
    counts = comp.parse_formula(formula)
    mean = sum(n * reference.elements[s] for s, n in counts.items()) / sum(counts.values())
    return mean + formation


# --- exact rows ------------------------------------------------------------------------


#: Records of the Materials Project: formation energy and energy above hull, eV/atom.
RECORDS = {
    "NaCl": ("mp-22862", -2.109608383275862, 0.0),
    "Fe2O3": ("mp-19770", -1.707096457, 0.0),
    "Al2O3": ("mp-1143", -3.426551008000001, 0.0),
    "SiO2": ("mp-546794", -3.2671791933333334, 0.0),
    "LiFePO4": ("mp-18951", -2.4643294238095237, 0.015878559285713578),
    "CaTiO3": ("mp-556003", -3.5450150456666663, 0.0110721115000007),
    "MgO": ("mp-549706", -2.9792640699999993, 0.07410254250000037),
    "NaClO3": ("mp-23330", -1.082864028810345, 0.0348465397500001),
    "ZnS": ("mp-556395", -1.0622759084375, 0.0008555059821429),
}


@pytest.mark.parametrize(("formula", "record"), RECORDS.items())
def test_a_record_has_the_energy_above_hull_that_it_is_published_with(
    formula: str, record: tuple[str, float, float]
) -> None:
    label, formation, above = record
    reference = builtin(formula)
    (phase,) = (p for p in reference.phases if p.label == label)
    assert phase.formation_energy_per_atom == pytest.approx(formation, abs=1e-6)
    assert (phase.uncertainty, phase.source) == (0.0, "record")
    found = decomposition(reference, formula, total(reference, formula, formation), CONTRACT)
    assert found.decomposition_energy == pytest.approx(above, abs=2e-5)


def test_hulls_of_many_records_are_rebuilt() -> None:
    """Where a converted phase would break an exact hull it was raised to it."""
    rows = builtin_table().rows
    points = rows.filter(pc.equal(rows["source"], SOURCES.index("hull")))
    picked = np.random.default_rng(0).choice(points.num_rows, 60, replace=False)
    for row in points.take(picked).to_pylist():
        energy = hull_formation_energy(builtin(row["formula"]), row["formula"])
        assert energy == pytest.approx(row["formation_energy_per_atom"], abs=2e-5), row["formula"]


# --- coverage --------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["Na Cl O", "Li Fe P O", "Zn P S", "Eu", "Mg Si", "K Mg H"])
def test_every_system_is_covered(system: str) -> None:
    elements = set(system.split())
    assert coverage_problem(ReferenceConfig(), elements) is None
    reference = load_reference(ReferenceConfig(), elements)
    assert set(reference.elements) == elements
    assert reference.contract == CONTRACT
    assert all(elements.issuperset(comp.parse_formula(p.composition)) for p in reference.phases)
    stated = [p.uncertainty for p in reference.phases]
    assert all(u is not None and 0 <= u < 1 for u in stated)


def test_elements_with_the_letters_of_another_are_kept_apart() -> None:
    formulas = {p.composition for p in load_reference(ReferenceConfig(), {"C", "O", "S"}).phases}
    assert "CO2" in formulas
    assert not any(symbol in f for f in formulas for symbol in ("Co", "Os", "Sc", "Cs"))


def test_every_element_of_the_table_has_an_energy() -> None:
    symbols = set()
    for formula in builtin_table().rows["formula"].to_pylist():
        symbols |= set(comp.parse_formula(formula))
    assert symbols <= set(element_energies())


def test_an_element_that_no_table_has_is_one_line_before_any_job() -> None:
    problem = coverage_problem(ReferenceConfig(), {"Po", "O"})
    assert problem is not None
    assert "no builtin table has Po" in problem
    assert "\n" not in problem
    with pytest.raises(ReferenceCoverageError, match="Po"):
        load_reference(ReferenceConfig(), {"Po", "O"})


def test_no_key_of_the_config_is_needed() -> None:
    system = {"compositions": ["NaClO3"], "guests": ["Na"]}
    found = parse({"systems": {"Na-Cl-O": system}}).systems["Na-Cl-O"].reference
    assert found.source == "builtin"


# --- a table that is damaged -----------------------------------------------------------


def rewritten(tmp_path: Path, change) -> bytes:
    table = builtin_table().rows
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), tmp_path / "x")
    return (tmp_path / "x").read_bytes()


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    good = content()
    read_builtin(lambda: good)
    energy = "formation_energy_per_atom"
    place = builtin_table().rows.column_names.index(energy)
    values = builtin_table().rows[energy].to_numpy().copy()
    values[5] = math.nan
    cases = {
        good[: len(good) // 2]: "cannot be read",
        b"": "cannot be read",
        rewritten(tmp_path, lambda t: t.slice(0, 1000)): "has 1000 rows, not the",
        rewritten(tmp_path, lambda t: t.drop_columns([energy])): f"no column {energy}",
        rewritten(tmp_path, lambda t: t.set_column(place, energy, pa.array(values))): energy,
    }
    for damaged, says in cases.items():
        with pytest.raises(ReferenceCoverageError, match=says) as error:
            read_builtin(lambda damaged=damaged: damaged)
        assert "\n" not in str(error.value)
        assert TABLE in str(error.value)


def test_a_damaged_table_stops_a_campaign_before_any_job(monkeypatch: pytest.MonkeyPatch) -> None:
    says = "the builtin table 'x' cannot be read: gone"

    def damaged():
        raise ReferenceCoverageError(says)

    monkeypatch.setattr("chggen.reference.reference.builtin_table", damaged)
    assert coverage_problem(ReferenceConfig(), {"Na", "Cl"}) == says


# --- uncertainties ---------------------------------------------------------------------


def made(phases: dict[str, tuple[float, float | None]]) -> Reference:
    found = tuple(Phase("x", f, e, u) for f, (e, u) in phases.items())
    return Reference("made up", "", CONTRACT, {"Zn": -1.0, "S": -4.0, "P": -5.0}, found)


def uncertainty(reference: Reference, formula: str) -> float | None:
    return decomposition(reference, formula, total(reference, formula, 0.0), CONTRACT).uncertainty


def test_uncertainty_is_that_of_the_phases_it_decomposes_into() -> None:
    reference = made({"ZnS": (-1.0, 0.03), "P2S3": (-0.5, 0.05), "ZnP2": (-0.1, 9.0)})
    assert uncertainty(reference, "ZnS") == pytest.approx(0.03)
    # Zn2P2S5 is four atoms of ZnS and five of P2S3
    expected = math.hypot(4 / 9 * 0.03, 5 / 9 * 0.05)
    assert uncertainty(reference, "Zn2P2S5") == pytest.approx(expected)
    assert uncertainty(reference, "ZnS2") == pytest.approx(2 / 3 * 0.03)  # sulphur is exact
    assert uncertainty(reference, "S") == 0.0


def test_the_lowest_phase_of_a_composition_counts() -> None:
    found = (Phase("high", "ZnS", -0.9, 0.5), Phase("low", "ZnS", -1.0, 0.01))
    reference = Reference("", "", CONTRACT, {"Zn": -1.0, "S": -4.0}, found)
    assert uncertainty(reference, "ZnS") == pytest.approx(0.01)


def test_no_uncertainty_where_the_source_states_none() -> None:
    assert uncertainty(made({"ZnS": (-1.0, None)}), "ZnS") is None
    assert uncertainty(made({"ZnS": (-1.0, None)}), "S") is None
    assert uncertainty(made({"ZnS": (-1.0, 0.01), "P2S3": (-1, None)}), "Zn2P2S5") is None


def test_the_warning_comes_from_uncertainties_on_the_hull() -> None:
    reference = made({"ZnS": (-1.0, 0.2), "ZnS2": (-0.1, 0.9), "P2S3": (-0.5, 0.001)})
    said = str(uncertain_phases(reference))
    assert "1 of 5 phases on the hull" in said
    assert "ZnS ±0.200" in said
    assert "ZnS2" not in said  # not on the hull
    assert uncertain_phases(made({"ZnS": (-1.0, 0.001)})) is None
    assert uncertain_phases(made({"ZnS": (-1.0, None)})) is None


def test_beside_an_energy() -> None:
    assert plus_minus(0.0123) == " ± 12"
    assert plus_minus(0.0) == plus_minus(None) == plus_minus(math.nan) == ""


def test_shipped_uncertainties_are_calibrated() -> None:
    """Errors of energies that were converted without their own exact value."""
    rows = builtin_table().rows.to_pandas()
    both = rows[rows["converted_energy"].notna() & (rows["source"] == 0)]
    lowest = both.drop_duplicates("formula")  # rows of a formula rise in energy
    error = (lowest["converted_energy"] - lowest["formation_energy_per_atom"]).abs()
    ratio = error / lowest["converted_uncertainty"]
    assert len(ratio) > 15000
    assert 0.63 < (ratio <= 1).mean() < 0.75
    assert (ratio <= 3).mean() > 0.88
    # and they tell the good from the bad
    unsure = lowest["converted_uncertainty"] > 0.03
    assert error[unsure].median() > 5 * error[~unsure].median()


# --- on the command line ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "facts"),
    [
        (
            "Na-Cl-O",
            ("NaCl mp-22862 -2.1096", "0.0000 yes record", "Cl2O -0.1764 0.0000 yes hull point"),
        ),
        (
            "Li-Fe-P-O",
            ("Fe2O3 mp-19770 -1.7071", "LiFePO4 mp-18951 -2.4643 0.0159 record", "(--above)"),
        ),
    ],
)
def test_show(system: str, facts: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["reference", "show", "--system", system])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    for fact in (*facts, "±", "GGA/GGA+U with MP2020"):
        assert fact in words, fact


# --- the script that makes the table ---------------------------------------------------


def crystal(formula: str, elements: tuple[str, str]) -> dict[str, object]:
    salt = Structure.from_spacegroup(
        225, Lattice.cubic(5.0), list(elements), [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    return {
        "formula": formula, "cell": salt.lattice.matrix.ravel(), "e_above_hull": 0.0,
        "atomic_numbers": salt.atomic_numbers, "frac_coords": salt.frac_coords.ravel(),
    }  # fmt: skip


METALS = (
    *("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Mn", "Fe", "Co", "Ni", "Zn", "Cd"),
    *("Al", "Ga", "In", "Sc", "Y", "La", "Ti", "Zr", "Hf", "V", "Cr"),
)
#: Corrections for U (eV per atom of metal) in both schemes.
WITH_U = {
    "Mn": (-1.68085, -1.668), "Fe": (-2.733, -2.256), "Co": (-1.874, -1.638),
    "Ni": (-2.164, -2.541), "V": (-1.682, -1.7), "Cr": (-2.013, -1.999),
}  # fmt: skip
EXACT = ["material_id", "pretty_formula", "formation_energy_per_atom", "e_above_hull"]
OLD = ["formula", "formation_energy_matbench", "formation_energy_legacy"]


def test_the_script_is_deterministic_and_converts(tmp_path: Path) -> None:
    """Chlorides and oxides whose earlier energies differ by the corrections and a constant."""
    random = np.random.default_rng(1)
    exact, old, crystals = [], [], []
    for number, metal in enumerate(METALS):
        energy = float(random.uniform(-2, -1))
        u = WITH_U.get(metal, (0, 0))
        for anion, before, after in (("O", -0.70229 + u[0], -0.687 + u[1]), ("Cl", 0.591, 0.0)):
            formula = metal + anion
            crystals.append(crystal(formula, (metal, anion)))
            old.append((formula, energy + before / 2, ""))
            shift = -0.614 / 2 if anion == "Cl" else 0.0
            if metal != "Fe":
                hull = energy + (after + (0.591 if anion == "Cl" else 0.0)) / 2 + shift
                exact.append((f"mp-{2 * number + (anion == 'O')}", formula, hull, 0.0))
    tables = (("train.csv.gz", exact, EXACT), ("compositions.csv.gz", old, OLD))
    for name, rows, columns in tables:
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / name, index=False)
    pd.DataFrame(crystals).to_parquet(tmp_path / "crystals.parquet")
    for output in ("a.parquet", "b.parquet"):
        command = [sys.executable, str(SCRIPT), str(tmp_path), "-o", str(tmp_path / output)]
        subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    table = read_builtin((tmp_path / "a.parquet").read_bytes).rows.to_pandas()
    table = table.set_index("formula")
    assert (table["source"] == 0).sum() == len(exact)
    assert table.loc["NaCl", "formation_energy_per_atom"] == next(
        e for _, f, e, _ in exact if f == "NaCl"
    )
    old_energy = next(e for f, e, _ in old if f == "FeO")
    # -2.733 - 0.70229 become -2.256 - 0.687: no other iron oxide says so
    expected = old_energy + (-2.256 - 0.687 + 2.733 + 0.70229) / 2
    assert table.loc["FeO", "source"] == 2
    assert table.loc["FeO", "formation_energy_per_atom"] == pytest.approx(expected, abs=0.02)
    assert table.loc["FeO", "uncertainty"] > 0
