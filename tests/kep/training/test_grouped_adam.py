"""Adam in groups: equal, step by step, to Adam on variables that stand in the place of the trained ones."""

import keras
import numpy as np
import pytest
from keras import ops

from kep.training.cos_log import CosLog, flat_cosine
from kep.training.grouped_adam import Group, GroupedAdam

STEPS = 12


def schedule(rate: float = 0.1) -> CosLog:
    made = CosLog(rate, 1)
    made.begin(STEPS)
    return made


def gradients(count: int) -> np.ndarray:
    # As small as Adam's epsilon in part: what is equal but for it would show.
    return np.random.default_rng(count).normal(size=(STEPS, 3)) * np.array([1, 1e-3, 1e-8])


def trained(optimizer, variable, factor: float = 1.0) -> np.ndarray:
    """Values of factor times a variable after each step; the gradients are those of the product."""
    optimizer.build([variable])
    seen = []
    for gradient in gradients(STEPS):
        optimizer.apply([ops.convert_to_tensor(factor * gradient, "float32")])
        seen.append(factor * np.asarray(variable))
    return np.array(seen)


START = np.array([1.0, -2.0, 0.5], np.float32)


@pytest.mark.parametrize("unit", [1.0, 0.25, 8.0])
def test_a_unit_is_a_factor_of_a_variable_in_its_place(unit):
    own = trained(GroupedAdam(schedule(), [Group(unit=unit)]), keras.Variable(START))
    other = trained(keras.optimizers.Adam(schedule(), beta_2=0.95), keras.Variable(START / unit), unit)
    np.testing.assert_allclose(own, other, rtol=1e-4)
    assert not np.allclose(own[-1], trained(GroupedAdam(schedule(), [Group()]), keras.Variable(START))[-1]) or unit == 1


@pytest.mark.parametrize("rate", [0.1, 6.0])
def test_a_rate_is_a_factor_of_the_learning_rate(rate):
    own = trained(GroupedAdam(schedule(), [Group(rate=rate)]), keras.Variable(START))
    other = trained(keras.optimizers.Adam(schedule(0.1 * rate), beta_2=0.95), keras.Variable(START))
    np.testing.assert_allclose(own, other, rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 1.0, 36.0])
def test_decay_comes_before_the_step_and_fades(decay):
    # Without a gradient nothing but decay is left.
    optimizer, variable = GroupedAdam(schedule(), [Group(decay=decay)], 0.5), keras.Variable(START)
    optimizer.build([variable])
    expected = START.astype(float)
    for step in range(STEPS):
        rate, fading = float(schedule()(step)), float(flat_cosine(step / STEPS))
        optimizer.apply([ops.zeros(3)])
        expected *= 1 - rate * decay * 0.5 * fading
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-5)
    assert (expected != START).any() == bool(decay)


def test_each_variable_has_its_group_also_after_serialisation():
    config = GroupedAdam(CosLog(0.1, 2), [Group(6, 36), Group(0.1, 0, 0.5)], 0.02).get_config()
    again = GroupedAdam.from_config(config)
    assert again.groups == [Group(6, 36), Group(0.1, 0, 0.5)]
    assert (again.decay, again.beta_2) == (0.02, 0.95)
