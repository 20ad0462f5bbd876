"""The last round of a ranking: different draws of low energy, relaxed by a few steps."""

from dataclasses import replace

import numpy as np
import pytest

from chggen.config.stages import GenerateConfig, InpaintConfig
from chggen.errors import ChggenError
from chggen.generators.finals import Finals, choose, different, settling
from chggen.generators.random import RandomGenerator
from chggen.generators.ranking import selecting
from chggen.potential import load_potential
from chggen.potential.energies import energies_per_atom
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task

ROCK_SALT = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def sodium_chloride(shift=0.0, edge=5.69):
    """Rock salt; with ``shift`` all chlorines moved along a diagonal (fraction of the edge)."""
    anions = np.array(ROCK_SALT) + 0.5 + shift
    return Crystal.of(np.eye(3) * edge, [11] * 4 + [17] * 4, [*ROCK_SALT, *anions])


def test_draws_in_one_minimum_count_once():
    base, near, other = sodium_chloride(), sodium_chloride(0.005), sodium_chloride(0.2)
    moved = replace(near, frac_coords=near.frac_coords + np.array([0.3, 0.1, 0.7]))  # new origin
    energies = np.array([-3.0, -3.1, np.inf, -2.0, -3.05])
    assert different([base, near, None, other, moved], energies, 4) == [1, 3]
    assert different([base, near, None, other, moved], energies, 1) == [1]
    assert different([None, None], np.full(2, np.inf), 3) == []


def test_the_lowest_after_the_steps_is_chosen():
    """Also if it was not the lowest before; each structure by its own draws."""
    drawn = [sodium_chloride(), sodium_chloride(0.1), sodium_chloride(0.2), None]
    asked = []

    def settle(crystals):
        asked.extend(crystals)
        return np.array([-1.0, -2.0, -5.0, -4.0])

    energies = [np.array([-3.0, -2.0, -1.0, np.inf]), np.array([-1.0, -3.0, -2.0, np.inf])]
    assert choose([drawn, drawn], energies, Finals(2, settle)) == [1, 1]
    assert asked == [drawn[0], drawn[1], drawn[1], drawn[2]]


def test_what_cannot_be_relaxed_falls_back_to_the_energy_as_it_stands():
    drawn = [sodium_chloride(0.1), sodium_chloride(), None]
    finals = Finals(3, lambda crystals: np.full(len(crystals), np.inf))
    energies = [np.array([-1.0, -2.0, np.inf]), np.full(3, np.inf)]
    assert choose([drawn, [None] * 3], energies, finals) == [1, 0]


def test_steps_lower_the_energy_and_move_the_cell():
    """Rock salt expanded by 4 % gains what its volume costs; more steps gain no less."""
    model = load_potential("chgnet-0.3.0")
    wide = sodium_chloride(0.01, edge=5.92)
    (before,) = energies_per_atom([wide], model, 400)
    few, more = (settling(model, steps, 400)([wide])[0] for steps in (2, 15))
    assert more <= few < before
    (fixed,) = energies_per_atom([sodium_chloride(edge=5.92)], model, 400)
    assert more < fixed - 0.005  # positions alone cannot get there
    flat = replace(wide, cell=np.diag([5.9, 5.9, 0.1]))
    assert np.isinf(settling(model, 2, 400)([flat])).all()


def test_the_winner_is_handed_on_as_it_was_drawn():
    """Finals change which draw is kept, not the draw: one of the raw ones comes out."""

    class Recording(RandomGenerator):
        def __call__(self, tasks, progress=None):
            self.gave = super().__call__(tasks, progress)
            return self.gave

    cell = np.eye(3) * 5.6
    task = Task(Crystal.of(cell, [11] * 2 + [17] * 2, np.zeros((4, 3))), np.ones(4, bool), 3)
    inner = Recording()
    settings = GenerateConfig(finalists=4, finalist_steps=25)
    (kept,) = selecting(inner, settings, 8, "none")([task])
    drawn = [p.crystal for p in inner.gave]
    assert any(np.array_equal(kept.crystal.frac_coords, c.frac_coords) for c in drawn)
    np.testing.assert_array_equal(kept.crystal.cell, cell)
    model = load_potential("chgnet-0.3.0")
    chosen = settling(model, 25, 1200)([kept.crystal])[0]
    (plain,) = selecting(inner, GenerateConfig(finalists=1), 8, "none")([task])
    assert chosen <= settling(model, 25, 1200)([plain.crystal])[0] + 1e-5


@pytest.mark.parametrize("section", [GenerateConfig, InpaintConfig])
@pytest.mark.parametrize("key", ["finalists", "finalist_steps"])
def test_none_is_no_number_of_finalists(section, key):
    with pytest.raises((ChggenError, ValueError), match=key):
        section(**{key: 0})
