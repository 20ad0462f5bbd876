"""Generator ``prototypes``: which donors a row sees, and what comes of them."""

import numpy as np
import pytest

from chggen.config.stages import GenerateConfig
from chggen.generators import make_generator
from chggen.generators.base import Order
from chggen.generators.prototypes import PrototypeSource, pick
from chggen.structure.composition import formula_of
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task
from chggen.symmetry.prototype_library import Library, nearest


@pytest.fixture(scope="module")
def source() -> PrototypeSource:
    made = make_generator(GenerateConfig(generator="prototypes", candidates=4, finalists=1))
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
