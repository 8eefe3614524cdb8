"""A search that begins with the records of an earlier one."""

import json

import keras_tuner
import pytest

from kep.artifacts import earlier
from kep.artifacts.study import SearchedData, Study
from kep.artifacts.trials import Order, Trial, TrialStore
from kep.components.ingest.ingest import ingest
from kep.components.tune.search import Plan
from kep.components.tune.warm import Warm, warmed
from kep.config.search import EarlierSearch, Objective, SearchSettings
from kep.core.errors import UserError
from tests.conftest import SOURCES
from tests.helpers.paths import DATA
from tests.helpers.searches import tune

SETTINGS = SearchSettings(objective=Objective(name="loss", direction="min"), max_trials=6, top_n=2)


def trial(number: int, units: int, score: float) -> Trial:
    order = Order(number=number, family="own", values={"units": units})
    return order.trial("complete").model_copy(update={"score": score, "loss": score})


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 100)
    return hp


def test_the_best_are_trained_first_and_no_score_of_other_rows_is_one_of_today():
    known = [trial(place, 10 * place + 10, 0.5 - 0.1 * place) for place in range(4)]
    warm = Warm(known=known, first=[known[3], known[2]])
    plan, orders, done = Plan({"own": space()}, SETTINGS, 0, warm=warm), list[Order](), dict[int, Trial]()
    for place in range(4):
        order = plan.next(orders, done)
        assert isinstance(order, Order)
        assert order.number == place
        orders.append(order)
        done[place] = trial(place, order.values["units"], 1.0)
    assert [order.values["units"] for order in orders[:2]] == [40, 30]
    assert not {order.values["units"] for order in orders[2:]} & {10, 20, 30, 40}


def test_earlier_scores_are_brought_to_the_level_of_todays_rows():
    known = [trial(0, 10, 0.5), trial(1, 20, 0.3), trial(2, 30, 0.4)]
    warm = Warm(known=known, first=known[:2])
    told = warm.informing("own", [trial(0, 10, 0.7), trial(1, 20, 0.5)])
    assert [(one.values["units"], round(one.scores.score, 6)) for one in told] == [(30, 0.6)]
    assert [one.scores.score for one in warm.informing("own", [])] == [0.5, 0.3, 0.4]
    assert warm.informing("other", []) == []


@pytest.fixture
def first(records, tmp_path):
    """An earlier search on churn, and how a run file's record names it."""
    tune(records("churn"), tmp_path / "first", max_trials=4)
    given = earlier.described(tmp_path / "first", "first", str(tmp_path / "first"), earlier.RECORDS)
    return Study.load(tmp_path / "first"), given


def test_on_the_same_rows_records_count_as_they_are(records, tmp_path, first):
    study, given = first
    tune(records("churn"), tmp_path / "second", max_trials=2, warm_start=given.model_dump())
    now = Study.load(tmp_path / "second")
    assert (now.trials, now.warm) == (6, given)
    before = TrialStore(tmp_path / "first").finished(study.executions)
    assert TrialStore(tmp_path / "second").finished(now.executions)[:4] == before
    assert now.lowest_loss <= study.lowest_loss
    assert "beginning with 4 trainings on the same rows" in (tmp_path / "second.log").read_text()
    assert "The search began with the trials of first" in (tmp_path / "second" / "summary.html").read_text()


def test_on_other_rows_the_best_are_trained_anew(tmp_path, first):
    study, given = first
    rows = (DATA / "churn.csv").read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join(rows[:-30]) + "\n")
    ingest(SOURCES["churn"].model_copy(update={"source": str(tmp_path / "more.csv")}), 0, tmp_path / "rows")
    tune(tmp_path / "rows", tmp_path / "second", max_trials=4, top_n=2, warm_start=given.model_dump())
    now = Study.load(tmp_path / "second")
    trials = TrialStore(tmp_path / "second").finished(now.executions)
    before = {one.number: one.values for one in TrialStore(tmp_path / "first").finished(study.executions)}
    assert now.trials == 4
    assert all(one.values in [before[number] for number in study.chosen] for one in trials[:2])
    assert not [one for one in trials[2:] if one.values in before.values()]
    assert (
        "beginning with 4 trials on other rows: the best 2 are trained first" in (tmp_path / "second.log").read_text()
    )


def test_rows_that_got_their_roles_in_another_way_are_refused(tmp_path, first):
    _, given = first
    ingest(SOURCES["churn"], 1, tmp_path / "rows")
    with pytest.raises(SystemExit):
        tune(tmp_path / "rows", tmp_path / "second", max_trials=4, top_n=2, warm_start=given.model_dump())
    assert (
        "rows got their roles in another way in first (seed 0 there and 1 here)"
        in (tmp_path / "second.log").read_text()
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": {"name": "accuracy", "direction": "max"}}, "searched for accuracy, and this search is for loss"),
        ({"code": "other"}, "the code of boosted_trees changed since first"),
        ({"space": True}, "the space of boosted_trees changed since first"),
        ({"records": "other"}, None),
        ({"task": "regression"}, "searched for a regression label, and this one is binary"),
    ],
)
def test_what_does_not_fit_is_one_sentence(tmp_path, first, change, words):
    study, _ = first
    content = json.loads(study.to_json())
    about = content["data"]
    if "objective" in change:
        content["objective"] = change["objective"]
    if "code" in change:
        about["code"]["boosted_trees"] = change["code"]
    if "space" in change:
        content["spaces"]["boosted_trees"].pop()
    about |= {name: change[name] for name in ("records", "task") if name in change}
    Study.from_json(json.dumps(content)).save(tmp_path / "first")
    given: EarlierSearch = earlier.described(tmp_path / "first", "first", str(tmp_path / "first"), earlier.RECORDS)
    today = SearchedData.from_json(json.dumps(json.loads(study.to_json())["data"]))
    entries = [one.model_dump() for one in study.spaces["boosted_trees"]]
    spaces = {"boosted_trees": keras_tuner.HyperParameters.from_config({"space": entries, "values": {}})}

    def begin() -> Warm:
        with warmed(given, today, SETTINGS, spaces, tmp_path / "store") as warm:
            return warm

    if words is None:
        warm = begin()
        assert (len(warm.known), len(warm.first), warm.begun) == (4, 2, [])
        assert {one.number for one in warm.first} <= study.chosen
    else:
        with pytest.raises(UserError, match=words):
            begin()
