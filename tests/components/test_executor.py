"""Each component runs under kfp's own executor with the inputs that a real Kubeflow hands to it."""

import copy
import inspect
import json
from pathlib import Path

import pytest
from kfp.dsl import Artifact, Dataset, Model
from kfp.dsl.executor import Executor

from kep.artifacts.study import Round
from kep.artifacts.verdict import Verdict
from kep.components.best_epoch.component import best_epoch
from kep.components.evaluate.component import evaluate
from kep.components.ingest.component import ingest
from kep.components.promote.component import promote
from kep.components.retrain.component import retrain
from kep.components.tune.component import suggest, trial, tune
from kep.components.weigh.component import weigh
from kep.config.data import DataSettings
from kep.config.run_file import RunFile
from kep.core.environment import WORK
from kep.storage.champions import Champion
from tests.helpers.executor import components, derived, execute, function, local, recorded

KINDS = {"system.Artifact@0.0.1": Artifact, "system.Dataset@0.0.1": Dataset, "system.Model@0.0.1": Model}
COMPONENTS = {component.component_spec.name: component for component in components()}
RECORDINGS = {
    "digits_best_epoch": best_epoch,
    "digits_evaluate": evaluate,
    "digits_ingest": ingest,
    "digits_promote": promote,
    "digits_retrain": retrain,
    "digits_tune": tune,
    "digits_weigh": weigh,
    "shop_ingest": ingest,
    "shop_suggest": suggest,
    "shop_suggest_2": suggest,
    "shop_trial": trial,
}


def called(component, given) -> dict:
    """Return the arguments that kfp's executor builds."""
    seen, own = {}, function(component)

    def body(**arguments):
        seen.update(arguments)

    body.__annotations__, body.__signature__ = own.__annotations__, inspect.signature(own)
    Executor(copy.deepcopy(given), body).execute()
    return seen


def check_artifacts(component, given, seen) -> None:
    for name, wanted in component.component_spec.inputs.items():
        if wanted.type in KINDS and name in given["inputs"].get("artifacts", {}):
            uris = [one["uri"] for one in given["inputs"]["artifacts"][name]["artifacts"]]
            got = seen[name] if wanted.is_artifact_list else [seen[name]]
            assert [type(one) for one in got] == [KINDS[wanted.type]] * len(uris), name
            assert [one.path for one in got] == uris, name


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "untyped"])
@pytest.mark.parametrize("name", [name for name in COMPONENTS if name != "notify-failure"])
def test_artifacts_reach_a_component_whether_or_not_they_say_what_they_are(name, typed, tmp_path):
    component = COMPONENTS[name]
    given = derived(component, tmp_path, typed)
    check_artifacts(component, given, called(component, given))


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_input_reaches_its_component(name, tmp_path):
    component = RECORDINGS[name]
    given = local(recorded(name), component, tmp_path)
    seen = called(component, given)
    check_artifacts(component, given, seen)
    for parameter, value in given["inputs"]["parameterValues"].items():
        if parameter in component.component_spec.inputs:
            assert seen[parameter] == value


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Function that runs a recording's component to its end, with the parameters of a tiny run."""
    monkeypatch.setenv(WORK, str(tmp_path / "work"))

    def of(name, place=None, lists=None, **parameters):
        given = local(recorded(name), RECORDINGS[name], tmp_path / "store", code="", **parameters)
        artifacts = given["inputs"].get("artifacts", {})
        for key, folders in (lists or {}).items():
            artifacts[key] = {"artifacts": [artifacts[key]["artifacts"][0] | {"uri": folder} for folder in folders]}
        if "test" in RECORDINGS[name].component_spec.inputs:
            # Rows for evaluate alone are an output of ingest since the recording.
            records = artifacts["records"]["artifacts"][0]
            artifacts["test"] = {"artifacts": [records | {"uri": str(Path(records["uri"]).with_name("test"))}]}
        if place:
            outputs = given["outputs"]["artifacts"]
            (output,) = (one for key, one in outputs.items() if key != "executor-logs")
            output["artifacts"][0]["uri"] = place
        return execute(RECORDINGS[name], given), given

    return of


def uris(given, way, name) -> list[str]:
    return [one["uri"] for one in given[way]["artifacts"][name]["artifacts"]]


def settings(name, **more) -> str:
    return json.dumps(json.loads(recorded(name)["inputs"]["parameterValues"]["config"]) | more)


TREES = json.dumps([{"name": "boosted_trees"}])
IRIS = DataSettings(source="sklearn:iris").to_json()


def test_a_search_in_rounds_ends_with_recorded_inputs(run, tmp_path):
    run("shop_ingest", config=IRIS, source="")
    orders, first = run("shop_suggest", families=TREES)
    places = uris(local(recorded("shop_suggest_2"), suggest, tmp_path / "store"), "inputs", "trials")
    for order, place in zip(orders, places, strict=True):
        run("shop_trial", place, families=TREES, order=order)
    again, second = run("shop_suggest_2", families=TREES)
    assert len(orders) == len(again) == 2
    assert len(Round.load(uris(first, "outputs", "search")[0]).orders) == 2
    assert len(Round.load(uris(second, "outputs", "search")[0]).orders) == 4


def test_the_flow_ends_with_recorded_inputs(run, tmp_path):
    small = {"max_trials": 2, "max_epochs": 1, "top_n": 2, "workers": 1, "tuner": "random"}
    run("digits_ingest", config=IRIS, source="")
    candidates, _ = run("digits_tune", families=TREES, config=settings("digits_tune", **small))
    short = settings("digits_best_epoch", max_epochs=2, seeds=2)
    results = [str(tmp_path / f"result-{number}") for number in range(len(candidates))]
    for place, candidate in zip(results, candidates, strict=True):
        run("digits_best_epoch", place, families=TREES, candidate=candidate, config=short)
    members, _ = run("digits_weigh", lists={"results": results})
    models = [str(tmp_path / f"model-{number}") for number in range(len(members))]
    for place, member in zip(models, members, strict=True):
        run("digits_retrain", place, families=TREES, member=member)
    champion = Champion(folder=str(tmp_path / "champions")).to_json()
    asked = RunFile(name="iris", data=json.loads(IRIS)).to_json()
    run(
        "digits_evaluate",
        lists={"results": results, "members": models},
        config=settings("digits_evaluate", bootstrap=100),
        asked=asked,
        champion=champion,
    )
    _, promoted = run("digits_promote", config="{}", champion=champion)
    assert Verdict.load(uris(promoted, "outputs", "verdict")[0]).version
