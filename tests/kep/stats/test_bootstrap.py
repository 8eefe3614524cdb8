"""Intervals that mean what they say, alone and paired by row."""

import numpy as np
import pytest

from kep.stats import bootstrap
from kep.stats.bootstrap import Bootstrap, Estimate, resampled
from kep.stats.metrics import Truth, metrics, row_losses


def numbers(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.normal(0, 2, rows)
    return labels, labels + rng.normal(0, 1, rows)


def paired(labels: np.ndarray, ours: np.ndarray, theirs: np.ndarray, metric: str = "loss") -> Estimate:
    task = "regression" if ours.ndim == 1 else "binary"
    one, other = (Bootstrap.of(Truth(task, labels), predictions, 500, seed=0) for predictions in (ours, theirs))
    return one.minus(other)[metric]


def half_widths(table: dict, name: str) -> list[float]:
    return [table[name].value - table[name].low, table[name].high - table[name].value]


def expected_half_width(labels: np.ndarray, predictions: np.ndarray) -> float:
    """1.96 standard errors of the mean loss."""
    losses = row_losses("regression", labels, predictions)
    return 1.96 * losses.std() / np.sqrt(len(losses))


def test_the_interval_of_a_mean_loss_is_its_standard_error_around_it():
    labels, predictions = numbers(800)
    table = Bootstrap.of(Truth("regression", labels), predictions, 1000, seed=1).intervals()
    assert {name: score.value for name, score in table.items()} == metrics("regression", labels, predictions)
    assert half_widths(table, "loss") == pytest.approx([expected_half_width(labels, predictions)] * 2, rel=0.2)


def test_the_interval_of_many_rows_is_that_of_all_of_them(monkeypatch):
    labels, predictions = numbers(4000)
    monkeypatch.setattr(bootstrap, "MOST_ROWS", 400)
    assert [len(rows) for rows in resampled(len(labels), 3, seed=1)] == [400] * 3
    table = Bootstrap.of(Truth("regression", labels), predictions, 1000, seed=1).intervals()
    assert half_widths(table, "loss") == pytest.approx([expected_half_width(labels, predictions)] * 2, rel=0.2)


def test_intervals_follow_the_seed():
    labels, predictions = numbers(100)
    truth = Truth("regression", labels)
    first, again, other = (Bootstrap.of(truth, predictions, 100, seed).intervals() for seed in (1, 1, 2))
    assert first == again
    assert first["loss"].low != other["loss"].low
    assert first["loss"].value == other["loss"].value


def test_resamples_draw_every_row_with_replacement():
    drawn = list(resampled(50, 200, seed=0))
    assert {len(rows) for rows in drawn} == {50}
    assert set(np.concatenate(drawn)) == set(range(50))
    # A resample holds about 1 - 1/e of the rows.
    assert np.mean([len(set(rows)) / 50 for rows in drawn]) == pytest.approx(1 - np.exp(-1), abs=0.03)


def test_a_metric_that_most_resamples_do_not_define_has_no_interval():
    labels = np.zeros(40, int)
    labels[0] = 1  # about 64 % of the resamples hold this row, so that the AUC is defined in them
    predictions = np.tile([0.6, 0.4], (40, 1))
    table = Bootstrap.of(Truth("binary", labels), predictions, 100, seed=0).intervals()
    assert np.isfinite([table["roc_auc"].low, table["roc_auc"].high]).all()
    table = Bootstrap.of(Truth("binary", np.zeros(40, int)), predictions, 100, seed=0).intervals()
    assert np.isnan([table["roc_auc"].value, table["roc_auc"].low, table["roc_auc"].high]).all()
    assert table["accuracy"] == Estimate(1.0, 1.0, 1.0)


def test_a_negative_difference_means_that_ours_is_better():
    labels, theirs = numbers(500)
    ours = labels + 0.5 * (theirs - labels)
    difference = paired(labels, ours, theirs)
    losses = row_losses("regression", labels, ours) - row_losses("regression", labels, theirs)
    assert difference.value == pytest.approx(losses.mean())
    half = 1.96 * losses.std() / np.sqrt(500)
    assert difference.low == pytest.approx(losses.mean() - half, rel=0.1)
    assert difference.high == pytest.approx(losses.mean() + half, rel=0.1)
    assert difference.high < 0
    swapped = paired(labels, theirs, ours)
    assert [swapped.value, swapped.low, swapped.high] == pytest.approx(
        [-difference.value, -difference.high, -difference.low]
    )


def test_the_difference_of_equal_predictions_is_surely_zero():
    labels, ours = numbers(100)
    difference = paired(labels, ours, ours.copy())
    assert difference == Estimate(0, 0, 0)


def test_pairing_removes_what_both_share():
    labels, ours = numbers(500)
    difference = paired(labels, ours, ours + 0.001)
    assert difference.high - difference.low < 0.01 * 2 * expected_half_width(labels, ours)


@pytest.mark.parametrize(
    ("metric", "better"), [("accuracy", 1), ("roc_auc", 1), ("pr_auc", 1), ("f1", 1), ("loss", -1)]
)
def test_every_metric_is_compared_by_the_rows_that_both_predict(metric, better):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)

    def given(noise: float) -> np.ndarray:
        positive = 1 / (1 + np.exp(-(2.0 * (labels - 0.5) + rng.normal(0, noise, 600))))
        return np.stack([1 - positive, positive], axis=1)

    difference = paired(labels, given(0.5), given(3.0), metric)
    assert better * difference.value > 0
    assert better * difference.low > 0
    assert better * difference.high > 0


def test_weights_count_as_repetition():
    labels, predictions = numbers(30)
    weights = np.random.default_rng(3).integers(0, 4, 30).astype(float)
    weighted = Bootstrap.of(Truth("regression", labels, weights), predictions, 100, seed=0)
    rows = np.repeat(np.arange(30), weights.astype(int))
    assert weighted.values == pytest.approx(metrics("regression", labels[rows], predictions[rows]))
