"""The one-cycle schedule: a learning rate that rises and falls once, over a training whose length is known before."""

import math
from typing import Any

import keras
from keras import ops

from kep.training.horizon import Horizon

WARM_UP = 0.25
"""Share of the steps in which the rate rises."""
FIRST, LAST = 1 / 25, 1e-5
"""Rates of the first and the last step, as shares of the highest."""


@keras.saving.register_keras_serializable("kep")
class OneCycle(Horizon):
    """Raises the learning rate along a cosine over the first quarter of all steps, and lets it fall over the others.

    Smith 2018, "A disciplined approach to neural network hyper-parameters", with the cosines and shares of fastai's
    `fit_one_cycle` (Howard & Gugger 2020). Its momentum is left as it is.
    """

    def __call__(self, step: Any) -> Any:
        done = ops.cast(step, "float32") / ops.maximum(self.steps - 1, 1)
        rising = _cosine(FIRST, 1.0, done / WARM_UP)
        falling = _cosine(1.0, LAST, ops.minimum((done - WARM_UP) / (1 - WARM_UP), 1.0))
        return self.peak * ops.where(done < WARM_UP, rising, falling)


def _cosine(start: float, end: float, share: Any) -> Any:
    return end + (start - end) * (1 + ops.cos(math.pi * share)) / 2
