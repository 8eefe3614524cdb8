"""A row of weight 2 counts as two rows, and one of weight 0 as none, in every metric."""

import numpy as np
import pytest
from sklearn import metrics as reference

from kep.stats.metrics import METRICS, Truth, loss, mean, metrics

ROWS = 60


def case(task: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions, and whole weights of which some are 0."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, ROWS).astype(np.float32)
    if task == "regression":
        labels = rng.normal(size=ROWS)
        return labels, labels + rng.normal(size=ROWS), weights
    classes = 2 if task == "binary" else 3
    labels = rng.integers(0, classes, ROWS)
    probabilities = rng.dirichlet(np.ones(classes), ROWS)
    return labels, 0.5 * probabilities + 0.5 * np.eye(classes)[labels] * rng.random((ROWS, 1)) + 0.01, weights


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_weights_are_repetitions(task):
    labels, predictions, weights = case(task)
    if task != "regression":
        predictions = predictions / predictions.sum(axis=1, keepdims=True)
    again = np.repeat(np.arange(ROWS), weights.astype(int))
    weighted, repeated = metrics(task, labels, predictions, weights), metrics(task, labels[again], predictions[again])
    # Bins hold equal numbers of rows, which repetitions change.
    names = set(weighted) - {"calibration_error"}
    assert {name: weighted[name] for name in names} == pytest.approx({name: repeated[name] for name in names})
    assert weighted["loss"] != pytest.approx(loss(task, labels, predictions))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_equal_weights_change_nothing(task):
    labels, predictions, _ = case(task)
    same = metrics(task, labels, predictions, np.full(ROWS, 0.5, np.float32))
    assert same == pytest.approx(metrics(task, labels, predictions))


def test_calibration_by_hand():
    # Two bins of one counted row each: the first is right at 0.6 and counts 3, the second wrong at 0.9 and counts 1.
    predictions = np.array([[0.4, 0.6], [0.1, 0.9], [0.3, 0.7]])
    labels, weights = np.array([1, 0, 0]), np.array([3.0, 1.0, 0.0])
    value = METRICS["calibration_error"].value(labels, predictions, weights)
    assert value == pytest.approx(0.75 * 0.4 + 0.25 * 0.9)


def test_f1_is_that_of_scikit_learn():
    labels, predictions, weights = case("multiclass", 1)
    expected = reference.f1_score(labels, predictions.argmax(axis=1), average="macro", sample_weight=weights)
    assert METRICS["f1"].value(labels, predictions, weights) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["roc_auc", "pr_auc", "r2"])
def test_what_the_rows_that_count_do_not_define_is_nan(name):
    task = "regression" if name == "r2" else "binary"
    labels, predictions, _ = case(task)
    labels = labels if task == "regression" else np.arange(ROWS) % 2
    assert np.isfinite(METRICS[name].value(labels, predictions, np.ones(ROWS)))
    assert np.isnan(METRICS[name].value(labels, predictions, (labels == labels[0]).astype(float)))


def test_nothing_that_counts_has_no_mean():
    assert np.isnan(mean(np.ones(3), np.zeros(3)))


def test_rows_are_taken_with_their_weights():
    labels, predictions, weights = case("regression")
    part = np.arange(ROWS) % 3 == 0
    assert Truth("regression", labels, weights).take(part).loss(predictions[part]) == pytest.approx(
        np.average((predictions - labels)[part] ** 2, weights=weights[part])
    )
