"""Extremely randomised trees (scikit-learn) behind the same contract: a cheap member that errs unlike the others.

Geurts, Ernst & Wehenkel 2006, "Extremely randomized trees": every tree sees all rows, and draws its thresholds. A fit
takes seconds, and more trees never hurt: all of them are kept.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from kep.core.files import write_file
from kep.data.records import AnyRows
from kep.data.schema import Manifest
from kep.models.family import Fit, Settings, Values
from kep.models.forest import Forest
from kep.models.trees import FEW_ROWS, Trees
from kep.stats.metrics import Truth
from kep.training.monitor import Monitor

TREES_PER_EPOCH = 10
"""Trees that the limits of a training, which are in epochs, count as one epoch."""
MOST_TREES = 300
"""More of them change little, and take room and time in serving."""


class ExtraTrees(Trees):
    """Extremely randomised trees for the columns and the label of `manifest`."""

    name = "extra_trees"
    unit = "tree"
    library = "scikit-learn's extra trees,"

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._fills = [column.statistics[0] for column in manifest.numeric]
        self._gaps = [place for place, column in enumerate(manifest.numeric) if column.missing]

    def space(self) -> Any:
        import keras_tuner  # brings TensorFlow along, which trees need for nothing else

        hp = keras_tuner.HyperParameters()
        hp.Float("max_features", 0.1, 1.0, step=0.1, default=0.5)
        hp.Int("min_samples_leaf", 1, 64, sampling="log", step=2, default=8)
        return hp

    def fit(self, values: Values, train: AnyRows, validation: AnyRows, settings: Settings, monitor: Monitor) -> Fit:
        trees = min(MOST_TREES, settings.max_epochs * TREES_PER_EPOCH)
        forest = self._forest(values, train, trees, settings, monitor)
        curve = self._curve(forest, validation)
        return Fit(
            best=trees,
            loss=curve[-1],
            at_cap=False,
            train_curve=self._curve(forest, train.take(slice(0, len(validation)))),
            validation_curve=curve,
            predictions=self.predict(forest, validation),
            model=lambda: forest,
        )

    def refit(self, values: Values, rows: AnyRows, best: float, settings: Settings, monitor: Monitor) -> Forest:
        return self._forest(values, rows, max(1, round(best)), settings, monitor)

    def predict(self, model: Forest, rows: AnyRows) -> np.ndarray:
        return model.predict(self._matrix(rows))

    def save(self, model: Forest, folder: Path) -> None:
        write_file(folder / "model.npz", model.save)

    def load(self, folder: Path) -> Forest:
        return Forest.load(folder / "model.npz")

    def _curve(self, forest: Forest, rows: AnyRows) -> list[float]:
        """Return the loss after each tree."""
        truth = Truth.of(self._label.task, rows)
        return [truth.loss(predictions) for predictions in forest.staged(self._matrix(rows))]

    def _forest(self, values: Values, rows: AnyRows, trees: int, settings: Settings, monitor: Monitor) -> Forest:
        from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

        regression = self._label.task == "regression"
        made = (ExtraTreesRegressor if regression else ExtraTreesClassifier)(
            n_estimators=trees,
            max_features=values["max_features"],
            min_samples_leaf=values["min_samples_leaf"],
            random_state=settings.seed,
            n_jobs=1 if len(rows) < FEW_ROWS else int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count(),
        )
        rows = rows.take(slice(None))
        made.fit(self._matrix(rows), rows.labels, sample_weight=rows.weights)
        forest = Forest.of(made, 0 if regression else self._label.class_count)
        monitor.epoch(trees, {})
        return forest

    def _matrix(self, rows: AnyRows) -> np.ndarray:
        """Return float32 [n, columns]: numbers, where some are missing, and the codes of categories; or pixels."""
        rows = rows.take(slice(None))  # all of them in memory, also where they were on disk
        if rows.image is not None:
            return rows.image.reshape(len(rows), -1).astype(np.float32)
        missing = np.isnan(rows.numeric)
        numbers = np.where(missing, np.array(self._fills, np.float32), rows.numeric)
        parts = [numbers, missing[:, self._gaps], rows.categorical]
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)
