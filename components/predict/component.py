"""predict: an evaluated ensemble's predictions of a source, by tasks that share it."""

from typing import List

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from kep.runtime.component import step


@step
def predict_model(folder: str, code: str, model: Output[Model]) -> None:
    """Copies an ensemble from a volume, from which no pipeline engine takes an artifact.

    Args:
        folder: Folder of an ensemble, or of champions.
        code: Hash of the code that runs, part of the cache key.
        model: The ensemble that the folder serves.
    """
    from kep.components.predict.run import take

    take(out=model.path, folder=folder, code=code)


@step
def predict_plan(config: str, code: str, model: Input[Model], plan: Output[Artifact]) -> List[str]:
    """Holds the source against the model, counts its rows, and shares them among the tasks.

    Args:
        config: JSON of PredictSettings, with absolute paths.
        code: Hash of the code that runs, part of the cache key.
        model: Folder of an ensemble, or of champions.
        plan: Parts that the tasks predict.

    Returns:
        One JSON string per task.
    """
    from kep.components.predict.run import plan as make_plan

    return make_plan(out=plan.path, model=model.path, config=config, code=code)


@step
def predict(part: str, config: str, code: str, model: Input[Model], shards: Output[Dataset]) -> None:
    """Predicts the rows of one task.

    Args:
        part: JSON of what this task predicts.
        config: JSON of PredictSettings, with absolute paths.
        code: Hash of the code that runs, part of the cache key.
        model: Folder of an ensemble, or of champions.
        shards: Parquet files, and counts of the rows for drift.
    """
    from kep.components.predict.run import run

    run(out=shards.path, part=part, model=model.path, config=config, code=code)


@step
def predict_join(config: str, code: str, slices: Input[List[Dataset]], predictions: Output[Dataset]) -> None:
    """Makes one data set of what all tasks predicted.

    Args:
        config: JSON of PredictSettings, with absolute paths.
        code: Hash of the code that runs, part of the cache key.
        slices: Outputs of the tasks.
        predictions: Folder with the Parquet files in predictions/, predictions.json and observed.json.
    """
    from kep.components.predict.run import join

    join(out=predictions.path, slices=[one.path for one in slices], config=config, code=code)
