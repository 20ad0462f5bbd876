"""Who may import whom (docs/conventions.md)."""

import ast
from pathlib import Path

import pytest

from chggen.provenance import PACKAGE, imports

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(("chggen", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)

#: Layers from the ground up; a module may import from layers below, and beside it only
#: within its own package or where listed.
LAYERS = (
    {"units", "errors"},
    {"composition", "contracts"},
    {"specs"},
    {"energyspecs"},
    {"schema", "gates", "config", "progress"},
    {"configfile", "checkpoints", "references", "provenance", "job", "structurefiles", "driver"},
    {"verification"},
    {"campaign"},
    {"tables", "crystal", "neighbours", "devices"},
    {"placement"},
    {
        "lattice",
        "volume",
        "volume_training",
        "diffusion",
        "potential",
        "symmetry",
        "coordination",
        "framework",
        "stability",
        "competing",
        "phases",
        "matching",
        "dft",
        "analysis",
        "export",
        "generators",
        "spacegroups",
        "wyckoff",
        "orbits",
    },
    {"relaxation", "report"},
    {"evaluation"},
    {"stages"},
    {"cli"},
)
BESIDE = {
    ("volume_training", "volume"),
    ("framework", "symmetry"),
    ("framework", "coordination"),
    ("matching", "coordination"),
    ("campaign", "campaign"),
    ("configfile", "checkpoints"),
    ("volume", "volume_training"),
    ("structurefiles", "provenance"),
    ("references", "structurefiles"),
    ("phases", "generators"),
    ("wyckoff", "spacegroups"),
    ("orbits", "spacegroups"),
    ("orbits", "wyckoff"),
    ("generators", "orbits"),
    ("diffusion", "orbits"),
    ("generators", "diffusion"),
    ("generators", "potential"),
    ("potential", "symmetry"),
    ("generators", "spacegroups"),
    ("generators", "wyckoff"),
}


def part(module: str) -> str:
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def level(module: str) -> int:
    found = [i for i, names in enumerate(LAYERS) if part(module) in names]
    assert found, f"{module}: has no layer in tests/architecture"
    return found[0]


@pytest.mark.parametrize("module", [m for m in MODULES if m != "chggen"])
def test_layers(module: str) -> None:
    for other in sorted(imports(module)):
        if other == "chggen" or part(other) == part(module):
            continue
        allowed = level(other) < level(module) or (part(module), part(other)) in BESIDE
        assert allowed, f"{module} may not import {other}"


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
    verbs |= {"train", "calculate", "collect"}
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
