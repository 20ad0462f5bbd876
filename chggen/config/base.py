"""Base class of all config sections, and the ways to specify compositions."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
)

from chggen.errors import CompositionError
from chggen.structure import composition as comp

#: At most what a 32-bit integer holds: the tables and the libraries behind them do not go on.
Count = Annotated[int, Field(gt=0, le=2**31 - 1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: More atoms are no reduced formula, and a walk over all would not end.
MaxAtoms = Annotated[int, Field(gt=0, le=1000)]


#: What is wrong with ``[NO]``.
TRUTH: Final = (
    "true or false where neither is expected (YAML reads yes, no, on and off, in small or"
    " capital letters, as these: put the word in quotes, 'NO')"
)


class Strict(BaseModel):
    """Base: unknown keys are errors, values are frozen, truth values are nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        """Python counts True as 1, and YAML reads NO (or No, the element) as false."""
        if _holds_bool(value) and not _mentions(
            cls.model_fields[str(info.field_name)].annotation, (bool, Any)
        ):
            raise ValueError(TRUTH)
        return value


def _holds_bool(value: object) -> bool:
    """Whether a value, an item of a list or a key of a mapping is a truth value."""
    return isinstance(value, bool) or (
        isinstance(value, list | tuple | dict) and any(_holds_bool(item) for item in value)
    )


def _mentions(annotation: object, wanted: tuple[object, ...]) -> bool:
    return annotation in wanted or any(_mentions(part, wanted) for part in get_args(annotation))


def expanded(value: Any) -> Any:  # noqa: ANN401
    """A path as the shell would take it: ``~`` and variables replaced.

    What remains goes into file names and patterns of the workflow, so that braces (its
    wildcards) and control characters are refused.
    """
    if not isinstance(value, str | Path):
        raise ValueError("should be a path")  # noqa: TRY004 - pydantic collects ValueErrors
    text = os.path.expandvars(str(value))
    unset = re.search(r"\$(\w+|\{[^}]*\})", text)
    if unset:
        raise ValueError(f"the environment variable {unset[0]} is not set")
    if not text.strip():
        raise ValueError("is empty")
    if "://" in text:
        raise ValueError("is an address, not a path")
    wrong = next((c for c in text if c in "{}" or not c.isprintable()), None)
    if wrong is not None:
        raise ValueError(f"contains {wrong!r}, which no path of a campaign may")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ValueError(f"{text.split('/')[0]}: no such user") from error
    return str(path) if isinstance(value, str) else path


#: Path of a file or folder; ``~`` and variables are replaced.
Place = Annotated[Path, BeforeValidator(expanded)]
#: One path, or several.
Places = Place | Annotated[list[Place], Field(min_length=1)]


def paths_of(places: Path | list[Path] | None) -> list[Path]:
    """The paths of a :data:`Places`."""
    if places is None:
        return []
    return places if isinstance(places, list) else [places]


class LineSpec(Strict):
    """Compositions on the line between two end members."""

    line: tuple[str, str]
    """The two end members, e.g. ``[ZnS, P2S5]``."""
    max_atoms: MaxAtoms = 20
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
    max_atoms: MaxAtoms = 20
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
