"""How the package is built (docs/conventions.md); the layers are import-linter's contract."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp

from chggen.provenance import PACKAGE

ROOT = Path(__file__).parents[2]


def test_layers() -> None:
    """The contract in pyproject.toml: who may import whom."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = grimp.build_graph("chggen", cache_dir=None)
    for module in sorted(graph.modules):
        for other in graph.find_modules_directly_imported_by(module):
            chain = graph.find_shortest_chain(importer=other, imported=module)
            assert chain is None, " -> ".join([module, *chain])


def test_no_loose_modules() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "units", "errors", "provenance"}


def test_the_package_never_imports_snakemake() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(n.split(".")[0] == "snakemake" for n in names), path


def test_scripts_are_adapters() -> None:
    for path in (ROOT / "scripts").glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 30, f"{path.name} has {len(lines)} lines"


def test_modules_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in PACKAGE.rglob("*.py")
        if (n := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_one_verb_everywhere() -> None:
    """Rule file, script, stage module and command (or group) carry the same name."""
    verbs = {"generate", "relax", "refine", "inpaint", "reference", "screen", "submit", "report"}
    verbs |= {"choose", "train", "calculate", "collect"}
    assert {p.stem for p in (ROOT / "rules").glob("*.smk")} == verbs | {"common"}
    assert {p.stem for p in (ROOT / "scripts").glob("*.py")} == verbs
    stages = {p.stem for p in (PACKAGE / "stages").glob("*.py")} - {"__init__"}
    assert verbs <= stages
    from chggen.cli import app

    commands = {c.callback.__name__ for c in app.registered_commands if c.callback}
    groups = {group.name for group in app.registered_groups}
    assert verbs <= commands | groups


def test_nothing_unsafe() -> None:
    """No pickles, no shells, no silent failures."""
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                bare = node.type is None or (
                    isinstance(node.type, ast.Name) and node.type.id == "Exception"
                )
                assert not bare, f"{path}:{node.lineno} catches everything"
            if isinstance(node, ast.Import):
                assert not {a.name for a in node.names} & {"pickle", "joblib", "dill"}, path
            if isinstance(node, ast.ImportFrom) and node.module == "joblib":
                assert {a.name for a in node.names} <= {"Parallel", "delayed"}, path
            if isinstance(node, ast.keyword) and node.arg == "shell":
                assert not (isinstance(node.value, ast.Constant) and node.value.value), path
