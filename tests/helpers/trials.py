"""Trials in few words."""

from typing import Any

from kep.artifacts.trials import Hyperparameters, Order, Status, Trial


def recorded(number: int, family: str, values: Hyperparameters, seed: int, status: Status, **more: Any) -> Trial:
    """Return a trial; one that is complete without a loss has that of its score."""
    known = {"loss": more["score"]} if "score" in more else {}
    return Trial(number=number, family=family, values=values, seed=seed, status=status, **known | more)


def asked(number: int, family: str, values: Hyperparameters, execution: int = 0) -> Order:
    """Return an order."""
    return Order(number=number, family=family, values=values, execution=execution)
