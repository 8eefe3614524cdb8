"""Numbers and dates as people write them: read by a form that all values of a column share, everywhere alike."""

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings, RoleValues, Split
from kep.core.errors import UserError
from kep.data.records import Records, Rows, encode_table
from kep.delivery.remote import as_json
from kep.delivery.serving.instances import parse
from kep.models.ensemble import raw_features

ROWS = 60
AMOUNTS = [(number * 977 - 5000) / 4 for number in range(ROWS)]
DAYS = [date(2024, number % 12 + 1, number % 28 + 1) for number in range(ROWS)]


def european(number: float) -> str:
    return f"{number:,.2f}".translate(str.maketrans(",.", ".,"))


NUMBERS = {
    "thousands": (lambda x: f"{x:,.2f}", "1,234.5"),
    "dollars": (lambda x: f"${x:,.2f}" if x >= 0 else f"-${-x:,.2f}", "1,234.5 $"),
    "accounting": (lambda x: f"{x:,.2f}" if x >= 0 else f"({-x:,.2f})", "1,234.5"),
    "euros": (lambda x: f"{european(x)} €", "1.234,5 €"),
    "narrow blanks": (lambda x: f"{x:,.2f}".replace(",", "\u202f").replace(".", ","), "1.234,5"),
    "decimal comma": (lambda x: f"{x:.2f}".replace(".", ","), "1.234,5"),
    "percent": (lambda x: f"{x:.2f} %", "1,234.5 %"),
    "Swiss": (lambda x: f"CHF {x:,.2f}".replace(",", "'"), "1,234.5 CHF"),
}
DATES = {
    "iso": "%Y-%m-%d",
    "day first": "%d/%m/%Y",
    "day first with points": "%d.%m.%Y",
    "month first": "%m/%d/%Y",
    "year first": "%Y/%m/%d",
    "month by name": "%b %d, %Y",
    "day and month by name": "%d %B %Y",
}


def written(folder, ending: str, column: list | pa.Array, label: list | None = None) -> DataSettings:
    table = pa.table({"x": column, "b": [number % 7 for number in range(ROWS)]})
    table = table.append_column("y", pa.array(label or [number // 3 % 2 for number in range(ROWS)]))
    write = pyarrow.csv.write_csv if ending == "csv" else pq.write_table
    write(table, folder / f"rows.{ending}")
    return DataSettings(source=str(folder / f"rows.{ending}"), label="y")


def stored(folder) -> Rows:
    return Rows.concat([Records(folder, "tune").load(role) for role in ("train", "validation")])


def asked(manifest, values: list) -> np.ndarray:
    """The numbers of the column as a request over HTTP gives them."""
    body = {"inputs": {"x": values, "b": [number % 7 for number in range(len(values))]}}
    return parse(json.dumps(body).encode(), manifest, ROWS).rows.numeric


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("form", NUMBERS)
def test_numbers_are_read_in_the_form_of_their_column(form, ending, tmp_path, caplog):
    spell, reading = NUMBERS[form]
    texts = [spell(amount) for amount in AMOUNTS]
    settings = written(tmp_path, ending, texts)
    with caplog.at_level("INFO", "kep.ingest"):
        manifest = ingest(settings, 0, tmp_path / "out")
    assert f'column "x" holds numbers such as "{texts[0]}", read as {reading}' in caplog.text
    (column, _) = manifest.columns
    assert (column.kind, str(column.reading)) == ("numeric", reading)
    assert set(stored(tmp_path / "out").numeric[:, 0]) <= set(np.float32(AMOUNTS))
    others = {"b": [number % 7 for number in range(ROWS)]}
    for given in (texts, AMOUNTS, pa.array(texts).dictionary_encode()):
        found = encode_table(manifest, {"x": given} | others)
        np.testing.assert_array_equal(found.numeric[:, 0], np.float32(AMOUNTS))
    for given in (texts, AMOUNTS):
        np.testing.assert_array_equal(asked(manifest, given)[:, 0], np.float32(AMOUNTS))
    assert np.isnan(asked(manifest, [" n/a ", None])[:, 0]).all()
    assert as_json(pa.array(texts), column) == AMOUNTS
    with pytest.raises(UserError, match=r'inputs\.x\[1\]: "free" is not a number as in training; give one such as'):
        asked(manifest, [texts[0], "free"])


@pytest.mark.parametrize("form", NUMBERS)
def test_a_label_is_read_in_its_form(form, tmp_path):
    settings = written(tmp_path, "csv", list(range(ROWS)), [NUMBERS[form][0](amount) for amount in AMOUNTS])
    manifest = ingest(settings, 0, tmp_path / "out")
    assert manifest.label.task == "regression"
    assert set(stored(tmp_path / "out").labels) <= set(np.float32(AMOUNTS))


def test_classes_that_are_percentages_are_whole_numbers(tmp_path):
    settings = written(tmp_path, "csv", list(range(ROWS)), ["5 %", "10 %"] * 30)
    assert inspect(settings, 0).classes == {5: 30, 10: 30}


@pytest.mark.parametrize("values", [["1", "2"], ["A1", "B2"], ["1.2.3", "1.2.4"], ["1,5 or 2", "2,5"], ["Q1", "Q2"]])
def test_texts_of_a_typed_source_that_no_mark_shows_to_be_numbers_are_categories(values, tmp_path):
    assert inspect(written(tmp_path, "parquet", values * 30), 0).columns[0].kind == "categorical"


@pytest.mark.parametrize(("decimal", "expected"), [(".", 1234.0), (",", 1.234)])
def test_the_setting_decides_where_both_readings_are_possible(decimal, expected, tmp_path):
    texts = ["1,234", "2,345", "1,234"] * 20
    settings = written(tmp_path, "csv", texts).model_copy(update={"decimal": decimal})
    manifest = ingest(settings, 0, tmp_path / "out")
    assert asked(manifest, ["1,234"])[0, 0] == np.float32(expected)


@pytest.mark.parametrize("form", DATES)
def test_dates_are_read_in_the_form_of_their_column(form, tmp_path):
    texts = [day.strftime(DATES[form]) for day in DAYS]
    manifest = ingest(written(tmp_path, "csv", texts), 0, tmp_path / "out")
    assert [(one.name, one.kind) for one in manifest.inputs] == [("x", "date"), ("b", "numeric")]
    typed = ingest(written(tmp_path, "parquet", pa.array(DAYS)), 0, tmp_path / "typed")
    assert [column.name for column in typed.columns] == [column.name for column in manifest.columns]
    others = {"b": [number % 7 for number in range(ROWS)]}
    expected = encode_table(typed, {"x": pa.array(DAYS)} | others).numeric
    days = [(day - date(1970, 1, 1)).days for day in DAYS]
    np.testing.assert_array_equal(expected[:, 0], np.float32(days))
    iso = [day.isoformat() for day in DAYS]
    for given in (texts, iso, pa.array(DAYS), pa.array(DAYS, pa.date32()).cast(pa.timestamp("ns", "UTC"))):
        np.testing.assert_array_equal(encode_table(manifest, {"x": given} | others).numeric, expected)
    for given in (texts, iso):
        np.testing.assert_array_equal(asked(manifest, given), expected)
    assert as_json(pa.array(texts), manifest.inputs[0]) == [f"{day}T00:00:00.000000" for day in iso]
    assert np.isnan(asked(manifest, [None, "NA"])[:, 0]).all()
    with pytest.raises(UserError, match=r'inputs\.x\[0\]: "soon" is no date as in training'):
        asked(manifest, ["soon"])
    with pytest.raises(UserError, match=r"inputs\.x\[0\]: 5 given; give a date"):
        asked(manifest, [5])


def test_stored_rows_predict_as_their_dates_do(tmp_path):
    manifest = ingest(written(tmp_path, "csv", [f"{day} 07:{day.day:02d}" for day in DAYS]), 0, tmp_path / "out")
    assert len(manifest.columns) == 9
    rows = stored(tmp_path / "out")
    again = encode_table(manifest, raw_features(manifest, rows))
    np.testing.assert_array_equal(again.numeric, rows.numeric)
    np.testing.assert_array_equal(again.ids, rows.alike)


@pytest.mark.parametrize(("day_first", "expected"), [(True, date(2024, 1, 5)), (False, date(2024, 5, 1)), (None, None)])
def test_day_and_month_are_never_guessed(day_first, expected, tmp_path):
    texts = ["05/01/2024", "06/01/2024", "06/02/2024"] * 20
    settings = written(tmp_path, "csv", texts).model_copy(update={"day_first": day_first})
    manifest = ingest(settings, 0, tmp_path / "out")
    if expected is None:
        seen = inspect(settings, 0)
        assert seen.ignored["x"] == (
            'day and month of its dates can\'t be told apart ("05/01/2024" in row 1); set data.day_first'
        )
    else:
        assert asked(manifest, ["05/01/2024"])[0, 0] == (expected - date(1970, 1, 1)).days


def test_digits_are_dates_where_the_settings_say_so(tmp_path):
    digits = [int(day.strftime("%Y%m%d")) for day in DAYS]
    for ending in ("csv", "parquet"):
        settings = written(tmp_path, ending, digits)
        assert inspect(settings, 0).columns[0].kind == "numeric"
        manifest = ingest(settings.model_copy(update={"types": {"x": "date"}}), 0, tmp_path / ending)
        days = [(day - date(1970, 1, 1)).days for day in DAYS]
        for given in (digits, [str(one) for one in digits]):
            np.testing.assert_array_equal(asked(manifest, given)[:, 0], np.float32(days))


def test_times_of_day_are_left_out(tmp_path):
    times = pa.array([number * 1000 for number in range(ROWS)], pa.time32("ms"))
    assert inspect(written(tmp_path, "parquet", times), 0).ignored["x"].startswith("times of day and durations")


@pytest.mark.parametrize("values", [["TRUE", "False", "1.0"], ["a", "b", "c"]])
def test_values_of_roles_have_one_form_too(values, tmp_path):
    rows = [f"{values[number % 3]},{number},{number // 3 % 2}" for number in range(ROWS)]
    (tmp_path / "rows.csv").write_text("\n".join(["x,a,y", *rows]) + "\n")
    settings = DataSettings(source=str(tmp_path / "rows.csv"), label="y")
    roles = RoleValues(train=values[:1], validation=values[1:2], test=values[2:])
    split = Split(by="column", column="x", roles=roles)
    assert set(inspect(settings.model_copy(update={"split": split}), 0).roles.values()) == {20}


def test_free_text_is_said_to_be_none_of_these(tmp_path):
    words = [f"please call back about order number {number}" for number in range(ROWS)]
    assert (
        inspect(written(tmp_path, "csv", words), 0).ignored["x"]
        == "free text; data.types: {x: text} makes features of its words"
    )


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_texts_are_hashed_where_the_settings_say_so(ending, tmp_path):
    words = [["Late again", "very LATE delivery!", "  thanks, all fine", "NA"][number % 4] for number in range(ROWS)]
    settings = written(tmp_path, ending, words).model_copy(update={"types": {"x": "text"}})
    assert [(one.kind, one.missing) for one in inspect(settings, 0).columns] == [("text", 15), ("numeric", 0)]
    manifest = ingest(settings, 0, tmp_path / "out")
    assert [(one.name, one.kind) for one in manifest.inputs] == [("x", "text"), ("b", "numeric")]
    given = {"x": words[:4], "b": [0, 1, 2, 3]}
    rows = encode_table(manifest, given).numeric[:, :-1]
    assert rows.shape == (4, 256)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), [1, 1, 1, 0], atol=1e-6)
    assert rows[0] @ rows[1] > 0.1 > abs(rows[0] @ rows[2])  # one word in common, or none
    np.testing.assert_array_equal(asked(manifest, words[:4])[:, :-1], rows)
    assert as_json(pa.array(words[:4]), manifest.inputs[0]) == ["Late again", *map(str.strip, words[1:3]), None]
    stored_rows = stored(tmp_path / "out")
    again = encode_table(manifest, raw_features(manifest, stored_rows))
    np.testing.assert_array_equal(again.numeric, stored_rows.numeric)
    with pytest.raises(UserError, match=r"inputs\.x\[0\]: 5 given; give a text"):
        asked(manifest, [5])


def test_numbers_are_no_texts(tmp_path):
    settings = written(tmp_path, "parquet", list(range(ROWS))).model_copy(update={"types": {"x": "text"}})
    with pytest.raises(UserError, match='column "x" of type int64 holds no texts'):
        inspect(settings, 0)


@pytest.mark.parametrize(
    ("missing", "vocabulary", "gaps"),
    [
        ([], ["?", "a"], 20),
        (["?"], ["a"], 40),
        ({"x": []}, ["?", "NA", "a"], 0),
        ({"x": ["?"]}, ["NA", "a"], 20),
        ({"b": ["?"]}, ["?", "a"], 20),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_which_texts_mean_a_missing_value_is_a_columns_own_matter(ending, missing, vocabulary, gaps, tmp_path):
    texts = ["NA", " ? ", "a"] * 20
    settings = written(tmp_path, ending, texts).model_copy(update={"missing": missing})
    assert inspect(settings, 0).columns[0].missing == gaps
    manifest = ingest(settings, 0, tmp_path / "out")
    assert manifest.columns[0].vocabulary == vocabulary
    body = {"inputs": {"x": texts[:3], "b": [0, 0, 0]}}
    codes = parse(json.dumps(body).encode(), manifest, ROWS).rows.categorical[:, 0].tolist()
    expected = [vocabulary.index(text.strip()) + 2 if text.strip() in vocabulary else 0 for text in texts[:3]]
    assert codes == expected == encode_table(manifest, {"x": texts[:3], "b": [0, 0, 0]}).categorical[:, 0].tolist()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_number_may_mean_a_missing_value(ending, tmp_path):
    texts = ["99.0", "1.5", "-"] * 20
    settings = written(tmp_path, ending, texts).model_copy(update={"missing": {"x": ["99", "-"]}})
    settings = settings.model_copy(update={"types": {"x": "numeric"}})
    assert inspect(settings, 0).columns[0].missing == 40
    manifest = ingest(settings, 0, tmp_path / "out")
    found = encode_table(manifest, {"x": texts[:3], "b": [0, 0, 0]}).numeric[:, 0]
    np.testing.assert_array_equal(found, np.array([np.nan, 1.5, np.nan], np.float32))
    for given in (
        asked(manifest, [99, 1.5, None]),
        encode_table(manifest, {"x": [99, 1.5, None], "b": [0] * 3}).numeric,
    ):
        np.testing.assert_array_equal(given[:, 0], found)


@pytest.mark.parametrize("kind", ["numeric", "categorical"])
def test_a_number_of_a_typed_source_may_mean_a_missing_value(kind, tmp_path):
    settings = written(tmp_path, "parquet", [99, 1, 2] * 20)
    settings = settings.model_copy(update={"missing": {"x": ["99"]}, "types": {"x": kind}})
    assert inspect(settings, 0).columns[0].missing == 20
    manifest = ingest(settings, 0, tmp_path / "out")
    for given in ([99, 1], ["99", "1"], [99.0, 1.0]):
        rows = encode_table(manifest, {"x": given, "b": [0, 0]})
        missing = np.isnan(rows.numeric[:, 0]) if kind == "numeric" else rows.categorical[:, 0] == 0
        assert missing.tolist() == [True, False]
    if kind == "categorical":
        assert manifest.columns[0].vocabulary == ["1", "2"]
        gap = pa.array([float("nan"), 1.0])
        assert encode_table(manifest, {"x": gap, "b": [0, 0]}).categorical[:, 0].tolist() == [0, 2]


def test_a_class_may_be_called_na(tmp_path):
    settings = written(tmp_path, "csv", list(range(ROWS)), ["NA", "b"] * 30)
    with pytest.raises(UserError, match='column "y" is empty in 30 of 60 rows'):
        inspect(settings, 0)
    kept = settings.model_copy(update={"missing": {"y": []}})
    assert inspect(kept, 0).classes == {"NA": 30, "b": 30}
    assert ingest(kept, 0, tmp_path / "out").label.classes == ["NA", "b"]
