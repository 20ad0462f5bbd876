"""Stage collect: every calculation a row, E_d against the right hull, parity."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chggen.config.dft import DftConfig
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.dft.parity import parity, suggest_threshold
from chggen.errors import ContractError, Status
from chggen.reference.reference import load_reference
from chggen.report.calculations import section
from chggen.stages.collect import collect
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

ROCKSALT = Crystal.of(
    2.7 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]), [30, 16], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
CUBIC = {z: Crystal.of(3.0 * np.eye(3), [z], [[0, 0, 0]]) for z in (30, 16)}
SETTINGS = DftConfig(competing_phases="calculate")
CONTRACT = {"potential": "p", "potential_hash": "h", "functional": "f", "corrections": "none"}


def identity(name: str, composition: str = "ZnS") -> dict[str, Any]:
    return {
        "id": name, "system": "Zn-S", "composition": composition, "route": "inpainting",
        "seed": 0, "index": 0, "draw": 0, "random_seed": 0, "status": "ok", "reason": "",
    }  # fmt: skip


class System:
    """Tables of a small system, written where they belong."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.screened: list[parquet.Row] = []
        self.submitted: list[parquet.Row] = []
        self.calculated: list[Path] = []

    def add(
        self,
        name: str,
        crystal: Crystal,
        dft: float | None,
        *,
        potential: tuple[float, float] | None = None,
        functional: str = "r2SCAN",
        **changes: object,
    ) -> None:
        """A calculation; ``potential``: E_f and E_d by the potential of a candidate."""
        from chggen.structure.composition import formula_of

        formula = formula_of(crystal.atomic_numbers)
        role = {"role": "candidate" if potential else "competing", "label": None}
        if potential:
            self.screened.append(
                identity(f"s-{name}", formula) | CONTRACT | crystal.columns()
                | {"energy_per_atom": -3.0, "formation_energy_per_atom": potential[0]}
                | {"decomposition_energy": potential[1], "selected": True}
            )  # fmt: skip
        else:
            role["label"] = name
        parent = identity(name, formula) | crystal.columns() | role
        parent |= {"parent_id": f"s-{name}" if potential else None, "directory": f"dft/{name}"}
        parent["decomposition_energy"] = potential[1] if potential else None
        self.submitted.append(parent | {"engine": "vasp"})
        row = identity(f"c-{name}", formula) | role | {
            "parent_id": name, "engine": "vasp", "dft_energy_per_atom": dft,
            "dft_functional": functional, "dft_corrections": "none", "converged": dft is not None,
            "status": Status.OK if dft is not None else Status.NOT_CONVERGED,
            "attempts": 1, "wall_time": 60.0, **changes,
        }  # fmt: skip
        row |= crystal.columns() if dft is not None else {"n_atoms": 0}
        path = self.folder / f"{name}.parquet"
        parquet.write(path, "calculated", [row], {})
        self.calculated.append(path)

    def collect(
        self, settings: DftConfig = SETTINGS, reference: ReferenceConfig | None = None
    ) -> dict[str, parquet.Row]:
        """Rows of table collected by id of the submitted row."""
        parquet.write(self.folder / "screened.parquet", "screened", self.screened, {})
        parquet.write(self.folder / "submitted.parquet", "submitted", self.submitted, {})
        collect(
            self.calculated,
            self.folder / "submitted.parquet",
            self.folder / "screened.parquet",
            self.folder / "collected.parquet",
            settings,
            ScreenConfig(),
            reference,
        )
        rows = parquet.read(self.folder / "collected.parquet", "collected")
        return {row["parent_id"]: row for row in rows}

    @property
    def header(self) -> dict[str, Any]:
        return parquet.read_header(self.folder / "collected.parquet")


@pytest.fixture
def system(tmp_path: Path) -> System:
    """Zn at -1 and S at -4 eV/atom, ZnS at -1 eV/atom below them, and three candidates."""
    system = System(tmp_path)
    system.add("zinc", CUBIC[30], -1.0)
    system.add("sulfur", CUBIC[16], -4.0)
    system.add("known", ROCKSALT, -3.5)
    system.add("low", ROCKSALT, -3.45, potential=(-0.98, 0.03))
    system.add("high", ROCKSALT, -3.40, potential=(-0.96, 0.05))
    system.add("worst", ROCKSALT, -3.20, potential=(-0.86, 0.12))
    return system


def test_e_d_is_against_the_calculated_phases(system: System) -> None:
    rows = system.collect()
    assert len(rows) == 6
    for name, energy in (("low", 0.05), ("high", 0.10), ("worst", 0.30), ("known", 0.0)):
        assert rows[name]["dft_decomposition_energy"] == pytest.approx(energy)
    assert rows["low"]["dft_formation_energy_per_atom"] == pytest.approx(-0.95)
    assert rows["low"]["dft_reference"] == "3 competing phases calculated with vasp"
    assert rows["low"]["space_group_symbol"] == "Fm-3m"
    for column in ("rmsd", "rmsd_normalised", "max_displacement"):
        assert rows["low"][column] == pytest.approx(0.0, abs=1e-6)
    assert (rows["low"]["potential"], rows["low"]["energy_per_atom"]) == ("p", -3.0)
    assert rows["known"]["energy_per_atom"] is None
    assert system.header["warning"] is None


def test_parity_stands_in_the_header_and_on_the_page(system: System) -> None:
    system.collect()
    found = system.header["parity"]["decomposition_energy"]
    assert found["n"] == 3
    assert found["mean_error"] == pytest.approx((0.03 + 0.05 + 0.12 - 0.45) / 3)
    assert found["slope"] < 1  # the potential is too soft
    assert system.header["parity"]["formation_energy_per_atom"]["n"] == 3
    # of one that is metastable by DFT (0.05 eV/atom), kept by a threshold just above 0.03
    assert system.header["threshold"] == {"metastable": 1, "limit": 0.1, "value": 0.031}
    page = section(system.folder / "collected.parquet")
    assert page is not None
    assert [row["parent_id"] for row in page["rows"]][:3] == ["low", "high", "worst"]
    assert page["plot"] is not None


def test_what_did_not_converge_keeps_its_row(system: System) -> None:
    system.add("lost", ROCKSALT, None, potential=(-0.9, 0.01), reason="static: no")
    parent = system.submitted[-1] | {"id": "bad", "parent_id": None, "role": "competing"}
    parent |= {"label": "Zn3", "directory": None, "status": Status.FAILED, "reason": "inputs: no"}
    system.submitted.append(parent)
    system.add("metastable", ROCKSALT, None, reason="relax: no")
    rows = system.collect()
    assert (rows["lost"]["status"], rows["lost"]["reason"]) == (
        Status.NOT_CONVERGED, "static: no",
    )  # fmt: skip
    assert rows["lost"]["dft_decomposition_energy"] is None
    assert (rows["bad"]["status"], rows["bad"]["reason"]) == (Status.FAILED, "inputs: no")
    assert system.header["parity"]["decomposition_energy"]["n"] == 3
    assert "1 of 4 competing phases did not converge" in system.header["warning"]


def test_an_element_without_energy_means_no_e_d(tmp_path: Path) -> None:
    system = System(tmp_path)
    system.add("zinc", CUBIC[30], -1.0)
    system.add("sulfur", CUBIC[16], None)
    system.add("low", ROCKSALT, -3.45, potential=(-0.98, 0.03))
    rows = system.collect()
    assert rows["low"]["dft_decomposition_energy"] is None
    assert rows["low"]["dft_energy_per_atom"] == -3.45
    assert "no calculation of elemental S converged" in system.header["warning"]
    assert system.header["parity"]["decomposition_energy"] is None


def test_functionals_are_not_mixed(system: System) -> None:
    system.add("other", ROCKSALT, -3.4, functional="PBE")
    with pytest.raises(ContractError, match="PBE"):
        system.collect()


def test_without_a_reference_there_is_no_e_d_and_it_is_said(system: System) -> None:
    rows = system.collect(DftConfig())
    assert rows["low"]["dft_decomposition_energy"] is None
    assert "dft_reference is not set" in system.header["warning"]


def test_gga_is_judged_against_corrected_entries(tmp_path: Path) -> None:
    """Against the built-in table: 30 meV/atom above ZnS is E_d = 0.03."""
    system = System(tmp_path)
    reference = load_reference(ReferenceConfig(), ["Zn", "S"])
    known = min(p.formation_energy_per_atom for p in reference.phases if p.composition == "ZnS")
    energy = known + 0.03 + (reference.elements["Zn"] + reference.elements["S"]) / 2
    given = {"functional": "GGA/GGA+U", "dft_corrections": "MP2020"}
    system.add("low", ROCKSALT, energy, potential=(-0.98, 0.02), **given)
    gga = DftConfig(functional="GGA/GGA+U")
    rows = system.collect(gga, ReferenceConfig())
    assert rows["low"]["dft_decomposition_energy"] == pytest.approx(0.03, abs=1e-9)
    assert rows["low"]["dft_reference_hash"] == reference.hash
    with pytest.raises(ContractError):
        system.collect(DftConfig(), ReferenceConfig())


def test_parity_of_a_line() -> None:
    dft = np.array([0.0, 0.1, 0.2, 0.4])
    found = parity(0.7 * dft + 0.01, dft)
    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.7), pytest.approx(0.01))
    assert found.mean_error == pytest.approx(np.mean(0.01 - 0.3 * dft))
    assert found.mae == pytest.approx(np.mean(np.abs(0.01 - 0.3 * dft)))
    assert parity([], []) is None
    two = parity([0.1, 0.2], [0.1, 0.3])
    assert two is not None
    assert two.slope is None


def test_threshold_keeps_95_percent() -> None:
    potential = [0.001 * i for i in range(1, 101)]
    found = suggest_threshold([*potential, 9.0], [0.05] * 100 + [0.5], 0.1)
    assert found is not None
    assert (found.metastable, found.value) == (100, 0.096)
    assert sum(p < found.value for p in potential) == 95
    assert suggest_threshold([0.0], [0.2], 0.1) is None
    assert suggest_threshold([-0.02], [0.0], 0.1).value == pytest.approx(-0.019)  # type: ignore[union-attr]


def test_what_is_submitted_no_more_moves_no_hull(system: System) -> None:
    before = system.collect()["low"]["dft_decomposition_energy"]
    submitted = list(system.submitted)
    # a deeper phase of an earlier submission, and one of another functional
    system.add("gone", ROCKSALT, -9.0)
    system.add("other", ROCKSALT, -9.0, functional="GGA/GGA+U")
    system.submitted = submitted
    rows = system.collect()
    assert rows["low"]["dft_decomposition_energy"] == before
    assert {"gone", "other"}.isdisjoint(rows)
