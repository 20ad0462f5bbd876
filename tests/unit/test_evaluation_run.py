"""``chggen evaluate``: a whole run, its files, its mistakes."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chggen.cli import app
from chggen.errors import ChggenError, Status
from chggen.evaluation import chart
from chggen.evaluation import run as running
from chggen.evaluation.against import compare, read_earlier
from chggen.evaluation.facts import strict
from chggen.evaluation.output import show, write_json, write_table
from chggen.evaluation.run import evaluate
from chggen.evaluation.settings import parse_generators
from chggen.evaluation.structures import select
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed
from chggen.tables import parquet
from tests.unit.test_evaluation import ELEMENTS, ROWS, RUNNER, asked, crystal, write

#: Generators that fill cells that are given.
GENERATORS = ("diffusion", "random", "random_selected", "pyxtal")


@pytest.fixture
def source(tmp_path) -> Path:
    return write(tmp_path / "known.csv")


# a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = write(tmp_path_factory.mktemp("evaluation") / "known.csv")
    steps = []
    run = evaluate(
        asked(path, generators=GENERATORS), after=lambda r: steps.append(r.result["generators"])
    )
    # what a run leaves that is stopped later on
    assert steps == [list(GENERATORS[:k]) for k in range(1, len(GENERATORS))]
    return run


def test_end_to_end(run, tmp_path):
    found = run.result
    assert found["n_structures"] == 3
    for figures in (found, found["random"], found["pyxtal"]):
        assert figures["n_samples"] == 6
        assert sum(figures["statuses"].values()) == 6
        assert 0 <= figures["match_at_1_low"] <= figures["match_at_1"] <= figures["match_at_k"]
        assert figures["generation_cpu_seconds"] > 0
        assert figures["relaxation_cpu_seconds"] > 0
    # two or three atoms in their own cell
    assert found["match_at_k"] > 0.6
    assert found["score_calls"] > 10
    assert found["random"]["score_calls"] == 0
    assert set(found["paired"]) == {f"diffusion_minus_{g}" for g in GENERATORS[1:]}
    assert found["truth"]["n_relaxed"] == found["truth"]["n_as_in_file"] == 3
    path = tmp_path / "out" / "found.json"
    write_json(found, path)
    show(found)

    def refuse(name):
        raise AssertionError(name)

    back = json.loads(path.read_text(), parse_constant=refuse)
    assert back == found


def test_the_file_says_how_to_do_it_again(run):
    found = run.result
    assert len(found["structures"]["digest"]) == 16
    assert [s["name"] for s in found["structures"]["chosen"]] == [
        k.name for k in run.selection.known
    ]
    assert found["checkpoint"]["hash"]
    assert found["potential"]["corrections"] == "MP2020"
    assert found["settings"]["relax"]["max_steps"] == 60
    assert found["settings"]["generate"]["sampler"] == "fast"
    assert found["versions"]["torch"]
    path = Path(found["structures"]["file"])
    again = evaluate(asked(path, limit=1, generators=("random",))).result
    assert again["structures"]["chosen"] == found["structures"]["chosen"][:1]


def test_every_key_is_documented(run):
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    keys = {k.removesuffix("_low").removesuffix("_high") for k in run.result}
    assert not {k for k in keys if f"`{k}" not in text}


def test_against_an_earlier_run(run, tmp_path):
    path = tmp_path / "earlier.json"
    write_json(run.result, path)
    source = Path(run.result["settings"]["structures"])
    earlier = read_earlier(path, source)
    found = compare(run.result, earlier, path)
    assert found["n_structures"] == 3
    assert found["diffusion"]["match_at_1"] == found["pyxtal"]["match_at_k"] == 0
    # the earlier run has less: its last structures, fewer samples of them, one match
    less = dict(earlier, samples_per_structure=1, matches=[0, 1], matches_narrow=[0, 0])
    less |= {"format": 1}  # written before these were counted
    for name in ("lowest_matches", "lowest_matches_narrow", "samples_within_10_mev"):
        del less[name]
    less["structures"] = dict(earlier["structures"], chosen=earlier["structures"]["chosen"][1:])
    del less["random"]
    found = compare(run.result, less, path)
    gain = np.array(run.result["matches"][1:]) / 2 - [0, 1]
    assert found["n_structures"] == 2
    assert found["diffusion"]["match_at_1"] == pytest.approx(gain.mean())
    assert "match_at_k" not in found["diffusion"]
    assert "within_10_mev" not in found["diffusion"]
    assert "random" not in found
    show(run.result | {"against": found})
    less["structures"]["chosen"] = [{"row": 999}, {"row": 998}]
    found = compare(run.result, less, path)
    assert found["n_structures"] == 0
    assert "diffusion" not in found
    show(run.result | {"against": found})
    with pytest.raises(ChggenError, match="is not an evaluation of"):
        read_earlier(path, write(tmp_path / "other.csv", ROWS[:2]))
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        with pytest.raises(ChggenError, match="--against"):
            read_earlier(path, source)


def test_table_of_samples(run, tmp_path):
    path = tmp_path / "samples.parquet"
    write_table(run, path)
    rows = parquet.read(path, "evaluated")
    assert len(rows) == 6 * len(GENERATORS)
    assert len({r["id"] for r in rows}) == len(rows)
    for name in GENERATORS:
        matched = [r["matched"] for r in rows if r["generator"] == name]
        figures = run.result if name == "diffusion" else run.result[name]
        assert sum(matched) == figures["n_matched"]
    good = next(r for r in rows if r["status"] == Status.OK)
    assert Crystal.from_row(good).is_finite
    assert good["energy_above_truth"] is not None
    assert good["potential"] == "chgnet-0.3.0"


def test_failures_stay_in_the_denominators(source, monkeypatch, tmp_path):
    class Bad:
        """Loses one sample of three, puts atoms of the next on top of each other."""

        name = "random"

        def __call__(self, tasks, progress=None):
            wrong = [
                Placed(None, "lost", 1),
                Placed(tasks[1].crystal, "", 1),
                Placed(crystal(run_formula(tasks[2])), "", 1),
            ]
            return [wrong[i % 3] for i in range(len(tasks))]

    def run_formula(task):
        return {11: "NaCl", 55: "CsCl", 20: "CaF2"}[int(task.crystal.atomic_numbers.max())]

    monkeypatch.setattr(running, "make", lambda *_: Bad())
    settings = asked(write(tmp_path / "one.csv", [("CsCl", 0.0)]), samples=3)
    run = evaluate(replace(settings, generators=("random",)))
    found = run.result
    assert "random" not in found
    assert found["statuses"] == {"ok": 1, "sampling_failed": 1, "too_close": 1}
    assert found["match_at_1"] == pytest.approx(1 / 3)
    assert found["match_at_k"] == 1
    assert found["too_close"] == pytest.approx(1 / 3)
    assert found["energy_above_truth"] is None
    assert found["paired"] == {}
    write_table(run, tmp_path / "samples.parquet")
    show(run.result)


def test_strict_has_no_nan():
    found = strict({"a": math.nan, "b": [math.inf, np.float64(1.5)], "c": (np.int64(3), "x")})
    assert json.dumps(found, allow_nan=False) == '{"a": null, "b": [null, 1.5], "c": [3, "x"]}'


def test_the_first_generator_stands_at_the_top(source, tmp_path):
    result, samples, picture = (tmp_path / n for n in ("found.json", "s.parquet", "curve.svg"))
    given = ["--limit", "3", "--samples", "2", "--min-atoms", "2", "--cells", "sampled"]
    files = ["--json", result, "--table", samples, "--figure", picture, "--cpu-seconds", "0.4"]
    command = ["evaluate", "--structures", source, *given, *files]
    done = RUNNER.invoke(app, [*map(str, command), "--generators", "pyxtal,random"])
    assert done.exit_code == 0, done.output
    found = json.loads(result.read_text())
    assert found["generators"] == ["pyxtal", "random"]
    assert "pyxtal" not in found
    assert set(found["paired"]) == {"pyxtal_minus_random"}
    gain = found["paired"]["pyxtal_minus_random"]["match_at_1"]
    assert gain == pytest.approx(found["match_at_1"] - found["random"]["match_at_1"])
    assert found["random"]["score_calls"] == 0
    for figures in (found, found["random"]):
        assert set(figures["by_size"]) == {"1-2", "3-4"}
        assert figures["by_samples"]["found"][-1] == pytest.approx(figures["match_at_k"])
        assert figures["by_samples"]["found"][0] == pytest.approx(figures["match_at_1"])
        assert figures["by_samples"]["lowest"][-1] == pytest.approx(figures["lowest_energy_at_k"])
        curve = figures["success_by_cpu_seconds"]
        assert curve["cpu_seconds"][0] == 1
        assert curve["cpu_seconds"][-1] == 100
        assert all(low <= value <= high for value, low, high in zip(
            *(curve[f"found_stopped{end}"] for end in ("", "_low", "_high")), strict=True
        ))  # fmt: skip
        assert set(curve["by_size"]) == {"1-2", "3-4"}
    # the budget adds samples to the curves and the table, not to the rates
    rows = parquet.read(samples, "evaluated")
    assert len({r["id"] for r in rows}) == len(rows)
    assert found["n_samples"] == found["random"]["n_samples"] == 6
    assert len([r for r in rows if r["generator"] == "random"]) > 6
    text = picture.read_text()
    assert text.count("random") == text.count("pyxtal") > 0
    assert "match@2" in done.output
    assert "after CPU seconds" in done.output


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_pictures_of_other_kinds(run, tmp_path, suffix):
    path = tmp_path / f"curve{suffix}"
    chart.write(run.result, path)
    assert path.read_bytes()[:4] in {b"\x89PNG", b"%PDF"}


# mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--structures", "nowhere.csv"], "--structures 'nowhere.csv': no such file"),
        (["--generators", "diffusion,magic"], "unknown generator 'magic'"),
        (["--generators", ","], "names none"),
        (["--max-above-hull", "-1"], "no structure passes the filter (5 above the hull)"),
        (["--min-atoms", "9", "--max-atoms", "8"], "--min-atoms 9: is larger than --max-atoms 8"),
        (["--cells", "false"], "--cells 'false': known are true, sampled"),
        (["--cpu-seconds", "-3"], "--cpu-seconds -3.0: must be positive"),
        (["--figure", "curve.gif"], "--figure 'curve.gif': must end in .svg, .png, .pdf"),
        (["--cells", "true", "--generators", "campaign"], "must leave out campaign"),
        (["--sampler", "slow"], "generate.sampler = 'slow'"),
        (["--checkpoint", "none.safetensors"], "no such checkpoint 'none.safetensors'"),
    ],
)
def test_mistakes_are_one_line(source, options, message):
    given = {"--structures": str(source)} | dict(zip(options[::2], options[1::2], strict=True))
    found = RUNNER.invoke(app, ["evaluate", *(x for pair in given.items() for x in pair)])
    assert isinstance(found.exception, ChggenError)
    assert message in str(found.exception)
    assert "\n" not in str(found.exception)


def test_files_that_are_no_such_table(tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    binary = tmp_path / "binary.csv.gz"
    binary.write_bytes(b"\x00\x01\x02")
    other = write(tmp_path / "other.csv", columns=("material_id",))
    for path, message in ((empty, "no column"), (binary, "Not a gzipped"), (other, "no column")):
        with pytest.raises(ChggenError, match=message) as error:
            select(asked(path), ELEMENTS)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)


def test_generators_in_the_order_given():
    assert parse_generators("random, diffusion,random") == ("random", "diffusion")
