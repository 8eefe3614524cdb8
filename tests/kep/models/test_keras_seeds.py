"""A fit depends on its seed, whatever other threads draw."""

import random
import threading

import keras
import numpy as np
import pytest

from kep.models.keras_seeds import seed_keras


@pytest.fixture
def busy():
    """A thread that draws from Python's own random numbers all the time, as pauses between calls do."""
    ended = threading.Event()

    def draw() -> None:
        while not ended.is_set():
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    ended.set()
    thread.join()


def weights(seed: int) -> list[np.ndarray]:
    seed_keras(seed)
    network = keras.Sequential([keras.Input((5,)), *[keras.layers.Dense(5) for _ in range(20)]])
    return [*network.get_weights(), np.asarray(keras.random.normal((3,)))]


def test_other_threads_change_no_weights(busy):
    first = weights(7)
    for _ in range(5):
        for one, other in zip(first, weights(7), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(first[0], weights(8)[0])


def test_a_users_own_seed_counts():
    def drawn(seed: int) -> tuple[float, float, np.ndarray]:
        keras.utils.set_random_seed(seed)
        own = random.random(), float(np.random.random())
        return *own, np.asarray(keras.layers.Dense(2)(np.ones((1, 3))))

    seed_keras(0)
    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first[:2] == again[:2] != other[:2]
    np.testing.assert_array_equal(first[2], again[2])
    assert not np.array_equal(first[2], other[2])
