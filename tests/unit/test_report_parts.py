"""Parts of the report: choice of candidates, drawings, phase diagrams, words."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from chggen.analysis.rows import read_outcomes
from chggen.config.energies import ReferenceConfig
from chggen.config.model import Config
from chggen.report import candidates, cell, charts, facts, phases, story, text
from chggen.report.scene import scene_of
from chggen.structure import composition as comp
from chggen.structure.crystal import Crystal
from tests.unit.invented_campaign import PROTOTYPES, Campaign, config_of, prototype

# choice of candidates -------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables_of(tmp_path_factory):
    return Campaign(tmp_path_factory.mktemp("campaign"), config_of(), "Zn-P-S").write()


@pytest.fixture
def campaign(tables_of):
    outcomes = read_outcomes(tables_of["paths"], tables_of["screened"])
    return outcomes.attempts, tables_of["config"].screen


def test_the_best_of_each_composition_comes_before_more_of_one(campaign):
    attempts, _ = campaign
    # one composition is far better than the other
    worse = attempts["composition"] == "Zn2P2S7"
    attempts.loc[worse, "decomposition_energy"] += 5
    best = candidates.ranked(attempts)
    chosen = candidates.choose(best, 4)
    assert len(chosen) == 4
    assert set(chosen["composition"]) == set(PROTOTYPES)
    assert chosen[chosen["composition"] == "Zn2P2S7"]["symmetric"].any()
    assert chosen["decomposition_energy"].is_monotonic_increasing


def test_atoms_too_close_and_duplicates_are_no_candidates(campaign):
    attempts, _ = campaign
    best = candidates.ranked(attempts)
    attempts.loc[attempts["id"] == best["id"][0], "too_close"] = True
    attempts.loc[attempts["id"] == best["id"][1], "duplicate_of"] = best["id"][2]
    left = candidates.ranked(attempts)
    assert list(left["id"]) == list(best["id"][2:])


def test_thinning_keeps_the_lowest_of_each_composition(campaign):
    attempts, _ = campaign
    rows = attempts[attempts["decomposition_energy"].notna()]
    thin = charts.thinned(rows, 12)
    assert len(thin) == 12
    for _, group in rows.groupby("composition"):
        assert group["decomposition_energy"].idxmin() in thin.index


# drawing of cells -----------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 3))
def test_polyanions_are_whole_wherever_the_origin_is(shift):
    crystal = prototype("ZnP2S6")
    moved = Crystal.of(crystal.cell, crystal.atomic_numbers, crystal.frac_coords + np.array(shift))
    scene = scene_of(moved)
    partners: dict[int, list[int]] = {i: [] for i in range(len(scene.numbers))}
    for i, j in scene.bonds:
        partners[i].append(scene.numbers[j])
        partners[j].append(scene.numbers[i])
    for i, z in enumerate(scene.numbers[: scene.inside]):
        if z == 15:
            assert sorted(p for p in partners[i] if p in {15, 16}) == [15, 16, 16, 16]
    assert scene.numbers[: scene.inside].count(15) >= 2
    # and zinc has all its sulphur, in the cell or beyond
    around = {len(partners[i]) for i, z in enumerate(scene.numbers) if z == 30}
    assert len(around) == 1
    assert around.pop() >= 4


def test_atoms_on_faces_are_repeated():
    rock_salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    scene = scene_of(Crystal.from_structure(rock_salt))
    assert scene.numbers.count(11) == 14  # corners and faces
    assert scene.numbers.count(17) == 13  # edges and centre


@pytest.mark.parametrize("composition", ["ZnP2S6", "Zn2P2S7", "Li5Si2"])
def test_the_picture_fits_its_frame(composition):
    crystal = prototype(composition)
    turn = cell.view(crystal.cell)
    assert turn @ turn.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    drawn = str(cell.picture(crystal, "a cell"))
    x = [float(v) for v in re.findall(r' (?:cx|x1|x2)="([-\d.]+)"', drawn)]
    y = [float(v) for v in re.findall(r' (?:cy|y1|y2)="([-\d.]+)"', drawn)]
    assert max(map(abs, x)) <= cell.WIDTH / 2
    assert max(map(abs, y)) <= cell.HEIGHT / 2


# phase diagrams -------------------------------------------------------------------------


def test_the_papers_compositions_lie_between_their_end_members():
    section = phases.section_of(["ZnP2S6", "Zn2P2S7"], ["Zn", "P", "S"])
    assert section is not None
    assert section.ends == ("ZnS", "P2S5")
    assert section.place("ZnS") == 0
    assert section.place("Zn3P2S8") == pytest.approx(7 / 13)  # 3 ZnS + P2S5
    assert section.place("ZnPS3") is None
    assert section.place("LiP2S6") is None


def test_compositions_on_no_common_line_have_no_section():
    assert phases.section_of(["ZnP2S6", "Zn2P2S7", "ZnPS3"], ["Zn", "P", "S"]) is None
    assert phases.section_of(["ZnP2S6"], ["Zn", "P", "S"]) is None


@given(st.integers(1, 9), st.integers(1, 9))
def test_every_mixture_lies_on_its_section(m, n):
    formula = comp.canonical({"Zn": m, "S": m + 5 * n, "P": 2 * n})
    section = phases.Section(("ZnS", "P2S5"), ("Zn", "P", "S"))
    place = section.place(formula)
    assert place == pytest.approx(7 * n / (2 * m + 7 * n))
    share = phases.share_of(formula)
    assert section.mixture(place) == pytest.approx({e: float(x) for e, x in share.items()})


def test_the_hull_on_a_section_is_convex_and_touches_its_phases():
    loaded = phases.load_phases(ReferenceConfig(), {"Zn", "P", "S"})
    assert loaded.phases is not None
    section = phases.section_of(["ZnP2S6", "Zn2P2S7"], loaded.phases.elements)
    grid, energy = phases.hull_on(loaded.phases, section)
    assert energy[[0, -1]] == pytest.approx([0, 0], abs=1e-12)
    slopes = np.diff(energy) / np.diff(grid)
    assert (np.diff(slopes) > -1e-9).all()
    stable = {p.formula: p for p in loaded.phases.found if p.stable}
    ends = [loaded.phases.hull_energy(section.mixture(x)) for x in (0.0, 1.0)]
    x = section.place("Zn3P2S8")
    expected = stable["Zn3P2S8"].formation_energy - (1 - x) * ends[0] - x * ends[1]
    assert np.interp(x, grid, energy) == pytest.approx(expected, abs=1e-12)


# words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "wanted"),
    [
        ("P2_1/c", "<i>P</i>2<sub>1</sub>/<i>c</i>"),
        ("R-3m", "<i>R</i><b>3</b><i>m</i>"),
        ("I4_1/amd", "<i>I</i>4<sub>1</sub>/<i>amd</i>"),
    ],
)
def test_space_groups_are_set_as_in_the_tables(given_, wanted):
    assert str(text.space_group(given_)) == f'<span class="sg">{wanted}</span>'


def test_numbers_are_as_a_reader_expects():
    assert text.milli(-0.0204) == "\N{MINUS SIGN}20"
    assert text.milli(-0.0001) == "\N{MINUS SIGN}0.1"
    assert text.number(None) == text.milli(float("nan")) == "–"
    assert text.percent(0.033).startswith("3.3")
    assert text.percent(0.001).startswith("0.1")
    assert text.percent(1.0).startswith("100")
    assert text.count(12345) == "12\N{NARROW NO-BREAK SPACE}345"


def test_only_formulas_get_subscripts():
    said = text.products("0.636 P2S7 + 0.364 Zn3(PS4)2, MP2020 <b>")
    assert "P<sub>2</sub>S<sub>7</sub>" in said
    assert "Zn<sub>3</sub>(PS<sub>4</sub>)<sub>2</sub>" in said
    assert "0.636" in said
    assert "MP2020 &lt;b&gt;" in said


def test_a_known_phase_that_is_found_again_is_not_called_unstable() -> None:
    row = {"composition": "Mg2Si", "symmetric": True, "decomposition_products": "1.000 Mg2Si"}
    known = row | {"space_group_symbol": "Fm-3m", "space_group_number": 225}
    known |= {"decomposition_energy": 1e-4, "known_phase": "antifluorite"}
    new = row | {"space_group_symbol": "Pnma", "space_group_number": 62}
    new |= {"decomposition_energy": 0.05, "known_phase": None}
    first, second = (str(line) for line in story.best_of(pd.DataFrame([known, new])))
    assert "the known phase antifluorite." in first
    assert "decomposition" not in first
    assert "The best new one" in second
    assert "50 meV/atom above" in second
    assert "metastable" in second
    (only,) = story.best_of(pd.DataFrame([known]))
    assert "the known phase antifluorite." in only
    (only,) = story.best_of(pd.DataFrame([new]))
    assert "new" not in only


def test_guests_are_said_with_what_chose_them():
    config = Config(systems={"S": {"compositions": ["Li2Si"]}})
    line = "guest in S: Li (auto: coordination entropy Li 0.81, Si 0.20 nats in 9 structures)"
    headers = {"refined": [{"guests": ["Li"], "guest_choice": line}] * 2}
    shown = dict(dict(facts.settings("S", config, headers))["Search"])
    assert shown["guests"] == line
    headers = {"refined": [{"guests": ["Li"], "guest_choice": ""}]}
    assert dict(dict(facts.settings("S", config, headers))["Search"])["guests"] == "Li"


def test_the_page_says_where_a_second_potential_agrees():
    rows = [
        ("ZnS", 0.00, 0.01, True),
        ("ZnS", 0.02, 0.00, True),
        ("ZnO", 0.01, 0.30, False),
        ("ZnO", 0.02, 0.40, False),
        ("ZnO", 0.03, None, None),
    ]
    columns = ("composition", "decomposition_energy", "second_decomposition_energy")
    frame = pd.DataFrame(rows, columns=[*columns, "second_agrees"])
    frame = frame.assign(second_potential="sevennet-0")
    (line,) = story.agreement(frame)
    assert str(line) == (
        "sevennet-0 agrees on 2 of 4 selected structures (E<sub>d</sub> on the same side"
        " of the threshold) and has the same lowest structure in 1 of 2 compositions."
    )
    assert story.agreement(frame[4:]) == []
    assert story.agreement(frame.drop(columns="second_agrees")) == []
