"""Several draws per structure, the best kept."""

from dataclasses import replace

import numpy as np

from chggen.config.stages import GenerateConfig
from chggen.errors import Status
from chggen.generators.random import RandomGenerator
from chggen.generators.ranking import Selecting, selecting
from chggen.potential import load_potential
from chggen.potential.energies import energies_per_atom
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed, Task


def tasks(count, edge=7.0):
    cell = np.eye(3) * edge
    return [
        Task(Crystal.of(cell, [11] * 4 + [17] * 4, np.zeros((8, 3))), np.ones(8, bool), s)
        for s in range(count)
    ]


def first_x(crystals):
    """An 'energy' that can be looked up: the first coordinate."""
    return np.array([np.inf if c is None else c.frac_coords[0, 0] for c in crystals])


class Recording(RandomGenerator):
    def __call__(self, tasks, progress=None):
        self.seen = list(tasks)
        self.gave = [replace(p, score_calls=5) for p in super().__call__(tasks, progress)]
        return self.gave


def test_the_draw_of_lowest_energy_is_kept():
    inner = Recording()
    kept = Selecting(inner, 4, "none", first_x, {})(tasks(3))
    energies = first_x([p.crystal for p in inner.gave]).reshape(3, 4)
    assert [p.crystal.frac_coords[0, 0] for p in kept] == energies.min(axis=1).tolist()
    assert [p.score_calls for p in kept] == [20, 20, 20]


def test_draws_differ_and_do_not_depend_on_the_company():
    one, many = Recording(), Recording()
    Selecting(one, 3, "none", first_x, {})(tasks(3)[1:2])
    Selecting(many, 3, "none", first_x, {})(tasks(3))
    assert len({t.seed for t in many.seen}) == 9
    assert [t.seed for t in one.seen] == [t.seed for t in many.seen[3:6]]
    assert many.seen[0].seed == 0  # one candidate is the plain generator's draw


def test_failures_lose_against_structures_and_stay_rows():
    class Failing(RandomGenerator):
        def __call__(self, tasks, progress=None):
            made = super().__call__(tasks, progress)
            return [
                Placed(None, "no", 1) if t.seed == 0 or t.crystal.volume < 200 else p
                for t, p in zip(tasks, made, strict=True)
            ]

    kept = Selecting(Failing(), 2, "none", first_x, {})([*tasks(1), *tasks(1, edge=5.0)])
    assert kept[0].crystal is not None
    assert kept[1].crystal is None
    assert kept[1].status is Status.SAMPLING_FAILED


def test_symmetry_that_cannot_be_is_a_row():
    (row,) = Selecting(Recording(), 2, 62, first_x, {})(tasks(1))
    assert row.crystal is None
    assert row.status is Status.SYMMETRY_IMPOSSIBLE
    assert "space group" in row.reason


def test_auto_leaves_half_of_the_draws_free():
    inner = Recording()
    Selecting(inner, 4, "auto", first_x, {})(tasks(2))
    assert [t.symmetry is not None for t in inner.seen] == [False, True] * 4


def test_only_the_diffusion_model_keeps_groups_by_itself():
    wrapped = selecting(RandomGenerator(), GenerateConfig(generator="random"), 1, "auto")
    assert wrapped.symmetry == "none"
    plain = RandomGenerator()(tasks(2))
    for a, b in zip(wrapped(tasks(2)), plain, strict=True):
        np.testing.assert_array_equal(a.crystal.frac_coords, b.crystal.frac_coords)


def test_energies_are_those_of_the_potential():
    model = load_potential("chgnet-0.3.0")
    rock = Crystal.of(
        np.eye(3) * 5.69,
        [11] * 4 + [17] * 4,
        [
            [0, 0, 0],
            [0, 0.5, 0.5],
            [0.5, 0, 0.5],
            [0.5, 0.5, 0],
            [0.5, 0.5, 0.5],
            [0.5, 0, 0],
            [0, 0.5, 0],
            [0, 0, 0.5],
        ],
    )
    near = Crystal.of(np.eye(3) * 5.69, [11, 17], [[0, 0, 0], [0.01, 0, 0]])
    found = energies_per_atom([rock, None, near, rock], model, 10)
    assert np.isinf(found[[1, 2]]).all()
    assert found[0] == found[3]
    from chgnet.model import CHGNet

    expected = CHGNet.load(use_device="cpu", verbose=False).predict_structure(rock.to_structure())
    assert abs(found[0] - expected["e"]) < 1e-5
