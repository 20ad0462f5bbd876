"""Cases of configuration, command line and reruns: the right value of each, with neighbours."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from chggen.campaign.plan import Campaign
from chggen.config.text import parse_yaml, read_yaml
from chggen.diffusion.card import SCORE, card_path
from chggen.errors import CompositionError, ConfigError
from chggen.run.atomic import replacing, write_text
from chggen.structure.composition import canonical, element_range
from tests.stand_ins.potcars import fake_potcars

SYSTEM = "systems: {A: {compositions: [ZnS], guests: [Zn]}}\n"


def load(text: str, folder: Path) -> Campaign:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return Campaign.load(read_yaml(path), path)


def line_of(text: str, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{SYSTEM}relax: {{fmax: 0.1}}\n{SYSTEM}", ["'systems'", "line 1", "line 3"]),
        (f"{SYSTEM}relax:\n  fmax: 0.1\n  fmax: 0.2\n", ["'relax.fmax'", "line 3", "line 4"]),
        (f'{SYSTEM}relax: {{fmax: 0.1, "fmax": 0.2}}\n', ["'relax.fmax'"]),
        (f"{SYSTEM}generate: {{options: {{a: [{{b: 1, b: 2}}]}}}}\n", ["'generate.options.a.b'"]),
        ('{"systems": {}, "systems": {}}', ["'systems'"]),
    ],
)
def test_yaml_duplicate(tmp_path: Path, text: str, words: list[str]) -> None:
    line = line_of(text, tmp_path)
    assert "given twice" in line
    for word in words:
        assert word in line


def test_a_merged_key_may_be_given_again(tmp_path: Path) -> None:
    text = "systems:\n  A: &a {compositions: [ZnS], guests: [Zn]}\n  B: {<<: *a, guests: [S]}\n"
    config = load(text, tmp_path).config
    assert config.systems["B"].guests == ["S"]
    assert config.systems["B"].compositions == ["ZnS"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{SYSTEM}dft: {{runtime: 1:00:00}}\n", ["dft.runtime = 1:00:00", "base 60", "quotes"]),
        (f"{SYSTEM}dft: {{runtime: 0100}}\n", ["dft.runtime = 0100", "octal", "quotes"]),
        (f"{SYSTEM}seed: 0b11\n", ["seed = 0b11", "binary"]),
        (f"{SYSTEM}results: 2025-01-01\n", ["results", "date", "quotes"]),
        (f"{SYSTEM}dft: {{runtime: yes}}\n", ["dft.runtime", "quotes"]),
        (f"{SYSTEM}relax: {{fmax: on}}\n", ["relax.fmax", "quotes"]),
        ("systems: {A: {compositions: [NO], guests: [O]}}\n", ["compositions", "'NO'"]),
        ("systems: {A: {compositions: NO, guests: [O]}}\n", ["compositions", "'NO'"]),
        ("systems: {A: {compositions: [ZnS], guests: [No]}}\n", ["guests", "quotes"]),
        ("systems: {NO: {compositions: [ZnS], guests: [Zn]}}\n", ["systems", "quotes"]),
        (
            "systems: {A: {compositions: {range: Li_x S, max_atoms: yes}, guests: [Li]}}\n",
            ["max_atoms", "quotes"],
        ),
        (f"{SYSTEM}relax:\n\tfmax: 1\n", ["line 3", "spaces"]),
        (f"{SYSTEM}seed: {'9' * 5000}\n", ["seed", "5000 digits"]),
        (f"{SYSTEM}relax: {{fmax: .nan}}\n", ["relax.fmax"]),
        (f"{SYSTEM}'relax ': {{fmax: 1}}\n", ["'relax '", "did you mean 'relax'"]),
        ("systems: &a {A: *a}\n", ["contains itself"]),
        ("- 1\n", ["list"]),
        ("", ["no keys"]),
        ("systems: null\n", ["systems"]),
        ("systems: {A: {compositions: [ZnS٢], guests: [Zn]}}\n", ["ZnS٢"]),
        (f"{SYSTEM}dft: {{mem_mb: {10**12}}}\n", ["dft.mem_mb"]),
    ],
)
def test_yaml_traps(tmp_path: Path, text: str, words: list[str]) -> None:
    line = line_of(text, tmp_path)
    for word in words:
        assert word in line, line


def test_yaml_traps_latin1(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"# M\xfcller\n" + SYSTEM.encode())
    with pytest.raises(ConfigError, match=r"line 1: byte 0xFC is not UTF-8"):
        read_yaml(path)
    path.write_bytes(b"\xef\xbb\xbf" + SYSTEM.replace("\n", "\r\n").encode())
    assert list(read_yaml(path)) == ["systems"]
    assert parse_yaml("'0100'", "x") == "0100"
    assert load(f"{SYSTEM}dft: {{run: yes}}\n", tmp_path).config.dft.run


def test_yaml_traps_where_snakemake_read_the_file(tmp_path: Path) -> None:
    """It gives 3600 for 1:00:00, and the last of two keys: the file is read once more."""
    path = tmp_path / "traps.yaml"
    path.write_text(f"{SYSTEM}dft: {{runtime: 1:00:00}}\n")
    given = {"systems": {"A": {"compositions": ["ZnS"], "guests": ["Zn"]}}, "dft": {"runtime": 60}}
    assert Campaign.load(given, "unused").config.dft.runtime == 60
    with pytest.raises(ConfigError, match="base 60"):
        Campaign.load(given, "unused", files=[path])


KEYS: dict[str, Callable[[str], str]] = {
    "results": lambda p: f"{SYSTEM}results: '{p}'\n",
    "train.output": lambda p: f"{SYSTEM}train: {{output: '{p}'}}\n",
    "train.data": lambda p: f"{SYSTEM}train: {{data: '{p}'}}\n",
    "generate.path": lambda p: f"{SYSTEM}generate: {{generator: file, path: '{p}'}}\n",
    "generate.checkpoint": lambda p: f"{SYSTEM}generate: {{checkpoint: '{p}'}}\n",
    "inpaint.checkpoint": lambda p: f"{SYSTEM}inpaint: {{checkpoint: '{p}'}}\n",
    "systems.A.phases": lambda p: SYSTEM.replace("[Zn]}", f"[Zn], phases: '{p}'}}"),
    "systems.A.reference.path": lambda p: SYSTEM.replace(
        "[Zn]}", f"[Zn], reference: {{source: file, path: '{p}'}}}}"
    ),
    "systems.A.reference.cache": lambda p: SYSTEM.replace(
        "[Zn]}", f"[Zn], reference: {{cache: '{p}'}}}}"
    ),
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["a/{x}", "$CHGGEN_UNSET/x", "${CHGGEN_UNSET}", "~no-such-user/x"])
def test_results_path_refused(tmp_path: Path, key: str, path: str) -> None:
    line = line_of(KEYS[key](path), tmp_path)
    assert f"{key} = '{path}'" in line


def test_results_path_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    assert load(KEYS["results"]("~/x"), tmp_path).results == str(tmp_path / "x")
    assert load(KEYS["results"]("${SCRATCH}/x"), tmp_path).results == f"{tmp_path}/scratch/x"
    config = load(KEYS["systems.A.reference.cache"]("$SCRATCH/mp"), tmp_path).config
    assert config.systems["A"].reference.cache == tmp_path / "scratch" / "mp"
    (tmp_path / "taken").write_text("")
    assert "is a file" in line_of(KEYS["results"](f"{tmp_path}/taken/x"), tmp_path)
    assert "results" in line_of(f'{SYSTEM}results: "a\\nb"\n', tmp_path)
    assert "results" in line_of(f"{SYSTEM}results: ''\n", tmp_path)


def every(pattern: list[tuple[str, str]], holds: Callable[..., bool], most: int) -> list[str]:
    """Compositions of a pattern, found by trying every assignment."""
    names = sorted({v for _, v in pattern})
    found: dict[str, None] = {}
    for values in product(range(1, most + 1), repeat=len(names)):
        bound = dict(zip(names, values, strict=True))
        counts: dict[str, int] = {}
        for symbol, variable in pattern:
            counts[symbol] = counts.get(symbol, 0) + bound[variable]
        if sum(counts.values()) <= most and holds(**bound):
            found[canonical(counts)] = None
    return list(found)


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("", lambda **_: True),
        ("x > y", lambda x, y, z: x > y),
        ("x == y and z <= 2", lambda x, y, z: x == y and z <= 2),
        ("x >= 3 and y < z", lambda x, y, z: x >= 3 and y < z),
        ("3 > x and z > 2 and y >= x", lambda x, y, z: x < 3 and z > 2 and y >= x),
        ("x > y and y > x", lambda x, y, z: False),
        ("x < y and y < z", lambda x, y, z: x < y < z),
        ("1 == 2", lambda **_: False),
    ],
)
def test_range_slow_gives_the_same(where: str, holds: Callable[..., bool]) -> None:
    for seed in range(4):
        draw = random.Random(seed)  # noqa: S311
        pattern = [(s, draw.choice("xyz")) for s in ("Li", "P", "S")]
        pattern += [("Cl", v) for v in "xyz" if v not in {v for _, v in pattern}]
        text = " ".join(f"{s}_{v}" for s, v in pattern)
        for most in (3, 7, 11):
            assert element_range(text, where, most) == every(pattern, holds, most), text


def test_range_slow_is_fast(tmp_path: Path) -> None:
    text = (
        "systems:\n  T:\n    compositions: {range: Li_x P_y S_z Cl_w O_v,"
        " where: x == 6 and y == 1 and w == 1, max_atoms: 40}\n    guests: [Li]\n"
        "    reference: {source: file, path: ref.csv}\n"
    )
    began = time.process_time()
    with pytest.raises(ConfigError, match=r"ref\.csv"):  # the formulas come first
        load(text, tmp_path)
    assert time.process_time() - began < 1
    found = element_range("Li_x P_y S_z Cl_w O_v", "x == 6 and y == 1 and w == 1", 40)
    assert len(found) == 496
    with pytest.raises(CompositionError, match="more than 1,000,000"):
        element_range("Li_x P_y S_z Cl_w O_v", "", 200)


def test_potcar_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMG_CONFIG_FILE", str(tmp_path / "none.yaml"))
    place = tmp_path / "psp"
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(place))
    asked = f"{SYSTEM}dft: {{run: true, command: ['true']}}\n"
    assert "no such directory" in line_of(asked, tmp_path)
    place.mkdir()
    assert "POT_PAW_PBE_64" in line_of(asked, tmp_path)
    (place / "POT_PAW_PBE_64").mkdir()
    assert "no POTCAR 'S'" in line_of(asked, tmp_path)
    fake_potcars(place, ("S",))
    assert "no POTCAR 'Zn'" in line_of(SYSTEM, tmp_path)  # the inputs need it, too
    assert load(f"{SYSTEM}dft: {{potcar: spec}}\n", tmp_path).notice is None
    fake_potcars(place, ("Zn", "S"))
    assert load(asked, tmp_path).notice is None


def lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n")


def short(path: Path) -> None:
    path.write_bytes(SCORE.read_bytes()[:-100])


def other(path: Path) -> None:
    save_file({"weight": np.zeros(3)}, path)


@pytest.mark.parametrize("section", ["generate", "inpaint"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lfs, "git lfs pull"),
        (short, "not a safetensors file"),
        (other, "3 weights"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(50)), "not a safetensors"),
        (lambda path: path.write_bytes(bytes(8)), "not a safetensors"),
    ],
)
def test_checkpoint_lfs(
    tmp_path: Path, section: str, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "net.safetensors"
    make(path)
    card_path(path).write_bytes(card_path(SCORE).read_bytes())
    line = line_of(f"{SYSTEM}{section}: {{checkpoint: {path}}}\n", tmp_path)
    assert f"{section}.checkpoint = '{path}'" in line
    assert words in line


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.pth.tar"])
def test_checkpoint_lfs_of_a_potential(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    lfs(path)
    mine = f"{{kind: chgnet, path: {path}, functional: r2SCAN, corrections: none}}"
    text = f"{SYSTEM}potentials: {{mine: {mine}}}\nscreen: {{second_potential: mine}}\n"
    line = line_of(text, tmp_path)
    assert "potentials.mine.path" in line
    assert "git lfs pull" in line


def test_umask_decides_the_mode_of_results(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a" / "x.json", "Å")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "x.json").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "a" / "x.json").read_text(encoding="utf-8") == "Å"
    write_text(tmp_path / "y.json", "")
    assert (tmp_path / "y.json").stat().st_mode & 0o777 == 0o666 & ~before


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as one, replacing(path) as two:  # noqa: PT012
        assert one != two
        one.write_text("half")
        1 / 0  # noqa: B018
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text() == "old"


DIGEST = "from chggen.provenance import code_digest; print(code_digest('chggen.stages.screen'))"


def test_the_locale_does_not_change_the_digest_of_the_code() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for environment in (
            {"PYTHONUTF8": "1"},
            {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
        )
    }
    assert len(found) == 1


def test_where_the_checkout_lies_does_not_change_the_settings(tmp_path: Path) -> None:
    campaign = load(SYSTEM, tmp_path)
    home = str(Path(__file__).parents[2])
    for stage in ("generate", "relax", "refine", "inpaint", "rerelax", "screen", "submit"):
        assert home not in str(campaign.settings(stage, "A")), stage
