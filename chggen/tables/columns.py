"""Types of table columns, and what a column is declared by."""

import pyarrow as pa

STR = pa.string()
F64 = pa.float64()
I32 = pa.int32()
I64 = pa.int64()
BOOL = pa.bool_()
VECTOR = pa.list_(F64, 3)
CELL = pa.list_(VECTOR, 3)

Column = tuple[str, pa.DataType, str, str]  # name, type, unit ("" = none), meaning
