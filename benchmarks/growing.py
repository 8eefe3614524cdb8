"""A space that grows: our search against KerasTuner's own, where a loop declares what only some builds have.

    python -m benchmarks.growing [--seeds N] [--trials N]

Nothing is trained: a trial's score is a function of its hyperparameters, so that both arms have the same task and a
search of 25 seeds takes minutes. A table says how many hyperparameters each arm varied, and the score that it reached.
"""

import argparse
import contextlib
import io
import math
import os
import tempfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_tuner
import numpy as np

from kep.artifacts.trials import Order, Trial
from kep.components.tune.search import Plan
from kep.config.search import Objective, SearchSettings
from kep.models.declared import beyond

BEST = (64, 32, 16)
"""Units of the layers of the best model."""


def declare(hp: keras_tuner.HyperParameters) -> float:
    """Declare as KerasTuner's first example does, and return the score: 0 for the best model."""
    units = [hp.Int(f"units_{number}", 8, 128, step=8) for number in range(hp.Int("layers", 1, 4))]
    score = abs(math.log10(hp.Float("rate", 1e-4, 1e-1, sampling="log")) + 2.5)
    if hp.Boolean("dropout"):
        score += abs(hp.Float("share", 0.1, 0.5) - 0.3)
    else:
        score += 0.2
    score += sum(abs(math.log2(given / wanted)) for given, wanted in zip(units, BEST, strict=False))
    return score + 1.5 * abs(len(units) - len(BEST))


def ours(tuner: str, trials: int, seed: int) -> list[tuple[dict[str, Any], float]]:
    """Search with our plan, one trial after the other."""
    base = keras_tuner.HyperParameters()
    declare(base)
    settings = SearchSettings(tuner=tuner, objective=Objective(name="loss", direction="min"))
    plan, orders, done = Plan({"own": base}, settings, seed), list[Order](), list[Trial]()
    while len(done) < trials:
        order = plan.next(orders, dict(enumerate(done)))
        assert isinstance(order, Order)
        hp = keras_tuner.HyperParameters()
        hp.values = dict(order.values)
        score = declare(hp)
        figures = {"score": score, "loss": score, "declared": beyond("own", hp, order.values)}
        done.append(Trial(number=order.number, family="own", values=order.values, seed=0, status="complete", **figures))
        orders.append(order)
    return [(trial.used, trial.scores.score) for trial in done]


def theirs(tuner: str, trials: int, seed: int) -> list[tuple[dict[str, Any], float]]:
    """Search with KerasTuner's own tuner."""
    kind = {"random": keras_tuner.RandomSearch, "bayesian": keras_tuner.BayesianOptimization}[tuner]

    class Own(kind):  # type: ignore[misc, valid-type]
        def run_trial(self, trial: Any, *arguments: Any, **named: Any) -> float:
            return declare(trial.hyperparameters)

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        goal = keras_tuner.Objective("default_objective", "min")
        own = Own(objective=goal, max_trials=trials, seed=seed + 1, directory=folder)
        own.search(verbose=0)
    done = [own.oracle.trials[id] for id in own.oracle.end_order]
    return [(trial.hyperparameters.values, trial.score) for trial in done]


def varied(trials: list[tuple[dict[str, Any], float]]) -> int:
    """Return how many hyperparameters took more than one value in models that had them."""
    taken: dict[str, set[Any]] = {}
    for values, _ in trials:
        for name, value in values.items():
            if not name.startswith("units_") or int(name[-1]) < values["layers"]:
                taken.setdefault(name, set()).add(value)
    return sum(len(values) > 1 for values in taken.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=25, help="Searches of each arm (default 25).")
    parser.add_argument("--trials", type=int, default=40, help="Trials of a search (default 40).")
    asked = parser.parse_args()
    arms: dict[str, Callable[[str, int, int], list[tuple[dict[str, Any], float]]]] = {"KerasTuner": theirs, "kep": ours}
    print(f"{asked.seeds} seeds, {asked.trials} trials; 8 hyperparameters can vary; the best score is 0")
    print(f"{'tuner':10} {'arm':12} {'varied':>8} {'best score':>22}")
    for tuner in ("random", "bayesian"):
        for name, search in arms.items():
            runs = [search(tuner, asked.trials, seed) for seed in range(asked.seeds)]
            best = [min(score for _, score in run) for run in runs]
            error = np.std(best, ddof=1) / math.sqrt(len(best)) if len(best) > 1 else 0.0
            many = np.mean([varied(run) for run in runs])
            print(f"{tuner:10} {name:12} {many:8.1f} {np.mean(best):12.3f} ± {error:.3f}")


if __name__ == "__main__":
    main()
