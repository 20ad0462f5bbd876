"""Public benchmarks: compositions, known crystals, budgets, results, mistakes."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chggen.errors import ConfigError, Status
from chggen.evaluation import benchmark
from chggen.evaluation.benchmark_command import main
from chggen.evaluation.sampling import Draw, Sample, affordable
from chggen.evaluation.targets import Target, find_truths, read_targets
from chggen.relaxation.pool import Relaxation
from chggen.structure.crystal import Crystal
from chggen.structure.task import Placed, Task
from tests.unit.test_evaluation import PROTOTYPES, crystal, relaxed, write

FOLDER = Path(__file__).parents[2] / "benchmarks"


# compositions


def test_the_tables_in_the_repository():
    targets = read_targets(FOLDER / "cspbench.csv")
    assert len(targets) == len({t.material_id for t in targets}) == 180
    assert all(t.material_id.startswith("mp-") for t in targets)
    tabulated = [bool(t.published.get("ParetoCSP Hausdorff A")) for t in targets]
    assert tabulated == [True] * 23 + [False] * 157
    assert len(read_targets(FOLDER / "cspbench.csv", 23)) == 23
    cyanamide = read_targets(FOLDER / "diffcsp15.csv")[13]
    assert cyanamide.composition == "SiC2N4"
    assert np.bincount(cyanamide.atomic_numbers)[[6, 7, 14]].tolist() == [4, 8, 2]
    assert sum(len(t.atomic_numbers) for t in read_targets(FOLDER / "diffcsp15.csv")) == 122


def test_a_search_is_given_atoms_and_nothing_else():
    given = Target("salt", "Na2Cl2", "mp-1").blank(4)
    assert given.row == 4
    assert given.formula == "NaCl"
    assert given.crystal.atomic_numbers.tolist() == [11, 11, 17, 17]
    assert np.array_equal(given.crystal.cell, np.eye(3))
    assert not given.crystal.frac_coords.any()


# known crystals


def test_known_crystals_by_name_or_by_composition(tmp_path):
    path = write(tmp_path / "known.csv", [("CsCl", 0.3), ("NaCl", 0.1), ("NaCl", 0.0)])
    double = PROTOTYPES["NaCl"].copy()
    double.make_supercell([2, 1, 1])
    (tmp_path / "cifs").mkdir()
    double.to(filename=str(tmp_path / "cifs" / "double.cif"))
    targets = [
        Target("by name", "NaCl", "mp-1"),
        Target("by composition", "NaCl"),
        Target("half of it", "Na3Cl3"),
        Target("other name", "NaCl", "mp-9"),
        Target("other composition", "NaF", "mp-1"),
        Target("no composition", "CaF2"),
    ]
    truths, remarks = find_truths([path], targets)
    assert [t.name if t else None for t in truths] == ["mp-1", "mp-2", "mp-2", None, None, None]
    assert remarks[0] == ""
    assert remarks[1] == "the lowest; also known: mp-1"
    assert remarks[3].startswith("no truth; of this composition: mp-1 (2 atoms)")
    assert remarks[4:] == ["no truth", "no truth"]
    # a supercell is its primitive cell
    truths, _ = find_truths([tmp_path / "cifs"], targets[1:2])
    assert len(truths[0].crystal) == 2


def test_known_crystals_in_parquet(tmp_path):
    salt = crystal("NaCl")
    flat = {
        "material_id": ["mp-7", "mp-8"],
        "cell": [salt.cell.ravel().tolist(), []],
        "atomic_numbers": [[11, 17], [11, 17]],
        "frac_coords": [salt.frac_coords.ravel().tolist(), []],
    }
    path = tmp_path / "known.parquet"
    pq.write_table(pa.table(flat), path)
    truths, remarks = find_truths([path], [Target("salt", "NaCl"), Target("salt", "NaCl", "mp-8")])
    assert np.allclose(abs(np.linalg.det(truths[0].crystal.cell)), salt.volume)
    assert truths[1] is None
    assert "mp-7" in remarks[1]
    pq.write_table(pa.table({"material_id": ["mp-7"]}), path)
    with pytest.raises(ConfigError, match=r"--truth .*has neither a column 'cif'"):
        find_truths([path], [Target("salt", "NaCl")])
    path.write_bytes(b"no table")
    with pytest.raises(ConfigError, match=r"--truth .*no Parquet file"):
        find_truths([path], [Target("salt", "NaCl")])


# budgets and sums


def samples(energies, hits, costs, place=0):
    task = Task(crystal("NaCl"), np.ones(2, bool), 0)
    found = []
    for k, (energy, hit, cost) in enumerate(zip(energies, hits, costs, strict=True)):
        made = relaxed("NaCl" if hit else "CsCl", energy=energy)
        if not hit:  # of the same atoms, so that only the structure differs
            other = Crystal.of(made.crystal.cell, [11, 17], made.crystal.frac_coords)
            made = Relaxation(other, Status.OK, energy_per_atom=energy)
        found.append(Sample(Draw(place, k, [task]), Placed(crystal("NaCl")), made, cost, 0.0))
    return found


def test_a_budget_buys_whole_samples():
    assert [affordable(t, 2.0) for t in (1.9, 2.0, 5.9, 6)] == [0, 1, 2, 3]
    assert affordable(0.3, 0.1) == 3  # rounding takes none away

    class Sampler:
        def first(self):
            return samples([0, 0], [True] * 2, [1, 1]) + samples([0, 0], [True] * 2, [9, 9], 1)

        def more(self, first, budget):
            return samples([0] * 3, [True] * 3, [1] * 3)[2:]

    assert len(benchmark._searched(Sampler(), None)) == 4
    kept = benchmark._searched(Sampler(), 3.5)
    assert [(s.draw.structure, s.draw.sample) for s in kept] == [(0, 0), (0, 1), (0, 2)]


def test_found_and_lowest():
    truth = relaxed("NaCl", energy=-3.0)
    both = benchmark._judged(samples([-2.9, -3.0], [False, True], [1, 1]), truth)
    row = benchmark._found(both)
    assert row["energy_gap"] == pytest.approx(0.0)
    assert row["found"]
    assert row["lowest"]
    assert row["matches_narrow"] == 1
    under = benchmark._judged(samples([-3.1, -3.0], [False, True], [1, 1], 3), truth)
    row = benchmark._found(under)
    assert row["energy_gap"] == pytest.approx(-0.1)
    assert row["found"]
    assert not row["lowest"]
    nothing = benchmark._found([])
    assert nothing["energy_gap"] is None
    assert not nothing["found"]
    assert not nothing["lowest_narrow"]


# from the command line


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "targets.csv"
    path.write_text(
        "name,formula,material_id,figure\nsalt,NaCl,mp-0,0.1\ncaesium,Cs2Cl2,mp-1,\n"
        "fluorite,CaF2,mp-9,\neinsteinium,EsO2,mp-8,\n"
    )
    return path


def test_end_to_end(table, tmp_path, capsys):
    truth = write(tmp_path / "known.csv")
    out = tmp_path / "out" / "found.json"
    given = ["--truth", truth, "--samples", 3, "--generators", "random,pyxtal", "--json", out]
    main("tiny", "A benchmark.", table, [str(x) for x in given])
    found = json.loads(out.read_text())
    assert found["generators"] == ["random", "pyxtal"]
    assert found["budget"] == {"samples": 3}
    assert found["n_targets"] == 4
    assert found["checkpoint"]["hash"]
    for figures in (found, found["pyxtal"]):
        rows = figures["crystals"]
        # rows in = rows out
        assert [r["name"] for r in rows] == ["salt", "caesium", "fluorite", "einsteinium"]
        assert [r["n_samples"] for r in rows] == [3, 3, 3, 0]
        assert [r["truth"] for r in rows] == ["mp-0", "mp-1", None, None]
        assert [r["found"] is None for r in rows] == [False, False, True, True]
        assert "no truth" in rows[2]["remark"]
        assert "not searched: the models do not know Es" in rows[3]["remark"]
        assert figures["n_with_truth"] == 2
        assert figures["n_found"] == sum(r["found"] for r in rows[:2])
        assert figures["found_low"] < figures["found"] + 1e-9
        assert all(r["cpu_seconds"] > 0 for r in rows[:3])
    assert found["crystals"][0]["published"] == {"figure": "0.1"}
    # two atoms of the CsCl or NaCl type
    assert found["pyxtal"]["n_found"] >= 1
    text = capsys.readouterr().out
    assert "tiny, random: 3 samples per composition" in text
    assert "caesium" in text
    assert "of 2 [" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--truth", "nowhere.csv"], "tiny: --truth 'nowhere.csv': no such file or folder"),
        (["--samples", "0"], "tiny: --samples 0: must be at least 1"),
        (["--limit", "0"], "tiny: --limit 0: must be at least 1"),
        (["--cpu-seconds", "-1"], "tiny: --cpu-seconds -1.0: must be positive"),
        (["--generators", "magic"], "unknown generator 'magic'"),
        (["--set", "candidates=many"], "generate.candidates = 'many'"),
        (["--checkpoint", "none.safetensors"], "no such checkpoint 'none.safetensors'"),
    ],
)
def test_mistakes_are_one_line(table, tmp_path, options, message):
    truth = write(tmp_path / "known.csv")
    with pytest.raises(SystemExit) as stopped:
        main("tiny", "A benchmark.", table, ["--truth", str(truth), *options])
    assert message in str(stopped.value.code)
    assert "\n" not in str(stopped.value.code)


def test_tables_that_are_none(tmp_path):
    path = tmp_path / "targets.csv"
    for text, message in (
        ("name,material_id\na,b\n", "has no column 'formula'"),
        ("name,formula\na,Xx2\n", "Xx"),
        ("name,formula\n", "names no composition"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message) as error:
            read_targets(path)
        assert str(path) in str(error.value)
