"""Dense crystals, overlaps and elements without training: a row each, no shard stopped."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.cli import app
from chggen.config.energies import PotentialConfig
from chggen.config.stages import RelaxConfig
from chggen.errors import ConfigError, Status
from chggen.potential import load_named
from chggen.potential.energies import energies_per_atom
from chggen.relaxation.pool import relax
from chggen.structure.crystal import Crystal
from chggen.tables import parquet

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
ARGON = {"argon": PotentialConfig.model_validate({
    "kind": "lennard-jones", "functional": "none", "corrections": "none",
    "options": {"sigma": 1.5, "epsilon": 0.05, "cutoff": 6.0},
})}  # fmt: skip
POTENTIALS = ["chgnet-0.3.0", "chgnet-0.2.0", "chgnet-r2scan", "argon"]
DENSITIES = [0.9, 0.95, 1.3, 2.0, 3.0, 4.5, 5.67, 7.0, 10.0]  # Å³/atom


def cubic(edge: float, numbers: list[int], frac: list[list[float]]) -> Crystal:
    return Crystal.of(edge * np.eye(3), numbers, frac)


def h3s(edge: float) -> Crystal:
    hydrogen = [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    return cubic(edge, [16, 16, *[1] * 6], [[0, 0, 0], [0.5, 0.5, 0.5], *hydrogen])


def salt() -> Crystal:
    other = [[x + 0.5, y, z] for x, y, z in FCC]
    return cubic(5.7, [11] * 4 + [17] * 4, FCC + other)


def diamond(edge: float) -> Crystal:
    return cubic(edge, [6] * 8, FCC + [[x + 0.25, y + 0.25, z + 0.25] for x, y, z in FCC])


def dense() -> dict[str, Crystal]:
    """Crystals as they come under pressure, or from a generator that crowds atoms."""
    tetrahedral = [[x + s, y + s, z + s] for s in (0.25, 0.75) for x, y, z in FCC]
    rng = np.random.default_rng(1)
    found = {
        "H3S at 200 GPa": h3s(2.984),
        "H3S, 1.5 Å³/atom": h3s(12.0 ** (1 / 3)),
        "diamond": diamond(3.567),
        "compressed diamond": diamond(2.9),
        "BeH2, 4.5 Å³/atom": cubic(54.0 ** (1 / 3), [4] * 4 + [1] * 8, FCC + tetrahedral),
        # LaH10, its cage kept to the 8c and eight of the 32f sites
        "LaH10": cubic(5.1, [57] * 4 + [1] * 16, FCC + tetrahedral + [
            [x + 0.12, y + 0.12, z + 0.12] for x, y, z in FCC
        ] + [[x + 0.38, y + 0.38, z + 0.38] for x, y, z in FCC]),
    }  # fmt: skip
    for volume in DENSITIES:
        shaken = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) + rng.normal(0, 0.02, (2, 3))
        found[f"{volume} Å³/atom"] = cubic(np.cbrt(2 * volume), [3, 1], shaken.tolist())
    return found


def extxyz(crystals: list[Crystal], path: Path) -> Path:
    from ase import Atoms
    from ase.io import write

    atoms = [Atoms(c.atomic_numbers, cell=c.cell, scaled_positions=c.frac_coords, pbc=True)
             for c in crystals]  # fmt: skip
    write(path, atoms, format="extxyz")
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.mark.parametrize("name", POTENTIALS)
def test_cases_dense_overflow_relax(name: str) -> None:
    """Every density, beside an ordinary crystal that comes out as alone."""
    model = load_named(name, ARGON, precision="float64")
    settings = RelaxConfig(max_steps=2)
    crystals = [salt(), *dense().values()]
    rows = relax(crystals, settings, model=model)
    assert len(rows) == len(crystals)
    assert all(row.reason for row in rows if row.status != Status.OK)
    for row in rows:
        assert "overflow" not in row.reason.lower()
    # all but what its own distances exclude was computed
    computed = [row for row in rows if row.energy_per_atom is not None]
    assert len(computed) >= len(crystals) - 2
    alone = relax([salt()], settings, model=model)[0]
    assert rows[0].energy_per_atom == pytest.approx(alone.energy_per_atom, abs=1e-9)
    assert rows[0].steps == alone.steps
    assert alone.crystal is not None
    assert rows[0].crystal is not None
    np.testing.assert_allclose(rows[0].crystal.cell, alone.crystal.cell, atol=1e-7)


@pytest.mark.parametrize("name", POTENTIALS)
def test_cases_dense_overflow_energies(name: str) -> None:
    model = load_named(name, ARGON)
    crystals = [salt(), *dense().values()]
    together = energies_per_atom(crystals, model, 1000)
    alone = [energies_per_atom([crystal], model, 1000)[0] for crystal in crystals]
    assert np.isfinite(together).sum() >= len(crystals) - 2
    finite = np.isfinite(alone)
    np.testing.assert_array_equal(np.isfinite(together), finite)
    np.testing.assert_allclose(together[finite], np.array(alone)[finite], rtol=1e-4, atol=1e-4)


def test_cases_dense_overflow_cli(tmp_path: Path) -> None:
    """The commands of the case: a row each, no error."""
    path = extxyz([h3s(3.6), h3s(2.984)], tmp_path / "h3s.extxyz")
    generated, relaxed = tmp_path / "g.parquet", tmp_path / "r.parquet"
    settings = ("-s", "generator=file", "-s", f"path={path}")
    run("generate", "H3S", "-o", generated, "--lattices", 2, *settings)
    run("relax", generated, "-o", relaxed, "-s", "max_steps=3")
    rows = parquet.read(relaxed, "relaxed")
    assert len(rows) == 2
    assert all(row["energy_per_atom"] is not None for row in rows)
    refined, inpainted = tmp_path / "f.parquet", tmp_path / "i.parquet"
    rerelaxed = tmp_path / "rr.parquet"
    run("refine", relaxed, "-o", refined, "-g", "H")
    run("inpaint", refined, "-o", inpainted, "-s", "candidates=1", "-s", "draws=1")
    run("relax", inpainted, "-o", rerelaxed, "-s", "max_steps=5")
    assert len(parquet.read(rerelaxed, "rerelaxed")) == len(parquet.read(inpainted, "inpainted"))


def test_cases_dense_overflow_random(tmp_path: Path) -> None:
    generated, relaxed = tmp_path / "g.parquet", tmp_path / "r.parquet"
    run("generate", "H3S", "-o", generated, "--lattices", 3, "--volume", 3.5, "-s",
        "generator=random", "-s", "candidates=2")  # fmt: skip
    run("relax", generated, "-o", relaxed, "-s", "max_steps=5")
    rows = parquet.read(relaxed, "relaxed")
    assert len(rows) == 3
    assert all(row["status"] == Status.OK or row["reason"] for row in rows)


def test_cases_repair_overflow() -> None:
    """Four atoms on (nearly) three places of one site, in a cell that holds many more."""
    third = 1 / 3
    places = [[third, third, third], [0.333, 0.333, 0.333], [0.667, 0.667, 0.667], [0, 0, 0]]
    crystals = [cubic(2.6, [11, 11, 17, 17], places), h3s(2.4), diamond(2.2), salt()]
    rows = relax(crystals, RelaxConfig(repair=True, max_steps=10))
    assert len(rows) == 4
    assert all(row.reason for row in rows if row.status != Status.OK)
    assert rows[3].energy_per_atom is not None
    assert rows[0].repaired or rows[0].status == Status.TOO_CLOSE


@pytest.mark.parametrize(
    ("name", "symbols"),
    [("chgnet-0.3.0", {"Po"}), ("chgnet-0.2.0", {"At"}), ("chgnet-r2scan", {"Yb", "Ra"})],
)
def test_cases_untrained_element(name: str, symbols: set[str]) -> None:
    from chggen.structure.composition import ATOMIC_NUMBERS

    z = [ATOMIC_NUMBERS[symbol] for symbol in sorted(symbols)]
    unknown = [cubic(3.35, [number], [[0, 0, 0]]) for number in z]
    americium = cubic(3.5, [95], [[0, 0, 0]])
    rows = relax([*unknown, americium, salt()], RelaxConfig(potential=name, max_steps=5))
    for row, symbol in zip(rows, [*sorted(symbols), "Am"], strict=False):
        assert row.status == Status.FAILED
        assert row.reason == f"{name} was not trained on {symbol}"
        assert row.energy_per_atom is None
    assert rows[-1].energy_per_atom is not None
    found = energies_per_atom([unknown[0], salt()], load_named(name), 100)
    assert np.isinf(found[0])
    assert np.isfinite(found[1])


@pytest.mark.parametrize(
    ("formula", "settings", "line"),
    [
        ("Li2Po", {}, "'chgnet-0.3.0' was not trained on Po"),
        ("FrCl", {}, "'chgnet-0.3.0' was not trained on Fr"),
        ("YbO", {"relax": {"potential": "chgnet-r2scan"}}, "'chgnet-r2scan' was not trained on Yb"),
        ("YbO", {"screen": {"second_potential": "chgnet-r2scan"}},
         "screen.second_potential = 'chgnet-r2scan' was not trained on Yb"),
    ],
)  # fmt: skip
def test_cases_untrained_element_is_said_before_any_job(
    formula: str, settings: dict, line: str
) -> None:
    systems = {"X": {"compositions": [formula]}}
    with pytest.raises(ConfigError, match=f"systems.X.compositions: .*{line}$"):
        Campaign.load({"systems": systems, **settings}, "unused")
