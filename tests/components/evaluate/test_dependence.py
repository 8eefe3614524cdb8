"""Partial dependence with planted truths, and against scikit-learn's definition."""

from dataclasses import replace

import numpy as np
import pytest

from kep.components.evaluate import dependence as module
from kep.components.evaluate.dependence import MOST_VALUES, POINTS, dependence
from kep.components.evaluate.importance import Clock
from kep.data.records import Records, Rows
from kep.data.schema import Column, Label

ROWS = 150


@pytest.fixture
def table(records):
    """Manifest and rows of a number, a date of two numbers, and a category."""
    manifest = Records(records("houses"), "evaluate").manifest
    columns = [Column(name="x", kind="numeric", offset=1000.0)]
    columns += [Column(name=f"day ({part})", kind="numeric", of="day", part=part) for part in ("days", "year")]
    columns += [Column(name="plan", kind="categorical", vocabulary=["a", "b"])]
    label = Label(name="price", task="regression", offset=500.0)
    rng = np.random.default_rng(1)
    days = rng.integers(0, 3650, ROWS)
    numeric = np.stack([rng.normal(size=ROWS), days, 1970 + days // 365], axis=1).astype(np.float32)
    codes = np.resize([2, 2, 2, 3, 0], (ROWS, 1)).astype(np.int32)
    labels = np.zeros(ROWS, np.float32)
    return manifest.model_copy(update={"columns": columns, "label": label}), Rows(
        numeric, codes, None, labels, np.arange(ROWS).astype(np.uint64)
    )


def predict(rows: Rows) -> np.ndarray:
    """3 x, minus how far days and year are from each other, plus 10 for plan b."""
    days, year = rows.numeric[:, 1], rows.numeric[:, 2]
    return 3 * np.nan_to_num(rows.numeric[:, 0]) - abs(days // 365 + 1970 - year) + 10 * (rows.categorical[:, 0] == 3)


def by_column(found) -> dict:
    return {one.column: one.points for one in found.columns}


def test_it_is_the_mean_prediction_in_label_units_where_all_rows_have_the_value(table):
    manifest, rows = table
    found = dependence(manifest, rows, predict, ["plan", "x", "day"], 0, Clock(60))
    assert (found.rows, found.outputs, found.skipped) == (ROWS, ["price"], [])
    told = by_column(found)
    base = predict(rows).mean() - 10 * (rows.categorical[:, 0] == 3).mean() + 500
    assert [(one.value, one.share) for one in told["plan"]] == [
        ("a", pytest.approx(0.6)),
        ("missing", pytest.approx(0.2)),
        ("b", pytest.approx(0.2)),
    ]
    assert [one.predictions[0] for one in told["plan"]] == pytest.approx([base, base, base + 10])
    places = np.array([one.place for one in told["x"]])
    assert len(places) == POINTS
    assert (np.diff(places) > 0).all()
    slopes = np.diff([one.predictions[0] for one in told["x"]]) / np.diff(places)
    np.testing.assert_allclose(slopes, 3, rtol=1e-3)
    assert sum(one.share for one in told["x"]) == pytest.approx(1)


def test_all_features_of_a_date_are_set_together(table):
    points = by_column(dependence(*table, predict, ["day"], 0, Clock(60)))["day"]
    # No day is far from its own year, whatever the rows' own dates are.
    assert len({round(one.predictions[0], 4) for one in points}) == 1
    assert all(one.value == str(np.datetime64(int(one.place), "D")) for one in points)


def test_a_missing_number_is_a_point_of_its_own(table):
    manifest, rows = table
    rows.numeric[:30, 0] = np.nan
    last = by_column(dependence(manifest, rows, predict, ["x"], 0, Clock(60)))["x"][-1]
    assert (last.value, last.place, last.share) == ("missing", None, pytest.approx(0.2))


@pytest.mark.parametrize("values", [[np.nan], [3.0], [0.0, 1.0]])
def test_columns_of_few_values_have_few_points(table, values):
    manifest, rows = table
    rows.numeric[:, 0] = np.resize(values, ROWS)
    points = by_column(dependence(manifest, rows, predict, ["x"], 0, Clock(60)))["x"]
    assert len(points) == len(values)
    assert sum(one.share for one in points) == pytest.approx(1)


def test_only_the_most_frequent_categories_and_classes_are_shown(records, table, monkeypatch):
    manifest, rows = table
    many = [*manifest.columns[:3], Column(name="plan", kind="categorical", vocabulary=[str(i) for i in range(20)])]
    rows = replace(rows, categorical=np.resize(np.arange(2, 22), (ROWS, 1)).astype(np.int32))
    own = manifest.model_copy(update={"columns": many})
    assert len(by_column(dependence(own, rows, predict, ["plan"], 0, Clock(60)))["plan"]) == MOST_VALUES
    label = Label(name="kind", task="multiclass", classes=["a", "b", "c"])
    monkeypatch.setattr(module, "MOST_CLASSES", 2)
    rows = replace(rows, labels=np.resize([2, 2, 0, 0, 1], ROWS))
    share = np.array([0.2, 0.3, 0.5])
    found = dependence(
        own.model_copy(update={"label": label}), rows, lambda rows: np.tile(share, (len(rows), 1)), ["x"], 0, Clock(60)
    )
    assert found.outputs == ["a", "c"]
    assert found.columns[0].points[0].predictions == pytest.approx([0.2, 0.5])


def test_weights_count(table):
    manifest, rows = table
    half = np.arange(ROWS) < 75
    weighted = dependence(manifest, replace(rows, weights=half.astype(np.float32)), predict, ["x"], 0, Clock(60))
    alone = dependence(manifest, rows.take(half), predict, ["x"], 0, Clock(60))
    for ours, theirs in zip(weighted.columns[0].points, alone.columns[0].points, strict=True):
        assert (ours.place, ours.share) == pytest.approx((theirs.place, theirs.share))
        assert ours.predictions == pytest.approx(theirs.predictions)


def test_columns_that_are_not_reached_are_named(table):
    found = dependence(*table, predict, ["x", "plan"], 0, Clock(0))
    assert (found.columns, found.skipped) == ([], ["x", "plan"])
