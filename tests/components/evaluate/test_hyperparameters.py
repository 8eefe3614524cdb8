"""Importance of hyperparameters with planted truths."""

import numpy as np
import pytest

from kep.artifacts.trials import Hyperparameter, Rung, Trial
from kep.components.evaluate.hyperparameters import EPOCHS, FEWEST, hyperparameters, of_family
from tests.helpers.trials import recorded, study

SPACE = [
    Hyperparameter(class_name=kind, config={"name": name})
    for kind, name in (("Float", "rate"), ("Int", "units"), ("Choice", "kind"), ("Float", "momentum"))
]


def trials(many: int, score, seed: int = 0, **more) -> list[Trial]:
    """Trials of random values; momentum belongs to kind sgd alone."""
    rng, found = np.random.default_rng(seed), []
    for number in range(many):
        values = {"rate": 10 ** rng.uniform(-4, -1), "units": int(rng.integers(1, 9)) * 32}
        values["kind"] = str(rng.choice(["adam", "sgd"]))
        if values["kind"] == "sgd":
            values["momentum"] = float(rng.uniform(0, 1))
        found.append(recorded(number, "mlp", values, 0, "complete", score=float(score(values, rng)), best=1, **more))
    return found


def test_what_the_score_depends_on_comes_first():
    found = of_family(SPACE, trials(40, lambda v, rng: (np.log10(v["rate"]) + 2) ** 2 + 0.1 * rng.normal()), 0)
    assert found.shares[0][0] == "rate"
    assert dict(found.shares)["rate"] > 0.7
    assert sum(share for _, share in found.shares) == pytest.approx(1)
    assert found.explained > 0.5
    assert found.problem is None


def test_one_trial_that_diverged_does_not_decide():
    def score(values, rng):
        return 1e9 if values["units"] == 32 and values["rate"] < 1e-3 else np.log10(values["rate"])

    assert of_family(SPACE, trials(40, score), 0).shares[0][0] == "rate"


def test_a_conditional_hyperparameter_counts_where_it_is_used():
    def score(values, rng):
        return values.get("momentum", 0.5)

    shares = dict(of_family(SPACE, trials(60, score), 0).shares)
    assert next(iter(shares)) == "momentum"
    # The choice that it belongs to means little by itself.
    assert shares["momentum"] > 2 * shares["kind"]


def test_a_choice_counts_although_one_of_its_branches_has_more():
    shares = dict(
        of_family(SPACE, trials(60, lambda v, rng: float(v["kind"] == "sgd") + 0.01 * rng.normal()), 0).shares
    )
    assert shares["kind"] + shares["momentum"] > 0.9


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (trials(FEWEST - 1, lambda v, rng: v["rate"]), "9 trials have a score"),
        ([], "0 trials have a score"),
        (trials(20, lambda v, rng: 1.0), "the same score"),
        (
            [recorded(i, "mlp", {"rate": 0.1}, 0, "complete", score=float(i), best=1) for i in range(20)],
            "the same hyperparameters",
        ),
    ],
)
def test_what_can_not_be_told_is_said(found, problem):
    told = of_family(SPACE, found, 0)
    assert problem in told.problem
    assert told.shares == []


@pytest.mark.slow
def test_scores_of_chance_tell_nothing():
    """In nearly all of many searches, since the forest is scored on trials that it did not learn from."""
    told = [of_family(SPACE, trials(24, lambda v, rng: rng.normal(), seed), 0).problem for seed in range(20)]
    assert sum(problem is None for problem in told) <= 2


def test_each_family_has_its_own_and_infeasible_trials_do_not_count():
    own = trials(12, lambda v, rng: v["rate"])
    failed = [recorded(100 + i, "mlp", own[0].values, 0, "infeasible") for i in range(9)]
    found = hyperparameters(study(own + failed, {"mlp": SPACE, "cnn": SPACE, "fixed": []}), own + failed, 0)
    assert {name: one.trials for name, one in found.items()} == {"mlp": 12, "cnn": 0}


def test_the_length_of_a_training_is_one_of_them_where_a_schedule_gives_it():
    rungs = [Rung(epochs=epochs, initial_epoch=0, bracket=0, round=0) for epochs in (1, 3, 9)]
    found = [
        one.model_copy(update={"schedule": rungs[one.number % 3], "score": 1 / (1 + one.number % 3)})
        for one in trials(30, lambda v, rng: 0.0)
    ]
    assert of_family(SPACE, found, 0).shares[0][0] == EPOCHS
