"""The prediction pipeline: an evaluated ensemble and a source in; predictions, and how far the source has drifted."""

from typing import Any, List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from kep.components.drift.component import drift, drift_gate
from kep.components.predict.component import predict, predict_join, predict_model, predict_plan
from kep.pipelines.retries import retried

RETRIES = 1
"""Times that an engine starts a task again that a machine lost. A value that the model can't take fails it, too."""


class Predictions(NamedTuple):
    """Outputs of a prediction."""

    predictions: Dataset


class Compared(NamedTuple):
    """Outputs of a prediction with a comparison."""

    predictions: Dataset
    comparison: Artifact
    verdict: Artifact


# The loop lives alone in a pipeline of its own, for the reason that pipelines/training.py gives.


@dsl.pipeline(name="predictions")
def predictions(parts: List[str], config: str, code: str, model: Input[Model]) -> List[Dataset]:
    """One task per part of the source."""
    with dsl.ParallelFor(parts) as part:
        one = retried(predict(part=part, config=config, code=code, model=model), RETRIES)
    return dsl.Collected(one.outputs["shards"])


def predicted(model: Any, config: Any, code: Any, mounted: bool) -> tuple[Any, Any]:
    """The model, and the predictions of all tasks."""
    imported = (
        predict_model(folder=model, code=code).set_caching_options(False).output
        if mounted
        else dsl.importer(artifact_uri=model, artifact_class=Model, reimport=False).output
    )
    # The champion's pointer moves and the source changes under their names: never answered from a cache. What this
    # task returns says which model and content it is, and that is part of the cache key of the tasks after it.
    planned = predict_plan(config=config, code=code, model=imported).set_caching_options(False)
    shards = predictions(parts=planned.outputs["Output"], config=config, code=code, model=imported)
    return imported, predict_join(config=config, code=code, slices=shards.output).outputs["predictions"]


def prediction(compare: bool = True, mounted: bool = False) -> Any:
    """The pipeline.

    Args:
        compare: Whether the source is compared with what the model was trained on.
        mounted: Whether the model is on a volume, and no artifact that an engine can import.
    """
    described = {
        "name": "prediction",
        "description": "An evaluated ensemble and a source in, predictions and the source's drift out.",
    }

    @dsl.pipeline(**described)
    def predicting(model: str, predict_config: str, predict_code: str = "") -> Predictions:
        """Settings are JSON strings; `model` is the folder of an ensemble or of champions."""
        return Predictions(predictions=predicted(model, predict_config, predict_code, mounted)[1])

    @dsl.pipeline(**described)
    def comparing(
        model: str, predict_config: str, drift_config: str, predict_code: str = "", drift_code: str = ""
    ) -> Compared:
        """Settings are JSON strings; `model` is the folder of an ensemble or of champions."""
        imported, joined = predicted(model, predict_config, predict_code, mounted)
        found = drift(config=drift_config, code=drift_code, model=imported, predictions=joined)
        # Apart from the comparison, whose pages would be lost with a task that fails.
        gate = drift_gate(config=drift_config, code=drift_code, comparison=found.outputs["comparison"])
        return Compared(predictions=joined, comparison=found.outputs["comparison"], verdict=gate.outputs["verdict"])

    return comparing if compare else predicting
