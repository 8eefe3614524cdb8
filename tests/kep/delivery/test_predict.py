"""What a spreadsheet takes for a formula is no formula in predictions, where that is asked for."""

import pyarrow as pa
import pytest

from kep.delivery.predict import guarded


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("a=1", "a=1"),
        ("'=1", "'=1"),
        ("", ""),
        (None, None),
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_text_that_begins_as_a_formula_gets_an_apostrophe(text, safe, kind):
    table = pa.table({"key": pa.array([text, "x"], pa.string()).cast(kind), "probability": [-0.5, 1.0]})
    assert guarded(table).to_pydict() == {"key": [safe, "x"], "probability": [-0.5, 1.0]}


def test_names_of_columns_are_guarded():
    assert guarded(pa.table({"=cmd": ["a"], "b": ["c"]})).column_names == ["'=cmd", "b"]
