"""One form for each value, by tables."""

import pyarrow as pa
import pytest

from kep.data import columns, values
from kep.data.schema import Column


@pytest.mark.parametrize(
    ("spellings", "form"),
    [
        (("1", "1.0", "1.", "+1", " 1 ", "1.000", "1e0", "10e-1"), "1"),
        (("0", "-0", "0.0", "-0.0", "0e5"), "0"),
        (("0.5", ".5", "+.5", "0.50", "5e-1"), "0.5"),
        (("-0.5", "-.5"), "-0.5"),
        (("100000", "1e5", "1E5", "1e+05"), "100000"),
        (("0.0000001", "1e-07", "1e-7"), "0.0000001"),
        (("9007199254740993", "9007199254740993.0"), "9007199254740993"),
        (("true", "True", "TRUE", " true "), "true"),
        (("false", "False", "FALSE"), "false"),
        (("2024-01-05", "2024-01-05T00:00:00", "2024-01-05 00:00", "2024-01-05 00:00:00.000Z"), "2024-01-05"),
        (("2024-01-05T07:30", "2024-01-05 07:30:00", "2024-01-05T08:30:00.000+01:00"), "2024-01-05T07:30"),
        (("2024-01-05T07:30:01.5", "2024-01-05 07:30:01.500000Z"), "2024-01-05T07:30:01.5"),
        (("2024-01-05", "2024-01-05T01:00+0100"), "2024-01-05"),
        # Codes and words stay as they are.
        (("01",), "01"),
        (("01.0",), "01.0"),
        (("-01",), "-01"),
        (("1.2.3",), "1.2.3"),
        (("1_000",), "1_000"),
        (("1,5",), "1,5"),
        (("truely",), "truely"),
        (("2024-13-45T25:00+01:00",), "2024-13-45T25:00+01:00"),
        (("Rom ",), "Rom"),
    ],
)
def test_a_value_has_one_form(spellings, form):
    assert {values.canonical(text) for text in spellings} == {form}
    assert values.canonical(form) == form


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (True, "true"),
        (0.1, "0.1"),
        (1e-7, "0.0000001"),
        (2.0**60, str(2**60)),
        (1e20, "1" + 20 * "0"),
        (1e300, "1" + 300 * "0"),
        (2**70, str(2**70)),
        ("1.0", "1"),
    ],
)
def test_a_value_of_a_request_has_the_form_of_its_text(value, form):
    assert values.spelled(value) == form == values.canonical(repr(value).lower().strip("'")) or isinstance(value, float)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 2, None]),
        pa.array([1.0, 2.0, None]),
        pa.array([1.0, 2.0, float("nan")], pa.float32()),
        pa.array([1, 2, None], pa.decimal128(38, 9)),
        pa.array(["1", " 2.0", "NA"]),
        pa.array(["1", "2", None]).dictionary_encode(),
    ],
)
def test_a_column_has_the_same_texts_whatever_its_type(array):
    indices, found = columns.texts(array, "x")
    assert (indices.tolist(), found) == ([0, 1, -1], ["1", "2"])


def test_classes_keep_their_names_where_they_have_one_spelling():
    assert values.class_names(["1.0", "2.50", "2.5", "True"]) == {
        "1.0": "1.0",
        "2.50": "2.5",
        "2.5": "2.5",
        "True": "True",
    }


@pytest.mark.parametrize(
    ("vocabulary", "array", "codes"),
    [
        (["01234", "10001"], pa.array([1234, 10001, 5]), [2, 3, 1]),
        (["01234", "10001"], pa.array(["1234", "01234"]), [1, 2]),
        # A name itself goes first, and of two codes neither is guessed.
        (["01", "1"], pa.array([1]), [3]),
        (["001", "01"], pa.array([1]), [1]),
        # Vocabularies of records from before there was one form.
        (["1.0", "True"], pa.array(["1", "true"]), [2, 3]),
    ],
)
def test_a_number_is_the_one_code_that_differs_by_zeros(vocabulary, array, codes):
    column = Column(name="x", kind="categorical", vocabulary=vocabulary)
    assert columns.category_codes(array, column).tolist() == codes


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1,234.50", (1234.5, ""), None),
        ("1.234,50", None, (1234.5, "")),
        ("1,234", (1234, ""), (1.234, "")),
        ("1.234", (1.234, ""), (1234, "")),
        ("1,234,567", (1234567, ""), None),
        ("12,34,567.8", (1234567.8, ""), None),
        ("1 234 567", (1234567, ""), (1234567, "")),
        ("1\u202f234,50 €", None, (1234.5, "€")),
        ("1'234.50", (1234.5, ""), None),
        ("$1,211.94", (1211.94, "$"), None),
        ("-$5", (-5, "$"), (-5, "$")),
        ("$-5", (-5, "$"), (-5, "$")),
        ("(1,234.00)", (-1234, ""), None),
        ("($12)", (-12, "$"), (-12, "$")),
        ("−7", (-7, ""), (-7, "")),
        ("5 %", (5, "%"), (5, "%")),
        ("0,5%", None, (0.5, "%")),
        ("80kg", (80, "kg"), (80, "kg")),
        (",5", None, (0.5, "")),
        ("5e-2", (0.05, ""), (0.05, "")),
        # No numbers.
        ("1,23", None, (1.23, "")),
        ("1,2,3", None, None),
        ("1.2.3", None, None),
        ("1 23", None, None),
        ("012,345", None, (12.345, "")),
        ("$5$", None, None),
        ("(5", None, None),
        ("-5-", None, None),
        ("Q1", None, None),
        ("1_000", None, None),
        ("", None, None),
    ],
)
def test_a_number_is_read_in_its_form(text, point, comma):
    assert (values.read_number(text, "point"), values.read_number(text, "comma")) == (point, comma)
