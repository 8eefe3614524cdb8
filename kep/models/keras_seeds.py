"""Random numbers of Keras that depend on a seed alone, whatever other threads of the process draw."""

import random
from functools import cache
from typing import Any

import keras
from keras.src.random import seed_generator
from keras.src.utils import rng_utils


class _Seeds(random.Random):
    """Random numbers of Keras's own; whoever seeds them seeds those of Python, too, as Keras does."""

    def seed(self, *given: Any) -> None:
        super().seed(*given)
        if given and given[0] is not None:
            random.seed(*given)


def seed_keras(seed: int) -> None:
    """Seed Keras, TensorFlow, NumPy and Python, as `keras.utils.set_random_seed` does.

    Keras draws the seeds of layers and first weights from the numbers that Python has for the whole process. A call of
    Google's that is sent again draws from them, too, for its pause. So Keras gets numbers of its own.
    """
    _set_apart()
    keras.utils.set_random_seed(seed)


@cache
def _set_apart() -> None:
    seed_generator.python_random = rng_utils.random = _Seeds()
