"""Reference ``potential``: competing phases relaxed by the campaign's own potential."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monty.json import MontyEncoder
from pymatgen.core import Lattice, Structure
from pymatgen.entries.computed_entries import ComputedEntry, ComputedStructureEntry
from typer.testing import CliRunner

from chggen.cli import app
from chggen.config.contracts import Contract
from chggen.config.energies import PotentialConfig, ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.config.stages import FinalConfig, RelaxConfig
from chggen.errors import ConfigError, ContractError, ReferenceCoverageError, Status
from chggen.reference.computed import relaxed_reference
from chggen.reference.hull import decomposition
from chggen.reference.reference import KEY_VARIABLE, cache_path, load_reference
from chggen.reference.structures import given_phases
from chggen.stages.reference import reference
from chggen.stages.relax import relax
from chggen.stages.screen import screen
from chggen.tables import parquet

POTENTIAL = ReferenceConfig(source="potential")
SYSTEM = {"Zn", "S"}
SETTINGS = RelaxConfig(potential="pairs", fmax=0.01, smax=0.05, max_steps=200)


def pairs(epsilon: float = 0.2) -> dict[str, PotentialConfig]:
    """A Lennard-Jones potential, blind to elements; its close packing is 2.5 Å apart."""
    return {
        "pairs": PotentialConfig(
            kind="lennard-jones",
            functional="pairs",
            corrections="none",
            options={"sigma": 2.28, "epsilon": epsilon, "cutoff": 5.7},
        )
    }


def fcc(symbol: str) -> Structure:
    return Structure.from_spacegroup(225, Lattice.cubic(3.6), [symbol], [[0, 0, 0]])


def caesium_chloride(first: str = "Zn", second: str = "S", a: float = 2.9) -> Structure:
    return Structure(Lattice.cubic(a), [first, second], [[0, 0, 0], [0.5, 0.5, 0.5]])


def layered() -> Structure:
    """Ordered close packing: alternating layers along [001] of fcc."""
    return Structure(
        Lattice.tetragonal(3.6 / np.sqrt(2), 3.6), ["Zn", "S"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def write(folder: Path, **structures: Structure | str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, structure in structures.items():
        text = structure if isinstance(structure, str) else str(structure.to(fmt="cif"))
        (folder / f"{name}.cif").write_text(text)
    return folder


DAMAGED = "data_x\n_chemical_formula_sum 'Zn1 S2'\n_cell_length_a nonsense\n"


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(
        tmp_path_factory.mktemp("phases") / "cifs",
        zinc=fcc("Zn"),
        sulphur=fcc("S"),
        compound=caesium_chloride(),
        layers=layered(),
        oxide=caesium_chloride(second="O"),
        damaged=DAMAGED,
    )


def run(phases: Path | None, folder: Path, **chosen: Any) -> Path:
    output = folder / "referenced.parquet"
    settings = chosen.pop("settings", SETTINGS)
    own = chosen.pop("potentials", pairs())
    config = chosen.pop("config", POTENTIAL)
    reference("Zn-S", SYSTEM, output, config, settings, phases=phases, potentials=own)
    return output


@pytest.fixture(scope="module")
def referenced(phases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(phases, tmp_path_factory.mktemp("referenced"))


def test_every_phase_of_the_system_is_a_row(referenced: Path) -> None:
    rows = {row["label"]: row for row in parquet.read(referenced, "referenced")}
    assert set(rows) == {f"{n}.cif" for n in ("zinc", "sulphur", "compound", "layers", "damaged")}
    bad = rows.pop("damaged.cif")
    assert (bad["status"], bad["composition"], bad["n_atoms"]) == (Status.FAILED, "ZnS2", 0)
    assert "not readable" in bad["reason"]
    for row in rows.values():
        assert row["status"] == Status.OK
        assert row["converged"]
        assert (row["potential"], row["functional"]) == ("pairs", "pairs")
    assert parquet.read_header(referenced)["outside"] == 1


def test_energies_and_contract_are_the_potentials_own(referenced: Path) -> None:
    found = relaxed_reference(referenced, SYSTEM)
    assert found.contract == Contract("pairs", "none")
    assert found.elements["Zn"] == pytest.approx(found.elements["S"], abs=1e-5)
    energies = {phase.label: phase.formation_energy_per_atom for phase in found.phases}
    # a potential that does not tell elements apart: ordered close packing is close packing,
    # and the body-centred one (caesium chloride) is higher
    assert energies["layers.cif"] == pytest.approx(0.0, abs=1e-3)
    assert energies["compound.cif"] > 0.01
    assert "damaged.cif" in str(found.partial)
    assert "1 of 5 competing phases did not relax" in str(found.partial)


def test_the_hash_covers_energies_and_potential(
    referenced: Path, phases: Path, tmp_path: Path
) -> None:
    first = relaxed_reference(referenced, SYSTEM)
    again = relaxed_reference(run(phases, tmp_path), SYSTEM)
    assert first.hash == again.hash
    assert replace(first, potential="other").hash != first.hash
    other = relaxed_reference(run(phases, tmp_path, potentials=pairs(0.3)), SYSTEM)
    assert other.potential != first.potential
    assert other.hash != first.hash


def test_a_phase_that_runs_out_of_steps_counts_and_is_named(
    referenced: Path, tmp_path: Path
) -> None:
    done = relaxed_reference(referenced, SYSTEM).structures
    stretched = write(tmp_path / "more", zinc=done["zinc.cif"], sulphur=done["sulphur.cif"])
    write(stretched, stretched=caesium_chloride(a=3.1))
    final = FinalConfig(max_steps=1, fmax=0.05, smax=0.2)
    settings = SETTINGS.model_copy(update={"final": final})
    found = relaxed_reference(run(stretched, tmp_path, settings=settings), SYSTEM)
    assert {phase.label for phase in found.phases} >= {"stretched.cif"}
    assert "stretched.cif ZnS: not_converged" in str(found.partial)


def test_an_element_that_does_not_relax_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", zinc=fcc("Zn"), sulphur=fcc("S").scale_lattice(60))
    close = Structure(Lattice.cubic(3.0), ["S", "S"], [[0, 0, 0], [0.02, 0, 0]])
    write(folder, sulphur=close)
    with pytest.raises(ReferenceCoverageError, match=r"elemental S relaxed \(sulphur\.cif: too_"):
        run(folder, tmp_path)
    # what became of each phase can still be read
    assert len(parquet.read(tmp_path / "referenced.parquet", "referenced")) == 2


def test_an_element_without_a_structure_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "p", zinc=fcc("Zn"), compound=caesium_chloride())
    with pytest.raises(ReferenceCoverageError, match="no structure of elemental S"):
        run(folder, tmp_path)


def relaxed(folder: Path, *structures: Structure, own: Any = None) -> Path:
    """Table ``relaxed`` of these structures, by the stage."""
    generated = folder / "generated.parquet"
    rows = [
        {"id": f"g{i}", "system": "Zn-S", "composition": "ZnS", "route": "unconditional"}
        | {"seed": 0, "index": i, "draw": 0, "random_seed": i, "status": "ok", "reason": ""}
        | {"formula_units": 1, "n_atoms": len(s), "cell": s.lattice.matrix.tolist()}
        | {"atomic_numbers": list(s.atomic_numbers), "frac_coords": s.frac_coords.tolist()}
        for i, s in enumerate(structures)
    ]
    parquet.write(generated, "generated", rows, {})
    relax(generated, folder / "relaxed.parquet", SETTINGS, potentials=own or pairs())
    return folder / "relaxed.parquet"


def test_a_phase_found_again_is_known_and_on_the_hull(referenced: Path, tmp_path: Path) -> None:
    # both a little off their minima
    source = relaxed(tmp_path, caesium_chloride(a=2.8), layered().scale_lattice(26))
    out = tmp_path / "screened.parquet"
    screen(
        [source],
        out,
        POTENTIAL,
        ScreenConfig(threshold=0.5, known="structures"),
        referenced=referenced,
    )
    header = parquet.read_header(out)
    found = relaxed_reference(referenced, SYSTEM)
    assert header["reference_hash"] == found.hash
    assert header["reference_functional"] == "pairs"
    assert header["reference_partial"] == found.partial
    rows = {row["known_phase"]: row for row in parquet.read(out, "screened")}
    assert set(rows) == {"compound.cif", "layers.cif"}
    assert rows["layers.cif"]["decomposition_energy"] == pytest.approx(0.0, abs=1e-3)
    same = {p.label: p.formation_energy_per_atom for p in found.phases}["compound.cif"]
    assert rows["compound.cif"]["formation_energy_per_atom"] == pytest.approx(same, abs=1e-4)
    assert {row["filter"] for row in rows.values()} == {"known_phase"}


def test_another_potential_than_the_references_is_refused(referenced: Path, tmp_path: Path) -> None:
    source = relaxed(tmp_path, caesium_chloride(), own=pairs(0.25))
    with pytest.raises(ContractError, match="relax the phases again"):
        screen([source], tmp_path / "s.parquet", POTENTIAL, ScreenConfig(), referenced=referenced)


# --- structures of the Materials Project ------------------------------------------------


def test_structures_of_the_materials_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    config = ReferenceConfig(source="potential", cache=tmp_path / "cache")
    with pytest.raises(ReferenceCoverageError, match=KEY_VARIABLE):
        given_phases(config, SYSTEM, None)
    path = cache_path(config, SYSTEM)
    path.parent.mkdir()
    entries = [
        ComputedStructureEntry(fcc("Zn"), -4.0, entry_id="mp-1"),
        ComputedStructureEntry(fcc("S"), -16.0, entry_id="mp-2"),
        ComputedStructureEntry(caesium_chloride(), -7.0, entry_id="mp-3"),
        ComputedEntry("ZnS2", -9.0, entry_id="mp-4"),
    ]
    content = {"source": "Materials Project GGA_GGA+U", "date": "2026-01-02", "entries": entries}
    path.write_text(json.dumps(content, cls=MontyEncoder))
    output = run(None, tmp_path, config=config)
    rows = {row["label"]: row for row in parquet.read(output, "referenced")}
    assert [rows[f"mp-{i}"]["status"] for i in (1, 2, 3, 4)] == ["ok"] * 3 + ["failed"]
    assert "no ordered structure" in rows["mp-4"]["reason"]
    found = relaxed_reference(output, SYSTEM)
    assert found.date == "2026-01-02"
    assert "Materials Project" in found.name
    assert found.elements["Zn"] == pytest.approx(found.elements["S"], abs=1e-5)  # not the entries'
    assert found.contract.functional == "pairs"


# --- files, and pymatgen ----------------------------------------------------------------


def test_a_pair_without_compounds_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("formula,formation_energy_per_atom\nZnS,-0.9\nZn3P2,-0.3\n")
    config = ReferenceConfig(source="file", path=path)
    partial = load_reference(config, {"Zn", "P", "S"}).partial
    assert "no binary P-S phase" in str(partial)
    path.write_text("formula,formation_energy_per_atom\nZnS,-0.9\n")
    assert load_reference(config, SYSTEM).partial is None


def test_e_d_of_total_energies_is_pymatgens(tmp_path: Path) -> None:
    """Ten random phase diagrams, built by pymatgen from the total energies themselves."""
    from pymatgen.analysis.phase_diagram import PhaseDiagram

    rng = np.random.default_rng(5)
    formulas = ["Zn2", "S8", "P4", "ZnS", "Zn3P2", "ZnP2", "P2S5", "P4S3", "ZnPS3", "Zn2P2S7"]
    path = tmp_path / "entries.json"
    config = ReferenceConfig(source="file", path=path)
    for _ in range(10):
        entries = []
        for name in formulas:
            entry = ComputedEntry(name, 0.0, entry_id=name)
            atoms = entry.composition.num_atoms
            base = -4.0 if len(entry.composition) == 1 else -4.6
            energy = float(atoms * (base + rng.normal(0, 0.2)))
            # a correction of the scheme that the config names
            entries.append(ComputedEntry(name, energy - 0.5, correction=0.5, entry_id=name))
        path.write_text(json.dumps([e.as_dict() for e in entries]))
        reference = load_reference(config, {"Zn", "P", "S"})
        diagram = PhaseDiagram(entries)
        for name in ("ZnP2S6", "Zn4P2S9", "ZnS2", "Zn2P2S7", "P2S7"):
            energy = -4.5 + float(rng.normal(0, 0.3))
            found = decomposition(reference, name, energy, reference.contract)
            atoms = ComputedEntry(name, 0.0).composition.num_atoms
            expected = diagram.get_e_above_hull(
                ComputedEntry(name, energy * atoms), allow_negative=True
            )
            assert found.decomposition_energy == pytest.approx(expected, abs=1e-6)
            products = diagram.get_decomposition(ComputedEntry(name, 0.0).composition)
            wanted = {e.composition.reduced_formula: x for e, x in products.items()}
            assert sorted(found.amounts) == pytest.approx(sorted(wanted.values()), abs=1e-6)
            assert sum(found.amounts) == pytest.approx(1.0)


# --- chggen reference -------------------------------------------------------------------


def spoken(*words: str | Path) -> str:
    result = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_show_a_builtin_reference() -> None:
    words = spoken("reference", "show", "--system", "Zn-P-S")
    reference = load_reference(ReferenceConfig(), {"Zn", "P", "S"})
    for fact in (
        "GGA/GGA+U with MP2020", reference.hash, reference.date,
        "ZnS -1.0631 0.0000 yes hull point", "ZnPS3 mp-3342 -0.7073 0.0255 record",
        "Zn3P2 -0.1908 0.0055 0.0000 yes converted",
    ):  # fmt: skip
        assert fact in words, fact


def test_show_of_a_file_and_of_a_config(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("formula,formation_energy_per_atom\nZnS,-0.9\n")
    asked = ("reference", "show", "--system")
    assert "ZnS line 2 -0.9000" in spoken(*asked, "Zn-S", "--path", path)
    config = tmp_path / "mine.yaml"
    source = json.dumps({"source": "file", "path": str(path)})
    config.write_text(f"systems: {{mine: {{compositions: [ZnS], reference: {source}}}}}")
    assert "ZnS line 2 -0.9000" in spoken(*asked, "mine", "--config", config)
    for words, says in [
        (("Zn-Qq",), "unknown element 'Qq'"),
        (("other", "--config", config), "not in"),
        (("Zn-S", "--source", "guess"), "source = 'guess'"),
        (("Zn-S", "--functional", "r2SCAN"), "builtin tables are"),
        (("Zn-S", "--source", "file"), "'path' is required by"),
    ]:
        with pytest.raises((ConfigError, ReferenceCoverageError), match=says) as error:
            spoken(*asked, *words)
        assert "\n" not in str(error.value)


def test_relax_and_show_on_the_command_line(phases: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    own = pairs()["pairs"].model_dump(mode="json", exclude_none=True)
    content = {
        "results": str(tmp_path / "results"),
        "systems": {
            "Zn-S": {"compositions": ["ZnS"], "reference": "potential", "phases": str(phases)}
        },
        "potentials": {"pairs": own},
        "relax": {"potential": "pairs", "fmax": 0.05},
    }
    config.write_text(json.dumps(content))
    output = tmp_path / "results" / "Zn-S" / "referenced.parquet"
    asked = ("--system", "Zn-S", "--config", config)
    spoken("reference", "relax", *asked, "-o", output)
    words = spoken("reference", "show", *asked)
    assert "structures of cifs, relaxed by pairs" in words
    assert "damaged.cif ZnS2: failed" in words
    assert "compound.cif" in words
    alone = spoken(
        "reference", "show", "--system", "Zn-S", "--source", "potential", "--path", output
    )
    assert alone == words
