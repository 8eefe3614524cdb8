"""Decisions of a binary label at every threshold."""

import numpy as np
import pytest
from sklearn import metrics as reference

from kep.data.schema import decided
from kep.stats.metrics import Truth
from kep.stats.operating_point import Costs, Thresholds, decision_figures

ROWS = 300
WEIGHTS = np.random.default_rng(7).integers(1, 5, ROWS).astype(np.float32)  # scikit-learn drops rows of none


def rows(seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and scores that know something of them."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(ROWS) < 0.3).astype(int)
    scores = np.clip(0.3 + 0.25 * labels + rng.normal(0, 0.2, ROWS), 0, 1)
    return labels, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("ties", [False, True])
def test_rates_are_scikit_learns(ties, weights):
    labels, scores = rows(ties=ties)
    found = Thresholds.of(labels, scores, weights)
    false, true, thresholds = reference.roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    np.testing.assert_allclose(found.recall, true, atol=1e-12)
    np.testing.assert_allclose(found.false / found.negatives, false, atol=1e-12)
    precision, recall, _ = reference.precision_recall_curve(labels, scores, sample_weight=weights)
    reached = len(precision) - 1  # of theirs, the last is that of no row
    np.testing.assert_allclose(found.recall[::-1][:reached], recall[:-1], atol=1e-12)
    told = found.precision[::-1][:reached]
    np.testing.assert_allclose(told[np.isfinite(told)], precision[:-1][np.isfinite(told)], atol=1e-12)
    # Midway between neighbours: each decides as scikit-learn's own threshold does.
    for own, theirs in zip(found.thresholds[1:], thresholds[1:], strict=True):
        np.testing.assert_array_equal(scores >= own, scores >= theirs)


@pytest.mark.parametrize(
    "scores",
    [[0.0, 1.0], [0.5, np.nextafter(0.5, 1)], [1.0, 1.0], [0.0, 0.0], [0.0, np.nextafter(0.0, 1)], [0.3, 0.3]],
)
def test_thresholds_tell_neighbours_apart(scores):
    labels, scores = np.array([0, 1]), np.array(scores)
    found = Thresholds.of(labels, scores)
    for place, threshold in enumerate(found.thresholds):
        told = scores >= threshold
        assert (found.true[place], found.false[place]) == ((told & (labels == 1)).sum(), (told & (labels == 0)).sum())
    assert found.true[0] + found.false[0] == 0


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_figures_of_decisions_are_scikit_learns(weights):
    labels, scores = rows()
    probabilities = np.stack([1 - scores, scores], axis=1)
    given = decided(probabilities, 0.42)
    found = decision_figures(labels, given, weights, Costs(false_positive=1, false_negative=5))
    assert found["precision"] == pytest.approx(reference.precision_score(labels, given, sample_weight=weights))
    assert found["recall"] == pytest.approx(reference.recall_score(labels, given, sample_weight=weights))
    (_, false), (missed, _) = reference.confusion_matrix(labels, given, sample_weight=weights)
    total = ROWS if weights is None else weights.sum()
    assert found["cost"] == pytest.approx((false + 5 * missed) / total)
    truth = Truth("binary", labels, weights, 0.42)
    expected = {
        "accuracy": reference.accuracy_score(labels, given, sample_weight=weights),
        "f1": reference.f1_score(labels, given, sample_weight=weights),
        "roc_auc": reference.roc_auc_score(labels, scores, sample_weight=weights),
    }
    assert {name: truth.metric(name, probabilities) for name in expected} == pytest.approx(expected)
    # What looks at the probabilities does not move.
    plain, at = Truth("binary", labels, weights).metrics(probabilities), truth.metrics(probabilities)
    assert {name for name in at if at[name] != plain[name]} == {"accuracy", "f1"}


def test_a_figure_without_rows_is_undefined():
    found = decision_figures(np.array([0, 1]), np.array([0, 0]))
    assert np.isnan(found["precision"])
    assert found["recall"] == 0
    assert np.isnan(decision_figures(np.zeros(2, int), np.zeros(2, int))["recall"])


def test_without_an_operating_point_the_most_probable_class_is_predicted():
    probabilities = np.array([[0.5, 0.5], [0.4, 0.6], [0.9, 0.1]])
    assert decided(probabilities, None).tolist() == [0, 1, 0]
    assert decided(probabilities, 0.5).tolist() == [1, 1, 0]
    assert decided(probabilities, 0.1).tolist() == [1, 1, 1]
