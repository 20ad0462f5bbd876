"""The documentation names only what exists, and its Python examples run."""

import ast
import importlib
import re
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from chggen.config.stages import GenerateConfig
from chggen.provenance import PACKAGE
from chggen.structure.crystal import Crystal
from chggen.structure.task import Task

ROOT = PACKAGE.parent
PAGES = [ROOT / "README.md", ROOT / "config" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Fenced blocks: language and content.
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Path of a file or folder of the checkout, as the pages write it.
_FOLDERS = "chggen|docs|benchmarks|config|envs|profiles|rules|scripts|tests"
_PATH = re.compile(rf"(?<![\w/.-])(?:{_FOLDERS})/[\w./-]*\w")
_DOTTED = re.compile(r"(?<![\w./-])chggen(?:\.[A-Za-z_]\w*)+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def resolves(name: str) -> bool:
    """True if a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def missing(text: str, folder: Path) -> list[str]:
    """Paths, dotted names and links of a page that do not exist."""
    paths = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    # the name of the entry point group and file names like chggen.yaml are no modules
    names = {n for n in _DOTTED.findall(text) if n not in {"chggen.generators", "chggen.yaml"}}
    links = [link.split("#")[0] for link in _LINK.findall(text) if "://" not in link]
    return [
        *paths,
        *(name for name in sorted(names) if not resolves(name)),
        *(link for link in links if link and not (folder / link).exists()),
    ]


def python_blocks(page: Path) -> list[str]:
    return [code for language, code in _BLOCK.findall(page.read_text()) if language == "python"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_what_exists(page: Path) -> None:
    assert missing(page.read_text(encoding="utf-8"), page.parent) == []


def test_what_does_not_exist_is_found() -> None:
    text = "`chggen/potential/bfgs.py` chggen.potential.bfgs `chggen.errors.Lost` [x](lost.md#a)"
    assert missing(text, ROOT / "docs") == [
        "chggen/potential/bfgs.py",
        "chggen.errors.Lost",
        "chggen.potential.bfgs",
        "lost.md",
    ]
    good = "`chggen/errors.py` `chggen.errors.ConfigError` [x](method.md#a) [y](https://a.b/c)"
    assert missing(good, ROOT / "docs") == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_compile_and_import(page: Path) -> None:
    for code in python_blocks(page):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chggen"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    known = hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}")
                    assert known, f"from {node.module} import {alias.name}"


def test_example_of_a_plug_in_runs() -> None:
    (code,) = python_blocks(ROOT / "docs" / "generators.md")
    example = ModuleType("example")
    exec(compile(code, "docs/generators.md", "exec"), example.__dict__)  # noqa: S102 - our own page
    crystal = Crystal.of(4.0 * np.eye(3), [30, 16, 16], np.full((3, 3), 0.25))
    tasks = [Task(crystal, np.array([True, False, True]), seed) for seed in (1, 2, 1)]
    generator = example.make(GenerateConfig())
    placed = generator(tasks)
    assert generator.name == "mine"
    assert not any(p.reason for p in placed)
    one, other, again = (p.crystal.frac_coords for p in placed)
    assert np.allclose(one[1], 0.25), "hosts stay"
    assert not np.allclose(one[0], other[0])
    assert np.array_equal(one, again), "the seed decides"
