"""The filters of the screen: who goes on, who stops where, and that the counts add up."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.analysis.rates import rate_rows
from chggen.analysis.rows import read_outcomes
from chggen.campaign.plan import Campaign
from chggen.config.energies import ReferenceConfig
from chggen.config.screening import ScreenConfig
from chggen.errors import ConfigError, Status
from chggen.reference.reference import load_reference
from chggen.report import screening
from chggen.report.sections import Rates
from chggen.screening.filters import FILTER_TEXT, Filter
from chggen.screening.selection import cut, select
from chggen.stages.screen import screen
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from chggen.structure.matching import duplicates
from chggen.tables import parquet
from chggen.tables.frames import frame_of, rows_of
from tests.unit.invented_campaign import Campaign as Invented
from tests.unit.invented_campaign import config_of

BUILTIN = ReferenceConfig()


def row(name: str, energy: float, **other: Any) -> parquet.Row:
    """A judged row that passes every filter but perhaps the threshold of 0.1."""
    return {
        "id": name, "composition": "ZnS", "status": Status.OK, "reason": "", "converged": True,
        "min_distance": 2.3, "energy_per_atom": energy - 3.0, "decomposition_energy": energy,
        "below_threshold": energy < 0.1, "space_group_number": 216, "symmetric": True,
        "known_phase": None, "too_close": False, "family": name,
    } | other  # fmt: skip


def filters(rows: list[parquet.Row], **chosen: Any) -> dict[str, str]:
    selected(rows, select, **chosen)
    return {r["id"]: str(r["filter"]) for r in rows}


def selected(rows: list[parquet.Row], how: Any, **chosen: Any) -> None:
    """Apply ``select`` or ``cut`` to rows, in place."""
    frame = frame_of("screened", rows)
    frame["closest_pair"] = [r.get("closest_pair") for r in rows]
    how(frame, ScreenConfig(**chosen))
    for r, new in zip(rows, rows_of(frame, "screened"), strict=True):
        r.update(new)


def test_each_row_stops_at_the_first_gate_it_fails() -> None:
    rows = [
        row("good", 0.01),
        row("steps", 0.02, status=Status.NOT_CONVERGED, converged=False),
        row("close", 0.03, too_close=True, closest_pair="Zn-S distance 0.70 Å, limit 1.36 Å"),
        row("high", 0.3, duplicate_of="x"),
        row("same", 0.04, duplicate_of="good"),
        row("known", 0.05, known_phase="mp-1"),
        row("low symmetry", 0.06, symmetric=False, space_group_number=1),
        {"id": "lost", "composition": "ZnS", "status": Status.EXPLODED, "reason": "volume × 9"},
    ]
    assert filters(rows, require_symmetric=True) == {
        "good": "selected",
        "steps": "not_converged",
        "close": "too_close",
        "high": "above_threshold",
        "same": "duplicate",
        "known": "known_phase",
        "low symmetry": "not_symmetric",
        "lost": "failed",
    }
    why = {r["id"]: r["filter_reason"] for r in rows}
    assert "volume × 9" in why["lost"]
    assert "0.70 Å" in why["close"]
    assert why["known"] == "matches mp-1"
    assert why["high"] == "E_d 0.300 ≥ 0.1 eV/atom"
    assert why["good"] == ""
    assert [r["id"] for r in rows if r["selected"]] == ["good"]
    assert filters(rows)["low symmetry"] == "selected"


def test_limits_keep_the_best() -> None:
    rows = [row(str(i), 0.05 - 0.01 * i, space_group_number=5 + (i == 4)) for i in range(5)]
    assert filters(rows, max_selected=2) == {
        "4": "selected", "3": "selected", "2": "over_limit", "1": "over_limit", "0": "over_limit",
    }  # fmt: skip
    found = filters(rows, max_per_space_group=1)
    assert {k for k, g in found.items() if g == "selected"} == {"4", "3"}
    assert set(found.values()) == {"selected", "space_group_full"}
    # the limits are of one composition each
    rows.append(row("other", 0.0, composition="ZnP2"))
    assert filters(rows, max_selected=1)["other"] == "selected"


def test_swollen_layers_leave_room() -> None:
    loose = {"swollen": True, "dimensionality": 2}
    rows = [row(f"layer {i}", 0.01 * i, **loose) for i in range(4)]
    rows += [row("compact layer", 0.05, swollen=False, dimensionality=2)]
    rows += [row("open framework", 0.06, swollen=True, dimensionality=3)]
    assert filters(rows, max_swollen=2, max_selected=4) == {
        "layer 0": "selected", "layer 1": "selected", "layer 2": "swollen", "layer 3": "swollen",
        "compact layer": "selected", "open framework": "selected",
    }  # fmt: skip
    assert filters(rows, max_swollen=None, max_selected=4)["open framework"] == "over_limit"


def test_the_best_of_a_composition_goes_on_though_it_is_above() -> None:
    rows = [
        row("steps", 0.1, status=Status.NOT_CONVERGED, converged=False),
        row("known", 0.2, known_phase="mp-1"),
        row("best", 0.3),
        row("next", 0.4),
    ]
    assert filters(rows)["best"] == "selected"
    assert [r["id"] for r in rows if r["guaranteed"]] == ["best"]
    assert "best of its composition" in rows[2]["filter_reason"]
    assert set(filters(rows, best_per_composition=False).values()) == {
        "not_converged", "above_threshold",
    }  # fmt: skip
    assert not any(r["guaranteed"] for r in rows)
    # no need for it where one is below
    rows.append(row("below", 0.05))
    assert filters(rows)["best"] == "above_threshold"


def test_the_second_threshold_cuts_what_is_known() -> None:
    chosen = {"second_potential": "chgnet-r2scan", "second_threshold": 0.03}
    second = {"second_potential": "chgnet-r2scan"}
    rows = [
        row("good", 0.01, second_decomposition_energy=0.02, **second),
        row("bad", 0.02, second_decomposition_energy=0.05, **second),
        row("unknown", 0.03, second_decomposition_energy=None, **second),
        row("alone", 0.01, composition="ZnP2", second_decomposition_energy=0.09, **second),
        row("worse", 0.02, composition="ZnP2", second_decomposition_energy=0.10, **second),
    ]
    filters(rows, **chosen)
    selected(rows, cut, **chosen)
    assert {r["id"]: str(r["filter"]) for r in rows} == {
        "good": "selected", "bad": "second_threshold", "unknown": "selected",
        "alone": "selected", "worse": "second_threshold",
    }  # fmt: skip
    assert [r["id"] for r in rows if r["guaranteed"]] == ["alone"]
    assert "0.050 ≥ 0.03 eV/atom from chgnet-r2scan" in rows[1]["filter_reason"]
    filters(rows, **chosen, best_per_composition=False)
    selected(rows, cut, **chosen, best_per_composition=False)
    assert not any(r["selected"] for r in rows if r["composition"] == "ZnP2")


@given(
    st.lists(
        st.tuples(
            st.floats(-0.2, 0.5), st.booleans(), st.booleans(), st.integers(1, 4),
            st.sampled_from(["ZnS", "ZnP2"]), st.booleans(),
        ),
        max_size=25,
    ),
    st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_every_row_has_a_gate_whatever_the_order(values: list[Any], most: int) -> None:
    rows = [
        row(str(i), energy, converged=good, space_group_number=group, composition=formula)
        | {"duplicate_of": "x" if twin else None, "known_phase": "mp" if known else None}
        for i, (energy, good, twin, group, formula, known) in enumerate(values)
    ]
    chosen = {"max_selected": most, "max_per_space_group": 2}
    first = filters(rows, **chosen)
    assert first == filters(rows[::-1], **chosen)
    for r in rows:
        assert r["filter"] in FILTER_TEXT
        assert (r["filter"] == Filter.SELECTED) == r["selected"]
        assert not r["guaranteed"] or r["selected"]
    for formula in ("ZnS", "ZnP2"):
        own = [r for r in rows if r["composition"] == formula]
        able = [r for r in own if r["converged"] and not r["duplicate_of"] and not r["known_phase"]]
        kept = [r for r in own if r["selected"]]
        assert bool(kept) == bool(able)
        assert len(kept) <= most
        if kept:
            lowest = min(able, key=lambda r: r["decomposition_energy"])
            assert min(r["decomposition_energy"] for r in kept) == lowest["decomposition_energy"]


# --- the stage --------------------------------------------------------------------------


def blende(a: float = 5.4, shift: float = 0.0) -> Crystal:
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Crystal.of(cell, [30, 16], [[0, 0, 0], [0.25 + shift, 0.25, 0.25]])


def salt(a: float = 5.05) -> Crystal:
    cell = np.array([[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]])
    return Crystal.of(cell, [30, 16], [[0, 0, 0], [0.5, 0.5, 0.5]])


def sulphide() -> Crystal:
    """A made-up ZnS2."""
    structure = Structure.from_spacegroup(
        205, Lattice.cubic(5.95), ["Zn", "S"], [[0, 0, 0], [0.4, 0.4, 0.4]]
    )
    return Crystal.from_structure(structure)


def screened(folder: Path, found: list[tuple[Crystal, float, bool]], **chosen: Any) -> Any:
    """Rows of table ``screened`` of crystals with given formation energies."""
    elements = load_reference(BUILTIN, {"Zn", "S"}).elements
    rows = []
    for i, (crystal, energy, converged) in enumerate(found):
        formula = comp.formula_of(crystal.atomic_numbers)
        counts = comp.parse_formula(formula)
        mean = sum(n * elements[s] for s, n in counts.items()) / sum(counts.values())
        status = Status.OK if converged else Status.NOT_CONVERGED
        rows.append(
            {"id": f"r{i}", "parent_id": f"g{i}", "system": "Zn-S", "composition": formula}
            | {"route": "unconditional", "seed": 0, "index": i, "draw": 0, "random_seed": i}
            | {"status": status, "reason": "", "formula_units": 1, **crystal.columns()}
            | {"energy_per_atom": mean + energy, "converged": converged, "potential": "p"}
            | {"potential_hash": "h", "functional": "GGA/GGA+U", "corrections": "MP2020"}
            | {"min_distance": crystal.min_distance}
        )
    source = folder / "relaxed.parquet"
    parquet.write(source, "relaxed", rows, {})
    out = folder / "screened.parquet"
    # what these crystals are must not depend on the table of known ones
    screen([source], out, BUILTIN, ScreenConfig(known="structures", **chosen))
    return sorted(parquet.read(out, "screened"), key=lambda r: r["index"])


def test_a_converged_structure_stands_for_one_that_is_not(tmp_path: Path) -> None:
    found = screened(tmp_path, [(blende(), -1.01, False), (blende(5.42), -1.0, True)])
    assert found[0]["duplicate_of"] == found[1]["id"]
    assert [r["filter"] for r in found] == ["not_converged", "selected"]
    assert [r["rank"] for r in found] == [None, 1]


def test_sound_ones_first() -> None:
    same = [blende(), blende(5.41)]
    assert duplicates(same, [0.0, 0.01]) == [None, 0]
    assert duplicates(same, [0.0, 0.01], [False, True]) == [1, None]
    assert duplicates(same, [0.0, 0.03], [False, True]) == [None, None]


def test_products_as_columns(tmp_path: Path) -> None:
    (found,) = screened(tmp_path, [(sulphide(), -0.6, True)])
    assert found["decomposition_products"] == "0.667 ZnS + 0.333 S"
    assert found["decomposition_phases"] == ["ZnS", "S"]
    assert found["decomposition_amounts"] == pytest.approx([2 / 3, 1 / 3])
    assert found["decomposition_energy_uncertainty"] == 0.0  # exact rows alone


def test_the_uncertainty_of_the_hull_is_a_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = load_reference(BUILTIN, {"Zn", "S"})
    for stated, expected in ((0.03, 0.02), (None, None)):
        phases = tuple(replace(p, uncertainty=stated) for p in known.phases)
        unsure = replace(known, phases=phases)
        monkeypatch.setattr("chggen.stages.screen.load_competing", lambda *_, u=unsure, **__: u)
        folder = tmp_path / str(stated)
        folder.mkdir()
        (found,) = screened(folder, [(sulphide(), -0.6, True)])  # two thirds ZnS
        value = found["decomposition_energy_uncertainty"]
        assert value == (expected if expected is None else pytest.approx(expected))


def test_the_hull_after_the_campaign(tmp_path: Path) -> None:
    hull = -1.0631  # ZnS of the builtin tables
    found = screened(
        tmp_path,
        [
            (blende(), hull - 0.10, True),
            (salt(), hull - 0.20, False),  # not converged: no part of it
            (salt(4.9), hull - 0.05, True),
            (sulphide(), hull * 2 / 3 - 0.02, True),
        ],
    )
    best, loose, other, rich = found
    assert best["decomposition_energy"] == pytest.approx(-0.10, abs=5e-5)
    assert best["on_campaign_hull"]
    assert best["campaign_decomposition_energy"] == pytest.approx(0.0, abs=1e-9)
    assert loose["campaign_decomposition_energy"] == pytest.approx(-0.10, abs=1e-9)
    assert not loose["on_campaign_hull"]
    assert other["campaign_decomposition_energy"] == pytest.approx(0.05, abs=1e-9)
    # below the hull of the known phases, but above the one that the new ZnS pulls down
    assert rich["decomposition_energy"] == pytest.approx(-0.02, abs=5e-5)
    expected = -0.02 + 0.10 * 2 / 3
    assert rich["campaign_decomposition_energy"] == pytest.approx(expected, abs=5e-5)
    assert not rich["on_campaign_hull"]


# --- the funnel -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Any:
    tables_of = Invented(tmp_path_factory.mktemp("c"), config_of(n=8), "Zn-P-S").write()
    outcomes = read_outcomes(tables_of["paths"], tables_of["screened"])
    return outcomes, rate_rows("Zn-P-S", outcomes, tables_of["config"])


def test_the_funnel_adds_up_for_system_composition_and_route(invented: Any) -> None:
    outcomes, rows = invented
    places = {(r["composition"], r["route"]) for r in rows}
    assert len(places) == 12  # system and two compositions, all and three routes
    for place in places:
        every = [r for r in rows if r["draw_kind"] == "all"]
        here = [r for r in every if (r["composition"], r["route"]) == place]
        funnel = [r for r in here if r["quantity"].startswith("funnel/")]
        assert [r["quantity"] for r in funnel] == [f"funnel/{name}" for name in Filter]
        (tried,) = (r for r in here if r["quantity"] == "attempted")
        (chosen,) = (r for r in here if r["quantity"] == "selected")
        assert sum(r["k"] for r in funnel) == tried["n"]
        assert funnel[-1]["k"] == chosen["k"]
        for r in funnel:
            assert r["n"] == tried["n"]
            if r["n"]:
                assert r["low"] <= r["value"] <= r["high"]
            else:  # nothing was made from prototypes here
                assert place[1] == "prototypes"
                assert r["value"] is None
    counts = Counter(outcomes.attempts["filter"])
    whole = {
        r["quantity"]: r["k"]
        for r in rows
        if (r["composition"], r["route"], r["draw_kind"]) == ("all", "all", "all")
    }
    assert all(whole[f"funnel/{name}"] == n for name, n in counts.items())


def test_the_funnel_on_the_page_adds_up(invented: Any) -> None:
    outcomes, rows = invented
    lines = screening.filters(outcomes, Rates(rows))
    left = len(outcomes.attempts)
    for line in lines[:-1]:
        left -= line["rate"]["k"]
        assert line["left"] == left
        assert line["reasons"] or line["filter"] == "duplicate"
    (high,) = (line for line in lines if line["filter"] == "above_threshold")
    assert high["reasons"] == ["E_d < 0.1 eV/atom"]
    assert lines[-1]["filter"] == "selected"
    assert lines[-1]["rate"]["k"] == left
    by = screening.filters_by_composition(outcomes)
    assert sum(sum(line["counts"]) for line in by["lines"]) == len(outcomes.attempts)


def test_a_second_threshold_that_nothing_could_meet_is_said_first(tmp_path: Path) -> None:
    system: dict[str, Any] = {"compositions": ["ZnS"], "guests": ["Zn"]}
    keys = {"second_potential": "chgnet-r2scan", "second_threshold": 0.03}
    with pytest.raises(ConfigError, match=r"second_threshold = 0\.03: systems\.Zn-S has no"):
        Campaign.load({"systems": {"Zn-S": system}, "screen": keys}, "x")
    with pytest.raises(ConfigError, match="needs 'second_potential'"):
        Campaign.load({"systems": {"Zn-S": system}, "screen": {"second_threshold": 0.03}}, "x")
    same = keys | {"second_potential": "chgnet-0.2.0"}
    assert Campaign.load({"systems": {"Zn-S": system}, "screen": same}, "x")
    path = tmp_path / "r2scan.json"
    entries = [
        {"@module": "pymatgen.entries.computed_entries", "@class": "ComputedEntry"}
        | {"energy": -1.0, "composition": {symbol: 1}, "correction": 0.0, "entry_id": symbol}
        for symbol in ("Zn", "S")
    ]
    path.write_text(json.dumps(entries))
    system["second_reference"] = {"source": "file", "path": str(path), "functional": "r2SCAN"}
    assert Campaign.load({"systems": {"Zn-S": system}, "screen": keys}, "x")
