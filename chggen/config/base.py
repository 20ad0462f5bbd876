"""Base class of all config sections, and the ways to specify compositions."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from chggen.errors import CompositionError
from chggen.structure import composition as comp

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Base: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class LineSpec(Strict):
    """Compositions on the line between two end members."""

    line: tuple[str, str]
    """The two end members, e.g. ``[ZnS, P2S5]``."""
    max_atoms: Count = 20
    """Maximum number of atoms in a reduced formula."""

    def expand(self) -> list[str]:
        """All reduced compositions of the line."""
        return comp.line(self.line, self.max_atoms)


class RangeSpec(Strict):
    """Compositions of a pattern with variables."""

    range: str
    """Elements with variables, e.g. ``Li_x Si_y``."""
    where: str = ""
    """Comparisons between variables, joined by ``and``: ``x > y``."""
    max_atoms: Count = 20
    """Maximum number of atoms in a reduced formula."""

    def expand(self) -> list[str]:
        """All reduced compositions of the pattern."""
        return comp.element_range(self.range, self.where, self.max_atoms)


@contextlib.contextmanager
def as_value_error(prefix: str = "") -> Iterator[None]:
    """Let pydantic collect a bad formula with the key it stands under."""
    try:
        yield
    except CompositionError as error:
        raise ValueError(f"{prefix}{error}") from error


def _kind(value: Any) -> str:  # noqa: ANN401
    """Which form of composition was meant, so that errors speak of that one."""
    if isinstance(value, str):
        return "formula"
    given = value if isinstance(value, dict) else getattr(value, "model_fields_set", {})
    return "range" if "range" in given else "line"


CompositionSpec = Annotated[
    Annotated[str, Tag("formula")]
    | Annotated[LineSpec, Tag("line")]
    | Annotated[RangeSpec, Tag("range")],
    Discriminator(_kind),
]


def as_list(value: Any) -> Any:  # noqa: ANN401
    """One value stands for a list of it."""
    return value if isinstance(value, list | tuple) else [value]
