"""Write envs/chggen.yaml from pyproject.toml and the constraints; a test fails on drift."""

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
HEADER = """\
# For --software-deployment-method conda. Made by envs/make_conda.py from pyproject.toml and
# envs/constraints.txt; the package itself comes from the checkout (see rules/common.smk).
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def render() -> str:
    """Return the file's text: every direct dependency at its pinned version."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
    pins = dict(
        line.split("==")
        for line in (HERE / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    names = [re.split(r"[<>=\[]", entry)[0].strip() for entry in project["dependencies"]]
    return HEADER + "".join(f"      - {name}=={pins[name.lower()]}\n" for name in names)


if __name__ == "__main__":
    (HERE / "chggen.yaml").write_text(render())
