"""Importance of columns with planted truths, and against scikit-learn's."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.inspection import permutation_importance

from kep.components.evaluate import importance as module
from kep.components.evaluate.groups import groups
from kep.components.evaluate.importance import Clock, Drawing, importance
from kep.data.records import Records, Rows
from kep.data.schema import Column, Label
from kep.stats.metrics import Truth

ROWS = 600
DRAWING = Drawing(400, 0)


@pytest.fixture
def table(records):
    """Manifest and rows of the columns used, duplicate and useless; a date of two numbers; and a category."""
    manifest = Records(records("churn"), "evaluate").manifest
    names = ["used", "duplicate", "useless"]
    columns = [Column(name=name, kind="numeric") for name in names]
    columns += [Column(name=f"day ({part})", kind="numeric", of="day", part=part) for part in ("days", "year")]
    columns += [Column(name="plan", kind="categorical", vocabulary=["a", "b"])]
    label = Label(name="y", task="binary", classes=["no", "yes"])
    rng = np.random.default_rng(1)
    numeric = rng.normal(size=(ROWS, 5)).astype(np.float32)
    numeric[:, 1] = numeric[:, 0] + 0.01
    codes = rng.integers(2, 4, (ROWS, 1)).astype(np.int32)
    rows = Rows(numeric, codes, None, np.zeros(ROWS, np.int64), np.arange(ROWS).astype(np.uint64))
    labels = (rng.uniform(size=ROWS) < predict(rows)[:, 1]).astype(np.int64)
    return manifest.model_copy(update={"columns": columns, "label": label}), replace(rows, labels=labels)


def predict(rows: Rows) -> np.ndarray:
    days, year = rows.numeric[:, 3], rows.numeric[:, 4]
    logits = 2 * rows.numeric[:, 0] + 1.5 * (days - year) + 0.5 * (rows.categorical[:, 0] == 3)
    positive = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return np.stack([1 - positive, positive], axis=1)


def by_column(found) -> dict:
    return {one.column: one for one in found.columns}


def test_columns_that_are_used_come_first_and_a_useless_one_is_around_zero(table):
    found = importance(*table, predict, "loss", DRAWING, Clock(60))
    told = by_column(found)
    assert [one.column for one in found.columns[:3]] == ["day", "used", "plan"]
    assert told["used"].loss.low > 0
    for name in ("useless", "duplicate"):
        assert told[name].loss.low <= 0 <= told[name].loss.high
    assert {name: one.features for name, one in told.items()} == {
        "used": 1,
        "duplicate": 1,
        "useless": 1,
        "day": 2,
        "plan": 1,
    }
    assert (found.rows, found.of, found.skipped) == (ROWS, ROWS, [])


class Model(ClassifierMixin, BaseEstimator):
    """`predict` as scikit-learn knows it, of a matrix with the category in its last column."""

    classes_ = np.array([0, 1])

    def fit(self, X, y):
        return self

    def predict_proba(self, X):
        many = len(X)
        rows = Rows(X[:, :5], X[:, 5:].astype(np.int32), None, np.zeros(many, int), np.zeros(many, np.uint64))
        return predict(rows)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


@pytest.mark.parametrize(
    ("metric", "scoring"), [("loss", "neg_log_loss"), ("roc_auc", "roc_auc"), ("accuracy", "accuracy")]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_scikit_learns_importance(table, metric, scoring, weighted):
    manifest, rows = table
    if weighted:
        rows = replace(rows, weights=np.random.default_rng(2).uniform(0.1, 2, ROWS).astype(np.float32))
    told = by_column(importance(manifest, rows, predict, metric, DRAWING, Clock(60)))
    X = np.concatenate([rows.numeric, rows.categorical], axis=1)
    theirs = permutation_importance(
        Model().fit(X, rows.labels), X, rows.labels, scoring=scoring, n_repeats=50, random_state=0,
        sample_weight=rows.weights,
    )  # fmt: skip
    for place, name in ((0, "used"), (1, "duplicate"), (2, "useless"), (5, "plan")):
        one = told[name].loss if metric == "loss" else told[name].metric
        # Both are means over permutations; ours over few.
        spread = 4 * theirs.importances_std[place] / np.sqrt(5) + 1e-9
        assert one.value == pytest.approx(theirs.importances_mean[place], abs=spread)
        assert one.low - spread <= theirs.importances_mean[place] <= one.high + spread


def test_weights_count(table):
    manifest, rows = table
    half = np.arange(ROWS) < ROWS // 2
    weighted = importance(manifest, replace(rows, weights=half.astype(np.float32)), predict, "loss", DRAWING, Clock(60))
    alone = importance(manifest, rows.take(half), predict, "loss", DRAWING, Clock(60))
    for ours, theirs in zip(weighted.columns, alone.columns, strict=True):
        assert ours.loss.model_dump() == pytest.approx(theirs.loss.model_dump())
    assert weighted.rows == ROWS // 2


def test_intervals_cover_the_importance_over_all_rows_and_permutations(table):
    """Of the value that endless rows would give, in about 95 of 100 samples."""
    manifest, rows = table
    inside = 0
    truth = np.mean([_increase(table, seed) for seed in range(40)])
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        drawn = rows.take(rng.integers(0, ROWS, 300))
        one = by_column(importance(manifest, drawn, predict, "loss", Drawing(200, seed), Clock(60)))["used"].loss
        inside += one.low <= truth <= one.high
    assert inside >= 34


def _increase(table, seed: int) -> float:
    manifest, rows = table
    shuffled = rows.take(np.random.default_rng(seed).permutation(ROWS))
    truth, group = Truth.of("binary", rows), groups(manifest)[0]
    return truth.loss(predict(group.given(rows, shuffled))) - truth.loss(predict(rows))


def test_two_columns_of_the_same_content_are_told(table):
    manifest, rows = table
    (pair,) = importance(manifest, rows, predict, "loss", DRAWING, Clock(60)).alike
    assert (pair.columns, round(pair.association, 3)) == (("used", "duplicate"), 1.0)


def test_two_categories_of_the_same_content_are_told(table):
    manifest, rows = table
    columns = [*manifest.columns, Column(name="tariff", kind="categorical", vocabulary=["x", "y"])]
    rows = replace(rows, categorical=np.concatenate([rows.categorical, 5 - rows.categorical], axis=1))
    found = importance(manifest.model_copy(update={"columns": columns}), rows, predict, "loss", DRAWING, Clock(60))
    assert ("plan", "tariff") in [pair.columns for pair in found.alike]


def test_columns_that_are_not_reached_are_named(table):
    found = importance(*table, predict, "loss", DRAWING, Clock(0))
    assert found.columns == []
    assert found.skipped == ["used", "duplicate", "useless", "day", "plan"]


def test_many_rows_are_sampled_and_large_ones_predicted_part_by_part(table, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", 100)
    whole = importance(*table, predict, "loss", DRAWING, Clock(60))
    assert (whole.rows, whole.of) == (100, ROWS)
    monkeypatch.setattr(module, "_TOGETHER", 0)
    assert importance(*table, predict, "loss", DRAWING, Clock(60)) == whole


@pytest.mark.parametrize("source", ["digits", "churn", "houses"])
def test_every_column_of_the_source_is_one_group_of_all_its_features(records, source):
    manifest = Records(records(source), "evaluate").manifest
    found = groups(manifest)
    assert [group.name for group in found] == [column.name for column in manifest.inputs]
    assert sorted(place for group in found for place in group.numeric) == list(range(len(manifest.numeric)))
    assert sorted(place for group in found for place in group.categorical) == list(range(len(manifest.categorical)))
    assert [group.image for group in found if group.image] == [True] * (manifest.image is not None)


def test_where_no_row_counts_the_importance_is_undefined(table):
    manifest, rows = table
    none = replace(rows, weights=np.zeros(ROWS, np.float32))
    found = importance(manifest, none, predict, "loss", DRAWING, Clock(60))
    assert {one.loss.value for one in found.columns} == {None}
