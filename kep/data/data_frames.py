"""Data frames: as tables, and the index that pandas saves beside their columns, which is no feature by itself."""

import json
import re
from collections.abc import Iterable
from typing import Any, Protocol

import pyarrow as pa

from kep.core.errors import UserError

_UNNAMED = re.compile(r"Unnamed: \d+(_level_\d+)?|__index_level_\d+__")
"""Names that pandas gives to columns of an index without a name, in CSV and in Parquet."""


class DataFrame(Protocol):
    """A data frame of pandas, polars or another library that speaks Arrow."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the columns, by the Arrow PyCapsule interface."""


def index_columns(schema: pa.Schema) -> frozenset[str]:
    """Return the columns that hold the index of the data frame that was saved, as pandas notes in the metadata."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        # A range is noted as an object, and has no column.
        return frozenset(name for name in noted.get("index_columns", []) if isinstance(name, str))
    except (ValueError, AttributeError, TypeError):  # another program's note
        return frozenset()


def unnamed_index(names: Iterable[str]) -> frozenset[str]:
    """Return those of the names that pandas gives to an index without a name."""
    return frozenset(name for name in names if _UNNAMED.fullmatch(name))


def as_columns(table: pa.Table | pa.RecordBatch | DataFrame | dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return the columns of a table by name.

    Args:
        table: A table of any kind.
        known: Names of columns that are kept also where they are an index.

    Raises:
        UserError: It is no table, or the values of a column are of several types.
    """
    if isinstance(table, dict):
        left_out = unnamed_index(table)
        return {name: values for name, values in table.items() if name in known or name not in left_out}
    if not isinstance(table, pa.Table | pa.RecordBatch):
        try:
            table = pa.table(table)
        except (pa.ArrowException, TypeError, ValueError) as error:
            if isinstance(error, pa.ArrowException) and getattr(table, "ndim", 2) == 2:  # not a series of pandas
                raise UserError(f"the data frame can't be read as columns of one type each: {error}") from error
            raise UserError(
                f"{type(table).__name__} is not a table of rows; give a data frame, an Arrow table, or columns by name"
            ) from error
    left_out = index_columns(table.schema) | unnamed_index(table.schema.names)
    return {name: table[name] for name in table.schema.names if name in known or name not in left_out}
