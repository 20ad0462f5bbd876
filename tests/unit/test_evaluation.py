"""``chggen evaluate``: choice of structures, tasks, judgement, statistics."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from chggen.analysis.intervals import wilson
from chggen.cells.drawing import draw_cells
from chggen.cells.volume import predict_volumes
from chggen.config.stages import GenerateConfig, LatticeConfig, RelaxConfig
from chggen.errors import Status
from chggen.evaluation import figures as stats
from chggen.evaluation import outcomes as judging
from chggen.evaluation import statistics as rates
from chggen.evaluation.budget import BUDGETS, Search, compare, found_at, lowest_at
from chggen.evaluation.outcomes import Outcome, judge
from chggen.evaluation.sampling import Draw, Mixture, Sample, sample
from chggen.evaluation.settings import Evaluation, size_class
from chggen.evaluation.structures import select
from chggen.evaluation.tasks import fill, tasks_for
from chggen.generators.random import RandomGenerator
from chggen.generators.ranking import Selecting
from chggen.potential import load_potential
from chggen.relaxation.pool import Relaxation
from chggen.run.progress import bar
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed, Task

RUNNER = CliRunner()
PROTOTYPES = {
    "NaCl": Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ).get_primitive_structure(),
    "CsCl": Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]),
    "CaF2": Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.46), ["Ca", "F"], [[0, 0, 0], [0.25, 0.25, 0.25]]
    ).get_primitive_structure(),
}
#: (name, eV/atom above the hull)
ROWS = [("NaCl", 0.0), ("CsCl", 0.01), ("CaF2", 0.0), ("NaCl", 0.2), ("CsCl", math.nan)]
ELEMENTS = {"Na", "Cl", "Cs", "Ca", "F"}


def write(path: Path, rows=ROWS, columns=("material_id", "e_above_hull", "cif")) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for i, (name, above) in enumerate(rows):
            cif = PROTOTYPES[name].to(fmt="cif") if name in PROTOTYPES else name
            writer.writerow({"material_id": f"mp-{i}", "e_above_hull": above, "cif": cif})
    return path


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "known.csv")


def asked(path: Path, **changes) -> Evaluation:
    given = {"limit": 3, "samples": 2, "min_atoms": 2, "cells": "true"}
    given |= {"generators": ("diffusion", "random")}
    relax = RelaxConfig(max_steps=60)
    return Evaluation(**({"structures": path, "relax": relax} | given | changes))


# choice of structures


def test_filter_says_what_it_leaves_out(source):
    chosen = select(asked(source, limit=10), ELEMENTS)
    assert sorted(k.name for k in chosen.known) == ["mp-0", "mp-1", "mp-2"]
    assert {k.formula for k in chosen.known} == {"NaCl", "CsCl", "CaF2"}
    assert chosen.left_out == {"above the hull": 2}
    small = select(asked(source, limit=10, min_atoms=3), ELEMENTS - {"Cs"})
    assert [k.name for k in small.known] == ["mp-2"]
    assert small.left_out == {"above the hull": 2, "number of atoms": 2}
    unknown = select(asked(source, limit=10), ELEMENTS - {"Ca"})
    assert unknown.left_out == {"above the hull": 2, "unknown elements": 1}


def test_a_file_without_hull_column_is_taken_whole(tmp_path):
    path = write(tmp_path / "known.csv", [*ROWS, ("no cif", 0.0)], ("cif",))
    chosen = select(asked(path, limit=10), ELEMENTS)
    assert len(chosen.known) == 5
    assert not chosen.hull_column
    assert chosen.left_out == {"not readable": 1}
    assert chosen.known[0].name.startswith("row ")


def test_choice_follows_the_seed_and_limits_share_structures(tmp_path):
    path = write(tmp_path / "known.csv", [("NaCl", 0.0), ("CsCl", 0.0), ("CaF2", 0.0)] * 8)

    def rows(**changes):
        return [k.row for k in select(asked(path, **changes), ELEMENTS).known]

    assert rows(limit=10) == rows(limit=10)
    assert rows(limit=10)[:4] == rows(limit=4)
    assert rows(limit=10, seed=2) != rows(limit=10, seed=3)
    # a filter leaves the order of the others as it is
    threes = [r for r in rows(limit=24) if r % 3 == 2]
    assert rows(limit=24, min_atoms=3) == threes


# tasks


def test_tasks_hold_nothing_of_the_answer_but_cell_and_atoms(source):
    known = select(asked(source), ELEMENTS).known
    rows = tasks_for(known, "true", 2, 7, GenerateConfig())
    assert [len(row) for row in rows] == [1] * 6
    tasks = [row[0] for row in rows]
    assert len({t.seed for t in tasks}) == 6
    for i, task in enumerate(tasks):
        truth = known[i // 2].crystal
        assert np.array_equal(task.crystal.cell, truth.cell)
        assert np.array_equal(task.crystal.atomic_numbers, truth.atomic_numbers)
        assert not task.crystal.frac_coords.any()
        assert task.guest.all()
    # what a structure is asked for does not depend on the others
    alone = tasks_for(known[1:2], "true", 2, 7, GenerateConfig())
    assert [row[0].seed for row in alone] == [t.seed for t in tasks[2:4]]


def test_framework_leaves_out_the_rarest_element(source):
    known = select(asked(source, cells="framework"), ELEMENTS).known
    rows = tasks_for(known, "framework", 1, 7, GenerateConfig())
    for (task,), truth in zip(rows, known, strict=True):
        numbers = task.crystal.atomic_numbers
        guest, host = numbers[task.guest], numbers[~task.guest]
        assert len(set(guest.tolist())) == 1
        assert len(host)
        assert len(guest) <= min(np.unique(host, return_counts=True)[1])
        hosts = ~task.guest
        assert np.array_equal(task.crystal.frac_coords[hosts], truth.crystal.frac_coords[hosts])


def test_sampled_cells_have_the_predicted_volume_and_differ(source):
    known = select(asked(source), ELEMENTS).known
    settings = GenerateConfig(candidates=4, lattice=LatticeConfig(source="bravais"))
    rows = tasks_for(known, "sampled", 3, 7, settings)
    assert [len(row) for row in rows] == [4] * 9
    for place in range(3):
        tasks = [task for row in rows[3 * place : 3 * place + 3] for task in row]
        assert len({round(t.crystal.volume, 6) for t in tasks}) == 1
        assert len({shape(t.crystal.cell) for t in tasks}) > 6
        ratio = tasks[0].crystal.volume / known[place].crystal.volume
        assert 0.7 < ratio < 1.4
    again = tasks_for(known[2:], "sampled", 3, 7, settings)
    assert np.array_equal(again[0][1].crystal.cell, rows[6][1].crystal.cell)


def test_sampled_cells_are_those_of_a_campaign(source, tmp_path):
    # what the stage `generate` gives random starts, the evaluation gives them too
    known = select(asked(source), ELEMENTS).known[0]
    settings = GenerateConfig(generator="random", candidates=3)
    z = known.crystal.atomic_numbers
    cells = draw_cells(
        [z] * 2,
        predict_volumes([known.formula])[0].volume_per_atom,
        settings.lattice,
        np.random.SeedSequence([7, known.row, 0]),
        3,
    )
    rows = tasks_for([known], "sampled", 2, 7, settings, "none")
    for row, own in zip(rows, cells, strict=True):
        for task, cell in zip(row, own, strict=True):
            assert np.array_equal(task.crystal.cell, cell.cell)


def test_each_generator_draws_as_many_candidates_as_it_has(source):
    known = select(asked(source), ELEMENTS).known
    rows = tasks_for(known, "sampled", 2, 7, GenerateConfig(candidates=4))
    inner = RandomGenerator()

    def last(crystals):  # the candidate that was drawn last has the lowest energy
        return -np.arange(len(crystals), dtype=float)

    single = fill(inner, rows)
    assert [p.candidate for p in single] == [0] * 6
    three = fill(Selecting(inner, 3, "none", last, {}), rows)
    for row, one, kept in zip(rows, single, three, strict=True):
        assert np.array_equal(one.crystal.cell, row[0].crystal.cell)
        assert kept.candidate == 2
        assert np.array_equal(kept.crystal.cell, row[2].crystal.cell)
    # one cell for all candidates, each with positions of its own
    same = fill(
        Selecting(inner, 3, "none", last, {}), tasks_for(known, "true", 1, 7, GenerateConfig())
    )
    for kept, truth in zip(same, known, strict=True):
        assert np.array_equal(kept.crystal.cell, truth.crystal.cell)


# judgement


def shape(cell):
    return tuple(np.round(cell @ cell.T, 4).ravel())


def crystal(name: str, shift: float = 0.0) -> Crystal:
    found = Crystal.from_structure(PROTOTYPES[name])
    return Crystal.of(found.cell.copy(), found.atomic_numbers, found.frac_coords + shift)


def relaxed(name: str, status=Status.OK, energy=-3.0, shift=0.0, **more) -> Relaxation:
    return Relaxation(crystal(name, shift), status, energy_per_atom=energy, **more)


def test_judgement():
    truth = [relaxed("NaCl"), Relaxation(None, Status.NOT_FINITE, "nan"), relaxed("CsCl")]
    task = Task(crystal("NaCl"), np.ones(2, bool), 0)
    made = Placed(crystal("NaCl"), "", 59)
    placed = [made, Placed(None, "lost", 3), made, made, made, made]
    results = [
        relaxed("NaCl", energy=-2.9, shift=0.3, delta_energy_per_atom=0.5, rmsd=0.2),
        None,
        relaxed("NaCl"),
        relaxed("NaCl"),
        relaxed("CsCl", status=Status.NOT_CONVERGED, energy=-3.5),
        relaxed("CsCl", status=Status.EXPLODED, delta_energy_per_atom=9.0),
    ]
    samples = [
        Sample(Draw(i // 2, i % 2, [task]), p, r, 1.0 + i, 0.5)
        for i, (p, r) in enumerate(zip(placed, results, strict=True))
    ]
    found = judge(samples, truth)
    assert [o.status for o in found] == [
        Status.OK,
        Status.SAMPLING_FAILED,
        Status.PARENT_FAILED,
        Status.PARENT_FAILED,
        Status.NOT_CONVERGED,
        Status.EXPLODED,
    ]
    assert [o.matched for o in found] == [True, False, False, False, True, False]
    assert [o.matched_narrow for o in found] == [o.matched for o in found]
    assert found[0].energy_above_truth == pytest.approx(0.1)
    assert found[0].delta_energy == 0.5
    assert found[0].rmsd == 0.2
    assert [o.cpu_seconds for o in found] == [1.5 + i for i in range(6)]
    # what an explosion left behind is no result
    assert math.isnan(found[5].delta_energy)
    figures = stats.summary(found, 2)
    assert figures["n_samples"] == sum(figures["statuses"].values()) == 6
    assert figures["n_relaxed"] == 2
    assert figures["match_at_1"] == pytest.approx(2 / 6)
    assert figures["match_at_k"] == pytest.approx(2 / 3)
    assert figures["score_calls"] == pytest.approx((5 * 59 + 3) / 6)
    # four of six failed: the median is a failure
    assert figures["energy_above_truth"] == math.inf
    assert figures["energy_above_truth_best"] == pytest.approx(0.1)
    assert figures["lower_energy"] == pytest.approx(1 / 6)
    # one 0.1 eV/atom above, one below; failures are neither
    assert figures["within_10_mev"] == pytest.approx(1 / 6)
    assert figures["lowest_energy_at_k"] == pytest.approx(2 / 3)
    assert figures["generation_cpu_seconds"] == 3.5
    assert figures["delta_energy"] == 0.5


def test_a_matcher_that_fails_is_no_match(monkeypatch):
    class Broken:
        def fit(self, *_):
            raise ValueError("singular")

    assert not judging.same(crystal("NaCl"), crystal("CsCl"), judging.WIDE)
    assert judging.same(crystal("NaCl"), crystal("NaCl", 0.2), judging.NARROW)
    monkeypatch.setattr(judging, "_matcher", lambda _: Broken())
    assert not judging.same(crystal("NaCl"), crystal("NaCl"), judging.WIDE)


# statistics


def invented(hits, distance=2.0) -> list[Outcome]:
    task = Task(crystal("NaCl"), np.ones(2, bool), 0)
    cell = 10 * np.eye(3)
    made = Placed(Crystal.of(cell, [11, 17], [[0, 0, 0], [distance / 10, 0, 0]]), "", 10)
    return [
        Outcome(i, k, task, made, relaxed("NaCl"), Status.OK, "", matched=bool(hit))
        for i, row in enumerate(hits)
        for k, hit in enumerate(row)
    ]


def test_rates_and_their_intervals():
    hits = np.zeros((20, 4), bool)
    hits[:5] = True  # easy
    hits[5:10, 0] = True
    figures = stats.summary(invented(hits), 4)
    assert figures["match_at_1"] == pytest.approx(25 / 80)
    assert figures["match_at_k"] == 0.5
    assert (figures["match_at_k_low"], figures["match_at_k_high"]) == wilson(10, 20)
    # structures, not samples, are what is drawn: wider than 80 independent samples say
    low, high = figures["match_at_1_low"], figures["match_at_1_high"]
    assert low < 25 / 80 < high
    naive = wilson(25, 80)
    assert high - low > 1.3 * (naive[1] - naive[0])
    spread = hits.mean(1).std() / math.sqrt(20)
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert figures["match_at_1_narrow"] == 0
    assert figures["match_at_1_narrow_high"] == wilson(0, 20)[1] > 0.1


def test_structures_that_agree_are_no_certainty():
    one, low, high = rates.mean(np.array([0.25]))
    assert (one, low, high) == (0.25, 0.0, 1.0)
    half = rates.mean(np.full(10, 0.5))
    assert half == (0.5, *wilson(5, 10))
    assert rates.mean(np.ones(10)) == (1.0, *wilson(10, 10))


def test_intervals_are_always_the_same_and_cover():
    rng = np.random.default_rng(3)
    hits = rng.random((60, 3)) < 0.3
    assert rates.share(hits) == rates.share(hits)
    covered = 0
    for _ in range(100):
        hard = rng.beta(0.5, 1.0, size=40)  # mean 1/3, samples of a structure alike
        _, low, high = rates.share(rng.random((40, 5)) < hard[:, None])
        covered += low <= 1 / 3 <= high
    assert covered >= 88


def test_too_close_and_medians():
    hits = np.ones((4, 2), bool)
    assert stats.summary(invented(hits, 0.99), 2)["too_close"] == 1
    assert stats.summary(invented(hits, 1.01), 2)["too_close"] == 0
    value, low, high = rates.median(np.array([[1.0, math.nan], [3.0, 2.0], [math.nan, math.nan]]))
    assert (value, low, high) == (2.0, 1.0, 2.5)
    assert np.isnan(rates.median(np.full((3, 2), math.nan))).all()
    assert rates.median(np.array([[math.inf, 1.0, 2.0, math.inf]]))[0] == math.inf
    assert rates.median(np.array([[math.inf, 1.0, 2.0, 3.0]]))[0] == 2.5


def test_pairs_know_more_than_two_intervals():
    """What makes structures hard for both drops out of the difference."""
    rng = np.random.default_rng(5)
    hard = rng.random(60) < 0.5
    second = np.repeat(~hard[:, None], 4, axis=1)
    first = second.copy()
    first[np.flatnonzero(hard)[:10], 0] = True
    found = stats.paired(invented(first), invented(second), 4)
    assert found["match_at_1"] == pytest.approx(10 / 240)
    assert 0 < found["match_at_1_low"] < found["match_at_1"] < found["match_at_1_high"] < 0.1
    alone = stats.summary(invented(first), 4)
    assert alone["match_at_1_high"] - alone["match_at_1_low"] > 0.2
    same = stats.paired(invented(first), invented(first), 4)
    assert same["match_at_k"] == 0
    assert same["match_at_k_low"] == -wilson(0, 60)[1]


def several(energies, hits=None, sizes=None, costs=None) -> list[Outcome]:
    """Outcomes [N, K] of these energies above truth (nan: failed), atoms and CPU seconds."""
    energies = np.asarray(energies, float)
    hits = np.abs(energies) < 0.001 if hits is None else np.asarray(hits)
    found = []
    for i, row in enumerate(energies):
        n = 2 if sizes is None else sizes[i]
        content = Crystal.of(4 * np.eye(3), np.full(n, 11), np.random.default_rng(0).random((n, 3)))
        task = Task(content, np.ones(n, bool), 0)
        for k, energy in enumerate(row):
            failed = math.isnan(energy)
            status = Status.NOT_FINITE if failed else Status.OK
            cost = 1.0 if costs is None else costs[i][k]
            relaxation = None if failed else relaxed("NaCl", volume_per_atom=40.0)
            found.append(
                Outcome(
                    i,
                    k,
                    task,
                    Placed(content, "", 0),
                    relaxation,
                    status,
                    "",
                    bool(hits[i, k]),
                    bool(hits[i, k]),
                    energy,
                    0.25 * cost,
                    0.75 * cost,
                )
            )
    return found


def test_lowest_of_k_and_within_10_mev():
    nan = math.nan
    energies = [
        [0.5, 0.0, nan],  # the known crystal is the lowest
        [0.0, -0.02, 0.3],  # something lies under it
        [nan, nan, nan],
        [0.009, 0.011, nan],  # as good, but another crystal
    ]
    found = stats.summary(several(energies), 3)
    assert found["matches"] == [1, 1, 0, 0]
    assert found["lowest_matches"] == [1, 0, 0, 0]
    assert found["lowest_energy_at_k"] == 1 / 4
    assert (found["lowest_energy_at_k_low"], found["lowest_energy_at_k_high"]) == wilson(1, 4)
    assert found["samples_within_10_mev"] == [1, 2, 0, 1]
    assert found["within_10_mev"] == pytest.approx(4 / 12)
    assert found["within_10_mev_low"] < 4 / 12 < found["within_10_mev_high"]
    # from 4 Å cubed for two atoms to 80 Å cubed
    assert found["volume_change"] == pytest.approx(80 / 64 - 1)
    assert math.isnan(stats.summary(several([[nan]]), 1)["volume_change"])


def test_size_classes():
    named = [size_class(n) for n in (1, 3, 4, 5, 7, 8, 10, 11, 14, 15, 30, 31, 52, 53, 400)]
    assert list(dict.fromkeys(named)) == [
        "1-2", "3-4", "5-7", "8-10", "11-14", "15-30", "31-52", "53+",
    ]  # fmt: skip
    assert [named.count(x) for x in dict.fromkeys(named)] == [1, 2, 2, 2, 2, 2, 2, 2]
    outcomes = several([[0.0, 1.0], [0.0, 0.0], [1.0, 1.0]], sizes=[12, 4, 3])
    found = stats.summary(outcomes, 2)["by_size"]
    assert list(found) == ["3-4", "11-14"]
    assert [found[s]["n_structures"] for s in found] == [2, 1]
    assert [found[s]["match_at_1"] for s in found] == [0.5, 0.5]
    assert [found[s]["match_at_k"] for s in found] == [0.5, 1.0]
    assert found["3-4"]["match_at_k_low"] == wilson(1, 2)[0]
    other = several([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]], sizes=[12, 4, 3])
    pairs = stats.paired(outcomes, other, 2)["by_size"]
    assert pairs["11-14"]["match_at_k"] == 1
    assert pairs["3-4"]["match_at_k"] == pairs["3-4"]["lowest_energy_at_k"] == 0


def by_force(hits, energies, k, success):
    """Mean over all subsets of k samples."""
    subsets = [list(s) for s in itertools.combinations(range(len(hits)), k)]
    return np.mean([success(hits[s], energies[s]) for s in subsets])


def test_success_of_fewer_samples_is_the_mean_over_all_subsets():
    rng = np.random.default_rng(11)
    for n in (1, 2, 5, 7):
        for _ in range(8):
            energies = rng.normal(size=n)
            hits = rng.random(n) < rng.random()
            failed = rng.random(n) < 0.2
            energies[failed], hits[failed] = np.inf, False
            some, lowest = found_at(hits, energies), lowest_at(hits, energies)
            assert len(some) == len(lowest) == n + 1
            assert some[0] == lowest[0] == 0
            for k in range(1, n + 1):
                brute = by_force(hits, energies, k, lambda h, _: h.any())
                assert some[k] == pytest.approx(brute)
                brute = by_force(hits, energies, k, lambda h, e: h[e.argmin()])
                assert lowest[k] == pytest.approx(brute)
    # a thousand samples, as a cheap generator draws: still numbers
    many = found_at(np.arange(1000) < 2, np.zeros(1000))
    assert many[1] == pytest.approx(0.002)
    assert many[500] == pytest.approx(1 - 0.5 * 499 / 999)
    assert (np.diff(lowest_at(np.arange(1000) == 0, np.arange(1000.0))) > 0).all()


def test_subsets_of_samples_estimate_fresh_searches_without_bias():
    """The mean of the estimate over many sets of samples is the success of new searches."""
    rng = np.random.default_rng(2)
    chance, n, k = 0.2, 6, 3
    sets = rng.random((4000, n)) < chance
    mean = np.mean([found_at(hits, np.zeros(n))[k] for hits in sets])
    assert mean == pytest.approx(1 - (1 - chance) ** k, abs=0.01)


def test_success_against_cpu_seconds():
    hits = [np.array([True, False]), np.array([False, False])]
    energies = [np.array([0.0, -1.0]), np.array([1.0, np.inf])]
    found = Search(hits, energies, [2.0, 5.0]).figures()
    assert found["cpu_seconds"] == list(BUDGETS)

    def at(seconds, key):
        return found[key][BUDGETS.index(seconds)]

    assert at(1, "found") == 0
    # one sample of the first, none of the second
    assert at(2, "found") == at(3, "found") == at(2, "lowest") == 0.25
    assert at(4, "found") == at(5, "found") == 0.5
    assert at(4, "lowest") == 0  # what is lower is not the known crystal
    # a third sample of the first is not there
    assert math.isnan(at(6, "found"))
    assert math.isnan(at(6, "lowest_low"))
    assert at(6, "n_beyond") == 1
    assert at(15, "n_beyond") == 2
    assert at(6, "found_stopped") == at(100, "found_stopped") == 0.5
    assert at(5, "found_low") < 0.5 < at(5, "found_high")


def test_budgets_of_two_generators_are_paired():
    hits = [np.array([True] * 4)] * 10 + [np.array([False] * 4)] * 10
    energies = [np.zeros(4)] * 20
    cheap = Search(hits, energies, [1.0] * 20)
    dear = Search(hits, energies, [3.0] * 20)
    found = compare(cheap, dear)
    assert found["found"][BUDGETS.index(2)] == 0.5
    assert found["found"][BUDGETS.index(4)] == 0
    assert math.isnan(found["found"][BUDGETS.index(5)])
    assert found["found_stopped"][BUDGETS.index(5)] == 0
    assert found["n_beyond"][BUDGETS.index(5)] == 20


def test_a_structure_costs_what_its_samples_cost_on_average():
    first = several([[1.0, 0.0], [0.0, 0.0]], sizes=[3, 12], costs=[[1.0, 3.0], [10.0, 10.0]])
    found = stats.search_of(first, []).figures()
    assert found["found"][BUDGETS.index(2)] == 0.25
    assert found["found"][BUDGETS.index(4)] == 0.5
    more = several([[1.0, 1.0]], sizes=[3], costs=[[2.0, 2.0]])
    longer = stats.search_of(first, more).figures()
    assert longer["found"][BUDGETS.index(4)] == pytest.approx(0.25)
    assert longer["n_beyond"][BUDGETS.index(8)] == 0
    sizes = stats.searches_of(first, more)
    assert list(sizes) == ["3-4", "11-14"]
    assert sizes["11-14"].figures()["found"][BUDGETS.index(10)] == 1


def test_routes_of_a_mixture():
    """A share from prototypes, spread evenly; the network draws where there is none."""

    class Made:
        def __init__(self, name, lost=()):
            self.name, self.inputs, self.lost, self.seen = name, {}, lost, []

        def __call__(self, tasks, progress=None):
            self.seen += [t.seed for t in tasks]
            return [
                Placed(None, "none") if t.seed in self.lost else Placed(t.crystal, "", 3)
                for t in tasks
            ]

    draws = [
        Draw(i, k, [Task(crystal("NaCl"), np.ones(2, bool), 10 * i + k)])
        for i in range(2)
        for k in range(8)
    ]
    known, network = Made("prototypes", lost=(4, 14)), Made("diffusion", lost=(5,))
    mixture = Mixture(known, network, 0.25)
    model = load_potential("chgnet-0.3.0")
    settings = RelaxConfig(max_steps=1)
    found = sample("campaign", mixture, draws, settings, model, bar)
    # as in a campaign: the first of each four
    assert known.seen == [0, 4, 10, 14]
    assert set(network.seen) == {10 * d.structure + d.sample for d in draws} - {0, 10}
    assert [s.route for s in found if s.draw.sample in {0, 4}] == [
        "prototypes",
        "unconditional",
    ] * 2
    assert [s.draw for s in found] == draws
    assert [s.relaxed is None for s in found] == [s.task.seed == 5 for s in found]
    assert all(s.generation_cpu_seconds >= 0 for s in found)
    figures = stats.summary(judge(found, [relaxed("NaCl")] * 2), 8)["by_route"]
    assert figures["prototypes"]["n_samples"] == 2
    assert figures["unconditional"]["n_samples"] == 14
    assert figures["unconditional"]["n_structures_matched"] == 2
    assert figures["prototypes"]["match_at_1"] == 1
