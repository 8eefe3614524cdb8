"""A search whose suggestions are Vizier's: with Google's client against a local server."""

import json
import subprocess
import sys

import keras_tuner
import numpy as np
import pytest

from kep.artifacts.trials import Trial, TrialStore
from kep.components.tune.execute import Order
from kep.components.tune.search import Plan
from kep.components.tune.space import active
from kep.components.tune.suggest import No
from kep.components.tune.vizier import specification
from kep.config.run_file import validate
from kep.config.search import Objective, SearchSettings
from kep.core.errors import UserError
from kep.models.registry import travelling
from tests.servers.vizier import State, _all, _kind

PARENT = "projects/shop-ml/locations/europe-west4"


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 16, 64, step=16)
    hp.Int("width", 8, 64, step=2, sampling="log")
    hp.Int("rounds", 10, 1000, step=None, sampling="log")
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("dropout", 0.0, 0.5, step=0.1)
    hp.Boolean("normalise")
    hp.Fixed("depth", 3)
    kind = hp.Choice("kind", ["plain", "wide"])
    with hp.conditional_scope("kind", ["wide"]):
        hp.Int("branches", 1, 3)
        hp.Choice("joint", ["sum", "mean"])
        hp.Int("same", 1, 3)
        with hp.conditional_scope("branches", [2, 3]):
            hp.Choice("share", [0.25, 0.5])
    with hp.conditional_scope("kind", ["plain"]):
        hp.Int("same", 4, 6)
        hp.Int("parts", 7, 9)
    with hp.conditional_scope("kind", ["wide"]):
        hp.Int("parts", 1, 3)
    with hp.conditional_scope("kind", ["plain"]), hp.conditional_scope("parts", [7]):
        hp.Boolean("seventh")
    assert kind == "plain"
    return hp


def settings(**more) -> SearchSettings:
    given = {"tuner": "vizier", "vizier": PARENT, "rounds": 9, "objective": Objective(direction="min")}
    return SearchSettings(**given | more)


def plan(**more) -> Plan:
    return Plan({"f": more.pop("space", None) or space()}, settings(**more), more.get("seed", 0), "data")


def done(order: Order, score: float | None) -> Trial:
    if score is None:
        return order.trial("infeasible").model_copy(update={"reason": "not a number"})
    return order.trial("complete").model_copy(update={"score": score, "loss": score})


def search(count: int, of: Plan | None = None) -> list[Order]:
    """Orders of which every fourth trial was infeasible."""
    of, orders, known = of or plan(), [], {}
    for number in range(count):
        order = of.next(orders, known)
        orders.append(order)
        known[number] = done(order, None if number % 4 == 3 else number / 10)
    return orders


def test_a_space_in_the_words_of_vizier():
    spec = specification("f", [hp for hp in space().space if hp.name != "depth"], "max")
    assert spec.metrics[0].goal.name == "MAXIMIZE"
    assert spec.observation_noise.name == "LOW"
    found = {one.parameter_id: (_kind(one)[0], one.scale_type.name) for one in _all(spec.parameters)}
    linear, log = "UNIT_LINEAR_SCALE", "UNIT_LOG_SCALE"
    none = "SCALE_TYPE_UNSPECIFIED"
    assert found == {
        "units": ("discrete", linear),
        "width": ("discrete", log),
        "rounds": ("integer", log),
        "rate": ("double", log),
        "dropout": ("discrete", linear),
        "normalise": ("categorical", none),
        "kind": ("categorical", none),
        "branches": ("discrete", linear),
        "joint": ("categorical", none),
        "same": ("discrete", linear),
        "share": ("categorical", none),
        "parts": ("discrete", linear),
        "seventh": ("categorical", none),
    }
    (kind,) = [one for one in spec.parameters if one.parameter_id == "kind"]
    wide = kind.conditional_parameter_specs
    assert [(one.parameter_spec.parameter_id, *one.parent_categorical_values.values) for one in wide] == [
        ("branches", "wide"),
        ("joint", "wide"),
        ("same", "wide"),
        ("same", "plain"),
        ("parts", "plain"),
        ("parts", "wide"),
    ]
    (share,) = wide[0].parameter_spec.conditional_parameter_specs
    assert (share.parameter_spec.parameter_id, list(share.parent_discrete_values.values)) == ("share", [2, 3])


def test_suggestions_are_configurations_of_the_space(studies):
    found = [order.values for order in search(24)]
    for values in found:
        assert values.keys() == {hp.name for hp in space().space if active(hp, values)}
        for hp in space().space:
            if hp.name in values and getattr(hp, "step", 1) is not None:
                assert not active(hp, values) or values[hp.name] in hp.values
        assert {type(values[name]) for name in ("units", "width", "rounds")} == {int}
        assert values["normalise"] in (True, False)
    assert len({json.dumps(values, sort_keys=True) for values in found}) == 24
    assert {values["kind"] for values in found} == {"plain", "wide"}
    assert any("share" in values for values in found)


def test_what_became_of_the_trials_is_told(studies):
    search(9)
    (study,) = studies.studies.values()
    trials = studies.trials[study.name]
    assert [trial.client_id for trial in trials] == [str(number) for number in range(9)]
    states = [State.INFEASIBLE if number % 4 == 3 else State.SUCCEEDED for number in range(8)]
    assert [trial.state for trial in trials] == [*states, State.ACTIVE]
    assert [trial.final_measurement.metrics[0].value for trial in trials[:3]] == [0, 0.1, 0.2]
    assert trials[3].infeasible_reason == "not a number"


def test_a_search_that_goes_on_gets_what_it_had(studies):
    before = search(6)
    assert search(8)[:6] == before
    assert len(studies.studies) == 1
    search(2, plan(rounds=20))
    assert len(studies.studies) == 1


@pytest.mark.parametrize("other", [{"max_epochs": 5}, {"batch_size": 8}, {"objective": Objective(direction="max")}])
def test_another_search_is_another_study(studies, other):
    search(2)
    search(2, plan(**other))
    assert len(studies.studies) == 2


@pytest.mark.parametrize("method", ["LookupStudy", "CreateStudy", "ListTrials", "SuggestTrials", "CompleteTrial"])
@pytest.mark.parametrize("lose", [True, False])
def test_answers_that_are_lost_change_nothing(studies, vertex, method, lose):
    fault = vertex.fault(method, "UNAVAILABLE", lose=lose)
    orders = search(4)
    assert fault.hits == 1
    (study,) = studies.studies.values()
    assert len(studies.trials[study.name]) == 4
    vertex.faults.clear()
    assert search(4) == orders


def test_many_trials_are_listed_page_by_page(studies, vertex):
    vertex.page = 3
    assert len(search(8)) == 8


@pytest.mark.parametrize("repeats", [True, False])
def test_a_small_space_is_searched_to_its_end_and_then_again(studies, repeats):
    studies.repeats = repeats
    small = keras_tuner.HyperParameters()
    small.Choice("a", [1, 2])
    orders = search(4, plan(space=small))
    assert sorted(order.values["a"] for order in orders[:2]) == [1, 2]
    assert {order.execution for order in orders[2:]} == {1}


def test_a_space_without_a_choice_is_tried_once(studies):
    fixed = keras_tuner.HyperParameters()
    fixed.Fixed("a", 1)
    own = plan(space=fixed)
    first = own.next([], {})
    assert first.values == {"a": 1}
    assert own.next([first], {}) in (No.YET, No.MORE)
    assert studies.studies == {}


def below_a_float(hp) -> None:
    hp.Float("a", 0, 1)
    with hp.conditional_scope("a", [0.5]):
        hp.Int("c", 1, 3)


def twice(hp) -> None:
    hp.Boolean("a")
    hp.Int("c", 1, 3)
    with hp.conditional_scope("a", [True]):
        hp.Int("c", 4, 6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (below_a_float, "f: c depends on a, which has no list of values"),
        (twice, "f: c is defined at several places that can be active together"),
        (lambda hp: hp.Int("two words", 1, 3), 'f: Vizier takes no name with a space, such as "two words"'),
        (lambda hp: hp.Int("many", 0, 5000), "f: many has 5001 values, and Vizier takes lists of 1000"),
    ],
)
def test_a_space_that_vizier_can_not_say(studies, make, words):
    hp = keras_tuner.HyperParameters()
    make(hp)
    with pytest.raises(UserError, match=words):
        plan(space=hp).next([], {})
    assert studies.studies == {}


def test_a_study_that_was_deleted_is_missed(studies):
    own = plan()
    orders = search(3, own)
    studies.reset()
    with pytest.raises(UserError, match="the study of f in Vizier does not hold f-000; was it deleted"):
        plan().next(orders, {})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("PERMISSION_DENIED", "may not use Vizier; grant roles/aiplatform.user"),
        ("UNAVAILABLE", "search.vizier: Vizier does not answer"),
        ("INVALID_ARGUMENT", "search.vizier: Vizier refuses it: "),
    ],
)
def test_a_refusal_is_one_sentence(studies, vertex, code, words):
    vertex.fault("SuggestTrials", code, times=float("inf"))
    with pytest.raises(UserError, match=words) as refused:
        plan().next([], {})
    assert "\n" not in str(refused.value)


def test_without_a_login(studies, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    with pytest.raises(UserError, match="there is no usable Google Cloud login where the search runs"):
        plan().next([], {})


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"tuner": "vizier"}, 'search: "vizier", such as projects/shop-ml/locations/europe-west4, and tuner: vizier'),
        ({"vizier": PARENT}, 'search: "vizier", such as projects/shop-ml/locations/europe-west4, and tuner: vizier'),
        ({"tuner": "vizier", "vizier": PARENT}, "search: tuner: vizier is for a search in rounds"),
        (
            {"tuner": "vizier", "vizier": "shop-ml", "rounds": 2},
            'vizier: "shop-ml" is not a location; give projects/PROJECT/locations/REGION',
        ),
    ],
)
def test_where_the_studies_are_must_be_said(search, words):
    with pytest.raises(UserError, match=words):
        validate({"name": "x", "data": {"source": "sklearn:iris"}, "search": search})


ROUND = """
import json, sys
from kep.components.tune import rounds
print(json.dumps(rounds.suggest(**json.loads(sys.argv[1]))))
"""


@pytest.mark.slow
def test_rounds_of_a_search(studies, records, tmp_path):
    """The step itself, in processes that hold no server: it forks."""
    shared = {
        "records": str(records("cancer")),
        "families": json.dumps(travelling(["mlp"], tmp_path)),
        "config": settings(rounds=2, parallel_trials=2, max_epochs=1).to_json(),
        "seed": 0,
    }

    def suggest(out: str, searched: str | None, trials: list[str]) -> list[Order]:
        given = shared | {"out": out, "searched": searched, "trials": trials}
        ended = subprocess.run([sys.executable, "-c", ROUND, json.dumps(given)], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return [Order.from_json(order) for order in json.loads(ended.stdout.splitlines()[-1])]

    first = suggest(f"{tmp_path}/0", None, [])
    TrialStore(tmp_path / "trials").save(done(first[0], 0.5), np.zeros(2))
    TrialStore(tmp_path / "trials").save(done(first[1], None), None)
    second = suggest(f"{tmp_path}/1", f"{tmp_path}/0", [str(tmp_path / "trials")])
    assert [order.number for order in first + second] == [0, 1, 2, 3]
    assert len({json.dumps(order.values) for order in first + second}) == 4
    (study,) = studies.studies.values()
    states = [trial.state for trial in studies.trials[study.name]]
    assert states == [State.SUCCEEDED, State.INFEASIBLE, State.ACTIVE, State.ACTIVE]
