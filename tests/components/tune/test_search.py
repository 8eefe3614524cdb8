"""Suggestions are a function of the records; candidates are what adds to an ensemble."""

import time

import keras_tuner
import numpy as np
import pytest

from kep.artifacts.trials import Trial, TrialStore, merged
from kep.components.tune.candidates import choose, corrected_loss
from kep.components.tune.execute import Order
from kep.components.tune.pool import Pool
from kep.components.tune.search import Plan, Search
from kep.components.tune.suggest import ORACLES, POPULATION, No, Suggestion, suggest
from kep.components.tune.time_plan import TimePlan
from kep.config.fit import BestEpochTask
from kep.config.search import Objective, SearchSettings, TimeBudget
from kep.stats.metrics import Truth, row_losses
from tests.helpers.trials import recorded

EPOCHS = 9


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    if hp.Choice("kind", ["a", "b"]) == "a":
        with hp.conditional_scope("kind", ["a"]):
            hp.Int("units", 16, 64, step=16)
    hp.Choice("rate", [0.1, 0.2])
    return hp


def score(values: dict) -> float:
    return values.get("units", 100) / 100 + values["rate"]


def search(tuner: str, count: int, seed: int = 0) -> list[Trial]:
    trials = []
    for number in range(count):
        found = suggest(tuner, space(), trials, "min", seed, EPOCHS)
        if isinstance(found, No):
            break
        own = score(found.values)
        trials.append(recorded(number, "f", found.values, 0, "complete", score=own, loss=own, schedule=found.schedule))
    return trials


@pytest.mark.parametrize("tuner", ORACLES)
def test_a_suggestion_depends_on_the_records_alone(tuner):
    trials = search(tuner, 8)
    for number in range(len(trials)):
        found = suggest(tuner, space(), trials[:number], "min", 0, EPOCHS)
        assert (found.values, found.schedule) == (trials[number].values, trials[number].schedule)


@pytest.mark.parametrize("tuner", ORACLES)
def test_no_configuration_is_tried_twice_in_one_rung(tuner):
    trials = search(tuner, 40)
    assert len({(trial.configuration, trial.schedule and trial.schedule.epochs) for trial in trials}) == len(trials)


@pytest.mark.parametrize("tuner", [name for name in ORACLES if name != "hyperband"])
def test_the_whole_of_a_small_space_is_tried(tuner):
    assert len(search(tuner, 100)) == 4 * 2 + 2


@pytest.mark.parametrize("tuner", ["bayesian", "random"])
def test_another_seed_searches_elsewhere(tuner):
    assert [t.values for t in search(tuner, 5, 1)] != [t.values for t in search(tuner, 5, 2)]


def test_bayesian_learns_from_the_scores():
    def values(direction: str) -> list[float]:
        hp = keras_tuner.HyperParameters()
        hp.Float("x", 0, 1)
        trials = []
        for number in range(15):
            x = suggest("bayesian", hp, trials, direction, 3, EPOCHS).values["x"]
            trials.append(recorded(number, "f", {"x": x}, 0, "complete", score=(x - 0.7) ** 2))
        return [trial.values["x"] for trial in trials[-5:]]

    assert np.median(np.abs(np.array(values("min")) - 0.7)) < 0.1
    assert np.median(values("max")) < 0.1


def test_infeasible_trials_are_not_repeated_and_do_not_score():
    hp = space()
    trials = [recorded(i, "f", t.values, 0, "infeasible", reason="NaN") for i, t in enumerate(search("bayesian", 6))]
    following = suggest("bayesian", hp, trials, "min", 0, EPOCHS)
    assert following.values not in [trial.values for trial in trials]


def test_a_space_without_hyperparameters_is_tried_once():
    empty = keras_tuner.HyperParameters()
    assert suggest("random", empty, [], "min", 0, EPOCHS) == Suggestion({})
    tried = [recorded(0, "f", {}, 0, "complete", score=1.0)]
    assert suggest("random", empty, tried, "min", 0, EPOCHS) is No.MORE


def test_records_survive_a_torn_one(tmp_path):
    study = TrialStore(tmp_path)
    for number in range(3):
        study.save(recorded(number, "f", {"x": number}, 0, "complete", score=1.0), np.ones((4, 2), np.float32))
    (tmp_path / "trials" / "0001-0.json").write_text('{"number": 1,')
    assert set(study.load()) == {(0, 0), (2, 0)}
    study.save(recorded(1, "f", {"x": 1}, 0, "complete", score=1.0), np.ones((4, 2), np.float32))
    assert set(study.load()) == {(0, 0), (1, 0), (2, 0)}
    (tmp_path / "predictions" / "0002-0.npy").unlink()
    study.save(recorded(3, "f", {"x": 3}, 0, "infeasible", reason="NaN"), None)
    assert set(study.whole()) == {(0, 0), (1, 0), (3, 0)}


def test_candidates_complement_each_other(tmp_path):
    labels, study, trials = np.array([0] * 50 + [1] * 50), TrialStore(tmp_path), []
    sharp, blunt = [0.95, 0.05], [0.6, 0.4]
    first_half = np.array([sharp] * 50 + [blunt[::-1]] * 50, np.float32)
    second_half = np.array([blunt] * 50 + [sharp[::-1]] * 50, np.float32)
    for number, predictions in enumerate([first_half, first_half - [0.001, -0.001], second_half]):
        trials.append(recorded(number, "f", {"x": number}, 0, "complete", score=0.1, loss=0.1))
        study.save(trials[-1], predictions)
    trials.append(recorded(3, "f", {"x": 3}, 0, "infeasible", reason="NaN"))
    chosen = choose(study, trials, Truth("binary", labels), top_n=2)
    assert {trial.number for trial in chosen} in ({0, 2}, {1, 2})
    assert len(choose(study, trials, Truth("binary", labels), top_n=9)) == 3


def invented(tmp_path, losses: np.ndarray) -> tuple[TrialStore, list[Trial], np.ndarray]:
    """A study of trials with the given losses of rows, shape [n, trials]."""
    study, trials, labels = TrialStore(tmp_path), [], np.zeros(len(losses), int)
    for number, own in enumerate(losses.T):
        right = np.exp(-own)
        trials.append(recorded(number, "f", {"x": number}, 0, "complete", score=own.mean(), loss=own.mean()))
        study.save(trials[-1], np.stack([right, 1 - right], axis=1))
        np.testing.assert_allclose(row_losses("binary", labels, study.predictions(trials[-1])), own)
    return study, trials, labels


def test_the_best_of_equals_is_corrected_to_what_they_are_worth(tmp_path):
    """Forty trials of equal worth: the lowest loss flatters by some standard errors, the corrected one does not."""
    losses = np.random.default_rng(0).exponential(0.5, (200, 40))
    study, trials, labels = invented(tmp_path, losses)
    lowest, error = losses.mean(axis=0).min(), 0.5 / np.sqrt(200)
    corrected = corrected_loss(study, trials, Truth("binary", labels), 0)
    assert lowest < 0.5 - 1.5 * error
    assert abs(corrected - 0.5) < 1.5 * error
    assert corrected == corrected_loss(study, trials, Truth("binary", labels), 0)


def test_a_clear_winner_needs_no_correction(tmp_path):
    losses = np.random.default_rng(0).exponential(0.5, (200, 5))
    losses[:, 1:] += 1
    study, trials, labels = invented(tmp_path, losses)
    assert corrected_loss(study, trials, Truth("binary", labels), 0) == pytest.approx(losses[:, 0].mean(), rel=0.02)


def test_hyperband_trains_the_best_of_a_rung_longer():
    trials = search("hyperband", 22)
    epochs = [trial.schedule.epochs for trial in trials]
    # The first bracket of 9 epochs: nine configurations for one, three of them for three, one for nine epochs.
    assert epochs[:13] == [1] * 9 + [3] * 3 + [9]
    for rung in (slice(9, 12), slice(12, 13)):
        before = trials[:9] if rung.start == 9 else trials[9:12]
        best = sorted(before, key=lambda trial: trial.score)[: len(trials[rung])]
        assert [trial.values for trial in trials[rung]] == [trial.values for trial in best]


def test_hyperband_waits_for_the_trials_that_decide():
    trials = search("hyperband", 9)
    running = [*trials[:-1], recorded(8, "f", trials[8].values, 0, "running", schedule=trials[8].schedule)]
    ended = suggest("hyperband", space(), trials, "min", 0, EPOCHS)
    assert ended.schedule.epochs == 3
    assert suggest("hyperband", space(), running, "min", 0, EPOCHS) in (No.YET, ended)


def wide() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    for name in "abcdef":
        hp.Float(name, 0, 1)
    return hp


def reached(tuner: str, seed: int, count: int = 90) -> float:
    """The best distance from a corner of a six-dimensional cube."""
    trials = []
    for number in range(count):
        values = suggest(tuner, wide(), trials, "max", seed, EPOCHS).values
        trials.append(recorded(number, "f", values, 0, "complete", score=sum(values.values()), loss=0.0))
    return max(trial.score for trial in trials)


def test_evolution_gets_further_than_chance():
    """Six of six: a random search of 90 trials reaches about 4.6 of 6."""
    assert all(reached("evolution", seed) > reached("random", seed) + 0.3 for seed in range(3))


def test_evolution_changes_one_value_of_an_earlier_trial():
    trials = [
        recorded(n, "f", dict.fromkeys("abcdef", n / POPULATION), 0, "complete", score=float(n), loss=0.0)
        for n in range(POPULATION)
    ]
    child = suggest("evolution", wide(), trials, "min", 1, EPOCHS).values
    differing = [sum(child[name] != trial.values[name] for name in "abcdef") for trial in trials]
    assert min(differing) == 1


def test_a_value_that_opens_a_branch_brings_the_branch_along():
    trials = [
        recorded(n, "f", {"kind": "b", "rate": rate}, 0, "complete", score=1.0, loss=1.0)
        for n, rate in enumerate([0.1, 0.2] * (POPULATION // 2))
    ]
    child = suggest("evolution", space(), trials, "min", 0, EPOCHS).values
    assert set(child) == {"kind", "units", "rate"}
    assert child["kind"] == "a"


def planned(count: int, executions: int = 1, tuner: str = "random", fail: tuple = ()) -> list[Order]:
    settings = SearchSettings(
        tuner=tuner, executions_per_trial=executions, max_epochs=EPOCHS, objective=Objective(direction="min")
    )
    small = keras_tuner.HyperParameters()
    small.Choice("x", [1, 2, 3])
    plan, orders, known = Plan({"f": small}, settings, 0), [], {}
    for place in range(count):
        order = plan.next(orders, known)
        if isinstance(order, No):
            break
        orders.append(order)
        status = "infeasible" if order.values["x"] in fail else "complete"
        own = float(order.values["x"])
        known[place] = order.trial(status).model_copy(update={"score": own, "loss": own, "metrics": {"loss": own}})
    return orders


def test_the_executions_of_a_trial_follow_each_other():
    assert [(order.number, order.execution) for order in planned(6, executions=2)] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]


def test_what_a_small_space_leaves_of_the_budget_goes_to_further_executions_the_best_first():
    orders = planned(8)
    assert sorted(order.values["x"] for order in orders[:3]) == [1, 2, 3]
    assert [(order.values["x"], order.execution) for order in orders[3:]] == [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2)]


def test_an_infeasible_configuration_is_not_trained_again():
    assert {order.values["x"] for order in planned(9, fail=(1,))[3:]} == {2, 3}
    assert [order.execution for order in planned(3, executions=2, fail=(1, 2, 3))] == [0, 0, 0]
    assert len(planned(9, fail=(1, 2, 3))) == 3


def test_executions_of_a_trial_count_as_their_mean_and_their_median_is_shown(tmp_path):
    study = TrialStore(tmp_path)
    for execution, loss in enumerate([0.3, 0.1, 0.5]):
        one = recorded(
            4,
            "f",
            {},
            0,
            "complete",
            score=loss,
            loss=loss,
            metrics={"loss": loss},
            best=execution,
            execution=execution,
        )
        study.save(one, np.full((2, 2), loss, np.float32))
    (trial,) = merged(study.load().values())
    assert (trial.executions, trial.execution, trial.best) == (3, 0, 0)
    assert trial.score == trial.loss == trial.metrics["loss"] == pytest.approx(0.3)
    assert study.predictions(trial)[0, 0] == np.float32(0.3)


def test_a_trial_with_an_infeasible_execution_is_infeasible(tmp_path):
    good = recorded(0, "f", {}, 0, "complete", score=0.1, loss=0.1)
    bad = recorded(0, "f", {}, 0, "infeasible", reason="NaN", execution=1)
    (trial,) = merged([good, bad])
    assert (trial.status, trial.reason, trial.score) == ("infeasible", "NaN", None)


def test_candidates_of_one_family_are_at_most_so_many_and_of_different_configurations(tmp_path):
    study, labels = TrialStore(tmp_path), np.zeros(4, int)
    trials = []
    for number, (family, x, loss) in enumerate([("a", 1, 0.5), ("a", 2, 0.2), ("a", 2, 0.1), ("b", 1, 0.9)]):
        trials.append(recorded(number, family, {"x": x}, 0, "complete", score=loss, loss=loss))
        study.save(trials[-1], np.tile(np.float32([np.exp(-loss), 1 - np.exp(-loss)]), (4, 1)))
    assert [trial.number for trial in choose(study, trials, Truth("binary", labels), top_n=4)] == [2, 0, 3]
    assert [trial.number for trial in choose(study, trials, Truth("binary", labels), 4, max_per_family=1)] == [2, 3]


class Told:
    """What a search says, in place of a step."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def progress(self, text: str, *_: object) -> None:
        self.lines.append(text)


def train(order: Order) -> tuple[Trial, np.ndarray]:
    if order.family == "slow":
        time.sleep(3600)
    done = order.trial("complete", 0).model_copy(update={"score": 1.0, "loss": 1.0, "best": 1, "seconds": 1.0})
    return done.model_copy(update={"validation_curve": [1.0]}), np.ones(4, np.float32)


def test_what_has_not_ended_in_time_is_left_out_and_keeps_no_record(tmp_path):
    settings = SearchSettings(max_trials=9, objective=Objective(name="loss", direction="min"))
    budget = TimeBudget(minutes=0.01, best_epoch=BestEpochTask(), retrain=True, members=2, why_seconds=0.0)
    told, study, plan = Told(), TrialStore(tmp_path), Plan({"slow": space(), "quick": space()}, settings, 0)
    with Pool(train, 2) as workers:
        found = Search(told, study, plan, settings, 0, workers, TimePlan(settings, budget, 10.0, 0.0)).run()
    assert [trial.id for trial in found] == ["quick-001"]
    assert set(study.load()) == {(1, 0)}
    assert told.lines[-1] == "left out what had not ended in time: slow-000"
    assert "minutes: 0.01 will not be met" in told.lines[-2]
