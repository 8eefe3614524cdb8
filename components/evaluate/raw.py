"""Raw values of rows as a person reads them."""

import numpy as np

from kep.components.evaluate.groups import Group
from kep.data.records import Rows
from kep.data.schema import Column, Manifest
from kep.stats.divergence import shown

OTHER = "(not in the vocabulary)"


def raw_value(manifest: Manifest, rows: Rows, group: Group, row: int) -> str | None:
    """Return a row's value of a column of the source; None where it is missing, or can't be told back.

    A date is told back by its day. A text is not: only hashes of its words are stored.
    """
    if group.categorical:
        code, column = int(rows.categorical[row, group.categorical[0]]), manifest.categorical[group.categorical[0]]
        return None if code == 0 else OTHER if code == 1 else (column.vocabulary or [])[code - 2]
    if not group.numeric or group.kind == "text":
        return None
    value = float(rows.numeric[row, group.numeric[0]])
    return None if np.isnan(value) else as_text(value, manifest.numeric[group.numeric[0]])


def as_text(value: float, column: Column) -> str:
    """Return a number of the records as the source has it; days as a date, and a boolean as a word."""
    if column.part == "days":
        return str(np.datetime64(int(np.floor(value + column.offset)), "D"))
    if column.kind == "boolean":
        return "true" if value else "false"
    return shown(value, column.offset)
