"""Tables behind the pictures that count every row once."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from kep.components.evaluate import scores
from kep.components.evaluate.decisions import decisions
from kep.components.evaluate.importance import Drawing
from kep.components.evaluate.scores import pictures
from kep.data.records import Records
from kep.stats.metrics import Truth, metrics


@pytest.fixture
def churn(records):
    """Manifest, test rows and predictions of random confidence."""
    data = Records(records("churn"), "evaluate")
    rows = data.load("test")
    positive = np.random.default_rng(0).uniform(0.05, 0.95, len(rows))
    return data.manifest, rows, np.stack([1 - positive, positive], axis=1)


def test_confusion_counts_true_rows_against_given_columns(churn):
    manifest, rows, predictions = churn
    confusion = np.array(pictures(manifest, Truth(manifest.label.task, rows.labels), predictions, 0).confusion)
    given = predictions.argmax(axis=1)
    for true in (0, 1):
        for answer in (0, 1):
            assert confusion[true, answer] == np.sum((rows.labels == true) & (given == answer))
    assert confusion[0, 1] != confusion[1, 0]


def test_the_roc_curve_goes_from_corner_to_corner_with_finite_thresholds(churn):
    manifest, rows, predictions = churn
    roc = np.array(pictures(manifest, Truth(manifest.label.task, rows.labels), predictions, 0).roc)
    assert roc[0].tolist() == [0, 0, 1]
    assert roc[-1, :2].tolist() == [1, 1]
    assert np.isfinite(roc).all()
    assert (np.diff(roc[:, :2], axis=0) >= 0).all()
    assert (np.diff(roc[:, 2]) <= 0).all()
    auc = metrics("binary", rows.labels, predictions)["roc_auc"]
    assert np.trapezoid(roc[:, 1], roc[:, 0]) == pytest.approx(auc, abs=1e-6)


def test_a_long_roc_curve_keeps_its_ends(churn, monkeypatch):
    manifest, rows, predictions = churn
    monkeypatch.setattr(scores, "POINTS", 10)
    roc = pictures(manifest, Truth(manifest.label.task, rows.labels), predictions, 0).roc
    assert len(roc) == 10
    assert (roc[0][:2], roc[-1][:2]) == ((0, 0), (1, 1))


def test_rows_of_one_class_have_no_roc_curve(churn):
    manifest, rows, predictions = churn
    drawn = pictures(manifest, Truth(manifest.label.task, np.zeros(len(rows), int)), predictions, 0)
    assert drawn.model_fields_set - {"roc", "precision_recall", "uncalibrated"} == {"confusion", "calibration"}
    assert drawn.roc is None
    assert drawn.precision_recall is None


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_scikit_learns_and_the_decisions_lie_on_them(churn, weighted):
    manifest, rows, predictions = churn
    weights = np.random.default_rng(0).uniform(0.5, 2, len(rows)) if weighted else None
    truth, scored = Truth("binary", rows.labels, weights, 0.4), predictions[:, 1]
    drawn = pictures(manifest, truth, predictions, 0)
    precision, recall, thresholds = precision_recall_curve(rows.labels, scored, sample_weight=weights)
    expected = np.stack([recall, precision, np.append(thresholds, 1.0)], axis=1)
    np.testing.assert_allclose(drawn.precision_recall, expected)
    told = decisions(truth, predictions, None, Drawing(100, 0)).at_point
    at = (scored[scored >= 0.4]).min()
    place = int(np.flatnonzero(thresholds == at)[0])
    assert (told["recall"].value, told["precision"].value) == pytest.approx((recall[place], precision[place]))
    false, true, cuts = roc_curve(rows.labels, scored, sample_weight=weights, drop_intermediate=False)
    place = int(np.flatnonzero(cuts == at)[0])
    assert (told["false_positive_rate"].value, told["recall"].value) == pytest.approx((false[place], true[place]))


def test_only_a_binary_label_has_decisions():
    truth = Truth("multiclass", np.array([0, 1, 2]))
    assert decisions(truth, np.eye(3), None, Drawing(100, 0)) is None


def test_residuals_are_pairs_of_prediction_and_label_and_bounded(records, monkeypatch):
    manifest = Records(records("houses"), "evaluate").manifest
    labels, predictions = np.random.default_rng(0).normal(0, 2, (2, 60))
    pairs = pictures(manifest, Truth(manifest.label.task, labels), predictions, 0).residuals
    assert pairs == [(p, y) for p, y in zip(predictions, labels, strict=True)]
    monkeypatch.setattr(scores, "POINTS", 25)
    fewer = pictures(manifest, Truth(manifest.label.task, labels), predictions, 0).residuals
    assert len({tuple(pair) for pair in fewer}) == 25
    assert set(map(tuple, fewer)) < set(map(tuple, pairs))
    assert fewer == pictures(manifest, Truth(manifest.label.task, labels), predictions, 0).residuals
