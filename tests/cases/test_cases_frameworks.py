"""Cases about frameworks: guests chosen once, bonds of the hosts kept (README of the cases)."""

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from chggen.cli import app
from chggen.config.stages import InpaintConfig, RefineConfig
from chggen.errors import ConfigError, Status, TableError
from chggen.stages.choose import choose
from chggen.stages.inpaint import inpaint
from chggen.stages.refine import refine
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal, row_id
from chggen.symmetry import framework
from chggen.tables import parquet
from chggen.tables.lineage import structure_columns


def cubic(group: int, a: float, species: list[str], sites: list[list[float]]) -> Crystal:
    structure = Structure.from_spacegroup(group, Lattice.cubic(a), species, sites)
    return Crystal.from_structure(structure)


#: Li has 6 neighbours.
SALT = cubic(225, 5.64, ["Li", "Si"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def table(path: Path, crystals: list[Crystal | None], **more: object) -> Path:
    """A table ``relaxed`` of crystals; None is a structure that failed."""
    formula = next(comp.formula_of(c.atomic_numbers) for c in crystals if c is not None)
    rows = [
        {"system": "S", "composition": formula, "route": "unconditional", "seed": 0, "index": i}
        | {"id": row_id(str(path), i), "draw": 0, "random_seed": i, "reason": "", "n_atoms": 0}
        | ({"status": "ok", **structure_columns(c)} if c is not None else {"status": "exploded"})
        | more
        for i, c in enumerate(crystals)
    ]
    parquet.write(path, "relaxed", rows, {})
    return path


# guests: auto --------------------------------------------------------------------------------


def half(crystal: Crystal, symbol: str) -> Crystal:
    """A ternary: every other atom of the first element replaced."""
    z = crystal.atomic_numbers.copy()
    z[np.flatnonzero(z == 3)[::2]] = comp.ATOMIC_NUMBERS[symbol]
    return Crystal.of(crystal.cell, z, crystal.frac_coords)


def spread(symbol: str, seed: int) -> Crystal:
    """LiNaSi2 in which one element has been displaced, so that its coordination varies."""
    crystal = half(SALT, "Na")
    rng = np.random.default_rng(seed)
    moved = crystal.atomic_numbers == comp.ATOMIC_NUMBERS[symbol]
    frac = crystal.frac_coords + moved[:, None] * rng.uniform(-0.12, 0.12, (len(crystal), 3))
    return Crystal.of(crystal.cell, crystal.atomic_numbers, frac)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Two shards of one composition that would each choose another element."""
    return [
        table(tmp_path / "one.parquet", [spread("Na", i) for i in range(3)]),
        table(tmp_path / "two.parquet", [*(spread("Li", i) for i in range(6)), None], seed=1),
    ]


def guests(path: Path) -> list[tuple[str, ...]]:
    return sorted({(*row["guests"], row["guest_choice"]) for row in parquet.read(path, "refined")})


def test_guests_auto_is_decided_once_for_all_shards(shards: list[Path], tmp_path: Path) -> None:
    out, chosen = tmp_path / "refined.parquet", tmp_path / "chosen.parquet"
    alone = []
    for shard in shards:
        refine(shard, out, "auto", RefineConfig())
        alone += guests(out)
    assert {g for g, _ in alone} == {"Na", "Li"}  # what happened: each shard for itself
    (line,) = choose(shards, chosen)
    rows = {row["element"]: row for row in parquet.read(chosen, "chosen")}
    assert {e: (row["chosen"], row["structures"]) for e, row in rows.items()} == {
        "Na": (False, 9),
        "Li": (True, 9),
        "Si": (False, 9),
    }
    assert rows["Li"]["system_entropy"] > rows["Na"]["system_entropy"]
    assert "Li" in line
    assert f"Li {rows['Li']['system_entropy']:.2f}" in line
    assert "9 structures" in line
    for shard in shards:
        refine(shard, out, "auto", RefineConfig(), chosen=chosen)
        assert guests(out) == [("Li", "system")]
        assert parquet.read_header(out)["guest_choice"] == line


def test_a_composition_without_the_guest_of_the_system_has_its_own(tmp_path: Path) -> None:
    ternary = table(tmp_path / "a.parquet", [spread("Li", i) for i in range(4)])
    sodium = Crystal.of(SALT.cell, np.where(SALT.atomic_numbers == 3, 11, 14), SALT.frac_coords)
    binary = table(tmp_path / "b.parquet", [sodium, None])
    chosen, out = tmp_path / "chosen.parquet", tmp_path / "refined.parquet"
    lines = choose([ternary, binary], chosen)
    assert len(lines) == 2
    assert "Li, the guest of the system, is not in it" in lines[1]
    refine(binary, out, "auto", RefineConfig(), chosen=chosen)
    assert guests(out) == [("Na", "composition")]
    refine(ternary, out, "auto", RefineConfig(), chosen=chosen)
    assert guests(out) == [("Li", "system")]


def test_a_composition_where_the_guest_is_the_anion_has_its_own(tmp_path: Path) -> None:
    ternary = table(tmp_path / "a.parquet", [spread("Li", i) for i in range(4)])
    # the more electronegative of Na and Li is Li, which here would leave a metal
    alloy = Crystal.of(SALT.cell, np.where(SALT.atomic_numbers == 3, 3, 11), SALT.frac_coords)
    lines = choose([ternary, table(tmp_path / "b.parquet", [alloy])], tmp_path / "c.parquet")
    assert "is its most electronegative element" in lines[1]
    assert lines[1].startswith("guest in NaLi: Na")


def test_no_usable_structure_still_gives_guests(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(path, [SALT, SALT])
    rows = parquet.read(path, "relaxed")
    keep = ("cell", "atomic_numbers", "frac_coords")
    rows = [{**r, "status": "exploded", "n_atoms": 0} | dict.fromkeys(keep) for r in rows]
    parquet.write(path, "relaxed", rows, {})
    (line,) = choose([path], tmp_path / "chosen.parquet")
    assert line == "guest in S: Li (auto: coordination entropy unknown nats in 0 structures)"


def test_what_cannot_be_chosen_is_one_line(tmp_path: Path) -> None:
    first = table(tmp_path / "a.parquet", [SALT])
    other = table(tmp_path / "b.parquet", [spread("Li", 0)], system="T")
    with pytest.raises(TableError, match="S and T"):
        choose([first, other], tmp_path / "chosen.parquet")
    choose([first], tmp_path / "chosen.parquet")
    with pytest.raises(TableError, match="no guests for"):
        refine(
            other, tmp_path / "r.parquet", "auto", RefineConfig(),
            chosen=tmp_path / "chosen.parquet",
        )  # fmt: skip
    runner = CliRunner()
    for arguments, text in (
        (["-g", "Xx"], "--guest 'Xx': unknown element"),
        (["-g", "Li", "--chosen", str(other)], "cannot be used together"),
    ):
        result = runner.invoke(app, ["refine", str(first), *arguments])
        assert isinstance(result.exception, ConfigError)
        assert text in str(result.exception)


def test_the_command_says_what_it_chose(shards: list[Path], tmp_path: Path) -> None:
    arguments = ["choose", *map(str, shards), "-o", str(tmp_path / "chosen.parquet")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "guest in S: Li (auto: coordination entropy" in result.output


# bonds of the hosts --------------------------------------------------------------------------

#: S2 pairs of 2.05 Å along a, 2.95 Å apart: averaged, a chain with 2.5 Å all along.
PAIRS = Crystal.of(
    np.diag([5.0, 6.1, 7.2]), [16, 16, 3], [[0.1, 0.2, 0.3], [0.51, 0.2, 0.3], [0.3, 0.7, 0.8]]
)
#: What averages them.
COARSE = {"ladder": [(1.0, 20.0)]}


def test_a_symmetrisation_that_changes_bonds_is_refused() -> None:
    (found,) = framework.refine(PAIRS, ["Li"], RefineConfig(**COARSE))
    assert found.status is Status.COORDINATION_CHANGED
    assert found.crystal is None
    assert found.coordination_changed == 2
    assert found.displacement_max == pytest.approx(0.225, abs=1e-6)  # far under the cap in Å
    assert "2 of 2 hosts" in found.reason


def test_with_keep_coordination_false_it_is_recorded() -> None:
    settings = RefineConfig(**COARSE, keep_coordination=False)
    (found,) = framework.refine(PAIRS, ["Li"], settings)
    assert (found.status, found.coordination_changed) == (Status.OK, 2)


def test_the_step_before_is_taken_where_it_keeps_the_bonds() -> None:
    (found,) = framework.refine(PAIRS, ["Li"], RefineConfig(ladder=[(0.1, 10), (1.0, 20)]))
    assert (found.status, found.symprec, found.coordination_changed) == (Status.OK, 0.1, 0)


# which step, and how many ----------------------------------------------------------------------


def polar(shift: float) -> Crystal:
    """Zinc blende whose anions have moved along c: Imm2, or F-43m with a wide tolerance."""
    hosts = cubic(216, 5.41, ["Zn", "S"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    frac = hosts.frac_coords.copy()
    frac[hosts.atomic_numbers == 16, 2] += shift / 5.41
    return Crystal.of(
        hosts.cell,
        [*hosts.atomic_numbers, 3, 3],
        [*frac, [0.5, 0.5, 0.5], [0.8, 0.7, 0.7]],
    )


LADDER = {"ladder": [(0.2, 10.0), (0.5, 15.0)]}


@pytest.mark.parametrize(
    ("keys", "groups"),
    [
        ({"ladder_choice": "first", "frameworks_per_structure": 1}, [44]),
        ({"ladder_choice": "best", "frameworks_per_structure": 1}, [216]),
        ({"ladder_choice": "first"}, [44, 216]),
        ({}, [216, 44]),
    ],
)
def test_ladder_choice(keys: dict[str, object], groups: list[int]) -> None:
    # hosts move by 0.075 Å: within the 0.2 Å at which the structure was found symmetric
    found = framework.refine(polar(0.15), ["Li"], RefineConfig(**LADDER, **keys))
    assert [f.space_group_number for f in found] == groups
    assert all(f.status is Status.OK for f in found)


def test_best_does_not_move_hosts_farther_than_the_first_tolerance() -> None:
    settings = RefineConfig(ladder=[(0.05, 10.0), (0.5, 15.0)])
    found = framework.refine(polar(0.15), ["Li"], settings)
    assert [f.space_group_number for f in found] == [44, 216]
    assert found[1].displacement_max > 0.05


def test_steps_that_find_the_same_are_one_framework() -> None:
    settings = RefineConfig(ladder=[(0.05, 10.0), (0.1, 10.0), (0.2, 10.0)])
    assert len(framework.refine(polar(0.15), ["Li"], settings)) == 1


def test_several_frameworks_are_carried_through(tmp_path: Path) -> None:
    source = table(tmp_path / "relaxed.parquet", [polar(0.15), None, polar(0.0)])
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    refine(source, one, ["Li"], RefineConfig(**LADDER, frameworks_per_structure=1))
    refine(source, two, ["Li"], RefineConfig(**LADDER))
    rows = parquet.read(two, "refined")
    assert [(r["index"], r["framework"], r["status"]) for r in rows] == [
        (0, 0, "ok"), (0, 1, "ok"), (1, 0, "parent_failed"), (2, 0, "ok"),
    ]  # fmt: skip
    chosen = [row for row in rows if row["framework"] == 0]
    assert chosen == parquet.read(one, "refined")  # more frameworks change nothing in the first
    draws = {}
    for path in (one, two):
        out = tmp_path / f"inpainted-{path.name}"
        inpaint(path, out, InpaintConfig(draws=2, candidates=1), 7)
        draws[path] = parquet.read(out, "inpainted")
    keys = [(r["index"], r["framework"], r["draw"]) for r in draws[two]]
    assert keys == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (2, 0, 0), (2, 0, 1)]
    parents = {row["id"]: row for row in rows}
    for row in draws[two]:
        parent = parents[row["parent_id"]]
        assert (row["index"], row["framework"]) == (parent["index"], parent["framework"])
        assert row["host_space_group_number"] == (
            parent["space_group_number"] if row["status"] == "ok" else None
        )
    seeds = [row["random_seed"] for row in draws[two] if row["index"] == 0]
    assert len(set(seeds)) == 4
    same = {row["id"]: row for row in draws[two]}
    for row in draws[one]:
        assert same[row["id"]]["random_seed"] == row["random_seed"]
