"""Which rows are meant: ``selected``, ``rank=1``, ``decomposition_energy<0.05 and rank<=3``."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

from chggen.errors import ChggenError

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION: Final = re.compile(r"\s*(\w+)\s*(?:(<=|>=|!=|==|=|<|>)\s*(.*?))?\s*", re.ASCII)
_TRUTH: Final = {"true": True, "false": False}
_QUOTED = 2

Condition = Callable[[Mapping[str, Any]], bool]


def parse_where(text: str, schema: pa.Schema) -> Condition:
    """Test of a row. A row without a value in a named column does not pass.

    Args:
        text: conditions joined by ``and``: a column of truth values alone, or a column, one
            of ``= == != < <= > >=`` and a value.
        schema: columns and their types.

    Raises:
        ChggenError: names what cannot be understood.
    """
    conditions = [_condition(part, text, schema) for part in re.split(r"\sand\s", text)]
    return lambda row: all(holds(row) for holds in conditions)


def _condition(part: str, text: str, schema: pa.Schema) -> Condition:
    match = _CONDITION.fullmatch(part)
    if match is None:
        raise ChggenError(
            f"--where '{text}': '{part.strip()}' is no condition such as selected, rank=1 or"
            " decomposition_energy<0.05"
        )
    column, sign, value = match.groups()
    if column not in schema.names:
        table = (schema.metadata or {}).get(b"table", b"").decode()
        raise ChggenError(f"--where '{text}': table '{table}' has no column '{column}'")
    kind = schema.field(column).type
    if pa.types.is_nested(kind):
        raise ChggenError(f"--where '{text}': column '{column}' holds lists")
    if sign is None:
        if not pa.types.is_boolean(kind):
            raise ChggenError(
                f"--where '{text}': column '{column}' is not true or false; compare it with a"
                f" value ({column}={'1' if _is_number(kind) else 'text'})"
            )
        return lambda row: bool(row[column])
    wanted = _value(value, kind)
    if wanted is None or (sign in "<=>=" and sign not in {"=", "=="} and not _is_number(kind)):
        expected = "a number" if _is_number(kind) else "true or false"
        if not _is_number(kind) and not pa.types.is_boolean(kind):
            expected = "text (= or !=; in quotes if it has spaces)"
        raise ChggenError(f"--where '{text}': column '{column}' is {expected}, not {sign}{value}")
    compare = _OPERATORS[sign]
    return lambda row: row[column] is not None and compare(row[column], wanted)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _value(text: str, kind: pa.DataType) -> bool | float | str | None:
    """The value in a condition, of the type of its column; None if it is not of that type."""
    if len(text) >= _QUOTED and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    elif not text or re.search(r"[\s<>=!]", text):  # "a or b" is no text that was meant
        return None
    if pa.types.is_boolean(kind):
        return _TRUTH.get(text.lower())
    if _is_number(kind):
        try:
            number = float(text)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return text
