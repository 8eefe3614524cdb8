"""Data frames as what a model predicts of, with what pandas adds to them."""

import json

import numpy as np
import pyarrow as pa
import pytest

from kep.core.errors import UserError
from kep.data.data_frames import as_columns, index_columns
from kep.data.records import Records, encode_table


class Frame:
    """A data frame as far as Arrow sees it: pandas and polars export theirs in this way."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


def noted(table: pa.Table, names: list[str]) -> pa.Table:
    return table.replace_schema_metadata({b"pandas": json.dumps({"index_columns": names}).encode()})


TABLE = pa.table({"x": [1.0, 2.0], "customer": [5, 6], "Unnamed: 0": [0, 1]})


@pytest.mark.parametrize("kind", [Frame, lambda table: table, lambda table: table.to_batches()[0], dict])
def test_any_table_gives_its_columns(kind):
    given = dict(zip(TABLE.schema.names, TABLE.columns, strict=True)) if kind is dict else kind(TABLE)
    assert list(as_columns(given, ["x"])) == ["x", "customer"]
    assert list(as_columns(given, ["x", "Unnamed: 0"])) == ["x", "customer", "Unnamed: 0"]


def test_a_named_index_is_left_out_unless_the_model_knows_it():
    frame = Frame(noted(TABLE, ["customer"]))
    assert list(as_columns(frame, ["x"])) == ["x"]
    assert list(as_columns(frame, ["x", "customer"])) == ["x", "customer"]


@pytest.mark.parametrize("note", [b"", b"[]", b"{", b'{"index_columns": null}', b"\xff"])
def test_a_foreign_note_says_nothing(note):
    assert index_columns(pa.schema([("x", pa.int8())], {b"pandas": note})) == frozenset()


def test_a_column_of_several_types_is_one_sentence():
    class Mixed:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            raise pa.ArrowInvalid("Conversion failed for column x with type object")

    with pytest.raises(UserError, match=r"^the data frame can't be read as columns of one type each: .* column x"):
        as_columns(Mixed(), [])


def test_a_frame_is_encoded_as_the_table_in_it(records):
    manifest = Records(records("churn"), "tune").manifest
    values = {"numeric": [1.5, None], "boolean": [True, None], "categorical": ["a", None]}
    table = pa.table({column.name: values[column.kind] for column in manifest.columns})
    plain = encode_table(manifest, table)
    framed = encode_table(manifest, Frame(noted(table.append_column("n", pa.array([3, 4])), ["n"])))
    np.testing.assert_array_equal(framed.numeric, plain.numeric)
    np.testing.assert_array_equal(framed.categorical, plain.categorical)
    np.testing.assert_array_equal(framed.ids, plain.ids)
