"""The size of a search space, and every configuration where they can be counted."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras_tuner
from keras_tuner.engine.hyperparameters import HyperParameter

from kep.artifacts.trials import Declared, Hyperparameters
from kep.core.errors import UserError
from kep.core.seeds import derive
from kep.models.declared import grown
from kep.models.family import reason

ENUMERABLE = 2000
"""Configurations up to which a space is listed whole; in a larger one untried configurations are drawn at random."""


def configurations(space: keras_tuner.HyperParameters) -> Iterator[Hyperparameters]:
    """Every configuration of a space in the order of its hyperparameters; conditions are followed.

    A float without a step, or an integer on a log scale without one, ends the iteration before it starts: see `size`.
    """
    if not any(_continuous(hp) for hp in space.space):
        yield from _combinations(space, lambda hp: hp.values)


def grid(space: keras_tuner.HyperParameters) -> Iterator[Hyperparameters]:
    """Every point of a grid in KerasTuner's order: defaults first, and ten values of what is continuous."""

    def listed(hp: HyperParameter) -> list[Any]:
        values = sorted(hp.values) if _continuous(hp) else hp.values
        return [hp.default, *(value for value in values if value != hp.default)]

    return _combinations(space, listed)


def _combinations(
    space: keras_tuner.HyperParameters, listed: Callable[[HyperParameter], Iterable[Any]]
) -> Iterator[Hyperparameters]:
    def extend(values: Hyperparameters, rest: list[HyperParameter]) -> Iterator[Hyperparameters]:
        if not rest:
            yield values
            return
        hp, *others = rest
        if hp.name in values or not active(hp, values):
            yield from extend(values, others)
            return
        for value in listed(hp):
            yield from extend(values | {hp.name: value}, others)

    return extend({}, list(space.space))


def completed(space: keras_tuner.HyperParameters, values: Hyperparameters) -> Hyperparameters:
    """Return the configuration of a space with some values; what is not among them has its default."""
    found: Hyperparameters = {}
    for hp in space.space:
        if hp.name not in found and active(hp, found):
            found[hp.name] = values.get(hp.name, hp.default)
    return found


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


def discover(
    declared: Callable[[Hyperparameters], list[Declared]], space: keras_tuner.HyperParameters, builds: int, seed: int
) -> tuple[keras_tuner.HyperParameters, list[str]]:
    """Build at random points, and return the space with what that declared, and why builds failed.

    Args:
        declared: Builds a model, and returns what it declared beyond the values.
        space: Space that the default build declares.
        builds: Number of builds.
        seed: Decides the points.
    """
    failed = []
    for number in range(builds):
        values: Hyperparameters = {}
        for place, hp in enumerate(space.space):
            if hp.name not in values and active(hp, values):
                values[hp.name] = hp.random_sample(derive(seed, "build", number, place))
        try:
            space = grown(space, declared(values))
        except Exception as error:  # whatever a user's code raises
            failed.append(str(error) if isinstance(error, UserError) else reason(error))
    return space, failed


def active(hp: HyperParameter, values: Hyperparameters) -> bool:
    """Return whether a hyperparameter has a meaning beside the values of those before it."""
    return all(condition.is_active(values) for condition in hp.conditions)


def _continuous(hp: HyperParameter) -> bool:
    return getattr(hp, "step", 1) is None
