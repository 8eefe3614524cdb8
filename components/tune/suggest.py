"""Suggestions are a function of the records alone, so that resuming a search is reading them again.

The search-space language and the suggestions are KerasTuner's. Its oracles keep state; here one is made for each
suggestion, shown the trials so far, and asked once.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.src.engine.trial import Trial as OracleTrial
from keras_tuner.src.engine.trial import TrialStatus
from scipy import optimize
from threadpoolctl import threadpool_limits

from kep.artifacts.trials import Hyperparameters, Rung, Trial
from kep.components.tune.space import active, grid, untried
from kep.core.seeds import derive

CANDIDATES = 200
"""Random configurations among which the Gaussian process chooses."""
POPULATION = 12
"""Latest complete trials among which evolution looks for a parent; the first ones are random."""
SAMPLE = 4
"""Size of the random sample of the population whose best is the parent."""
MUTATIONS = 200
"""Mutations after which evolution, having met tried configurations alone, takes a random one."""
FACTOR = 3
"""Hyperband keeps one of so many trials of a rung, and trains it so many times longer."""


Answer = dict[str, Any]
"""KerasTuner's answer to a request for a trial: its `status` and its `values`."""


class _Exhaustive:
    """Searches a small space to its end, where KerasTuner gives up after some random draws that were tried before.

    It draws the values that KerasTuner draws, a tenth of the time: KerasTuner copies the space for each of them.
    """

    hyperparameters: keras_tuner.HyperParameters
    trials: dict[str, OracleTrial]
    _max_collisions: int
    _seed_state: int
    _duplicate: Callable[[Hyperparameters], bool]

    def _random_values(self) -> Hyperparameters | None:
        for _ in range(1 + self._max_collisions):
            values: Hyperparameters = {}
            for hp in self.hyperparameters.space:
                if active(hp, values):
                    values[hp.name] = hp.random_sample(self._seed_state)
                    self._seed_state += 1
            if not self._duplicate(values):
                return values
        left = self._untried()
        return left[self._seed_state % len(left)] if left else None

    def _untried(self) -> list[Hyperparameters] | None:
        return untried(self.hyperparameters, [trial.hyperparameters.values for trial in self.trials.values()])


class RandomOracle(_Exhaustive, keras_tuner.oracles.RandomSearchOracle):
    """KerasTuner's random search."""


class BayesianOracle(_Exhaustive, keras_tuner.oracles.BayesianOptimizationOracle):
    """KerasTuner's Gaussian process, with its lower confidence bound minimised over random untried configurations.

    KerasTuner runs 50 gradient searches over a continuous relaxation of the space, which takes about a second per
    suggestion and lands on configurations that were tried before. Here one vectorised prediction does.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.gpr.set_params(n_restarts_optimizer=0, optimizer=_length_scale)

    def populate_space(self, trial_id: str) -> Answer:
        scores = [trial.score for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        if len(scores) < max(5, len(self._nonfixed_space())):
            drawn: Answer = self._random_populate_space()
            return drawn
        pool = self._untried()
        if pool is None:
            pool = [values for _ in range(CANDIDATES) if (values := self._random_values()) is not None]
        if not pool:
            return {"status": TrialStatus.STOPPED, "values": None}
        x, y = self._vectorize_trials()
        # Matrices of a few hundred rows: more threads only wait for each other.
        with threadpool_limits(1):
            self.gpr.fit(x, y)
            mean, deviation = self.gpr.predict(np.array([self._vector(values) for values in pool]), return_std=True)
        return {"status": TrialStatus.RUNNING, "values": pool[int(np.argmin(mean - self.beta * deviation))]}

    def _vector(self, values: Hyperparameters) -> list[float]:
        return [
            hp.value_to_prob(values[hp.name] if hp.name in values and active(hp, values) else hp.default)
            for hp in self._nonfixed_space()
        ]


def _length_scale(loss: Callable[..., Any], initial: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
    """The kernel's one parameter by a grid over the unit cube's lengths, then Brent's method between its neighbours.

    A twentieth of the evaluations of KerasTuner's 20 restarts, and it can't end in a local minimum far away.

    Args:
        loss: Negative log marginal likelihood of the logarithm of the length scale, array of shape [1].
        initial: Not used: the grid covers it.
        bounds: Shape [1, 2].

    Returns:
        The parameter, shape [1], and its loss.
    """

    def at(theta: float) -> float:
        return float(loss(np.array([theta]), eval_gradient=False))

    grid = np.clip(np.log(np.geomspace(0.02, 20, 9)), *bounds[0])
    best = int(np.argmin([at(theta) for theta in grid]))
    around = (grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    found = optimize.minimize_scalar(at, bounds=around, method="bounded", options={"maxiter": 8})
    return np.array([found.x]), found.fun


class EvolutionOracle(RandomOracle):
    """Regularised evolution (Real et al. 2019): the best of a sample of the latest trials has one value changed.

    Age, not score, decides who leaves the population, so a configuration that was lucky once is forgotten.
    """

    def populate_space(self, trial_id: str) -> Answer:
        trials = [self.trials[id] for id in self.end_order]
        population = [trial for trial in trials if trial.status == TrialStatus.COMPLETED][-POPULATION:]
        if len(population) < POPULATION:
            return self._drawn(trial_id)
        rng = np.random.default_rng(self.seed)
        better = min if self.objective.direction == "min" else max
        for _ in range(MUTATIONS):
            sample = rng.choice(POPULATION, SAMPLE, replace=False)
            parent = better((population[place] for place in sample), key=lambda trial: trial.score)
            values = self._mutate(parent.hyperparameters.values, rng)
            if not self._duplicate(values):
                return {"status": TrialStatus.RUNNING, "values": values}
        return self._drawn(trial_id)

    def _drawn(self, trial_id: str) -> Answer:
        """Return a random configuration."""
        answer: Answer = super().populate_space(trial_id)
        return answer

    def _mutate(self, parent: Hyperparameters, rng: np.random.Generator) -> Hyperparameters:
        """The parent's values, one of them drawn again, and drawn ones for what that makes active."""
        free = [hp.name for hp in self.hyperparameters.space if active(hp, parent) and not isinstance(hp, Fixed)]
        changed = rng.choice(free) if free else None
        child: Hyperparameters = {}
        for hp in self.hyperparameters.space:
            if hp.name in child or not active(hp, child):
                continue
            kept = hp.name != changed and hp.name in parent and active(hp, parent)
            child[hp.name] = parent[hp.name] if kept else hp.random_sample(int(rng.integers(2**31)))
        return child


class HyperbandOracle(_Exhaustive, keras_tuner.oracles.HyperbandOracle):
    """KerasTuner's Hyperband (Li et al. 2018), whose brackets are restored from the trials' schedules.

    A promoted configuration is trained from the start for its longer time: no weights are kept between rungs.
    """

    _started = 0

    def _start_new_bracket(self) -> None:
        super()._start_new_bracket()
        self._brackets[-1]["number"] = self._started
        self._started += 1

    def restore(self, rung: Rung, trial_id: str) -> None:
        """Put a trial into the place that it had when it was suggested."""
        while self._started <= rung.bracket:
            self._increment_bracket_num()
            self._start_new_bracket()
        bracket = next(bracket for bracket in self._brackets if bracket["number"] == rung.bracket)
        bracket["rounds"][rung.round].append({"past_id": rung.trial_id, "id": trial_id})

    def populate_space(self, trial_id: str) -> Answer:
        answer: Answer = super().populate_space(trial_id)
        if answer.get("values"):
            # KerasTuner gives the bracket that was started last, which need not be the trial's own.
            own = (b for b in self._brackets for r in b["rounds"] for info in r if info["id"] == trial_id)
            answer["values"]["tuner/bracket"] = next(own)["number"]
        return answer


class GridOracle(keras_tuner.oracles.GridSearchOracle):
    """KerasTuner's grid, whose next point is the first one that was not tried, also where the space has grown.

    KerasTuner takes the point after the last one, and leaves points out where two branches share a name.
    """

    trials: dict[str, OracleTrial]

    def populate_space(self, trial_id: str) -> Answer:
        tried = {frozenset(trial.hyperparameters.values.items()) for trial in self.trials.values()}
        for values in grid(self.hyperparameters):
            if frozenset(values.items()) not in tried:
                return {"status": TrialStatus.RUNNING, "values": values}
        return {"status": TrialStatus.STOPPED, "values": None}


ORACLES = {
    "bayesian": BayesianOracle,
    "random": RandomOracle,
    "grid": GridOracle,
    "hyperband": HyperbandOracle,
    "evolution": EvolutionOracle,
}


@dataclass(frozen=True)
class Suggestion:
    """A configuration to try.

    Attributes:
        values: Hyperparameters by name.
        schedule: Its rung; None for tuners without rungs.
    """

    values: Hyperparameters
    schedule: Rung | None = None


class No(Enum):
    """Reason why there is no suggestion."""

    MORE = "the space holds no other configuration"
    YET = "trials that are running decide what comes next"


def suggest(
    tuner: str, space: keras_tuner.HyperParameters, trials: list[Trial], direction: str, seed: int, max_epochs: int
) -> Suggestion | No:
    """The next configuration of one family.

    Args:
        tuner: A key of `ORACLES`.
        space: The family's search space.
        trials: The family's trials so far, in order.
        direction: "min" or "max": which scores are better.
        seed: Seed of the family's search.
        max_epochs: Longest training of a trial, which the rungs of Hyperband lead up to.

    Returns:
        A configuration that no trial has had, or that one had in a lower rung; or why there is none.
    """
    rungs = {"max_epochs": max_epochs, "factor": FACTOR, "hyperband_iterations": 0}
    oracle = ORACLES[tuner](
        objective=keras_tuner.Objective("score", direction),
        # KerasTuner takes 0 for "no seed". A new seed per suggestion: what an oracle drew before is not part of the
        # records.
        seed=1 + derive(seed, "suggest", len(trials)),
        hyperparameters=space.copy(),
        **(rungs if tuner == "hyperband" else {"max_trials": len(trials) + 1}),
    )
    for trial in trials:
        _show(oracle, space, trial)
    if not space.space:
        return No.MORE if trials else Suggestion({})
    answer = oracle.populate_space(f"{len(trials):04d}")
    if answer["status"] == TrialStatus.IDLE:
        return No.YET
    if answer.get("values"):
        rung = {name.removeprefix("tuner/"): v for name, v in answer["values"].items() if name.startswith("tuner/")}
        given = {name: _plain(value) for name, value in answer["values"].items()}
        return Suggestion(
            {hp.name: given[hp.name] for hp in space.space if active(hp, given)}, Rung(**rung) if rung else None
        )
    return No.MORE


def _show(oracle: keras_tuner.Oracle, space: keras_tuner.HyperParameters, trial: Trial) -> None:
    # A shallow copy: KerasTuner's own copies every hyperparameter, which would take most of a suggestion's time.
    parameters = copy.copy(space)
    # A build takes the default of what it alone declares.
    parameters.values = {hp.name: hp.default for hp in space.space if active(hp, trial.used)} | trial.used
    shown = OracleTrial(parameters, trial_id=f"{len(oracle.start_order):04d}")
    # An infeasible trial has been tried, but has no score that could rank.
    shown.status = TrialStatus.COMPLETED if trial.complete else TrialStatus.FAILED
    shown.score = trial.score
    oracle.trials[shown.trial_id] = shown
    oracle.start_order.append(shown.trial_id)
    oracle.end_order.append(shown.trial_id)
    oracle._tried_so_far.add(oracle._compute_values_hash(parameters.values))
    if isinstance(oracle, HyperbandOracle):
        if trial.status == "running":
            oracle.ongoing_trials[shown.trial_id] = shown
        if trial.schedule is not None:
            oracle.restore(trial.schedule, shown.trial_id)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
