"""What made a file: digests of code, data and settings, and versions.

Snakemake reruns a rule when its script changes, but does not see the package behind
it. Each rule therefore carries the digest of the modules that its stage reaches, found
by following the imports inside the package. No torch, no pymatgen: this runs at parse
time.
"""

import ast
import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent

#: Packages whose versions go into every header.
PACKAGES = (
    "ase",
    "chggen",
    "chgnet",
    "custodian",
    "e3nn",
    "gpaw",
    "mace-torch",
    "matplotlib",
    "mattersim",
    "numpy",
    "orb-models",
    "pandas",
    "pyarrow",
    "pymatgen",
    "pyxtal",
    "scipy",
    "sevenn",
    "snakemake",
    "spglib",
    "torch",
    "torch-sim-atomistic",
)

#: Files in the package that modules read: data and templates are as good as code.
RESOURCES = {
    "chggen.reference.energy_table": ("data/phases_*.parquet",),
    "chggen.reference.reference": ("data/*.csv",),
    "chggen.symmetry.wyckoff": ("data/symmetry_prior.json",),
    "chggen.report.page": ("report/*.html", "report/*.css", "report/*.js"),
    "chggen.potential.dispersion": ("data/d3_reference.safetensors",),
    "chggen.cells.lattice": ("data/lattice_ranges.json",),
    "chggen.cells.library": ("data/known_cells.parquet",),
    "chggen.symmetry.known_crystals": ("data/known_crystals.parquet",),
    "chggen.cells.volume": ("pretrained/volume.*",),
}


def digest(value: Any) -> str:  # noqa: ANN401
    """Sha256 of a JSON-like value, first 16 hex digits."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """Sha256 of a file's content, first 16 hex digits."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


@cache
def module_path(name: str) -> Path | None:
    """File of a module of the package; None if it is not one."""
    parts = name.split(".")
    if parts[0] != PACKAGE.name:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def imports(name: str) -> frozenset[str]:
    """Modules of the package that module ``name`` imports, anywhere in its code."""
    path = module_path(name)
    if path is None:
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(m for m in found if module_path(m) is not None)


def reachable(name: str) -> list[str]:
    """Module ``name`` and all modules of the package that it leads to, sorted."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        todo += imports(module)
        todo += [".".join(module.split(".")[:i]) for i in range(1, module.count(".") + 1)]
    return sorted(seen)


@cache
def code_digest(name: str) -> str:
    """Digest of every module that ``name`` reaches, and of the files they read."""
    sources = {}
    for module in reachable(name):
        path = module_path(module)
        if path is not None:
            sources[module] = path.read_text(encoding="utf-8")
        for pattern in RESOURCES.get(module, ()):
            for file in sorted(PACKAGE.glob(pattern)):
                sources[file.relative_to(PACKAGE).as_posix()] = file_digest(file)
    return digest(sources)


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def header(
    stage: str,
    settings: Mapping[str, Any],
    inputs: Mapping[str, str] | None = None,
    **facts: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Header of a table: stage, settings and their digest, code digest, inputs, versions.

    Args:
        stage: module of ``chggen.stages`` that writes it.
        settings: section of the config, JSON-like.
        inputs: name → digest of each file that was read.
        **facts: more that a reader should know.
    """
    return {
        "stage": stage,
        "settings": dict(settings),
        "settings_digest": digest(settings),
        "code_digest": code_digest(f"chggen.stages.{stage}"),
        "inputs": dict(inputs or {}),
        "versions": versions(),
        **facts,
    }
