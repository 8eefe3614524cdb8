"""Each rule of promote: when it holds, when it does not, its sentence, and what would change it."""

import pytest

from kep.artifacts.evaluation import BASELINE, ENSEMBLE, Comparison, Difference, Evaluation, Interval, Slice
from kep.components.promote.promote import decide
from kep.components.promote.rules import judge
from kep.config.promote import PromoteSettings, RequireSettings
from kep.stats.metrics import METRICS, directions, lower_is_better
from tests.helpers.artifacts import evaluation


def difference(value: float | None, low: float | None, high: float | None, rows: int = 50) -> Difference:
    return Difference(value=value, low=low, high=high, rows=rows)


def compared(metric: str, *figures: float | None) -> Comparison:
    return Comparison(champion="x", unseen=50, differences={metric: difference(*figures)})


def judged(evaluated: Evaluation, metric: str = "loss", **rules) -> tuple[bool, str]:
    return decide(judge(evaluated, PromoteSettings.model_validate(rules), metric))


NOTHING = {"require": {"beats": "nothing"}}
CHANGED = Comparison(champion="x", problem="the champion predicts another label", changed=True)
UNREAD = Comparison(champion="x", problem="the champion can't be read: its files are gone")


@pytest.mark.parametrize(
    ("champion", "metric", "rules", "won", "words"),
    [
        (None, "loss", {}, True, "it is the first champion"),
        # Less is better.
        (compared("loss", -0.2, -0.3, -0.1), "loss", {}, True, "its loss is surely lower than the champion's: -0.2000"),
        (compared("loss", -0.2, -0.3, -0.1), "loss", {"better_by": 0.05}, True, "surely lower by more than 0.05"),
        (compared("loss", -0.2, -0.3, -0.1), "loss", {"better_by": 0.1}, False, "not surely lower by more than 0.1"),
        (compared("loss", -0.2, -0.5, 0.01), "loss", {}, False, "not surely lower"),
        (compared("loss", 0.0, 0.0, 0.0), "loss", {}, False, "not surely lower"),
        (compared("loss", 0.2, 0.1, 0.3), "loss", {}, False, "not surely lower"),
        (
            compared("loss", 0.01, -0.1, 0.04),
            "loss",
            {"not_worse_than": 0.05},
            True,
            "not worse than the champion's by",
        ),
        (compared("loss", 0.01, -0.1, 0.06), "loss", {"not_worse_than": 0.05}, False, "perhaps worse than the champ"),
        (compared("loss", -0.1, -0.2, 0.0), "loss", {"not_worse_than": 0}, True, "not worse"),
        # More is better.
        (compared("roc_auc", 0.1, 0.05, 0.2), "roc_auc", {}, True, "its roc_auc is surely higher than the champion's"),
        (compared("roc_auc", 0.1, 0.05, 0.2), "roc_auc", {"better_by": 0.05}, False, "not surely higher by more than"),
        (compared("roc_auc", 0.1, -0.01, 0.2), "roc_auc", {}, False, "not surely higher"),
        (compared("roc_auc", 0.1, -0.01, 0.2), "roc_auc", {"not_worse_than": 0.02}, True, "not worse"),
        (compared("roc_auc", 0.0, -0.03, 0.2), "roc_auc", {"not_worse_than": 0.02}, False, "perhaps worse"),
        # No figure: nothing is believed.
        (compared("loss", None, None, None), "loss", {}, False, "not a number"),
        (compared("loss", None, None, None), "loss", {"not_worse_than": 1.0}, False, "not a number"),
        (compared("roc_auc", 0.1, None, None), "roc_auc", {}, False, "not a number"),
        (compared("loss", -0.2, -0.3, -0.1), "roc_auc", {}, False, "the champion's roc_auc was not computed"),
        (CHANGED, "loss", {}, False, "predicts another label; promote.when_incomparable: keep keeps it"),
        (CHANGED, "loss", {"when_incomparable": "replace"}, True, "lets the new ensemble take its place"),
        # Whoever can't be read may be better.
        (UNREAD, "loss", {"when_incomparable": "replace"}, False, "the champion can't be read: its files are gone"),
    ],
)
def test_the_comparison_with_the_champion(champion, metric, rules, won, words):
    decision, reason = judged(evaluation(champion), metric, **NOTHING, **rules)
    assert decision is won
    assert words in reason


@pytest.mark.parametrize(
    ("metric", "figures", "beats", "won", "words"),
    [
        ("loss", (-0.1, -0.2, -0.05), "baseline", True, "it is the first champion"),
        ("loss", (0.014, -0.02, 0.05), "baseline", False, "its loss is not surely lower than the baseline's: +0.0140"),
        ("loss", (-0.014, -0.05, 0.0), "baseline", False, "not surely lower"),
        ("loss", (0.014, -0.02, 0.05), "nothing", True, "it is the first champion"),
        ("roc_auc", (-0.01, -0.1, 0.1), "baseline", False, "its roc_auc is not surely higher than the baseline's"),
        ("roc_auc", (0.2, 0.1, 0.3), "baseline", True, "it is the first champion"),
        ("r2", (None, None, None), "baseline", False, "its r2 can't be held against the baseline's"),
    ],
)
def test_a_model_that_knows_no_more_than_the_baseline_is_not_promoted(metric, figures, beats, won, words):
    evaluated = evaluation(against={BASELINE: {metric: difference(*figures)}})
    decision, reason = judged(evaluated, metric, require={"beats": beats})
    assert decision is won
    assert words in reason


def test_the_baseline_is_perfectly_calibrated_and_is_beaten_by_the_loss():
    won, reason = judged(evaluation(against={BASELINE: {"loss": difference(0.1, -0.1, 0.2)}}), "calibration_error")
    assert not won
    assert "its loss is not surely lower than the baseline's" in reason


def scored(**scores: float | None) -> Evaluation:
    own = {name: Interval(value=value, low=value, high=value) for name, value in scores.items()}
    return evaluation(scores={ENSEMBLE: own})


@pytest.mark.parametrize(
    ("scores", "require", "won", "words"),
    [
        ({"roc_auc": 0.7}, {"roc_auc": 0.7}, True, "first champion"),
        (
            {"roc_auc": 0.69},
            {"roc_auc": 0.7},
            False,
            "its roc_auc is 0.6900 (95 % interval 0.6900 to 0.6900), and promo",
        ),
        ({"loss": 0.3}, {"loss": 0.3}, True, "first champion"),
        (
            {"loss": 0.31},
            {"loss": 0.3},
            False,
            "its loss is 0.3100 (95 % interval 0.3100 to 0.3100), and promote.requi",
        ),
        ({"rmse": 5.0, "r2": 0.2}, {"rmse": 6, "r2": 0.5}, False, "and promote.require.r2 asks for at least 0.5"),
        ({"roc_auc": None}, {"roc_auc": 0.7}, False, "its roc_auc is undefined on these rows"),
        ({}, {"mae": 0.7}, False, "its mae is undefined on these rows"),
        ({"f1": 0.1, "accuracy": 0.2}, {"f1": 0.5, "accuracy": 0.5}, False, "; 1 more rule does not hold"),
    ],
)
def test_bounds_on_the_test_metrics(scores, require, won, words):
    decision, reason = judged(scored(**scores), require={"beats": "nothing", **require})
    assert decision is won
    assert words in reason


def part(value: str, rows: int, auc: float | None) -> Slice:
    return Slice(value=value, rows=rows, metrics={"roc_auc": auc})


@pytest.mark.parametrize(
    ("parts", "won", "words"),
    [
        ([part("north", 50, 0.8), part("south", 60, 0.7)], True, "first champion"),
        ([part("north", 50, 0.8), part("south", 60, 0.5)], False, "the worst roc_auc by region, of south, is 0.5000"),
        # Of few rows nobody knows.
        ([part("north", 50, 0.8), part("south", 6, 0.5)], True, "first champion"),
        ([part("north", 50, 0.8), part("south", 60, None)], True, "first champion"),
        ([part("north", 5, 0.8)], False, "no slice of region has 30 test rows and a roc_auc"),
        ([], False, "no slice of region has 30 test rows"),
    ],
)
def test_bounds_on_slices_judge_the_worst_one(parts, won, words):
    rules = judge(
        evaluation(slices={"region": parts}),
        PromoteSettings.model_validate({"require": {"beats": "nothing", "slices": {"region": {"roc_auc": 0.6}}}}),
        "loss",
    )
    decision, reason = decide(rules)
    assert decision is won
    assert words in reason
    if len(parts) == 2 and won and (parts[1].rows < 30 or parts[1].metrics["roc_auc"] is None):
        assert "1 slice of under 30 rows not judged" in rules[0].reason


def test_every_rule_is_judged_and_the_first_that_fails_decides():
    evaluated = evaluation(
        compared("loss", 0.1, -0.1, 0.2), scores={ENSEMBLE: {"loss": Interval(value=1, low=1, high=1)}}
    )
    rules = judge(evaluated, PromoteSettings.model_validate({"require": {"loss": 0.5}}), "loss")
    assert [(rule.rule, rule.held) for rule in rules] == [
        ("promote.require.loss", False),
        ("promote.require.beats", True),
        ("promote.better_by", False),
    ]
    assert decide(rules)[1] == f"{rules[0].reason}; 1 more rule does not hold"


@pytest.mark.parametrize(
    ("figures", "rules", "remedy"),
    [
        # The half width has to shrink to a half: four times the rows.
        ((-0.1, -0.3, 0.1), {}, "+0.1000, would have to be below 0: a difference of this size would show on about 200"),
        ((0.1, -0.1, 0.3), {}, "the upper end of the interval, +0.3000, would have to be below 0"),
        ((-0.1, -0.12, -0.08), {"better_by": 0.2}, "-0.0800, would have to be below -0.2"),
        ((0.01, -0.1, 0.06), {"not_worse_than": 0.05}, "the ensemble may be worse by 0.0600: give more test rows"),
    ],
)
def test_a_rule_that_does_not_hold_says_what_would_have_to_change(figures, rules, remedy):
    *_, last = judge(evaluation(compared("loss", *figures)), PromoteSettings.model_validate(rules), "loss")
    assert not last.held
    assert remedy in (last.remedy or "")


def test_the_rows_that_a_difference_needs_are_enough():
    """With the interval that so many rows would give, the same difference is a sure win."""
    *_, last = judge(evaluation(compared("loss", -0.1, -0.3, 0.1)), PromoteSettings(), "loss")
    rows = int((last.remedy or "").partition("about ")[2].split()[0])
    half = 0.2 * (50 / (rows + 1)) ** 0.5
    assert -0.1 + half < 0


def test_every_metric_can_be_required_and_compared():
    assert set(RequireSettings.model_fields) - {"beats", "slices"} == {"loss", *METRICS}
    for name in ("loss", *METRICS):
        assert PromoteSettings.model_validate({"metric": name}).metric == name
    for task in ("binary", "regression"):
        assert {name: lower_is_better(name) for name in directions(task)} == {
            name: way == "min" for name, way in directions(task).items()
        }
