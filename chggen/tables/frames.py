"""Tables as pandas frames and back: each column with the type that the schema gives it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from chggen.tables.parquet import Row
from chggen.tables.schema import SCHEMAS

#: Types that keep null apart from NaN and False.
_NULLABLE: Final = {
    pa.bool_(): "boolean",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.string(): "string",
    pa.float64(): "float64",
}


def frame_of(name: str, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame with every column of a table; lists stay Python lists.

    Args:
        name: key of ``SCHEMAS``.
        rows: whatever columns they have; the others are null.
    """
    columns = {
        field.name: pd.Series(
            [row.get(field.name) for row in rows], dtype=_NULLABLE.get(field.type, "object")
        )
        for field in SCHEMAS[name]
    }
    return pd.DataFrame(columns)


def rows_of(frame: pd.DataFrame, name: str) -> list[Row]:
    """Rows of a frame, with None where there is nothing; columns of no table are left out."""
    kept = frame[[column for column in SCHEMAS[name].names if column in frame]]
    plain = kept.astype("object").where(kept.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in plain.to_dict("records")]


def fill(frame: pd.DataFrame, places: pd.Index, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put values into rows of a frame, in place; the columns keep their types.

    Args:
        frame: of :func:`frame_of`.
        places: index labels of the rows.
        rows: values of each, all with the same columns.
    """
    for column in rows[0] if rows else ():
        values = pd.Series([row[column] for row in rows], index=places, dtype="object")
        whole = frame[column].astype("object")
        whole.loc[places] = values
        frame[column] = whole.astype(frame[column].dtype)
