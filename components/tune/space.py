"""The size of a search space, and every configuration where they can be counted."""

from collections.abc import Iterator

import keras_tuner
from keras_tuner.engine.hyperparameters import HyperParameter

from kep.artifacts.trials import Hyperparameters

ENUMERABLE = 2000
"""Configurations up to which a space is listed whole; in a larger one untried configurations are drawn at random."""


def configurations(space: keras_tuner.HyperParameters) -> Iterator[Hyperparameters]:
    """Every configuration of a space in the order of its hyperparameters; conditions are followed.

    A float without a step, or an integer on a log scale without one, ends the iteration before it starts: see `size`.
    """

    def extend(values: Hyperparameters, rest: list[HyperParameter]) -> Iterator[Hyperparameters]:
        if not rest:
            yield values
            return
        hp, *others = rest
        if hp.name in values or not active(hp, values):
            yield from extend(values, others)
            return
        for value in hp.values:
            yield from extend(values | {hp.name: value}, others)

    if not any(_continuous(hp) for hp in space.space):
        yield from extend({}, list(space.space))


def size(space: keras_tuner.HyperParameters, most: int = 1_000_000) -> int | None:
    """Number of configurations; None for a continuous space, or one of more than `most`."""
    if any(_continuous(hp) for hp in space.space):
        return None
    count = 0
    for count, _ in enumerate(configurations(space), start=1):
        if count > most:
            return None
    return count


def untried(space: keras_tuner.HyperParameters, tried: list[Hyperparameters]) -> list[Hyperparameters] | None:
    """The configurations that are not among `tried`; None for a space that is too large to be listed."""
    if size(space, ENUMERABLE) is None:
        return None
    return [values for values in configurations(space) if values not in tried]


def active(hp: HyperParameter, values: Hyperparameters) -> bool:
    """Return whether a hyperparameter has a meaning beside the values of those before it."""
    return all(condition.is_active(values) for condition in hp.conditions)


def _continuous(hp: HyperParameter) -> bool:
    return getattr(hp, "step", 1) is None
