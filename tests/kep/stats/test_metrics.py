"""The losses and metrics that every step uses, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from kep.stats.metrics import FLOOR, METRICS, calibration_bins, calibration_error, loss, metrics, row_losses


def classes(count: int, rows: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, rows)
    scores = rng.normal(size=(rows, count)) + 1.0 * np.eye(count)[labels]
    predictions = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return labels, predictions.astype(np.float32)


def log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    """scikit-learn's, which wants rows that sum to 1 in float64."""
    predictions = predictions.astype(np.float64)
    return sklearn_metrics.log_loss(labels, predictions / predictions.sum(axis=1, keepdims=True))


def numbers(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.normal(50, 10, rows).astype(np.float32)
    return labels, (labels + rng.normal(0, 3, rows)).astype(np.float32)


def test_binary_metrics_are_scikit_learns():
    labels, predictions = classes(2)
    given = predictions.argmax(axis=1)
    expected = {
        "loss": log_loss(labels, predictions),
        "accuracy": sklearn_metrics.accuracy_score(labels, given),
        "roc_auc": sklearn_metrics.roc_auc_score(labels, predictions[:, 1]),
        "pr_auc": sklearn_metrics.average_precision_score(labels, predictions[:, 1]),
        "f1": sklearn_metrics.f1_score(labels, given),
    }
    measured = metrics("binary", labels, predictions)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert set(measured) == {*expected, "calibration_error"}


def test_multiclass_metrics_are_scikit_learns():
    labels, predictions = classes(4)
    given = predictions.argmax(axis=1)
    expected = {
        "loss": log_loss(labels, predictions),
        "accuracy": sklearn_metrics.accuracy_score(labels, given),
        "f1": sklearn_metrics.f1_score(labels, given, average="macro"),
    }
    measured = metrics("multiclass", labels, predictions)
    assert {name: measured[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert set(measured) == {*expected, "calibration_error"}


def test_regression_metrics_are_scikit_learns():
    labels, predictions = numbers()
    expected = {
        "loss": sklearn_metrics.mean_squared_error(labels, predictions),
        "mae": sklearn_metrics.mean_absolute_error(labels, predictions),
        "rmse": sklearn_metrics.root_mean_squared_error(labels, predictions),
        "r2": sklearn_metrics.r2_score(labels, predictions),
    }
    assert metrics("regression", labels, predictions) == pytest.approx(expected, rel=1e-5)


def test_f1_of_many_classes_is_the_mean_over_those_that_occur():
    labels, given = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
    predictions = np.eye(4)[given]
    expected = sklearn_metrics.f1_score(labels, given, average="macro", labels=[0, 1])
    assert metrics("multiclass", labels, predictions)["f1"] == pytest.approx(expected)


def test_the_better_direction_is_the_one_of_perfect_predictions():
    for task, count in (("binary", 2), ("multiclass", 3), ("regression", 0)):
        labels, predictions = classes(count) if count else numbers()
        measured = metrics(task, labels, predictions)
        perfect = metrics(task, labels, np.eye(count)[labels] if count else labels)
        for name, metric in METRICS.items():
            if task in metric.tasks:
                better = perfect[name] > measured[name] if metric.direction == "max" else perfect[name] < measured[name]
                assert better, name


def test_the_loss_of_a_row_that_was_surely_wrong_is_finite():
    assert row_losses("binary", np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx([-np.log(FLOOR)])


def test_squares_of_large_labels_are_exact():
    labels, predictions = np.array([1e6 + 0.5], np.float32), np.array([1e6], np.float32)
    assert row_losses("regression", labels, predictions).dtype == np.float64
    assert loss("regression", labels, predictions) == 0.25


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_prediction_that_is_no_number_has_a_loss_that_is_none(task):
    predictions = np.array([0.5, np.nan]) if task == "regression" else np.array([[0.5, 0.5], [np.nan, np.nan]])
    losses = row_losses(task, np.array([1, 1]), predictions)
    assert np.isnan(losses).tolist() == [False, True]
    assert np.isnan(loss(task, np.array([1, 1]), predictions))


def test_a_metric_that_the_rows_do_not_define_is_nan():
    one_class = metrics("binary", np.ones(4, int), np.tile([0.3, 0.7], (4, 1)))
    assert np.isnan([one_class["roc_auc"], one_class["pr_auc"]]).all()
    assert one_class["accuracy"] == 1
    constant = metrics("regression", np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 4.0]))
    assert np.isnan(constant["r2"])
    assert constant["mae"] == 1


def test_calibration_by_hand():
    # Five rows at confidence 0.6, three of them right; five at 0.9, all right.
    predictions = np.array([[0.4, 0.6]] * 5 + [[0.9, 0.1]] * 5)
    labels = np.array([1, 1, 1, 0, 0] + [0] * 5)
    low, high = calibration_bins(labels, predictions, bins=2)
    assert (low.confidence, low.accuracy, low.rows, low.share) == pytest.approx((0.6, 0.6, 5, 0.5))
    assert (high.confidence, high.accuracy, high.rows, high.share) == pytest.approx((0.9, 1.0, 5, 0.5))
    # Ten bins of one row: |0.6 - 1| three times, |0.6 - 0| twice, |0.9 - 1| five times.
    assert calibration_error(labels, predictions) == pytest.approx((3 * 0.4 + 2 * 0.6 + 5 * 0.1) / 10)


def test_every_row_is_in_one_calibration_bin_also_of_few_rows():
    for rows in (1, 7, 103):
        labels, predictions = classes(3, rows)
        bins = calibration_bins(labels, predictions)
        assert sum(bin.rows for bin in bins) == rows
        assert len(bins) == min(rows, 10)
        confidence = [bin.confidence for bin in bins]
        assert confidence == sorted(confidence)


def test_f1_of_rows_without_a_positive_one_is_undefined():
    predictions = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert np.isnan(metrics("binary", np.array([0, 0]), predictions)["f1"])
    assert metrics("binary", np.array([0, 1]), predictions)["f1"] == 1
    assert metrics("binary", np.array([1, 0]), predictions)["f1"] == 0


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize("weighting", [None, "all", "some"])
@pytest.mark.parametrize("rows", [4, 50, 500])
def test_areas_under_curves_and_r2_are_scikit_learns_with_ties_and_weights(digits, weighting, rows):
    rng = np.random.default_rng(rows)
    labels = np.append([0, 1], rng.integers(0, 2, rows - 2))
    scores = np.clip(0.3 * labels + rng.uniform(0, 0.7, rows), 0, 1).round(digits)
    predictions = np.stack([1 - scores, scores], axis=1)
    weights = None if weighting is None else rng.uniform(0.1, 3, rows)
    if weighting == "some":
        weights[2:] *= rng.uniform(size=rows - 2) < 0.7
    expected = {
        "roc_auc": sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights),
        "pr_auc": sklearn_metrics.average_precision_score(labels, scores, sample_weight=weights),
    }
    assert {name: METRICS[name].value(labels, predictions, weights) for name in expected} == pytest.approx(expected)
    theirs = sklearn_metrics.r2_score(labels, scores, sample_weight=weights)
    assert METRICS["r2"].value(labels, scores, weights) == pytest.approx(theirs)


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc"])
@pytest.mark.parametrize(
    ("labels", "scores", "weights"),
    [
        ([1, 1], [0.1, 0.2], None),
        ([0, 0], [0.1, 0.2], None),
        ([0, 1], [0.1, 0.2], [1.0, 0.0]),
        ([0, 1], [0.1, 0.2], [0.0, 0.0]),
        ([0, 1], [0.1, np.nan], None),
    ],
)
def test_areas_of_one_class_or_of_no_numbers_are_undefined(name, labels, scores, weights):
    predictions = np.stack([1 - np.array(scores), scores], axis=1)
    weights = None if weights is None else np.array(weights)
    assert np.isnan(METRICS[name].value(np.array(labels), predictions, weights))
