"""What to try next: a function of the records alone, so that resuming a search is reading them again.

The search-space language and the suggestions are KerasTuner's. Its oracles keep state; here one is made for each
suggestion, shown the trials so far, and asked once.
"""

import keras_tuner
import numpy as np
from keras_tuner.src.engine.trial import Trial as OracleTrial
from keras_tuner.src.engine.trial import TrialStatus

from components.shared.seeds import derive
from components.tune.trials import Trial

CANDIDATES = 200
"""Random configurations among which the Gaussian process chooses."""


class BayesianOracle(keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Gaussian process, with its lower confidence bound minimised over random untried configurations.

    KerasTuner runs 50 gradient searches over a continuous relaxation of the space, which takes about a second per
    suggestion and lands on configurations that were tried before. Here one vectorised prediction does.
    """

    def __init__(self, **arguments) -> None:
        super().__init__(**arguments)
        self.gpr.n_restarts_optimizer = 2

    def populate_space(self, trial_id: str) -> dict:
        scores = [trial.score for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        if len(scores) < max(5, len(self._nonfixed_space())):
            return self._random_populate_space()
        pool = [values for _ in range(CANDIDATES) if (values := self._random_values()) is not None]
        if not pool:
            return {"status": TrialStatus.STOPPED, "values": None}
        x, y = self._vectorize_trials()
        self.gpr.fit(x, y)
        mean, deviation = self.gpr.predict(np.array([self._vector(values) for values in pool]), return_std=True)
        return {"status": TrialStatus.RUNNING, "values": pool[int(np.argmin(mean - self.beta * deviation))]}

    def _vector(self, values: dict) -> list[float]:
        return [hp.value_to_prob(values.get(hp.name, hp.default)) for hp in self._nonfixed_space()]


ORACLES = {
    "bayesian": BayesianOracle,
    "random": keras_tuner.oracles.RandomSearchOracle,
    "grid": keras_tuner.oracles.GridSearchOracle,
}


def suggest(
    tuner: str, space: keras_tuner.HyperParameters, trials: list[Trial], direction: str, seed: int
) -> dict | None:
    """The next configuration of one family.

    Args:
        tuner: A key of `ORACLES`.
        space: The family's search space.
        trials: The family's trials so far, in order.
        direction: "min" or "max": which scores are better.
        seed: Of the family's search.

    Returns:
        Hyperparameters by name that no trial has had, or None when the space holds no other.
    """
    oracle = ORACLES[tuner](
        objective=keras_tuner.Objective("score", direction),
        max_trials=len(trials) + 1,
        # KerasTuner takes 0 for "no seed". A new seed per suggestion: what an oracle drew before is not part of the
        # records.
        seed=1 + derive(seed, "suggest", len(trials)),
        hyperparameters=space.copy(),
    )
    for trial in trials:
        _show(oracle, space, trial)
    if not space.space:
        return None if trials else {}
    values = oracle.populate_space(f"{len(trials):04d}")["values"]
    return None if values is None else {name: _plain(value) for name, value in values.items()}


def _show(oracle: keras_tuner.Oracle, space: keras_tuner.HyperParameters, trial: Trial) -> None:
    parameters = space.copy()
    parameters.values = dict(trial.values)
    shown = OracleTrial(parameters, trial_id=f"{trial.number:04d}")
    # An infeasible trial has been tried, but has no score that could rank.
    shown.status = TrialStatus.COMPLETED if trial.complete else TrialStatus.FAILED
    shown.score = trial.score
    oracle.trials[shown.trial_id] = shown
    oracle.start_order.append(shown.trial_id)
    oracle.end_order.append(shown.trial_id)
    oracle._tried_so_far.add(oracle._compute_values_hash(trial.values))
    if isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
        # One after the other: the next combination is the one after the last trial's.
        oracle._ordered_ids.insert(shown.trial_id)
        oracle._populate_next = [shown.trial_id]


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
