"""The one-cycle schedule: a learning rate that rises and falls once, over a training whose length is known before."""

import math
from typing import Any

import keras
from keras import ops

WARM_UP = 0.25
"""Share of the steps in which the rate rises."""
FIRST, LAST = 1 / 25, 1e-5
"""Rates of the first and the last step, as shares of the highest."""


@keras.saving.register_keras_serializable("kep")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the learning rate along a cosine over the first quarter of all steps, and lets it fall over the others.

    Smith 2018, "A disciplined approach to neural network hyper-parameters", with the cosines and shares of fastai's
    `fit_one_cycle` (Howard & Gugger 2020). Its momentum is left as it is.
    Whoever trains says how many steps there are (`begin`); a rate before that is an error. The step is the optimiser's
    own count, so that a training which goes on from a checkpoint goes on with the rate, too.

    Args:
        rate: Highest learning rate.
        epochs: Epochs of a training; one that may be shorter takes its own limit.
    """

    def __init__(self, rate: float, epochs: int) -> None:
        self.rate, self.epochs = float(rate), int(epochs)
        # Variables: networks of one structure share a compiled training, whatever their rates and lengths.
        self.peak = keras.Variable(self.rate, trainable=False, dtype="float32", name="peak")
        self.steps = keras.Variable(math.nan, trainable=False, dtype="float32", name="steps")

    def begin(self, steps: int) -> None:
        """Say how many steps the training has."""
        self.steps.assign(steps)

    def begin_as(self, other: "OneCycle") -> None:
        """Take another's highest rate and number of steps."""
        self.peak.assign(other.peak)
        self.steps.assign(other.steps)

    def __call__(self, step: Any) -> Any:
        done = ops.cast(step, "float32") / ops.maximum(self.steps - 1, 1)
        rising = _cosine(FIRST, 1.0, done / WARM_UP)
        falling = _cosine(1.0, LAST, ops.minimum((done - WARM_UP) / (1 - WARM_UP), 1.0))
        return self.peak * ops.where(done < WARM_UP, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {"rate": self.rate, "epochs": self.epochs}


def _cosine(start: float, end: float, share: Any) -> Any:
    return end + (start - end) * (1 + ops.cos(math.pi * share)) / 2


def one_cycle(network: keras.Model) -> OneCycle | None:
    """Return the one-cycle schedule that a network is compiled with; None where it has another rate."""
    optimizer = getattr(network, "optimizer", None)
    # In half precision one that scales the loss is around it.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, OneCycle) else None
