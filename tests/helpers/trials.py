"""Trials in few words."""

from collections.abc import Collection
from typing import Any

from kep.artifacts.study import Candidate, Direction, Goal, Study
from kep.artifacts.trials import Hyperparameter, Hyperparameters, Order, Status, Trial


def recorded(number: int, family: str, values: Hyperparameters, seed: int, status: Status, **more: Any) -> Trial:
    """Return a trial; one that is complete without a loss has that of its score."""
    known = {"loss": more["score"]} if "score" in more else {}
    return Trial(number=number, family=family, values=values, seed=seed, status=status, **known | more)


def asked(number: int, family: str, values: Hyperparameters, execution: int = 0) -> Order:
    """Return an order."""
    return Order(number=number, family=family, values=values, execution=execution)


def study(
    trials: list[Trial],
    spaces: dict[str, list[Hyperparameter]],
    direction: Direction = "min",
    chosen: Collection[int] = (),
) -> Study:
    """Return the study of a search that did these trials and chose some of them by number."""
    complete = [one for one in trials if one.complete]
    return Study(
        identity="abc",
        objective=Goal(name="accuracy" if direction == "max" else "loss", direction=direction),
        tuner="random",
        spaces=spaces,
        trials=len(trials),
        executions=len(trials),
        distinct=len(trials),
        infeasible=len(trials) - len(complete),
        lowest_loss=min((one.scores.loss for one in complete), default=None),
        corrected_loss=0.5 if complete else None,
        candidates=[
            Candidate(id=t.id, family=t.family, values=t.values, loss=t.scores.loss, best=t.best, unit=t.unit)
            for t in trials
            if t.number in chosen
        ],
    )
