"""Components as an engine runs them: their compiled source under kfp's own executor, with the inputs that it gets."""

import copy
import importlib
import json
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kfp.dsl.base_component import BaseComponent
from kfp.dsl.executor import Executor

from kep.components.best_epoch.component import best_epoch
from kep.components.evaluate.component import evaluate
from kep.components.ingest.component import ingest
from kep.components.promote.component import promote
from kep.components.retrain.component import retrain
from kep.components.tune.component import suggest, trial, tune
from kep.components.weigh.component import weigh
from tests.helpers.paths import DATA, ROOT

RECORDED = DATA / "kubeflow" / "executor_inputs"
"""What the launcher of a real Kubeflow handed to each component."""
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
"""The component that each recording is of."""
STORE = "minio://mlpipeline/v2/artifacts/"
MOUNTED = "/minio/mlpipeline/v2/artifacts/"


def components() -> Iterator[BaseComponent]:
    """Every component, by the modules that declare them."""
    for file in sorted((ROOT / "components").glob("*/component.py")):
        module = importlib.import_module(f"kep.components.{file.parent.name}.component")
        yield from (value for value in vars(module).values() if isinstance(value, BaseComponent))


def recorded(name: str) -> dict[str, Any]:
    """Return a recording."""
    given: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return given


def local(given: dict[str, Any], component: BaseComponent, store: Path, **parameters: Any) -> dict[str, Any]:
    """Return what an engine hands over, with artifacts of this machine.

    Args:
        given: A recording.
        component: The one that it is for; outputs that it has got since then are added, in the recording's shape.
        store: Folder in place of the artifact store.
        parameters: In place of recorded ones.
    """
    text = json.dumps(given).replace(STORE, f"{store}/").replace(MOUNTED, f"{store}/")
    given = json.loads(text)
    given["inputs"]["parameterValues"] |= parameters
    spec, outputs = component.component_spec, given["outputs"].setdefault("artifacts", {})
    place = Path(given["outputs"]["outputFile"]).parent
    for name, output in (spec.outputs or {}).items():
        if output.type.startswith("system.") and name not in outputs:
            outputs[name] = _produced(name, output.type, place)
    return given


def derived(component: BaseComponent, store: Path, typed: bool) -> dict[str, Any]:
    """Return what an engine would hand to a component, every input given, in the shape of the recordings.

    Args:
        component: Any.
        store: Folder in place of the artifact store.
        typed: Whether artifacts say what they are, as on Vertex AI; those of Kubeflow do not.
    """
    spec = component.component_spec
    parameters: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    for name, one in (spec.inputs or {}).items():
        if one.type.startswith("system."):
            kind = {"schemaTitle": one.type.partition("@")[0]} if typed else {"instanceSchema": ""}
            names = [f"{name}-{number}" for number in range(2 if one.is_artifact_list else 1)]
            artifacts[name] = {"artifacts": [{"name": n, "type": kind, "uri": f"{store}/{n}"} for n in names]}
        else:
            parameters[name] = {"NUMBER_INTEGER": 1, "Integer": 1, "Boolean": True}.get(one.type, f"the {name}")
    place = store / spec.name
    produced = {
        name: _produced(name, one.type, place)
        for name, one in (spec.outputs or {}).items()
        if one.type.startswith("system.")
    }
    returned = {"Output": {"outputFile": str(place / "Output")}}
    return {
        "inputs": {"parameterValues": parameters, "artifacts": artifacts},
        "outputs": {"parameters": returned, "artifacts": produced, "outputFile": str(place / "output_metadata.json")},
    }


def execute(component: BaseComponent, given: dict[str, Any]) -> Any:
    """Run a component's compiled source as `python -m kfp.dsl.executor_main` does; return what it returned."""
    Executor(copy.deepcopy(given), function(component)).execute()
    written = Path(given["outputs"]["outputFile"])
    return json.loads(written.read_text()).get("parameterValues", {}).get("Output") if written.is_file() else None


def function(component: BaseComponent) -> Callable[..., Any]:
    """Return the function that a compiled pipeline carries as text."""
    container = component.component_spec.implementation.container
    module = types.ModuleType("ephemeral_component")
    exec(container.command[-1], vars(module))
    found: Callable[..., Any] = vars(module)[container.args[-1]]
    return found


def _produced(name: str, kind: str, place: Path) -> dict[str, Any]:
    title, _, version = kind.partition("@")
    return {
        "artifacts": [
            {"name": name, "type": {"schemaTitle": title, "schemaVersion": version}, "uri": str(place / name)}
        ]
    }
