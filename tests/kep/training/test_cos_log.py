"""The coslog4 schedule and its companion: by their definitions, over a training whose length is known."""

import math

import numpy as np
import pytest

from kep.training.cos_log import CosLog, flat_cosine
from kep.training.horizon import horizon
from kep.training.one_cycle import OneCycle


@pytest.mark.parametrize("steps", [1, 15, 400])
def test_the_rate_has_four_cycles_each_twice_as_long(steps):
    schedule = CosLog(0.2, 5)
    schedule.begin(steps)
    rates = [float(schedule(step)) for step in range(steps)]
    shares = np.arange(steps) / steps
    assert rates == pytest.approx(0.1 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * shares))), rel=1e-3, abs=1e-6)
    assert rates[0] == 0
    # It falls to 0 after 1, 3, 7 and 15 of 15 parts.
    ends = [float(schedule(steps * parts / 15)) for parts in (1, 3, 7, 15)]
    assert ends == pytest.approx([0, 0, 0, 0], abs=1e-6)
    # A step more, which a training that was stretched may take, stays at the end.
    assert float(schedule(steps + 1)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, {1}), (2, {1, 2}), (5, {1, 2, 5}), (16, {1, 3, 7, 16}), (30, {2, 6, 14, 30}), (64, {4, 13, 30, 64})],
)
def test_a_training_may_end_where_its_rate_has_fallen(epochs, expected):
    schedule = CosLog(0.2, epochs)
    assert schedule.ends(epochs) == expected
    schedule.begin(epochs)
    if epochs >= 16:
        assert max(float(schedule(epoch)) for epoch in expected) < 0.1 * 0.2
    assert OneCycle(0.2, epochs).ends(epochs) == {epochs}


def test_a_rate_without_a_length_is_none():
    assert np.isnan(float(CosLog(0.01, 5)(3)))
    again = CosLog.from_config(CosLog(0.02, 7).get_config())
    assert (again.rate, again.epochs) == (0.02, 7)


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 1), (0.75, 0.5), (1, 0), (1.5, 0)])
def test_what_fades_is_flat_and_falls_over_the_second_half(share, value):
    assert float(flat_cosine(share)) == pytest.approx(value, abs=1e-6)
    assert math.isclose(float(flat_cosine(0.625)), (1 + math.cos(math.pi / 4)) / 2, rel_tol=1e-5)


def test_a_network_is_asked_for_its_schedule():
    import keras

    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile(keras.optimizers.Adam(CosLog(0.02, 7)), "mse")
    found = horizon(network)
    assert isinstance(found, CosLog)
    assert found.epochs == 7
