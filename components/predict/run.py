"""The steps around planning, predicting and joining."""

import hashlib
import shutil
from pathlib import Path

from kep.artifacts.predictions import SourceSlice
from kep.components.predict import predict as predicting
from kep.components.predict.plan import ensemble_of
from kep.components.predict.plan import plan as make_plan
from kep.config.hardware import TrialHardware
from kep.config.prediction import PredictSettings
from kep.core.files import write_json
from kep.runtime.hardware import limit_threads
from kep.runtime.step import Step, entry
from kep.stats.observed import can_observe, travelling


@entry("predict")
def take(step: Step, *, folder: str) -> None:
    """Copies the ensemble that a folder serves.

    Raises:
        UserError: It holds none.
    """
    step.label = "model"
    shutil.copytree(ensemble_of(Path(folder)), step.out, dirs_exist_ok=True)


@entry("predict")
def plan(step: Step, *, model: str, config: str) -> list[str]:
    """Shares the source among tasks; writes `plan.json`, and returns one JSON string for each task."""
    step.label = "plan"
    settings = PredictSettings.model_validate_json(config)
    scratch = step.work(f"plan-{_digest(config)}")
    slices = make_plan(Path(model), settings, scratch)
    rows = sum(one.rows for one in slices)
    step.progress(f"{rows:,} rows (shards: {slices[0].total}, tasks: {len(slices)}), model {slices[0].version}")
    write_json(step.out / "plan.json", [one.model_dump(mode="json") for one in slices])
    return [one.to_json() for one in slices]


@entry("predict")
def run(step: Step, *, part: str, model: str, config: str) -> None:
    """Predicts one slice of the source; shards that an earlier attempt wrote are not predicted again."""
    own, settings = SourceSlice.from_json(part), PredictSettings.model_validate_json(config)
    step.label = str(own.number + 1)
    if own.tasks > 1:
        limit_threads(TrialHardware())
    from kep.models.ensemble import Ensemble  # TensorFlow reads its threads when it starts

    ensemble = Ensemble(Path(model) / own.model)
    bins = travelling(ensemble.manifest, Path(model) / own.model) if can_observe(ensemble.manifest) else []
    work = step.work(f"{own.number}-{_digest(part, config, step.code)}")
    predicting.predict_slice(ensemble, bins, own, settings, work, step.out, step.progress)


@entry("predict")
def join(step: Step, *, slices: list[str], config: str) -> None:
    """Makes one data set of what the tasks predicted."""
    step.label = "join"
    settings = PredictSettings.model_validate_json(config)
    made = predicting.join([Path(folder) for folder in slices], settings, step.out)
    step.progress(f"{made.rows:,} rows (shards: {len(made.shards)})")


def _digest(*texts: str) -> str:
    """Names the partial work of these arguments."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
