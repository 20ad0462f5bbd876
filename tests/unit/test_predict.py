"""``chggen predict`` and ``chggen new``: plans, configs, refusals and the answer."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from chggen.campaign.plan import Campaign
from chggen.cli import app
from chggen.config.text import read_yaml
from chggen.errors import ChggenError, ConfigError, Status
from chggen.prediction import answer, calibrate, cost, planning, writing
from chggen.prediction.budget import parse_budget
from chggen.prediction.compositions import suggested
from chggen.prediction.cost import Machine
from chggen.prediction.predict import predict, question, size_of
from chggen.structure import composition as comp
from chggen.tables import parquet

RUNNER = CliRunner()
MACHINES = st.builds(
    Machine, st.floats(1, 100), st.floats(0.2, 50), st.sampled_from([1, 2, 3, 8, 64])
)
FORMULAS = st.sampled_from(["ZnS", "Li3PS4", "MgCu2", "NaClO3", "Mg3Al2Si3O12"])


@pytest.fixture
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused is refused before the machine is even timed."""

    def never(_cores: int) -> Machine:
        raise AssertionError("timed")

    monkeypatch.setattr(calibrate, "measure", never)


def run(*arguments: str | Path) -> str:
    result = RUNNER.invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("1.5m", 90), (" 2H ", 7200)]
)
def test_predict_reads_budgets(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "10", "-5m", "0s", "5m10h", "1e3s", "800h", "m"])
def test_predict_refuses_budgets(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        parse_budget(text)


@settings(deadline=None, max_examples=60)
@given(FORMULAS, MACHINES, st.floats(1, 1e6), st.floats(1, 30))
def test_predict_plans_grow_with_the_budget(
    formula: str, machine: Machine, budget: float, factor: float
) -> None:
    small, large = (planning.plan(formula, b, machine) for b in (budget, factor * budget))
    if small is None:
        assert budget < planning.least_seconds(formula, machine) * (1 + 1e-9)
        return
    assert large is not None
    assert cost.seconds(small, machine) <= planning.PLANNED * budget
    assert cost.seconds(large, machine) <= planning.PLANNED * factor * budget
    assert small.structures <= large.structures
    assert small.candidates <= large.candidates
    assert small.draws <= large.draws
    assert small.shards % machine.cores == 0


@settings(deadline=None, max_examples=60)
@given(FORMULAS, MACHINES, st.floats(100, 1e6), st.floats(0, 1e6), st.floats(1, 10))
def test_predict_fits_guests_into_what_is_left(
    formula: str, machine: Machine, budget: float, left: float, factor: float
) -> None:
    size = planning.plan(formula, budget, machine)
    if size is None:
        return
    less, more = (planning.refit(size, t, machine) for t in (left, factor * left))
    for fitted in (less, more):
        assert (fitted.shards, fitted.lattices) == (size.shards, size.lattices)
        assert fitted.draws <= size.draws
        assert fitted.fillings <= size.fillings
        # the structures that are there are relaxed already, so that an end always comes
        if fitted.draws:
            end = cost.ending_seconds(fitted, machine)
            assert cost.framework_seconds(fitted, machine) + end <= factor * left
    assert less.draws <= more.draws


def test_predict_spends_more_where_a_machine_is_faster() -> None:
    slow, fast = (planning.plan("Li3PS4", 900, Machine(7, s, 2)) for s in (4.0, 1.0))
    assert slow is not None
    assert fast is not None
    assert slow.structures < fast.structures


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(["ZnS", "Zn3P2", "Li3PS4"]), st.floats(300, 1e5), st.sampled_from([1, 2, 8]))
def test_predict_config_is_what_was_planned(formula: str, budget: float, cores: int) -> None:
    size = planning.plan(formula, budget, Machine(cores=cores))
    assert size is not None
    guests = writing.default_guests(formula)
    texts = [
        writing.predict_text(formula, guests, size, "5 min", cores, Path("there/campaign.yaml"))
        for _ in range(2)
    ]
    assert texts[0] == texts[1]
    assert texts[0].startswith(writing.MARK)
    campaign = writing.campaign_of(texts[0], "here")
    assert size_of(campaign, formula) == size
    system = campaign.config.systems[formula]
    assert system.guests == guests
    assert system.reference.source == "builtin"
    assert len(campaign.shards) == size.shards
    # every key that decides has a comment above it or in its line
    assert texts[0].count("#") >= 10


def test_predict_without_frameworks_asks_for_none() -> None:
    size = next(planning.sizes("ZnS", 2))
    assert size.draws == 0
    text = writing.predict_text("ZnS", ["Zn"], size, "1 min", 2, Path("a/b.yaml"))
    campaign = writing.campaign_of(text, "here")
    assert campaign.tables("ZnS", "inpainted") == campaign.tables("ZnS", "refined") == []
    assert len(campaign.tables("ZnS", "relaxed")) == 2


@pytest.mark.usefixtures("no_job")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Zx2"], "unknown element 'Zx'"),
        (["Zn2S("], "Zn2S"),
        (["Si"], "'Si': is an element"),
        (["ZnS", "--guests", "Li"], "--guests 'Li': not in 'ZnS'"),
        (["ZnS", "--guests", "Zn,S"], "leave no framework"),
        (["ZnS", "--guests", "Zn,"], "joined by commas"),
        (["ZnS", "--guests", "zinc"], "--guests 'zinc': unknown element"),
        (["ZnS", "--cores", "0"], "--cores '0'"),
        (["ZnS", "--cores", "two"], "--cores 'two'"),
        (["ZnS", "--budget", "soon"], "--budget 'soon'"),
        (["PoO2"], "not trained on Po"),
    ],
)
def test_predict_refuses_in_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(ChggenError, match=words) as caught:
        run("predict", *arguments, "-o", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_job")
def test_predict_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    size = next(planning.sizes("ZnS", 2))
    place = tmp_path / "zns" / "campaign.yaml"
    place.parent.mkdir()
    place.write_text(writing.predict_text("ZnS", ["Zn"], size, "1 min", 2, place))
    for formula, more, folder, words in (
        ("ZnS", [], "file", "is a file"),
        ("ZnS", [], "other", "holds other files"),
        ("Zn3P2", [], "zns", "is of another campaign"),
        ("ZnS", ["--guests", "S"], "zns", "is of another campaign"),
    ):
        with pytest.raises(ConfigError, match=words):
            run("predict", formula, *more, "-o", tmp_path / folder)
    assert question("ZnS", None, 60, 2, tmp_path / "zns").guests == ("Zn",)
    assert (tmp_path / "file").read_text() == "mine"


def test_predict_says_what_the_smallest_budget_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "measure", lambda cores: Machine(7.0, 1.0, cores))
    with pytest.raises(ConfigError, match=r"--budget 5 s: the smallest search for ZnS takes some"):
        predict(question("ZnS", None, 5, 2, tmp_path / "out"), print)
    assert not (tmp_path / "out").exists()


def screened_row(index: int, **values: Any) -> parquet.Row:
    row: parquet.Row = {
        "id": f"row{index}",
        "system": "ZnS",
        "composition": "ZnS",
        "route": "unconditional",
        "seed": 0,
        "index": index,
        "draw": 0,
        "random_seed": index,
        "status": Status.OK,
        "reason": "",
        "n_atoms": 4,
        "converged": True,
        "too_close": False,
        "space_group_number": 186,
        "space_group_symbol": "P6_3mc",
        "decomposition_energy": 0.01,
    }
    return row | values


def test_predict_answers_with_the_best(tmp_path: Path) -> None:
    rows = [
        screened_row(0, decomposition_energy=0.2, converged=False, route="inpainting"),
        screened_row(
            1, decomposition_energy=-0.0123, space_group_symbol="F-43m", known_phase="mp-1"
        ),
        screened_row(2, decomposition_energy=-0.5, too_close=True),
        screened_row(3, decomposition_energy=-0.4, duplicate_of="row1"),
        screened_row(4, decomposition_energy=None),
        screened_row(5, decomposition_energy=-0.6, status=Status.EXPLODED),
        screened_row(6, decomposition_energy=0.0456),
    ]
    parquet.write(tmp_path / "screened.parquet", "screened", rows, {})
    best = answer.best(tmp_path / "screened.parquet", 2)
    assert [row["id"] for row in best] == ["row1", "row6"]
    lines = answer.aligned(answer.table(answer.best(tmp_path / "screened.parquet", 9)))
    assert len(lines) == 4
    assert "F-43m (186)" in lines[1]
    assert "-0.012" in lines[1]
    assert "known as mp-1" in lines[1]
    assert "P6_3mc" in lines[2]
    assert "new" in lines[2]
    assert "not converged" in lines[3]
    assert len({line.index("E_d") for line in lines[:1]} | {lines[1].index("-0.012")}) == 1


def test_predict_tells_the_uncertainty_where_there_is_one() -> None:
    row = screened_row(0, decomposition_energy=0.0314)
    assert answer.with_uncertainty(row) == "+0.031"
    assert answer.with_uncertainty(row | {"decomposition_energy_uncertainty": 0.012}) == (
        "+0.031 ± 0.012"
    )


def test_new_suggests_formulas() -> None:
    assert {"LiPS3", "Li3PS4"} <= set(suggested(["Li", "P", "S"]))
    assert suggested(["Na", "Cl"]) == ["NaCl"]
    assert suggested(["O", "Cl", "Na"])[:4] == ["NaClO", "NaClO2", "NaClO3", "NaClO4"]
    assert "LiBH4" in suggested(["Li", "B", "H"])
    assert "MgSiO3" in suggested(["Mg", "Si", "O"])
    # no phosphide sulfides
    assert suggested(["Zn", "P", "S"])[0] == "ZnP2S4"
    assert "MgCu2" in suggested(["Mg", "Cu"])
    for elements in (["Zn", "P", "S"], ["Mg", "Si", "O"], ["Li", "Fe", "P", "O"], ["Li", "Si"]):
        found = suggested(elements)
        assert 0 < len(found) <= 12
        assert all(set(comp.parse_formula(f)) == set(elements) for f in found)


def test_new_writes_a_config_that_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "measure", lambda cores: Machine(7.0, 1.0, cores))
    path = tmp_path / "mine.yaml"
    output = " ".join(run("new", "Li-P-S", "-o", path, "--cores", "2").split())
    campaign = Campaign.load(read_yaml(path), path)
    formulas = campaign.config.systems["Li-P-S"].formulas()
    assert "Li3PS4" in formulas
    assert f"{len(formulas)} compositions, {100 * len(formulas)} structures, some" in output
    assert "on 2 cores" in output
    with pytest.raises(ConfigError, match="exists"):
        run("new", "Li-P-S", "-o", path)
    run("new", "ZnP2S6", "Zn2P2S7", "-o", tmp_path / "two.yaml", "--guests", "Zn")
    two = read_yaml(tmp_path / "two.yaml")["systems"]["Zn-P-S"]
    assert two["compositions"] == ["ZnP2S6", "Zn2P2S7"]
    assert two["guests"] == ["Zn"]


@pytest.mark.usefixtures("no_job")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Li-Qq"], "unknown element 'Qq'"),
        (["Li-Li-S"], "given twice"),
        (["Zn"], "is an element"),
        (["ZnS", "Zx"], "unknown element 'Zx'"),
        (["ZnS", "--guests", "Li"], "guests: 'Li' is not in 'ZnS'"),
        (["Li-P-S-O-N-H"], "at most 5 elements"),
    ],
)
def test_new_refuses_in_one_line(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ChggenError, match=message) as caught:
        run("new", *words, "-o", tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.yaml").exists()
