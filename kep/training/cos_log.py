"""The coslog4 schedule, and what RealMLP lets fall over the second half of a training."""

import math
from typing import Any

import keras
from keras import ops

from kep.training.horizon import Horizon

CYCLES = 4
"""Cycles of the learning rate, each twice as long as the one before."""


@keras.saving.register_keras_serializable("kep")
class CosLog(Horizon):
    """Lets the learning rate rise from 0 and fall to 0 four times, each time for twice as long.

    The schedule coslog4 of RealMLP (Holzmüller et al. 2024, "Better by default"). A network may be best after an early
    cycle. The paper takes the epoch of the lowest validation loss; here it is the last one of a cycle, see `ends`.
    """

    falls = tuple((2**cycle - 1) / (2**CYCLES - 1) for cycle in range(1, CYCLES + 1))

    def __call__(self, step: Any) -> Any:
        cycle = ops.log2(1 + (2**CYCLES - 1) * ops.minimum(self.share(step), 1.0))
        return self.peak * (1 - ops.cos(2 * math.pi * cycle)) / 2


def flat_cosine(share: Any) -> Any:
    """Return 1 over the first half of a training, and what falls to 0 along a cosine over the second (flat_cos)."""
    falling = ops.minimum(ops.maximum(2 * share - 1, 0.0), 1.0)
    return (1 + ops.cos(math.pi * falling)) / 2
