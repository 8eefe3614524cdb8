"""Gradient boosted decision trees (LightGBM) behind the same contract as the networks: an epoch is a boosting round.

They read the raw columns: missing numbers as they are, categories by code. Images are read pixel by pixel.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from kep.core.files import write_file
from kep.data.records import AnyRows
from kep.data.schema import Manifest
from kep.models.family import ROUNDS_PER_EPOCH, Fit, Settings, Values
from kep.models.trees import FEW_ROWS, Trees
from kep.stats.metrics import Truth
from kep.training.monitor import Monitor


class BoostedTrees(Trees):
    """Boosted trees for the columns and the label of `manifest`."""

    name = "boosted_trees"
    unit = "round"
    library = "LightGBM, objective"

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        first = len(manifest.numeric)
        self._categorical = list(range(first, first + len(manifest.categorical)))

    def space(self) -> Any:
        import keras_tuner  # brings TensorFlow along, which trees need for nothing else

        hp = keras_tuner.HyperParameters()
        hp.Float("learning_rate", 0.02, 0.3, sampling="log", default=0.05)
        hp.Int("num_leaves", 4, 64, sampling="log", step=2, default=32)
        hp.Int("min_data_in_leaf", 2, 64, sampling="log", step=2, default=16)
        hp.Float("feature_fraction", 0.3, 1.0, step=0.1, default=0.9)
        hp.Float("bagging_fraction", 0.5, 1.0, step=0.1, default=1.0)
        hp.Float("lambda_l2", 1e-3, 10.0, sampling="log")
        hp.Boolean("extra_trees", default=True)
        return hp

    def fit(self, values: Values, train: AnyRows, validation: AnyRows, settings: Settings, monitor: Monitor) -> Fit:
        patience = settings.patience * ROUNDS_PER_EPOCH
        cap = settings.max_epochs * ROUNDS_PER_EPOCH
        data = self._dataset(train)
        watched = lightgbm.Dataset(
            self._matrix(validation), validation.labels, reference=data, weight=validation.weights
        )
        curves: dict[str, Any] = {}

        booster = lightgbm.train(
            self._parameters(values, settings, len(train)),
            data,
            num_boost_round=cap,
            valid_sets=[data, watched],
            valid_names=["train", "validation"],
            callbacks=[
                lightgbm.record_evaluation(curves),
                lightgbm.early_stopping(patience, first_metric_only=True, verbose=False),
                _told(monitor),
            ],
        )
        ((_, train_curve),) = curves["train"].items()
        ((_, validation_curve),) = curves["validation"].items()
        best = int(np.argmin(validation_curve)) + 1
        predictions = self._predict(booster, validation, best)
        return Fit(
            best=best,
            loss=Truth.of(self._label.task, validation).loss(predictions),
            at_cap=best + patience > cap,
            train_curve=train_curve,
            validation_curve=validation_curve,
            predictions=predictions,
            model=lambda: lightgbm.Booster(model_str=booster.model_to_string(num_iteration=best)),
        )

    def refit(self, values: Values, rows: AnyRows, best: float, settings: Settings, monitor: Monitor) -> Any:
        rounds = max(1, round(best))
        parameters = self._parameters(values, settings, len(rows))
        return lightgbm.train(parameters, self._dataset(rows), rounds, callbacks=[_told(monitor)])

    def predict(self, model: Any, rows: AnyRows) -> np.ndarray:
        return self._predict(model, rows, None)

    def save(self, model: Any, folder: Path) -> None:
        write_file(folder / "model.txt", lambda path: path.write_text(model.model_to_string(), encoding="utf-8"))

    def load(self, folder: Path) -> Any:
        return lightgbm.Booster(model_str=(folder / "model.txt").read_text(encoding="utf-8"))

    def _predict(self, booster: Any, rows: AnyRows, rounds: int | None) -> np.ndarray:
        outputs = booster.predict(self._matrix(rows), num_iteration=rounds).astype(np.float32)
        return np.stack([1 - outputs, outputs], axis=1) if self._label.task == "binary" else outputs

    def _dataset(self, rows: AnyRows) -> lightgbm.Dataset:
        return lightgbm.Dataset(
            self._matrix(rows),
            rows.labels,
            weight=rows.weights,
            categorical_feature=self._categorical,
            free_raw_data=True,
        )

    def _matrix(self, rows: AnyRows) -> np.ndarray:
        rows = rows.take(slice(None))  # all of them in memory, also where they were on disk
        if rows.image is not None:
            return rows.image.reshape(len(rows), -1).astype(np.float32)
        return np.concatenate([rows.numeric, rows.categorical.astype(np.float32)], axis=1)

    def _parameters(self, values: Values, settings: Settings, rows: int) -> dict[str, Any]:
        task = self._label.task
        parameters = dict(values) | {
            "objective": task,
            "bagging_freq": 1,
            "seed": settings.seed,
            "deterministic": True,
            "force_row_wise": True,  # with deterministic: the same sums whatever the number of threads
            "verbosity": -1,
        }
        if rows < FEW_ROWS:
            parameters["num_threads"] = 1
        if task == "multiclass":
            parameters["num_class"] = self._label.class_count
        return parameters


def _told(monitor: Monitor) -> Callable[[Any], None]:
    """LightGBM's callback that tells the monitor of each `ROUNDS_PER_EPOCH` rounds."""

    def report(env: Any) -> None:
        if (env.iteration + 1) % ROUNDS_PER_EPOCH == 0:
            watched = env.evaluation_result_list
            monitor.epoch(env.iteration + 1, {"val_loss": watched[-1][2]} if watched else {})

    return report
