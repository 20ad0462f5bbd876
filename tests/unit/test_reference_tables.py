"""Energies of known phases by one potential: built, killed, resumed, checked and used."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure

from chggen.campaign.fetching import fetch
from chggen.campaign.plan import Campaign
from chggen.config.contracts import Contract
from chggen.config.dispersion import Dispersion
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ChggenError, ConfigError, ContractError, ReferenceCoverageError, Status
from chggen.potential.load import load_named
from chggen.reference.computed import load_competing, table_reference
from chggen.reference.energy_table import DATA, read, shipped, table_problem
from chggen.reference.hull import decomposition
from chggen.reference.planning import in_order
from chggen.stages import reference_table as builder
from chggen.stages.reference_table import parts_folder, reference_table
from chggen.stages.screen import screen
from chggen.tables import parquet
from tests.unit.test_references import (
    DAMAGED,
    SETTINGS,
    caesium_chloride,
    fcc,
    layered,
    pairs,
    relaxed,
    spoken,
    write,
)

SYSTEM = {"Zn", "S"}


def cif(structure: Structure) -> str:
    return str(structure.to(fmt="cif"))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with columns as the public ones have them."""
    large = caesium_chloride() * (4, 4, 4)
    far = Structure(Lattice.cubic(9.0), ["Zn", "S"], [[0, 0, 0], [0.01, 0, 0]])
    rows = [
        ("mp-12", cif(caesium_chloride()), 0.06),
        ("mp-3", cif(layered()), 0.0),
        ("mp-100", cif(fcc("S")), 0.0),
        ("mp-21", cif(fcc("Zn")), 0.0),
        ("mp-22", cif(fcc("Zn").scale_lattice(52)), 0.03),
        ("mp-5", DAMAGED, 0.01),
        ("mp-6", cif(far), 0.02),
        ("mp-7", cif(large), 0.0),
        ("mp-8", cif(caesium_chloride(second="O")), 0.4),
    ]
    path = tmp_path_factory.mktemp("known") / "known.csv"
    frame = pd.DataFrame(rows, columns=["material_id", "cif", "e_above_hull"])
    frame.to_csv(path, index=False)
    return path


def build(known: Path, output: Path, **chosen: Any) -> dict[str, Any]:
    own = chosen.pop("potentials", pairs())
    settings = chosen.pop("settings", SETTINGS)
    return reference_table(known, output, settings, potentials=own, **chosen)


@pytest.fixture(scope="module")
def table(known: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "mine.parquet"
    build(known, path)
    return path


def test_every_phase_within_the_limits_keeps_its_row(table: Path) -> None:
    rows = {row["label"]: row for row in parquet.read(table, "phases")}
    # beyond the limits: mp-7 by its 128 atoms, mp-8 by its energy
    assert list(rows) == ["mp-3", "mp-5", "mp-6", "mp-12", "mp-21", "mp-22", "mp-100"]
    assert (rows["mp-5"]["status"], rows["mp-5"]["composition"]) == (Status.FAILED, "ZnS2")
    assert "not readable" in rows["mp-5"]["reason"]
    assert rows["mp-6"]["status"] == Status.TOO_CLOSE
    assert rows["mp-6"]["energy_per_atom"] is None
    for label in ("mp-3", "mp-12", "mp-21", "mp-22", "mp-100"):
        assert rows[label]["converged"], label
    # one minimum, from two sides
    assert rows["mp-21"]["energy_per_atom"] == pytest.approx(
        rows["mp-22"]["energy_per_atom"], abs=2e-5
    )
    assert rows["mp-21"]["volume_per_atom"] == pytest.approx(
        rows["mp-22"]["volume_per_atom"], rel=5e-3
    )
    groups = {k: (r["space_group_number"], r["space_group_number_narrow"]) for k, r in rows.items()}
    assert groups["mp-12"] == (221, 221)
    assert groups["mp-21"] == (225, 225)
    header = parquet.read_header(table)
    assert header["left_out"] == {"above the hull": 1, "number of atoms": 1}
    assert (header["planned"], header["converged"], header["failed"]) == (7, 5, 2)


def test_the_table_says_what_its_energies_are(table: Path) -> None:
    found = read(table)
    assert (found.potential, found.contract) == ("pairs", Contract("pairs", "none"))
    assert (found.fmax, found.smax) == (SETTINGS.tight.fmax, SETTINGS.tight.smax)
    assert found.source == "structures of known.csv"
    reference = table_reference(table, SYSTEM)
    assert reference.potential == found.potential_hash
    energies = {p.label: p.formation_energy_per_atom for p in reference.phases}
    # ordered close packing is close packing to a potential blind to elements
    assert energies["mp-3"] == pytest.approx(0.0, abs=1e-3)
    assert energies["mp-12"] > 0.01
    assert "mp-6" in str(reference.partial)


def test_uncorrected_energies_are_corrected_in_the_table(known: Path, tmp_path: Path) -> None:
    own = {"pairs": pairs()["pairs"].model_copy(update={"functional": "GGA/GGA+U"})}
    build(known, tmp_path / "raw.parquet")
    build(known, tmp_path / "mine.parquet", potentials=own)
    found = read(tmp_path / "mine.parquet")
    assert found.contract == Contract("GGA/GGA+U", "MP2020")
    assert parquet.read_header(tmp_path / "mine.parquet")["added_corrections"] == "MP2020"
    raw, mine = (
        {row["label"]: row for row in parquet.read(tmp_path / f"{name}.parquet", "phases")}
        for name in ("raw", "mine")
    )
    assert set(raw) == set(mine)
    for label, row in mine.items():
        if row["energy_per_atom"] is None:
            assert raw[label]["energy_per_atom"] is None
            continue
        sulfide = "S" in row["composition"] and row["composition"] != "S"
        change = row["energy_per_atom"] - raw[label]["energy_per_atom"]
        assert (change < -0.1) == sulfide, label
        if not sulfide:
            assert change == pytest.approx(0, abs=1e-6)


def test_what_matters_most_comes_first() -> None:
    rows = [
        {"label": str(i), "composition": formula, "above_hull": above}
        for i, (formula, above) in enumerate(
            [("ZnS", 0.03), ("ZnS", 0.0), ("Zn", 0.02), ("ZnS2", 0.01), ("S", None), ("ZnS", 0.02)]
        )
    ]
    assert [row["label"] for row in in_order(rows)] == ["4", "2", "1", "3", "5", "0"]


class Killed(BaseException):
    """Stands for what ends a process at any point."""


@pytest.mark.parametrize(("after", "parts"), [(0, 0), (3, 1), (7, 3)])
def test_a_killed_build_goes_on_to_the_same_table(
    known: Path,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
    parts: int,
) -> None:
    monkeypatch.setattr(builder, "PART_SIZE", 2)
    output = tmp_path / "again.parquet"

    def killing(done: float, _total: int) -> None:
        if done >= after:
            raise Killed

    with pytest.raises(Killed):
        build(known, output, progress=killing)
    assert not output.exists()
    before = sorted(p.name for p in parts_folder(output).glob("[0-9]*.parquet"))
    assert len(before) == parts
    stamps = {p: (parts_folder(output) / p).stat().st_mtime_ns for p in before}
    build(known, output)
    assert {p: (parts_folder(output) / p).stat().st_mtime_ns for p in before} == stamps
    first, second = parquet.read(table, "phases"), parquet.read(output, "phases")
    for row, other in zip(first, second, strict=True):
        energy, volume = row.pop("energy_per_atom"), row.pop("volume_per_atom")
        # the company in a batch changes rounding alone
        assert other.pop("energy_per_atom") == pytest.approx(energy, abs=1e-5)
        assert other.pop("volume_per_atom") == pytest.approx(volume, abs=0.02)
        assert row == other


def test_sigterm_and_the_time_limit_leave_a_table_of_what_is_done(
    known: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "PART_SIZE", 2)
    output = tmp_path / "told.parquet"

    def telling(done: float, _total: int) -> None:
        if done > 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    assert build(known, output, progress=telling)["done"] == 4
    assert signal.getsignal(signal.SIGTERM) is before
    assert len(parquet.read(output, "phases")) == 4
    # of no time at all one part is made, so that every call gets on
    assert build(known, output, minutes=0.0)["done"] == 6
    assert build(known, output)["done"] == 7


def test_a_damaged_part_is_made_again(known: Path, tmp_path: Path) -> None:
    output = tmp_path / "mine.parquet"
    build(known, output)
    rows = parquet.read(output, "phases")
    part = parts_folder(output) / "00000.parquet"
    part.write_bytes(part.read_bytes()[:1000])
    build(known, output)
    assert parquet.read(output, "phases") == rows


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"max_atoms": 30}, "another max_atoms (40 there, 30 here)"),
        ({"max_above_hull": 0.2}, "another max_above_hull (0.1 there, 0.2 here)"),
        ({"potentials": pairs(0.3)}, "another potential_hash"),
        ({"settings": SETTINGS.model_copy(update={"fmax": 0.02})}, "relax (fmax: 0.01 there"),
    ],
)
def test_a_folder_of_another_build_is_refused(
    known: Path, table: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as error:
        build(known, table, **changes)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_build_can_start_from_the_structures_of_another(table: Path, tmp_path: Path) -> None:
    output = tmp_path / "stronger.parquet"
    # twice as deep a well has the same minima: nothing is left to do but one evaluation
    build(parts_folder(table), output, potentials=pairs(0.4))
    rows = {row["label"]: row for row in parquet.read(output, "phases")}
    first = {row["label"]: row for row in parquet.read(table, "phases")}
    assert rows.keys() == first.keys()
    for label in ("mp-3", "mp-12", "mp-100"):
        assert rows[label]["energy_per_atom"] == pytest.approx(
            2 * first[label]["energy_per_atom"], rel=1e-3
        )
    assert rows["mp-5"]["status"] == Status.PARENT_FAILED
    assert rows["mp-5"]["reason"].startswith("failed: not readable")
    part = parquet.read(parts_folder(output) / "00000.parquet", "built_phases")
    assert max(row["steps"] or 0 for row in part) <= 5


def test_a_file_without_a_phase_is_one_line(known: Path, tmp_path: Path) -> None:
    for path, says in ((known, "no readable phase"), (tmp_path / "none.csv", "no such file")):
        with pytest.raises(ChggenError, match=says) as error:
            build(path, tmp_path / "x.parquet", max_atoms=0)
        assert "\n" not in str(error.value)


# --- before any job ---------------------------------------------------------------------


def campaign(path: Path | None, epsilon: float = 0.2, **relax: Any) -> Campaign:
    reference = {"source": "potential"} | ({"path": str(path)} if path else {})
    system = {"compositions": ["ZnS"], "guests": ["Zn"], "reference": reference}
    own = {"pairs": pairs(epsilon)["pairs"].model_dump(mode="json", exclude_none=True)}
    section = SETTINGS.model_dump(mode="json") | relax
    return Campaign.load({"systems": {"Zn-S": system}, "relax": section, "potentials": own}, "x")


def test_a_campaign_takes_the_table_without_a_job(table: Path) -> None:
    asked = campaign(table)
    assert asked.referenced("Zn-S") == []
    warnings = fetch(asked.config, client=None)
    assert len(warnings) == 1
    assert "mp-6" in warnings[0]
    before = asked.settings("screen", "Zn-S")["reference_digest"]
    assert len(before) == 16


def test_weights_other_than_the_tables_are_refused_before_any_job(table: Path) -> None:
    with pytest.raises(ReferenceCoverageError) as error:
        fetch(campaign(table, epsilon=0.3).config, client=None)
    for words in ("systems.Zn-S.reference", read(table).potential_hash, "chggen reference build"):
        assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_another_contract_or_potential_is_refused_at_once(table: Path) -> None:
    for name, says in (("chgnet-0.3.0", "pairs without corrections"), ("chgnet-r2scan", "r2SCAN")):
        with pytest.raises(ConfigError, match=says) as error:
            campaign(table, potential=name)
        assert "chggen reference build" in str(error.value)
        assert "\n" not in str(error.value)
    packaged = DATA / "phases_chgnet-0.3.0.parquet"
    with pytest.raises(ConfigError, match=r"chgnet-0\.3\.0, not of relax\.potential = 'chgnet-0"):
        campaign(packaged, potential="chgnet-0.2.0")


def test_a_potential_without_a_table_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="chggen reference build") as error:
        campaign(None)
    assert "source: potential, path: FILE" in str(error.value)


def test_criteria_looser_than_the_campaigns_are_refused(table: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.01 eV/Å and 0\.05 GPa, the campaign relaxes to"):
        campaign(table, fmax=0.005)
    with pytest.raises(ConfigError, match="E_d would be too low"):
        campaign(table, smax=0.01)


def test_tighter_criteria_than_the_campaigns_are_a_warning(table: Path) -> None:
    looser = campaign(table, fmax=0.1, final=None).config
    warning = fetch(looser, client=None)[0]
    assert "the campaign relaxes to 0.1 eV/Å" in warning
    assert "overestimated" in warning


def test_a_missing_element_is_named_before_any_job(table: Path) -> None:
    reference = {"source": "potential", "path": str(table)}
    system = {"compositions": ["ZnO"], "guests": ["Zn"], "reference": reference}
    own = {"pairs": pairs()["pairs"].model_dump(mode="json", exclude_none=True)}
    content = {
        "systems": {"Zn-O": system},
        "relax": SETTINGS.model_dump(mode="json"),
        "potentials": own,
    }
    with pytest.raises(ConfigError, match=r"Zn-O\.reference: .* no relaxed phase of elemental O"):
        Campaign.load(content, "x")
    # an element that CHGNet knows of no crystal
    says = table_problem(None, {"Zn", "Og"}, RelaxConfig())
    assert "elemental Og" in str(says)


def test_damaged_and_foreign_tables_are_one_line(table: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.parquet"
    half.write_bytes(table.read_bytes()[:-200])
    text = tmp_path / "text.parquet"
    text.write_text("no table")
    foreign = relaxed(tmp_path, caesium_chloride())
    silent = tmp_path / "silent.parquet"
    parquet.write(silent, "phases", parquet.read(table, "phases"), {})
    for path, says in (
        (half, "not a readable Parquet"),
        (text, "not a readable Parquet"),
        (tmp_path / "none.parquet", "no such table"),
        (foreign, "holds table 'relaxed'"),
        (silent, "header lacks"),
    ):
        problem = table_problem(path, SYSTEM, SETTINGS)
        assert problem is not None
        assert says in problem
        assert path.name in problem
        assert "\n" not in problem


def test_half_a_table_within_an_intact_footer(table: Path, tmp_path: Path) -> None:
    damaged = bytearray(table.read_bytes())
    damaged[4:600] = bytes(596)  # pages of the columns
    path = tmp_path / "pages.parquet"
    path.write_bytes(bytes(damaged))
    problem = table_problem(path, SYSTEM, SETTINGS)
    assert problem is not None
    assert "pages.parquet" in problem


def test_parsing_needs_neither_pymatgen_nor_torch(table: Path) -> None:
    code = (
        "import sys\n"
        "from chggen.config.energies import ReferenceConfig\n"
        "from chggen.config.stages import RelaxConfig\n"
        "from chggen.reference.reference import coverage_problem\n"
        "from pathlib import Path\n"
        f"config = ReferenceConfig(source='potential', path=Path({str(table)!r}))\n"
        "relax = RelaxConfig(potential='pairs', fmax=0.01, smax=0.05)\n"
        "assert coverage_problem(config, {'Zn', 'S'}, None, relax) is None\n"
        "assert coverage_problem(ReferenceConfig(source='potential'), {'Na', 'Cl'}) is None\n"
        "assert not {'torch', 'pymatgen', 'scipy', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- used -------------------------------------------------------------------------------


def test_structures_are_judged_against_the_table(table: Path, tmp_path: Path) -> None:
    source = relaxed(tmp_path, layered().scale_lattice(26))
    out = tmp_path / "screened.parquet"
    config = ReferenceConfig(source="potential", path=table)
    screen([source], out, config, ScreenConfig(threshold=0.5, known="structures"), relax=None)
    row = parquet.read(out, "screened")[0]
    assert row["decomposition_energy"] == pytest.approx(0.0, abs=1e-3)
    header = parquet.read_header(out)
    assert header["reference_hash"] == table_reference(table, SYSTEM).hash
    other = relaxed(tmp_path, caesium_chloride(), own=pairs(0.25))
    with pytest.raises(ContractError, match="relax the phases again"):
        screen([other], out, config, ScreenConfig())
    with pytest.raises(ReferenceCoverageError, match="no table of phases"):
        screen([source], out, ReferenceConfig(source="potential"), ScreenConfig())


@pytest.mark.parametrize("dispersion", ["none", "d3bj"])
def test_the_packages_tables_are_of_the_packages_potentials(dispersion: Dispersion) -> None:
    relax = RelaxConfig(dispersion=dispersion)
    potential = load_named(relax.potential_name)
    one = next(t for t in shipped() if t.potential == potential.name)
    assert one.potential_hash == potential.hash
    assert one.contract == potential.contract
    assert (one.fmax, one.smax) == (relax.tight.fmax, relax.tight.smax)


def test_the_packages_tables_are_small_and_of_different_potentials() -> None:
    names = [t.potential_hash for t in shipped()]
    assert len(set(names)) == len(names)
    assert sum(t.path.stat().st_size for t in shipped()) < 6e6


@pytest.mark.parametrize("dispersion", ["none", "d3bj"])
@pytest.mark.parametrize("formula", ["NaCl", "MgO", "CaF2", "Al2O3", "TiO2", "ZnS"])
def test_known_stable_phases_are_stable_by_their_own_potential(
    formula: str, dispersion: Dispersion
) -> None:
    from chggen.structure import composition as comp

    elements = set(comp.parse_formula(formula))
    source, relax = ReferenceConfig(source="potential"), RelaxConfig(dispersion=dispersion)
    whole = load_competing(source, elements, relax=relax)
    own = [p for p in whole.phases if p.composition == comp.canonical_formula(formula)]
    lowest = min(p.formation_energy_per_atom for p in own)
    counts = comp.parse_formula(formula)
    energy = lowest + sum(n * whole.elements[s] for s, n in counts.items()) / sum(counts.values())
    # itself in the hull: zero; left out: the distance by which it is stable
    assert decomposition(whole, formula, energy, whole.contract).decomposition_energy <= 1e-6
    rest = replace(whole, phases=tuple(p for p in whole.phases if p not in own))
    assert decomposition(rest, formula, energy, whole.contract).decomposition_energy < -0.01


# --- chggen reference -------------------------------------------------------------------


def test_build_and_show_on_the_command_line(known: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    own = pairs()["pairs"].model_dump(mode="json", exclude_none=True)
    content = {"potentials": {"pairs": own}, "relax": {"potential": "pairs"}}
    config.write_text(json.dumps(content))
    output = tmp_path / "mine.parquet"
    said = spoken(
        *("reference", "build", known, "-o", output, "-c", config, "-s", "final.fmax=0.02"),
        *("--max-above-hull", "0.05", "--source", "invented"),
    )
    assert json.loads(said)["done"] == 6
    assert read(output).fmax == 0.02
    shown = spoken(
        "reference", "show", "--system", "Zn-S", "--source", "potential", "--path", output
    )
    assert "invented, relaxed by pairs" in shown
    assert "mp-3" in shown


def test_show_of_the_packages_table() -> None:
    asked = ("reference", "show", "--system", "Na-Cl", "--source", "potential")
    shown = spoken(*asked)
    assert "relaxed by chgnet-0.3.0" in shown
    assert "NaCl mp-22862" in shown
    assert "D3(BJ)" in spoken(*asked, "--potential", "chgnet-0.3.0+d3bj")
    with pytest.raises(ReferenceCoverageError, match=r"'chgnet-0\.2\.0' is in the package"):
        spoken(*asked, "--potential", "chgnet-0.2.0")


def test_folders_of_cifs_do_as_well(tmp_path: Path) -> None:
    folder = write(tmp_path / "cifs", zinc=fcc("Zn"), sulphur=fcc("S"), compound=layered())
    output = tmp_path / "mine.parquet"
    assert build(folder, output)["converged"] == 3
    labels = {row["label"] for row in parquet.read(output, "phases")}
    assert labels == {"zinc.cif", "sulphur.cif", "compound.cif"}
