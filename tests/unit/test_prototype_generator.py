"""Generator ``prototypes``: which donors a row sees, and what comes of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chggen.campaign.seeds import Shard
from chggen.config.stages import GenerateConfig
from chggen.generators import make_generator
from chggen.generators.base import Order
from chggen.generators.mixture import prototype_rows
from chggen.generators.prototypes import PrototypeSource, pick
from chggen.stages.generate import generate
from chggen.structure.composition import formula_of
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.prototype_library import Library, nearest
from chggen.tables import parquet


@pytest.fixture(scope="module")
def source() -> PrototypeSource:
    made = make_generator(
        GenerateConfig(generator="prototypes", prototypes={"candidates": 4}, finalists=1)
    )
    assert isinstance(made, PrototypeSource)
    return made


def order(formula: str, seeds: tuple[int, ...] = (1, 2, 3), units: tuple[int, ...] = (1,)) -> Order:
    return Order(formula, 0, 1, seeds, units, 14.0)


def test_one_structure_per_seed_of_the_composition_and_volume(source: PrototypeSource) -> None:
    made = source.structures(order("BaZrO3", units=(1, 2)))
    assert len(made) == 3
    for loaded in made:
        crystal = loaded.placed.crystal
        assert crystal is not None
        assert formula_of(crystal.atomic_numbers) == "BaZrO3"
        assert len(crystal) in {5, 10}
        assert crystal.volume_per_atom == pytest.approx(14.0)
        assert "ABC3" in loaded.origin


@pytest.mark.parametrize("formula", ["Fe", "KBr", "Mg2SiO4", "NaFe4Cu4As3O16"])
def test_elements_and_large_formulas_work(source: PrototypeSource, formula: str) -> None:
    made = source.structures(order(formula, units=(1, 2)))
    crystals = [m.placed.crystal for m in made]
    assert all(c is not None or m.placed.reason for c, m in zip(crystals, made, strict=True))
    assert {formula_of(c.atomic_numbers) for c in crystals if c} <= {formula}


def test_a_formula_type_that_the_library_lacks_gives_rows_with_a_reason(
    source: PrototypeSource,
) -> None:
    made = source.structures(order("Li37Si11P13S29"))
    assert len(made) == 3
    assert {m.placed.crystal for m in made} == {None}
    assert made[0].placed.reason == (
        "the library holds no prototype of Li37Si11P13S29 with 90 atoms"
    )


def test_a_row_depends_on_its_seed_alone(source: PrototypeSource) -> None:
    alone = source.structures(order("MgO", (7,), (1, 2)))[0]
    among = source.structures(order("MgO", (3, 7, 5), (1, 2)))[1]
    assert alone.origin == among.origin
    np.testing.assert_array_equal(alone.placed.crystal.cell, among.placed.crystal.cell)


def test_as_a_generator_it_takes_atoms_and_volume_of_a_task_but_not_its_cell(
    source: PrototypeSource,
) -> None:
    def task(cell: np.ndarray, seed: int = 5) -> Task:
        crystal = Crystal.of(cell, [11, 17], np.zeros((2, 3)))
        return Task(crystal, np.ones(2, bool), seed)

    cube = task(np.eye(3) * 3.6)
    slab = task(np.diag([7.2, 3.6, 1.8]))
    one, two = source([cube, slab])
    assert one.crystal is not None
    assert one.crystal.volume_per_atom == pytest.approx(3.6**3 / 2)
    np.testing.assert_allclose(one.crystal.cell, two.crystal.cell)


# -- choice of donors ----------------------------------------------------------------------


def test_a_row_sees_different_prototypes_and_the_nearest_most_often() -> None:
    donors = nearest(Library(), "LiCoO2", {4, 8})
    seen = [pick(donors, 8, seed) for seed in range(200)]
    for row in seen:
        assert len({d.prototype.kind for d in row}) == 8
    shares = [sum(donors[0] in row for row in seen) / 200]
    far = next(d for d in reversed(donors) if d.distance > donors[0].distance + 2)
    shares.append(sum(far in row for row in seen) / 200)
    assert shares[0] > 0.7
    assert shares[1] < shares[0]


def test_rows_differ_by_seed_and_are_reproducible() -> None:
    donors = nearest(Library(), "LiCoO2", {4, 8, 12})
    assert pick(donors, 8, 1) == pick(donors, 8, 1)
    assert len({tuple(d.prototype.name for d in pick(donors, 8, s)) for s in range(20)}) > 10


def test_few_donors_are_repeated_so_that_every_row_has_its_candidates() -> None:
    donors = nearest(Library(), "LiCoO2", {4})[:3]
    picked = pick(donors, 8, 0)
    assert len(picked) == 8
    assert set(picked) == set(donors)


# -- in a campaign -------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "count"), [(0.25, 3), (0.5, 5), (0.1, 2), (1.0, 4), (0.0, 4)])
def test_the_share_holds_over_all_shards(share: float, count: int) -> None:
    rows = [prototype_rows(share, seed * count, count) for seed in range(20)]
    total = sum(map(len, rows))
    assert abs(total - share * 20 * count) < 1
    assert all(0 <= i < count for some in rows for i in some)


def shard_of(
    formula: str, folder: Path, *, share: float = 0.5, units: tuple[int, ...] = (1,)
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    settings = GenerateConfig(candidates=2, finalists=1, prototypes={"share": share})
    cells = {"formula_units": list(units), "lattices": 4, "volume_per_atom": 14.0}
    generate(folder / "g.parquet", Shard("S", formula, 0), cells, settings, 1)
    table = folder / "g.parquet"
    return parquet.read(table, "generated"), parquet.read_header(table)


def test_a_share_of_the_rows_of_a_campaign_comes_from_prototypes(tmp_path: Path) -> None:
    rows, header = shard_of("MgO", tmp_path)
    assert [r["route"] for r in rows] == ["prototypes", "unconditional"] * 2
    assert [r["generator"] for r in rows] == ["prototypes", "diffusion"] * 2
    assert [r["index"] for r in rows] == [0, 1, 2, 3]
    for row in rows:
        known = row["route"] == "prototypes"
        assert (row["checkpoint"] is None) == known
        assert (row["bravais_type"] is None) == known
        assert (row["origin"] is not None) == known
        assert row["volume_per_atom"] == pytest.approx(14.0)
    assert "AB " in rows[0]["origin"]
    assert {"prototypes", "checkpoint", "ranking_potential"} <= set(header["inputs"])


def test_without_a_prototype_the_network_makes_the_rows_and_they_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, header = shard_of("Li5P7S3", tmp_path)
    assert {r["route"] for r in rows} == {"unconditional"}
    assert {r["generator"] for r in rows} == {"diffusion"}
    said = "the library holds no prototype of Li5P7S3 with 15 atoms"
    assert [r["origin"] for r in rows] == [said, None, said, None]
    assert header["no_prototype"] == said
    assert sum(said in record.message for record in caplog.records) == 1


def test_a_share_of_zero_leaves_the_library_alone(tmp_path: Path) -> None:
    rows, header = shard_of("MgO", tmp_path, share=0)
    assert {r["route"] for r in rows} == {"unconditional"}
    assert "no_prototype" not in header
