"""A space that grows: what only some builds declare is searched, by every tuner, as a function of the records."""

from collections.abc import Callable

import keras_tuner
import pytest

from kep.artifacts.trials import Order, Trial
from kep.components.tune.search import Plan
from kep.components.tune.suggest import ORACLES, No
from kep.config.search import Objective, SearchSettings
from kep.core.errors import UserError
from kep.models.declared import beyond
from tests.helpers.trials import recorded

Declare = Callable[[keras_tuner.HyperParameters], None]


def loop(hp: keras_tuner.HyperParameters) -> None:
    """KerasTuner's first example."""
    for number in range(hp.Int("layers", 1, 3)):
        hp.Choice(f"units_{number}", [8, 16, 32])


def behind_if(hp: keras_tuner.HyperParameters) -> None:
    if hp.Boolean("norm"):
        hp.Float("momentum", 0.5, 1.0, step=0.25)
    hp.Choice("units", [8, 16])


def nested(hp: keras_tuner.HyperParameters) -> None:
    """Scopes on one parent, one of them in a branch that the default does not take."""
    kind = hp.Choice("kind", ["none", "dense", "wide"])
    if kind != "none":
        with hp.conditional_scope("kind", ["dense", "wide"]):
            hp.Int("width", 1, 4)
        if kind == "wide":
            with hp.conditional_scope("kind", ["wide"]):
                hp.Choice("gate", ["a", "b"])


def scoped_ranges(hp: keras_tuner.HyperParameters) -> None:
    """One name with two ranges, each in a scope of its own."""
    kind = hp.Choice("kind", ["small", "large"])
    if kind == "small":
        with hp.conditional_scope("kind", ["small"]):
            hp.Int("units", 1, 3)
    else:
        with hp.conditional_scope("kind", ["large"]):
            hp.Int("units", 100, 300, step=100)


SPACES: dict[str, tuple[Declare, dict[str, set]]] = {
    "loop": (loop, {f"units_{number}": {8, 16, 32} for number in range(3)}),
    "behind an if": (behind_if, {"momentum": {0.5, 0.75, 1.0}, "units": {8, 16}}),
    "nested scopes": (nested, {"width": {1, 2, 3, 4}, "gate": {"a", "b"}}),
    "two ranges": (scoped_ranges, {"units": {1, 2, 3, 100, 200, 300}}),
}


def plan(declare: Declare, tuner: str, seed: int = 0) -> Plan:
    base = keras_tuner.HyperParameters()
    declare(base)
    more = {"vizier": "projects/shop-ml/locations/europe-west4", "rounds": 2} if tuner == "vizier" else {}
    search = SearchSettings(tuner=tuner, max_epochs=9, **more, objective=Objective(name="loss", direction="min"))
    return Plan({"own": base}, search, seed)


def built(declare: Declare, order: Order) -> Trial:
    """The record of a trial, its score from its values."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(order.values)
    declare(hp)
    numbers = [value for value in hp.values.values() if not isinstance(value, str)]
    more = {"score": 1 / (1 + sum(numbers)), "schedule": order.schedule, "declared": beyond("own", hp, order.values)}
    return recorded(order.number, "own", order.values, 0, "complete", **more)


def search(declare: Declare, tuner: str, count: int, lag: int = 1) -> list[Trial]:
    """A search whose suggestions know the trials but the last `lag - 1`."""
    own, orders, trials = plan(declare, tuner), [], []
    while len(orders) < count:
        known = {place: trials[place] for place in range(max(0, len(orders) - lag + 1))}
        order = own.next(orders, known)
        if order is No.YET:
            order = own.next(orders, dict(enumerate(trials)))
        if isinstance(order, No) or order.execution:
            break
        orders.append(order)
        trials.append(built(declare, order))
    return trials


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("tuner", ORACLES)
def test_what_only_some_builds_declare_is_searched(tuner, name):
    declare, wanted = SPACES[name]
    trials = search(declare, tuner, 120)
    for hyperparameter, values in wanted.items():
        tried = {trial.used[hyperparameter] for trial in trials if hyperparameter in trial.used}
        assert tried >= values or (tuner == "hyperband" and len(tried) > 1), (hyperparameter, tried)


@pytest.mark.parametrize("lag", [1, 4])
@pytest.mark.parametrize("tuner", ORACLES)
def test_a_suggestion_is_a_function_of_the_records(tuner, lag):
    """So that a search that was killed goes on as it would have."""
    trials = search(loop, tuner, 20, lag)
    assert [trial.values for trial in search(loop, tuner, 20, lag)] == [trial.values for trial in trials]
    again = [Trial.from_json(trial.to_json()) for trial in trials]
    orders = [Order(number=t.number, family=t.family, values=t.values, schedule=t.schedule) for t in trials]
    if lag == 1:
        for number in range(len(trials)):
            found = plan(loop, tuner).next(orders[:number], dict(enumerate(again[:number])))
            if isinstance(found, Order):
                assert found.values == trials[number].values


def test_a_trial_has_the_defaults_of_what_it_declared():
    trial = built(loop, Order(number=0, family="own", values={"layers": 3, "units_0": 16}))
    assert trial.used == {"layers": 3, "units_0": 16, "units_1": 8, "units_2": 8}


def test_one_name_with_two_ranges_outside_of_scopes_is_refused():
    def declare(hp: keras_tuner.HyperParameters) -> None:
        hp.Int("units", 1, 3) if hp.Choice("kind", ["small", "large"]) == "small" else hp.Int("units", 100, 300)

    with pytest.raises(UserError, match='own declares "units" with two sets of values, and 2 is in one of them alone'):
        built(declare, Order(number=0, family="own", values={"kind": "large", "units": 2}))


def test_a_study_in_vizier_can_not_grow():
    own = plan(behind_if, "vizier")
    first = Order(number=0, family="own", values={"norm": True, "units": 8})
    with pytest.raises(UserError, match='"momentum" is declared by some builds alone'):
        own.next([first], {0: built(behind_if, first)})
