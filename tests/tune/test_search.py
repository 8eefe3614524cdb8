"""Suggestions are a function of the records; candidates are what adds to an ensemble."""

import keras_tuner
import numpy as np
import pytest

from components.shared.metrics import row_losses
from components.tune.candidates import choose, corrected_loss
from components.tune.suggest import ORACLES, suggest
from components.tune.trials import Study, Trial


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
        values = suggest(tuner, space(), trials, "min", seed)
        if values is None:
            break
        trials.append(Trial(number, "f", values, 0, "complete", score=score(values), loss=score(values)))
    return trials


@pytest.mark.parametrize("tuner", ORACLES)
def test_a_suggestion_depends_on_the_records_alone(tuner):
    trials = search(tuner, 8)
    for number in range(len(trials)):
        assert suggest(tuner, space(), trials[:number], "min", 0) == trials[number].values


@pytest.mark.parametrize("tuner", ORACLES)
def test_no_configuration_is_tried_twice(tuner):
    trials = search(tuner, 40)
    configurations = {tuple(sorted(trial.values.items())) for trial in trials}
    assert len(configurations) == len(trials)


def test_grid_tries_the_whole_space():
    assert len(search("grid", 100)) == 4 * 2 + 2


@pytest.mark.parametrize("tuner", ["bayesian", "random"])
def test_another_seed_searches_elsewhere(tuner):
    assert [t.values for t in search(tuner, 5, 1)] != [t.values for t in search(tuner, 5, 2)]


def test_bayesian_learns_from_the_scores():
    def values(direction: str) -> list[float]:
        hp = keras_tuner.HyperParameters()
        hp.Float("x", 0, 1)
        trials = []
        for number in range(15):
            x = suggest("bayesian", hp, trials, direction, 3)["x"]
            trials.append(Trial(number, "f", {"x": x}, 0, "complete", score=(x - 0.7) ** 2))
        return [trial.values["x"] for trial in trials[-5:]]

    assert np.median(np.abs(np.array(values("min")) - 0.7)) < 0.1
    assert np.median(values("max")) < 0.1


def test_infeasible_trials_are_not_repeated_and_do_not_score():
    hp = space()
    trials = [Trial(i, "f", t.values, 0, "infeasible", reason="NaN") for i, t in enumerate(search("bayesian", 6))]
    following = suggest("bayesian", hp, trials, "min", 0)
    assert following not in [trial.values for trial in trials]


def test_a_space_without_hyperparameters_is_tried_once():
    empty = keras_tuner.HyperParameters()
    assert suggest("random", empty, [], "min", 0) == {}
    assert suggest("random", empty, [Trial(0, "f", {}, 0, "complete", score=1.0)], "min", 0) is None


def test_records_survive_a_torn_one(tmp_path):
    study = Study(tmp_path)
    for number in range(3):
        study.save(Trial(number, "f", {"x": number}, 0, "complete", score=1.0), np.ones((4, 2), np.float32))
    (tmp_path / "trials" / "0001.json").write_text('{"number": 1,')
    assert set(study.load()) == {0, 2}
    study.save(Trial(1, "f", {"x": 1}, 0, "complete", score=1.0), np.ones((4, 2), np.float32))
    assert set(study.load()) == {0, 1, 2}


def test_candidates_complement_each_other(tmp_path):
    labels, study, trials = np.array([0] * 50 + [1] * 50), Study(tmp_path), []
    sharp, blunt = [0.95, 0.05], [0.6, 0.4]
    first_half = np.array([sharp] * 50 + [blunt[::-1]] * 50, np.float32)
    second_half = np.array([blunt] * 50 + [sharp[::-1]] * 50, np.float32)
    for number, predictions in enumerate([first_half, first_half - [0.001, -0.001], second_half]):
        trials.append(Trial(number, "f", {"x": number}, 0, "complete", score=0.1, loss=0.1))
        study.save(trials[-1], predictions)
    trials.append(Trial(3, "f", {"x": 3}, 0, "infeasible", reason="NaN"))
    chosen = choose(study, trials, labels, "binary", top_n=2)
    assert {trial.number for trial in chosen} in ({0, 2}, {1, 2})
    assert len(choose(study, trials, labels, "binary", top_n=9)) == 3


def invented(tmp_path, losses: np.ndarray) -> tuple[Study, list[Trial], np.ndarray]:
    """A study of trials with the given losses of rows, shape [n, trials]."""
    study, trials, labels = Study(tmp_path), [], np.zeros(len(losses), int)
    for number, own in enumerate(losses.T):
        right = np.exp(-own)
        trials.append(Trial(number, "f", {"x": number}, 0, "complete", score=own.mean(), loss=own.mean()))
        study.save(trials[-1], np.stack([right, 1 - right], axis=1))
        np.testing.assert_allclose(row_losses("binary", labels, study.predictions(trials[-1])), own)
    return study, trials, labels


def test_the_best_of_equals_is_corrected_to_what_they_are_worth(tmp_path):
    """Forty trials of equal worth: the lowest loss flatters by some standard errors, the corrected one does not."""
    losses = np.random.default_rng(0).exponential(0.5, (200, 40))
    study, trials, labels = invented(tmp_path, losses)
    lowest, error = losses.mean(axis=0).min(), 0.5 / np.sqrt(200)
    corrected = corrected_loss(study, trials, labels, "binary", 0)
    assert lowest < 0.5 - 1.5 * error
    assert abs(corrected - 0.5) < 1.5 * error
    assert corrected == corrected_loss(study, trials, labels, "binary", 0)


def test_a_clear_winner_needs_no_correction(tmp_path):
    losses = np.random.default_rng(0).exponential(0.5, (200, 5))
    losses[:, 1:] += 1
    study, trials, labels = invented(tmp_path, losses)
    assert corrected_loss(study, trials, labels, "binary", 0) == pytest.approx(losses[:, 0].mean(), rel=0.02)
