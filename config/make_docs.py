"""Write config/schema.json and config/README.md from the models; a test fails on drift."""

import json
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from chggen.config.base import LineSpec, RangeSpec
from chggen.config.dft import GpawConfig
from chggen.config.energies import PotentialConfig, ReferenceConfig
from chggen.config.model import Config
from chggen.config.stages import FinalConfig, LatticeConfig
from chggen.config.systems import SystemConfig

HERE = Path(__file__).parent
INTRO = """\
# Configuration

Made by `config/make_docs.py` from `chggen/config/`; a test fails when the two differ.
The JSON schema is `config/schema.json` (editors complete and check with it).

Four lines are a campaign; everything else has a default:

```yaml
systems:
  Li-P-S:
    compositions: {line: [Li2S, P2S5], max_atoms: 20}
    guests: [Li]
```

`snakemake --profile profiles/local --configfile mine.yaml` runs it, `chggen check mine.yaml`
prints the size of the campaign. A mistake stops with one line before any job starts. A file that
names no `systems` (or `--config 'screen={threshold: 0.03}'`) changes the demo instead.
A changed section reruns the stages that use the section; changed code reruns every stage that
imports it.

| file | what |
| --- | --- |
| `config.yaml` | the demo: Zn-P-S on a laptop |
| `paper.yaml` | all compositions of the paper at its full settings |
| `demo-dft.yaml` | Mg-Si, verified with GPAW (docs/gpaw.md) |
| `test.yaml` | seconds, for the tests |
"""


def render_schema() -> str:
    """Return the text of schema.json."""
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def render_readme() -> str:
    """Return the text of README.md."""
    parts = [INTRO, *_section("", Config, "")]
    for name, field in Config.model_fields.items():
        model = _model(field.annotation)
        if model is SystemConfig:
            parts += _section("systems.NAME", model, field.description or "")
            parts += _section("systems.NAME.reference", ReferenceConfig, "")
        elif model is PotentialConfig:
            parts += _section("potentials.NAME", model, field.description or "")
        elif model is not None:
            parts += _section(name, model, field.description or "")
            for key, nested in model.model_fields.items():
                inner = _model(nested.annotation)
                if inner in {LatticeConfig, FinalConfig, GpawConfig}:
                    parts += _section(f"{name}.{key}", inner, nested.description or "")
    return "\n".join(parts)


def _section(name: str, model: type[BaseModel], about: str) -> list[str]:
    heading = f"\n## `{name}`" if name else "\n## Top level"
    lines = [heading, "", *([about, ""] if about else [])]
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split()).replace("``", "`")
        kind = _type(field.annotation).replace("|", "\\|")
        lines.append(f"| `{key}` | {kind} | {_default(field)} | {meaning} |")
    return [*lines, ""]


def _model(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _model(argument)
        if found is not None:
            return found
    return None


def _type(annotation: Any) -> str:  # noqa: ANN401
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(_type(a) for a in arguments)}]"
    if origin is dict:
        return "mapping"
    if annotation is LineSpec:
        return "line"
    if annotation is RangeSpec:
        return "range"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    names = {int: "integer", float: "number", str: "text", bool: "true/false", Path: "path"}
    return names.get(annotation, str(annotation))


def _default(field: Any) -> str:  # noqa: ANN401
    default = field.default
    if default is PydanticUndefined:
        return "needed"
    if isinstance(default, BaseModel):
        return "see below"
    if isinstance(default, list) and default and isinstance(default[0], BaseModel):
        return "the paper's: " + ", ".join(
            "(" + ", ".join(f"{v:g}" for v in item.model_dump().values()) + ")" for item in default
        )
    if default is None:
        return ""
    return f"`{json.dumps(default, default=str)}`".replace('"', "")


if __name__ == "__main__":
    (HERE / "schema.json").write_text(render_schema())
    (HERE / "README.md").write_text(render_readme())
