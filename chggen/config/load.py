"""Reading a configuration: one clear line for every mistake, before any job starts."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from chggen.config.energies import PotentialConfig
from chggen.config.model import Config
from chggen.config.systems import Symmetry, SystemConfig
from chggen.config.text import parse_yaml, read_yaml
from chggen.errors import ConfigError


def parse(content: Mapping[str, Any]) -> Config:
    """Typed configuration; raises :class:`ConfigError` naming key and value."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from error


def parse_section[M: BaseModel](
    model: type[M], name: str, path: str | Path | None, changes: Sequence[str] = ()
) -> M:
    """One section of a configuration, for a single step on the command line.

    Args:
        model: model of the section.
        name: its key in the file.
        path: configuration file, if any.
        changes: ``key=value`` texts laid over it; dots reach inside, values are YAML.
    """
    content = (read_yaml(path).get(name) or {}) if path else {}
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set '{change}': expected key=value")
        nested = parse_yaml(value, f"--set '{change}'")
        for part in reversed(key.split(".")):
            nested = {part: nested}
        content = override(content, nested)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_one_line(error, model, f"{name}.")) from error


def parse_potentials(path: str | Path | None) -> dict[str, PotentialConfig]:
    """Section ``potentials`` of a configuration file, for a single step."""
    content = (read_yaml(path).get("potentials") or {}) if path else {}
    if not isinstance(content, dict):
        raise ConfigError("config: potentials: must be a mapping of names")
    found = {}
    for name, values in content.items():
        try:
            found[str(name)] = PotentialConfig.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_one_line(error, PotentialConfig, f"potentials.{name}.")) from error
    return found


def parse_symmetry(text: str) -> Symmetry:
    """Option ``--symmetry``: ``none``, ``auto``, a space group number or ``195-230``."""
    low, dash, high = text.partition("-")
    try:
        value = text if low.isalpha() else (int(low), int(high)) if dash else int(low)
        return TypeAdapter(Symmetry).validate_python(value)
    except (ValueError, ValidationError) as error:
        raise ConfigError(
            f"--symmetry '{text}': neither none, auto, a space group number nor a range 195-230"
        ) from error


def override(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Content with nested ``changes`` laid over it; neither argument is altered."""
    merged = copy.deepcopy(dict(content))
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = (
            override(old, value)
            if isinstance(old, Mapping) and isinstance(value, Mapping)
            else copy.deepcopy(value)
        )
    return merged


def _one_line(error: ValidationError, model: type[BaseModel] = Config, prefix: str = "") -> str:
    """The deepest problem as ``config: key = value: what is wrong``."""
    problems = error.errors(include_url=False)
    # an item that fits no branch of a union is reported once per branch: the branch
    # that got furthest is the one that was meant
    problem = max(problems, key=lambda p: (p["type"] == "extra_forbidden", len(p["loc"])))
    path = _path(problem["loc"])
    if "compositions" in path:  # names of the forms: formula, line, range
        place = path.index("compositions") + 2
        path = path[:place] + path[place + 1 :]
    key = prefix + ".".join(path) or "(top level)"
    if problem["type"] == "extra_forbidden":
        return f"config: unknown key '{key}'{_suggestion(path, model)}"
    if problem["type"] == "missing":
        return f"config: key '{key}' is missing"
    value = problem["input"]
    shown = "" if isinstance(value, Mapping) else f" = {value!r}"
    same = {_message(p) for p in problems if _path(p["loc"]) == path}
    choices = sorted(same or {_message(problem)})
    return f"config: {key}{shown}: {' or '.join(choices)}"


def _message(problem: Mapping[str, Any]) -> str:
    text = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return " ".join(text.split())


def _path(location: tuple[int | str, ...]) -> list[str]:
    """Keys as the user wrote them: names of union branches are left out."""
    return [
        str(part)
        for part in location
        if isinstance(part, int)
        or not part.startswith(("literal[", "list[", "constrained-", "function-"))
    ]


def _suggestion(path: list[str], model: type[BaseModel] | None) -> str:
    names: set[str] = set()
    for part in path[:-1]:
        model = _child(model, part)
        if model is None:
            return ""
    if model is not None:
        names = set(model.model_fields)
    close = difflib.get_close_matches(path[-1], names, n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _child(model: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    if model is None:
        return None
    if model is Config and part not in Config.model_fields:
        return SystemConfig  # the name of a system
    field = model.model_fields.get(part)
    kind = field.annotation if field else None
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return Config if part == "systems" else None
