"""The one-cycle schedule: the rate of each step is that of its share of the whole training."""

import math

import keras
import numpy as np
import pytest

from kep.data.records import Records
from kep.models.family import Settings
from kep.models.registry import family
from kep.training.horizon import horizon
from kep.training.machine import TrainingMachine
from kep.training.monitor import Monitor
from kep.training.one_cycle import FIRST, LAST, WARM_UP, OneCycle
from tests.helpers.families import defaults
from tests.helpers.sharing import check_shared


def rate_of(step: int, steps: int, rate: float) -> float:
    """By the definition, in Python's own numbers."""
    done = step / max(steps - 1, 1)
    if done < WARM_UP:
        return rate * (1 + (FIRST - 1) * (1 + math.cos(math.pi * done / WARM_UP)) / 2)
    share = (done - WARM_UP) / (1 - WARM_UP)
    return rate * (LAST + (1 - LAST) * (1 + math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize("steps", [1, 2, 7, 400])
def test_the_rate_rises_and_falls_once(steps):
    schedule = OneCycle(0.01, 5)
    schedule.begin(steps)
    rates = [float(schedule(step)) for step in range(steps)]
    assert rates == pytest.approx([rate_of(step, steps, 0.01) for step in range(steps)], rel=1e-3, abs=1e-8)
    assert rates[0] == pytest.approx(0.01 * FIRST, rel=1e-3)
    if steps > 2:
        top = int(np.argmax(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)
        assert rates[-1] == pytest.approx(0.01 * LAST, rel=1e-2)
    # A step more, which a training that was stretched may take, stays at the end.
    assert float(schedule(steps)) <= rates[-1] * 1.001 or steps == 1


def test_a_rate_without_a_length_is_none():
    assert np.isnan(float(OneCycle(0.01, 5)(3)))


def test_another_rate_is_no_cycle():
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    assert horizon(network) is None
    network.compile("adam", "mse")
    assert horizon(network) is None
    again = OneCycle.from_config(OneCycle(0.02, 7).get_config())
    assert (again.rate, again.epochs) == (0.02, 7)


class Rates(Monitor):
    """Notes the rate of the last step after each call."""

    def __init__(self, optimizer) -> None:
        super().__init__()
        self.optimizer, self.seen = optimizer, []

    def call(self, epoch, step, steps, rows) -> None:
        self.seen.append(float(np.asarray(self.optimizer().learning_rate)))


@pytest.fixture
def member(records):
    data = Records(records("churn"), "tune")
    made = family({"name": "tabular"}, data.manifest, lambda: TrainingMachine(steps_per_call=1))
    return made, data.load("train"), data.load("validation")


def rates(member, run) -> list[float]:
    """Rates after each step of a training, which are those of the steps that follow."""
    kept = member._kept
    kept.clear()
    seen = Rates(lambda: next(reversed(kept.values())).network.optimizer)
    run(seen)
    return seen.seen


@pytest.mark.parametrize(("epochs", "longest"), [(8, 30), (32, 3)])
def test_a_fit_has_the_rates_of_its_own_length(member, epochs, longest):
    made, train, validation = member
    values = defaults(made) | {"epochs": epochs, "units": 64, "layers": 1}
    found = []
    seen = rates(
        made, lambda monitor: found.append(made.fit(values, train, validation, Settings(longest, 1, 128, 1), monitor))
    )
    fit, steps = found[0], -(-len(train) // 128) * min(epochs, longest)
    assert fit.best == len(fit.validation_curve) == min(epochs, longest)  # patience does not end it
    assert fit.at_cap == (epochs > longest)
    assert seen[:-1] == pytest.approx([rate_of(step, steps, 0.01) for step in range(1, steps)], rel=1e-3)


@pytest.mark.parametrize("best", [2.5, 0.01])
def test_a_refit_has_the_rates_of_its_own_length(member, best):
    made, train, _ = member
    values = defaults(made) | {"epochs": 16, "units": 64, "layers": 1}
    seen = rates(made, lambda monitor: made.refit(values, train, best, Settings(30, 1, 128, 1), monitor))
    steps = max(1, round(best * -(-len(train) // 128)))
    assert len(seen) == steps
    assert seen[:-1] == pytest.approx([rate_of(step, steps, 0.01) for step in range(1, steps)], rel=1e-3)


def test_equal_networks_of_other_rates_share_a_compiled_training(member):
    made, train, validation = member
    settings = Settings(2, 1, 128, 1)
    values = defaults(made) | {"units": 64, "layers": 1}
    other = values | {"learning_rate": 0.03, "epochs": 8}
    check_shared(made, (train, validation), settings, values, other)
