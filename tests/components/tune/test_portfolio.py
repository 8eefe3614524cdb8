"""A search over a table begins with configurations that were good on other tables."""

import pytest
from keras_tuner.engine.hyperparameters import Float

from kep.artifacts.trials import Hyperparameters, Order, Trial
from kep.components.tune.search import COLD, Plan
from kep.components.tune.space import completed
from kep.components.tune.warm import Warm
from kep.config.search import Objective, SearchSettings
from kep.data.records import Records
from kep.models.portfolio import PORTFOLIO, portfolio
from kep.models.registry import automatic, family
from tests.helpers.trials import recorded


@pytest.mark.parametrize("source", ["churn", "houses"])
@pytest.mark.parametrize("name", PORTFOLIO)
def test_each_configuration_is_one_of_the_familys(name, source, records):
    space = family({"name": name}, Records(records(source), "tune").manifest).space()
    whole = [completed(space, values) for values in PORTFOLIO[name]]
    for values in whole:
        for hp in space.space:
            if hp.name in values and isinstance(hp, Float):
                assert hp.min_value <= values[hp.name] <= hp.max_value
            elif hp.name in values:
                assert values[hp.name] in hp.values
    assert len({str(values) for values in whole}) == len(whole)


def test_it_is_for_tables_and_for_built_in_families():
    assert set(portfolio(automatic(images=False), images=False)) == {spec["name"] for spec in automatic(images=False)}
    assert portfolio(automatic(images=True), images=True) == {}
    assert portfolio([{"name": "mlp", "file": "mlp.py"}], images=False) == {}


@pytest.fixture
def spaces(records):
    manifest = Records(records("churn"), "tune").manifest
    return {name: family({"name": name}, manifest).space() for name in ("mlp", "boosted_trees")}


def complete(number: int, name: str, values: Hyperparameters) -> Trial:
    return recorded(number, name, values, seed=0, status="complete", score=1.0 + number)


def planned(spaces, count: int, warm: Warm = COLD, **settings) -> list[Order]:
    plan = Plan(
        spaces,
        SearchSettings(objective=Objective(name="loss", direction="min"), **settings),
        0,
        warm=warm,
        portfolio=PORTFOLIO,
    )
    orders: list[Order] = []
    known: dict[int, Trial] = {}
    while len(orders) < count:
        order = plan.next(orders, known)
        known[len(orders)] = complete(order.number, order.family, order.values)
        orders.append(order)
    return orders


def test_its_configurations_come_first_the_families_in_turn(spaces):
    length = min(len(PORTFOLIO[name]) for name in spaces)
    orders = planned(spaces, 2 * length + 2)
    for place, order in enumerate(orders[: 2 * length]):
        name = list(spaces)[place % 2]
        assert order.family == name
        assert order.values == completed(spaces[name], PORTFOLIO[name][place // 2])
    for order in orders[2 * length :]:
        assert order.values not in [one.values for one in orders[: 2 * length]]


@pytest.mark.parametrize("settings", [{"tuner": "random"}, {"tuner": "evolution"}, {"tuner": "grid"}])
def test_other_tuners_do_without_it(spaces, settings):
    first = planned(spaces, 2, **settings)
    assert first != planned(spaces, 2)


def test_an_earlier_search_on_other_rows_is_worth_more(spaces):
    known = [complete(0, "mlp", completed(spaces["mlp"], {"units": 64}))]
    assert planned(spaces, 2, Warm(known=known, first=known))[0].values == known[0].values
