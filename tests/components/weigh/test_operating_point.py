"""The operating point is the one that trying every threshold finds."""

import numpy as np
import pytest

from kep.components.weigh.calibrate import HeldOut
from kep.components.weigh.operating_point import choose_point
from kep.config.ensemble import OperatingPointSettings
from kep.core.errors import UserError
from kep.stats.operating_point import Costs, decision_figures


def held(seed: int = 0, rows: int = 400, weighted: bool = False) -> HeldOut:
    """Return predictions of two trainings, of a third of positive rows."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.33).astype(int)
    scores = np.clip(0.3 + 0.25 * labels + rng.normal(0, 0.2, (2, rows)), 0.001, 0.999)
    counts = rng.integers(0, 4, rows).astype(float) if weighted else None
    return HeldOut(np.stack([1 - scores, scores], axis=-1), labels, counts, np.arange(rows) % 5)


def brute(own: HeldOut, costs: Costs | None = None) -> list[tuple[float, dict[str, float]]]:
    """Return the figures at every score."""
    probabilities, labels, counts = own.flat()
    scores = np.unique(np.append(probabilities[:, 1], 1.1))
    return [(at, decision_figures(labels, (probabilities[:, 1] >= at).astype(int), counts, costs)) for at in scores]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("positive", "negative"), [(1, 5), (1, 1), (20, 1), (1, 1000), (1000, 1)])
def test_costs_find_the_threshold_that_brute_force_finds(positive, negative, weighted):
    for seed in range(3):
        own = held(seed, weighted=weighted)
        cost = {"false_positive": positive, "false_negative": negative}
        point = choose_point(own, OperatingPointSettings(cost=cost))
        lowest = min(figures["cost"] for _, figures in brute(own, Costs(**cost)))
        assert point.validation.cost == pytest.approx(lowest, rel=1e-9)
        assert point.validation.cost <= point.validation_default.cost
        assert point.rule == "cost"


def test_a_planted_cost_matrix_gives_the_threshold_of_true_probabilities():
    """Elkan 2001: c_fp / (c_fp + c_fn), where probabilities are right."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 200_000)
    labels = (rng.random(len(scores)) < scores).astype(int)
    own = HeldOut(np.stack([1 - scores, scores], axis=-1)[None], labels, None, np.zeros(len(scores), int))
    point = choose_point(own, OperatingPointSettings(cost={"false_positive": 1.0, "false_negative": 4.0}))
    assert point.threshold == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("least", [0.4, 0.6, 0.8])
def test_a_least_precision_gets_the_highest_recall(least, weighted):
    own = held(weighted=weighted)
    point = choose_point(own, OperatingPointSettings(precision=least))
    best = max(figures["recall"] for _, figures in brute(own) if figures["precision"] >= least)
    assert point.validation.recall == pytest.approx(best)
    assert point.validation.precision >= least


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("least", [0.3, 0.9, 1.0])
def test_a_least_recall_gets_the_highest_precision(least, weighted):
    own = held(weighted=weighted)
    point = choose_point(own, OperatingPointSettings(recall=least))
    best = max(figures["precision"] for _, figures in brute(own) if figures["recall"] >= least - 1e-12)
    assert point.validation.precision == pytest.approx(best)
    assert point.validation.recall >= least - 1e-9


def test_a_number_is_taken_as_it_is():
    point = choose_point(held(), OperatingPointSettings(threshold=0.37))
    assert (point.threshold, point.rule, point.chosen_by, point.rows) == (0.37, "threshold", "as set", 400)


def test_a_precision_that_is_out_of_reach_says_what_is_within():
    rng = np.random.default_rng(0)
    labels, scores = (np.arange(300) % 3 == 0).astype(int), rng.random(300)
    scores[np.argmax(scores)], labels[np.argmax(scores)] = 1.0, 0
    own = HeldOut(np.stack([1 - scores, scores], axis=-1)[None], labels, None, np.zeros(300, int))
    with pytest.raises(UserError, match="the highest is") as told:
        choose_point(own, OperatingPointSettings(precision=0.99))
    assert str(told.value).startswith("ensemble.operating_point.precision: no threshold gives a precision of 0.99")
    reached = float(str(told.value).partition("the highest is ")[2].partition(",")[0])
    assert choose_point(own, OperatingPointSettings(precision=reached)).validation.precision >= reached
    with pytest.raises(UserError, match="the highest is"):
        choose_point(own, OperatingPointSettings(precision=reached + 0.002))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize(
    "settings", [{"recall": 0.9}, {"precision": 0.9}, {"cost": {"false_positive": 1.0, "false_negative": 1.0}}]
)
def test_rows_of_one_class_choose_nothing(settings, label):
    own = HeldOut(np.full((1, 20, 2), 0.5), np.full(20, label), None, np.zeros(20, int))
    with pytest.raises(UserError, match="all 20 validation rows that count are of one class"):
        choose_point(own, OperatingPointSettings(**settings))
    assert choose_point(own, OperatingPointSettings(threshold=0.3)).threshold == 0.3
