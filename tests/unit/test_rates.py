"""Counts, rates and intervals: known numbers, full denominators, nothing lost."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chggen.analysis.intervals import clustered, wilson
from chggen.analysis.rates import ALL, rate_rows
from chggen.analysis.rows import KEY, ROUTES, read_outcomes
from chggen.config.model import Config
from chggen.errors import Status, TableError
from chggen.tables import parquet

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe, Stat. Med. 17, 857 (1998), Table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_published_intervals(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_of_nothing_is_no_interval():
    assert all(math.isnan(end) for end in wilson(0, 0))


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (1, 0)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(ValueError, match="not within"):
        wilson(k, n)


@given(COUNTS)
def test_wilson_holds_the_rate_and_mirrors(counts):
    k, n = counts
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high - low > 0
    assert wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(COUNTS)
def test_more_structures_make_the_interval_narrower(counts):
    k, n = counts
    narrow, wide = wilson(4 * k, 4 * n), wilson(k, n)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]


# intervals of counts in clusters ----------------------------------------------------------


def clusters(hits, sizes):
    return clustered(np.array(hits, float), np.array(sizes, float))


@given(COUNTS)
def test_clusters_of_one_are_independent(counts):
    k, n = counts
    assert clusters([1] * k + [0] * (n - k), [1] * n) == wilson(k, n)


def test_clusters_of_nothing_have_no_interval():
    assert all(math.isnan(end) for end in clusters([], []))


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.lists(
            st.integers(1, 5).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))),
            min_size=n, max_size=n,
        )
    )
)  # fmt: skip
def test_clustered_intervals_hold_the_rate_and_are_never_narrower(found):
    hits, sizes = zip(*found, strict=True)
    low, high = clusters(hits, sizes)
    k, n = sum(hits), sum(sizes)
    assert 0 <= low <= k / n <= high <= 1
    naive = wilson(k, n)
    assert high - low >= naive[1] - naive[0] - 1e-9
    mirrored = clusters([m - h for h, m in found], sizes)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_clusters_that_agree_count_about_once_each():
    # 100 clusters of three that always agree say what 100 structures say
    low, high = clusters([3] * 30 + [0] * 70, [3] * 100)
    assert (low, high) == pytest.approx(wilson(30, 100), abs=0.01)


def test_no_hits_in_clusters_are_not_taken_for_independent():
    none = clusters([0] * 70, [3] * 70)
    one = clusters([1] + [0] * 69, [3] * 70)
    assert none[0] == 0.0
    assert wilson(0, 210)[1] < none[1] < 1.001 * one[1]


@pytest.mark.parametrize(("rate", "alike"), [(0.02, 0.7), (0.16, 0.3), (0.47, 1.0), (0.16, 0.0)])
def test_the_interval_covers_the_rate_as_often_as_it_says(rate, alike):
    # beta-binomial clusters of one to three with intra-cluster correlation ``alike``
    rng = np.random.default_rng(4)
    covered, tries = 0, 1500
    for _ in range(tries):
        sizes = rng.choice([1, 2, 3, 3, 3], size=71)
        if alike in {0.0, 1.0}:
            own = (rng.random(71) < rate).astype(float) if alike else np.full(71, rate)
        else:
            spread = 1 / alike - 1
            own = rng.beta(rate * spread, (1 - rate) * spread, size=71)
        low, high = clusters(rng.binomial(sizes, own), sizes)
        covered += low <= rate <= high
    assert 0.93 <= covered / tries <= 0.99  # as independent draws: 0.76 to 0.89, but for 0.0


# a campaign small enough to count by hand ------------------------------------------------

#: What becomes of each generated structure of A2B: (sampling, relaxation, framework).
GENERATED = [
    ("sampling_failed", "parent_failed", "parent_failed"),
    ("ok", "exploded", "parent_failed"),
    ("ok", "ok", "ok"),
    ("ok", "not_converged", "no_symmetry"),
]
#: Two draws into the framework of structure 2: (sampling, relaxation).
DRAWN = [("ok", "ok"), ("ok", "too_close")]
#: Verdicts of the structures that relaxed, by (route, index, draw).
VERDICTS: dict[tuple[str, int, int], dict[str, Any]] = {
    ("unconditional", 2, 0): {"symmetric": False, "E": 0.05, "space_group_numbers": [1, 1, 12]},
    ("unconditional", 3, 0): {"symmetric": False, "E": 0.3, "space_group_numbers": [1, 2, 2]},
    ("inpainting", 2, 0): {"symmetric": True, "E": -0.02, "space_group_numbers": [1, 5, 12]},
}


def place(index: int, route: str, draw: int, table: str, status: str, **more: Any) -> parquet.Row:
    return {
        "id": f"{table}-{index}-{draw}",
        "system": "S",
        "composition": "Li2Si",
        "route": route,
        "seed": 0,
        "index": index,
        "draw": draw,
        "random_seed": 0,
        "status": status,
        "reason": "",
        **more,
    }


def relaxed_row(index: int, route: str, draw: int, table: str, status: str) -> parquet.Row:
    done = status in {"ok", "not_converged"}
    values = {
        "energy_per_atom": -4.0,
        "delta_energy_per_atom": 0.1 * (index + draw),
        "rmsd": None if index == 3 else 0.2,
        "steps": 10 * index,
        "converged": status == "ok",
        "wall_time": 2.0,
    }
    return place(index, route, draw, table, status, **(values if done else {"steps": 999}))


def screened_row(parent: parquet.Row) -> parquet.Row:
    verdict = VERDICTS.get((parent["route"], parent["index"], parent["draw"]))
    row = parent | {"id": f"screened-{parent['id']}"}
    row = {k: v for k, v in row.items() if k not in {"steps", "wall_time"}}
    if verdict is None:
        return row
    energy = verdict["E"]
    return row | {
        "symmetric": verdict["symmetric"],
        "space_group_numbers": verdict["space_group_numbers"],
        "decomposition_energy": energy,
        "below_threshold": energy < 0.1,
        "duplicate_of": None,
        "selected": energy < 0,
    }


@pytest.fixture
def campaign(tmp_path):
    """Tables as rows, ready to be spoilt, and a function that writes and reads them."""
    rows: dict[str, list[parquet.Row]] = {
        n: [] for n in ("generated", "relaxed", "refined", "inpainted", "rerelaxed")
    }
    for index, (sampling, relaxation, framework) in enumerate(GENERATED):
        start = (index, "unconditional", 0)
        rows["generated"].append(
            place(*start, "generated", sampling, score_calls=50, bravais_type="cubic")
        )
        rows["relaxed"].append(relaxed_row(*start, "relaxed", relaxation))
        rows["refined"].append(place(*start, "refined", framework))
        draws = DRAWN if framework == "ok" else [("parent_failed", "parent_failed")]
        for draw, (drawn, again) in enumerate(draws):
            there = (index, "inpainting", draw)
            rows["inpainted"].append(place(*there, "inpainted", drawn, score_calls=60))
            rows["rerelaxed"].append(relaxed_row(*there, "rerelaxed", again))
    rows["screened"] = [screened_row(r) for r in rows["relaxed"] + rows["rerelaxed"]]

    def read():
        paths: dict[str, list[Path]] = {}
        for name, table in rows.items():
            paths[name] = [tmp_path / f"{name}.parquet"]
            parquet.write(paths[name][0], name, table, {})
        return read_outcomes(paths, paths.pop("screened")[0])

    return rows, read


CONFIG = Config(systems={"S": {"compositions": ["Li2Si"], "guests": ["Li"]}})


@pytest.fixture
def report(campaign):
    rows = rate_rows("S", campaign[1](), CONFIG)
    parquet.from_rows("report", rows)  # fits the schema
    return {
        (r["composition"], r["route"], r["quantity"], r["tolerance"]): r
        for r in rows
        if r["draw_kind"] == ALL
    }


def find(report, quantity, route, composition=ALL):
    found = [r for (c, o, q, _), r in report.items() if (c, o, q) == (composition, route, quantity)]
    assert len(found) == 1, (quantity, route)
    return found[0]


@pytest.mark.parametrize(
    ("quantity", "unconditional", "inpainting", "both"),
    [
        # draws that never were, because there was no framework, are not attempts
        ("attempted", (4, 4), (2, 2), (6, 6)),
        ("sampled", (3, 4), (2, 2), (5, 6)),
        ("relaxed", (2, 4), (1, 2), (3, 6)),
        ("converged", (1, 4), (1, 2), (2, 6)),
        ("rmsd_defined", (1, 4), (1, 2), (2, 6)),
        ("symmetric", (0, 4), (1, 2), (1, 6)),
        ("below_threshold", (1, 4), (1, 2), (2, 6)),
        ("breaks_hull", (0, 4), (1, 2), (1, 6)),
        ("unique", (1, 4), (1, 2), (2, 6)),
        ("new", (1, 4), (1, 2), (2, 6)),
        ("selected", (0, 4), (1, 2), (1, 6)),
        ("symmetric_per_generated", (0, 4), (1, 4), (1, 4)),
        ("status/ok", (1, 4), (1, 2), (2, 6)),
    ],
)
@pytest.mark.parametrize("composition", [ALL, "Li2Si"])
def test_counts_have_the_full_denominator(
    report, quantity, unconditional, inpainting, both, composition
):
    for route, (k, n) in zip(
        ("unconditional", "inpainting", ALL), (unconditional, inpainting, both), strict=True
    ):
        row = find(report, quantity, route, composition)
        assert (row["k"], row["n"]) == (k, n), route
        assert row["value"] == pytest.approx(k / n)
        if quantity == "attempted":
            continue
        if route == "unconditional" or quantity == "symmetric_per_generated":
            assert (row["low"], row["high"]) == wilson(k, n)  # independent of each other
        else:
            assert row["high"] - row["low"] > wilson(k, n)[1] - wilson(k, n)[0]


def test_frameworks_are_of_relaxed_structures(report):
    row = find(report, "framework_found", "unconditional")
    assert (row["k"], row["n"]) == (1, 2)


def test_the_verdict_is_counted_at_each_tolerance(report):
    shares = {
        t.split(",")[0]: r["k"]
        for (c, o, q, t), r in report.items()
        if (c, o, q) == (ALL, ALL, "above_p1bar")
    }
    assert shares == {"symprec 0.01 Å": 0, "symprec 0.1 Å": 1, "symprec 0.3 Å": 2}


@pytest.mark.parametrize("route", ["unconditional", "inpainting", ALL])
def test_statuses_add_up_to_the_attempts(report, route):
    statuses = [r["k"] for (c, o, q, _), r in report.items()
                if (c, o) == (ALL, route) and q.startswith("status/")]  # fmt: skip
    assert sum(statuses) == find(report, "attempted", route)["n"]


def test_framework_statuses_add_up_to_the_generated(report):
    statuses = [r["k"] for (c, _, q, _), r in report.items()
                if c == ALL and q.startswith("framework_status/")]  # fmt: skip
    assert sum(statuses) == len(GENERATED)


def test_medians_leave_failed_relaxations_out(report):
    delta = find(report, "delta_energy_per_atom", "unconditional")
    assert (delta["n"], delta["k"], delta["unit"]) == (2, None, "eV/atom")
    assert (delta["low"], delta["value"], delta["high"]) == pytest.approx((0.225, 0.25, 0.275))
    assert find(report, "steps", "unconditional")["high"] < 999
    # what sampling cost was spent on failures too
    assert find(report, "score_calls", "unconditional")["n"] == 4


def test_tolerances_are_named(report):
    assert find(report, "below_threshold", ALL)["tolerance"] == "E_d < 0.1 eV/atom"
    assert "symprec 0.1 Å" in find(report, "symmetric", ALL)["tolerance"]


def test_duplicates_and_known_phases_are_not_new(campaign):
    rows, read = campaign
    first, second = (r for r in rows["screened"] if r.get("below_threshold"))
    first["duplicate_of"], second["known_phase"] = second["id"], "mp-1"
    attempts = read().attempts
    assert (attempts["unique"].sum(), attempts["new"].sum()) == (1, 0)


def test_a_route_without_attempts_has_no_rate(campaign):
    rows, read = campaign
    for table in ("inpainted", "rerelaxed"):
        rows[table] = [r for r in rows[table] if r["status"] == Status.PARENT_FAILED]
    report = {(r["composition"], r["route"], r["quantity"]): r
              for r in rate_rows("S", read(), CONFIG) if r["draw_kind"] == ALL}  # fmt: skip
    row = report[ALL, "inpainting", "symmetric"]
    assert (row["n"], row["value"], row["low"], row["high"]) == (0, None, None, None)


def test_a_refusal_of_the_screen_is_where_a_structure_ended(campaign):
    rows, read = campaign
    row = next(r for r in rows["screened"] if r.get("symmetric"))
    row |= {"status": "failed", "reason": "no hull"}
    attempts = read().attempts
    ended = attempts[attempts["status"] == "failed"].iloc[0]
    assert (ended["stage"], ended["reason"]) == ("screen", "no hull")


@pytest.mark.parametrize("table", ["relaxed", "rerelaxed", "refined", "screened"])
def test_a_lost_row_is_an_error_and_not_a_smaller_denominator(campaign, table):
    rows, read = campaign
    rows[table] = [r for r in rows[table] if r["index"] != 2]
    with pytest.raises(TableError, match=r"relaxed|refined|screened"):
        read()


def test_a_doubled_row_is_an_error(campaign):
    rows, read = campaign
    rows["relaxed"].append(rows["relaxed"][0] | {"id": "again"})
    with pytest.raises(TableError, match="two rows"):
        read()


def test_frameworks_of_one_structure_count_once(campaign):
    rows, read = campaign
    before = {r["quantity"]: r for r in rate_rows("S", read(), CONFIG) if r["route"] == ROUTES[0]}
    second = next(r for r in rows["refined"] if r["status"] == "ok")
    rows["refined"].append(second | {"id": "second", "framework": 1})
    for name, row in (
        ("inpainted", next(r for r in rows["inpainted"] if r["status"] == "ok")),
        ("rerelaxed", next(r for r in rows["rerelaxed"] if r["status"] == "ok")),
    ):
        rows[name].append(row | {"id": f"{name}-second", "framework": 1})
    rows["screened"].append(screened_row(rows["rerelaxed"][-1]))
    outcomes = read()
    assert len(outcomes.frameworks) == len(outcomes.searched) + 1
    after = {r["quantity"]: r for r in rate_rows("S", outcomes, CONFIG) if r["route"] == ROUTES[0]}
    for quantity in ("framework_found", "framework_status/ok", "framework_status/no_symmetry"):
        assert after[quantity] == before[quantity]
    drawn = outcomes.attempts[outcomes.attempts["route"] == "inpainting"]
    assert len(drawn) == len(DRAWN) + 1
    assert not drawn.duplicated(KEY).any()


def test_a_lost_second_framework_is_no_lost_structure_but_its_draws_are_counted(campaign):
    rows, read = campaign
    row = next(r for r in rows["inpainted"] if r["status"] == "ok")
    rows["inpainted"].append(row | {"id": "second", "framework": 1})
    with pytest.raises(TableError, match="no row for 1 structures"):
        read()


# free and imposed draws -------------------------------------------------------------------


def kinds_of(outcomes, quantity, route):
    rows = rate_rows("S", outcomes, CONFIG)
    return {
        r["draw_kind"]: (r["k"], r["n"])
        for r in rows
        if (r["composition"], r["route"], r["quantity"]) == (ALL, route, quantity)
    }


def test_free_and_imposed_draws_are_counted_apart(campaign):
    rows, read = campaign
    rows["inpainted"][2] |= {"imposed_space_group_number": 5}  # structure 2, draw 0: symmetric
    outcomes = read()
    assert kinds_of(outcomes, "symmetric", "inpainting") == {
        ALL: (1, 2), "free": (0, 1), "imposed": (1, 1),
    }  # fmt: skip
    assert kinds_of(outcomes, "symmetric", "unconditional") == {
        ALL: (0, 4), "free": (0, 4), "imposed": (0, 0),
    }  # fmt: skip
    # of free draws alone nothing symmetric came out
    assert kinds_of(outcomes, "symmetric_per_generated", ALL) == {
        ALL: (1, 4), "free": (0, 4), "imposed": (0, 0),
    }  # fmt: skip


def test_a_free_draw_into_the_framework_of_an_imposed_structure_is_not_free_end_to_end(campaign):
    rows, read = campaign
    rows["generated"][2] |= {"imposed_space_group_number": 12}
    outcomes = read()
    assert kinds_of(outcomes, "symmetric", "inpainting")["free"] == (1, 2)
    assert kinds_of(outcomes, "symmetric_per_generated", ALL) == {
        ALL: (1, 4), "free": (0, 3), "imposed": (0, 1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"imposed_space_group_number": 1}, "free"),  # P1 asks for nothing
        ({"imposed_space_group_number": 2}, "imposed"),
        ({"status": "sampling_failed", "imposed_space_group_number": 62}, "imposed"),
        ({"status": "symmetry_impossible"}, "imposed"),
        ({"status": "sampling_failed", "generator": "pyxtal"}, "imposed"),
        ({"generator": "random"}, "free"),
        ({"bravais_type": None}, "given"),
        ({}, "free"),
    ],
)
def test_the_kind_of_a_draw_is_what_was_asked_of_it(campaign, changed, kind):
    rows, read = campaign
    rows["generated"][0] |= changed
    attempts = read().attempts
    row = attempts[(attempts["route"] == "unconditional") & (attempts["index"] == 0)]
    assert list(row["draw_kind"]) == [kind]
