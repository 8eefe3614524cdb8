"""What a spreadsheet takes for a formula is no formula in predictions, where that is asked for."""

import io
from collections.abc import Sequence

import pyarrow as pa
import pytest
from rich.console import Console

from kep.core.errors import UserError
from kep.delivery.predict import SourceOptions, guarded, predict
from tests.helpers.paths import DATA


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


@pytest.fixture
def predicted(runs, tmp_path):
    """Predicts lines of a CSV file by its key; returns what was said."""
    folder = runs("churn", "boosted_trees")
    rows = (DATA / "churn.csv").read_text(encoding="utf-8").splitlines()

    def predict_lines(head: str = "", lines: Sequence[str] = ("", "", ""), key: str = "customer") -> str:
        new = [rows[0] + head, *(row + line for row, line in zip(rows[1:], lines, strict=False))]
        (tmp_path / "new.csv").write_text("\n".join(new) + "\n", encoding="utf-8")
        said = io.StringIO()
        run = folder / "churn" / "20260101-000000"
        predict(
            str(run),
            None,
            str(tmp_path / "new.csv"),
            tmp_path / "out.csv",
            folder,
            Console(file=said, width=200),
            reading=SourceOptions(keys=[key]),
        )
        return said.getvalue()

    return predict_lines


@pytest.mark.parametrize(
    ("head", "lines", "key", "words"),
    [
        ("", ("", ""), "customer", "wrote"),
        (",own", (",a", ",b", ",a", ",a"), "own", "note: 2 of 4 rows have the key of a row before"),
        (",own", (",a", ",", ",b"), "own", "note: 1 of 3 rows have no key"),
        (",own,more", (",a,1", ",b,2"), "own", "note: columns that the model does not know are left out: more\n"),
    ],
)
def test_what_is_odd_about_rows_is_told(predicted, head, lines, key, words):
    said = predicted(head, lines, key)
    assert words in said
    assert said.count("note: ") == (words != "wrote")


@pytest.mark.parametrize(
    ("head", "lines", "words"),
    [
        (",own", (), "has no rows"),
        (",other", (",a",), '--key: column "own" is not in'),
    ],
)
def test_rows_that_can_not_be_named_are_refused(predicted, head, lines, words):
    with pytest.raises(UserError, match=words):
        predicted(head, lines, "own")
