"""Each component runs under kfp's own executor with the inputs that a real Kubeflow hands to it."""

import copy
import inspect
import json
import os
import subprocess
import sys

import pytest
from kfp.dsl import Artifact, Dataset, Model
from kfp.dsl.executor import Executor

from kep.artifacts.study import Round
from kep.artifacts.verdict import Verdict
from kep.core.environment import WORK
from tests.helpers.executor import RECORDINGS, components, derived, function, local, recorded
from tests.helpers.paths import ROOT

KINDS = {"system.Artifact@0.0.1": Artifact, "system.Dataset@0.0.1": Dataset, "system.Model@0.0.1": Model}
COMPONENTS = {component.component_spec.name: component for component in components()}


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


@pytest.fixture(scope="module")
def walked(tmp_path_factory) -> dict:
    """What the components made that ran one after the other: in a process of its own, since a search forks workers."""
    folder = tmp_path_factory.mktemp("walked")
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.walk", str(folder)],
        cwd=ROOT,
        env=os.environ | {WORK: str(folder / "work"), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_search_in_rounds_ends_with_recorded_inputs(walked):
    assert [len(Round.load(folder).orders) for folder in walked["rounds"]] == [2, 4]


def test_the_flow_ends_with_recorded_inputs(walked):
    assert Verdict.load(walked["verdict"]).version
