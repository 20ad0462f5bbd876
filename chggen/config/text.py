"""YAML as people mean it: what a parser would take for something else is refused.

YAML 1.1, which PyYAML and Snakemake read, lets the last of two equal keys win and takes
``1:00:00`` for 3600 and ``0100`` for 64. Snakemake reads a ``--configfile`` before this
package sees it, so the Snakefile has the files read once more by :func:`read_yaml`.
``yes``, ``NO`` and ``on`` are read as true and false by both; where no truth value is
meant, :class:`~chggen.config.base.Strict` refuses them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from chggen.errors import ConfigError

_INT, _FLOAT, _TIME = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "timestamp"))
_MERGE: Final = "tag:yaml.org,2002:merge"
#: Plain numbers that YAML 1.1 reads otherwise than they look.
_OCTAL: Final = re.compile(r"[-+]?0[0-7_]+")
_BINARY: Final = re.compile(r"[-+]?0b[01_]+")
#: Longer integers are no value of any key, and Python refuses to convert the longest.
_LONGEST: Final = 100
_QUOTES: Final = "put it in quotes if text is meant"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Mapping in a YAML (or JSON) file; raises :class:`ConfigError` with one line."""
    where = f"config '{path}'"
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: {getattr(error, 'strerror', None) or error}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{where}, line {number}: byte 0x{data[error.start]:02X} is not UTF-8;"
            " save the file as UTF-8"
        ) from error
    content = parse_yaml(text, where)
    if content is None:
        raise ConfigError(f"{where}: holds no keys")
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: holds no keys at top level but a {_kind(content)}")
    return content


def parse_yaml(text: str, where: str) -> Any:  # noqa: ANN401
    """Value of a YAML text.

    Args:
        text: one document.
        where: what the message of an error begins with.

    Raises:
        ConfigError: in one line: no YAML, a key given twice, a value that holds itself, or
            a number that YAML reads otherwise than it looks.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, where, "", ())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}" if mark is not None else ""
        hint = " (indent with spaces)" if "\\t" in str(error.problem) else ""
        raise ConfigError(f"{where}{place}: not YAML ({error.problem}){hint}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML ({' '.join(str(error).split())})") from error
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{where}: not YAML ({error})") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not YAML (nested too deeply)") from error
    finally:
        loader.dispose()


def _check(node: yaml.Node, where: str, key: str, above: tuple[int, ...]) -> None:
    """Raise for the first thing below a node that is not what it looks like."""
    if id(node) in above:
        raise ConfigError(f"{where}, {_line(node)}: {key} contains itself")
    above = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        _check_scalar(node, where, key)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check(item, where, key, above)
    elif isinstance(node, yaml.MappingNode):
        _check_mapping(node, where, key, above)


def _check_mapping(node: yaml.MappingNode, where: str, key: str, above: tuple[int, ...]) -> None:
    first: dict[tuple[str, str], yaml.Node] = {}
    for name, value in node.value:
        inner = key
        if isinstance(name, yaml.ScalarNode):
            if name.tag != _MERGE:
                _check_scalar(name, where, f"{key}.{name.value}".lstrip("."))
                inner = f"{key}.{name.value}".lstrip(".")
            known = first.setdefault((name.tag, name.value), name)
            if known is not name:
                raise ConfigError(
                    f"{where}: key '{inner or name.value}' is given twice,"
                    f" in {_line(known)} and {_line(name)}"
                )
        _check(value, where, inner, above)


def _check_scalar(node: yaml.ScalarNode, where: str, key: str) -> None:
    """Refuse numbers of YAML 1.1 that look like something else."""
    if node.style is not None:  # in quotes, or a block of text
        return
    text, place = node.value, f"{where}, {_line(node)}: {key or 'value'} = {node.value}"
    if node.tag in {_INT, _FLOAT} and ":" in text:
        raise ConfigError(
            f"{place}: YAML reads numbers with ':' in base 60; write one number, or {_QUOTES}"
        )
    if node.tag == _TIME:
        raise ConfigError(f"{place}: YAML reads this as a date; {_QUOTES}")
    if node.tag != _INT:
        return
    if _OCTAL.fullmatch(text):
        raise ConfigError(
            f"{place}: YAML reads a number that begins with 0 as octal; write it without the 0,"
            f" or {_QUOTES}"
        )
    if _BINARY.fullmatch(text):
        raise ConfigError(f"{place}: YAML reads this as a binary number; {_QUOTES}")
    if len(text) > _LONGEST:
        raise ConfigError(f"{where}, {_line(node)}: {key}: a number of {len(text)} digits")


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "list"
    return "single value" if not isinstance(value, Mapping) else "mapping"
