"""Schedules that know their end: what they give depends on the share of a training that is done."""

import math
from typing import Any

import keras
from keras import ops


class Horizon(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate over a training whose length is known before.

    Whoever trains says how many steps there are (`begin`); a rate before that is not a number. The step is the
    optimiser's own count, so that a training which goes on from a checkpoint goes on with the rate, too.

    Args:
        rate: Highest learning rate.
        epochs: Epochs of a training; one that may be shorter takes its own limit.

    Attributes:
        falls: Shares of a training at whose ends the rate has fallen to its lowest; the last one is 1.
    """

    falls: tuple[float, ...] = (1.0,)

    def __init__(self, rate: float, epochs: int) -> None:
        self.rate, self.epochs = float(rate), int(epochs)
        # Variables: networks of one structure share a compiled training, whatever their rates and lengths.
        self.peak = keras.Variable(self.rate, trainable=False, dtype="float32", name="peak")
        self.steps = keras.Variable(math.nan, trainable=False, dtype="float32", name="steps")

    def begin(self, steps: int) -> None:
        """Say how many steps the training has."""
        self.steps.assign(steps)

    def begin_as(self, other: "Horizon") -> None:
        """Take another's highest rate and number of steps."""
        self.peak.assign(other.peak)
        self.steps.assign(other.steps)

    def share(self, step: Any) -> Any:
        """Return the share of the training that is done before a step: 0 for the first, below 1 for the last."""
        return ops.cast(step, "float32") / self.steps

    def ends(self, epochs: int) -> set[int]:
        """Return the 1-based epochs after which a training of so many may end.

        While the rate is high, the loss of a network changes from epoch to epoch by chance. The lowest of many such
        losses is no better than the others to whoever trains again.
        """
        return {max(1, round(share * epochs)) for share in self.falls}

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "epochs": self.epochs}


def horizon(network: keras.Model) -> Horizon | None:
    """Return the schedule with an end that a network is compiled with; None where it has another rate."""
    optimizer = getattr(network, "optimizer", None)
    # In half precision one that scales the loss is around it.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, Horizon) else None
