"""Losses of stored predictions: the one definition that every step uses.

Predictions of a classifier have shape [n, classes] and sum to 1; those of a regression have shape [n].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kep.core.errors import UserError
from kep.data.schema import decided
from kep.data.shards import AnyRows

FLOOR = 1e-7
"""Smallest probability that a log-loss counts: one float32 step away from certainty."""


_LOOSE = 0.02
"""Deviation of a sum of probabilities from 1 that rounding explains, of bfloat16 too."""


def row_losses(task: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Loss of each row: log-loss in nats for classes, squared error in squared label units for regression.

    Args:
        task: binary, multiclass or regression.
        labels: Class indices or numbers, shape [n].
        predictions: Shape [n, classes] or [n].

    Returns:
        float64, shape [n]; NaN where a prediction is NaN.
    """
    if task == "regression":
        losses: np.ndarray = np.square(predictions.astype(np.float64) - labels)
    else:
        losses = -np.log(np.maximum(true_class(labels, predictions), FLOOR))
    return losses


def true_class(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Probability that each row's own class was given, float64 of shape [n]."""
    given: np.ndarray = predictions[np.arange(len(labels)), labels]
    return given.astype(np.float64)


def problem(predictions: np.ndarray, shape: tuple[int, ...]) -> str | None:
    """Return why an array can't be predictions, in words; None where it can.

    Args:
        predictions: The array.
        shape: Expected shape: [n, classes] or [n], perhaps after further axes.
    """
    if predictions.shape != shape:
        return f"they have shape {list(predictions.shape)} instead of {list(shape)}"
    if predictions.dtype.kind != "f" or not np.isfinite(predictions).all():
        return "some are not finite numbers"
    return None


def problem_of_probabilities(probabilities: np.ndarray) -> str | None:
    """Return why numbers of shape [..., classes] can't be probabilities, in words; None where they can."""
    if probabilities.min(initial=0) < -_LOOSE or np.abs(probabilities.sum(axis=-1) - 1).max(initial=0) > _LOOSE:
        return "the probabilities of some rows don't sum to 1"
    return None


def mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of [n] by weights [n], which are not below 0; NaN where all of them are 0."""
    if weights is None:
        return float(np.mean(values))
    total = float(np.sum(weights, dtype=np.float64))
    return float(np.dot(values, weights.astype(np.float64)) / total) if total else float("nan")


def loss(task: str, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the mean of `row_losses`, by weights [n] where rows count differently."""
    return mean(row_losses(task, labels, predictions), weights)


@dataclass(frozen=True)
class Metric:
    """A metric of predictions.

    Attributes:
        direction: "min" or "max": which is better.
        tasks: The tasks that it means something for.
        value: Function of labels [n], predictions and weights [n] (None: all rows count the same); binary scores read
            the probability of the positive class (index 1).
        defined: Function of labels [n] and the task: whether they define the value, which is NaN otherwise.
        meaning: Description for people.
        decides: Whether it looks at the predicted class alone, which an operating point changes.
    """

    direction: str
    tasks: tuple[str, ...]
    value: Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
    meaning: str
    defined: Callable[[np.ndarray, str], bool] = lambda labels, task: True
    decides: bool = False


def _of_labels_that_vary(labels: np.ndarray, task: str) -> bool:
    return bool(labels.min() < labels.max())


_CLASSES = ("binary", "multiclass")
LOSS_MEANINGS = {
    "binary": "Log-loss in nats: the mean of -log of the probability of the true class.",
    "multiclass": "Log-loss in nats: the mean of -log of the probability of the true class.",
    "regression": "Mean squared error, in squared units of the label.",
}
"""Loss of each task, for people."""

METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "max",
        _CLASSES,
        lambda y, p, w: mean(p.argmax(axis=1) == y, w),
        "Share of rows whose predicted class is right.",
        decides=True,
    ),
    "roc_auc": Metric(
        "max",
        ("binary",),
        lambda y, p, w: _roc_auc(y, p[:, 1], w),
        "Area under the ROC curve of the positive class; ties count half.",
        _of_labels_that_vary,
    ),
    "pr_auc": Metric(
        "max",
        ("binary",),
        lambda y, p, w: _average_precision(y, p[:, 1], w),
        "Average precision of the positive class.",
        _of_labels_that_vary,
    ),
    "f1": Metric(
        "max",
        _CLASSES,
        lambda y, p, w: _f1(y, p, w),
        "F1 of the positive class; with more than two classes the mean over those that occur.",
        lambda y, task: task != "binary" or bool(y.any()),
        decides=True,
    ),
    "calibration_error": Metric(
        "min",
        _CLASSES,
        lambda y, p, w: calibration_error(y, p, w),
        "Expected calibration error of the predicted class, over ten bins of equally many rows.",
    ),
    "mae": Metric(
        "min", ("regression",), lambda y, p, w: mean(np.abs(y - p), w), "Mean absolute error, in units of the label."
    ),
    "rmse": Metric(
        "min",
        ("regression",),
        lambda y, p, w: float(np.sqrt(mean(np.square(y - p), w))),
        "Root of the mean squared error, in units of the label.",
    ),
    "r2": Metric(
        "max",
        ("regression",),
        lambda y, p, w: _r2(y, p, w),
        "R²: 1 minus the mean squared error over the variance of the labels.",
        _of_labels_that_vary,
    ),
}
"""Metrics beside the loss; f1 is of the positive class, or the mean over classes."""


TELLING = {"binary": ("accuracy", "roc_auc"), "multiclass": ("accuracy", "f1"), "regression": ("rmse", "r2")}
"""Metrics of each task that are shown beside the loss where there is room for few."""


def lower_is_better(name: str) -> bool:
    """Return whether less of the loss or a metric is better."""
    return name == "loss" or METRICS[name].direction == "min"


def directions(task: str) -> dict[str, str]:
    """Return the better direction, "min" or "max", of the loss and of every metric of the task."""
    return {"loss": "min"} | {name: metric.direction for name, metric in METRICS.items() if task in metric.tasks}


def metrics(
    task: str, labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, float]:
    """Return the loss and every metric of the task; NaN where the rows don't define one (an AUC of one class)."""
    return Truth(task, labels, weights).metrics(predictions)


@dataclass(frozen=True)
class Truth:
    """Labels that predictions of some rows are compared with.

    Attributes:
        task: binary, multiclass or regression.
        labels: Class indices or numbers, shape [n].
        weights: How much each row counts, shape [n]; None where all count the same.
        threshold: Operating point of the predictions, as in `kep.data.schema.decided`.
    """

    task: str
    labels: np.ndarray
    weights: np.ndarray | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, task: str, rows: AnyRows, threshold: float | None = None) -> "Truth":
        """Return the labels and weights of rows."""
        return cls(task, rows.labels, rows.weights, threshold)

    def take(self, index: np.ndarray) -> "Truth":
        """Return that of some of the rows."""
        return replace(self, labels=self.labels[index], weights=None if self.weights is None else self.weights[index])

    def metric(self, name: str, predictions: np.ndarray) -> float:
        """Return a metric other than the loss; NaN where the rows don't define it."""
        metric = METRICS[name]
        if metric.decides and self.threshold is not None:
            # A decision is a prediction without doubt.
            predictions = np.eye(2)[decided(predictions, self.threshold)]
        return metric.value(self.labels, predictions, self.weights)

    def loss(self, predictions: np.ndarray) -> float:
        """Return the mean loss, by weight."""
        return loss(self.task, self.labels, predictions, self.weights)

    def losses(self, predictions: np.ndarray) -> np.ndarray:
        """Return the loss of each row, shape [n], whatever it counts."""
        return row_losses(self.task, self.labels, predictions)

    def metrics(self, predictions: np.ndarray) -> dict[str, float]:
        """Return the loss and every metric by name."""
        values = {"loss": self.loss(predictions)}
        return values | {
            name: self.metric(name, predictions) for name, metric in METRICS.items() if self.task in metric.tasks
        }


def check_defined(setting: str, name: str, task: str, labels: np.ndarray) -> None:
    """Refuse to choose by a metric that the labels of the validation rows don't define.

    Args:
        setting: Setting of the run file that names the metric.
        name: Name of the metric, or of one that only a model knows.
        task: binary, multiclass or regression.
        labels: Class indices or numbers of the validation rows, or their lowest and highest alone.

    Raises:
        UserError: The metric is undefined there.
    """
    metric = METRICS.get(name)
    if metric is not None and task in metric.tasks and not metric.defined(labels, task):
        raise UserError(
            f"{setting}: {name} is undefined on the validation rows, whose labels are all the same; choose another "
            "metric, such as loss, or change data.split"
        )


@dataclass(frozen=True)
class Bin:
    """Rows of a similar confidence: their mean confidence, and the share that was predicted right."""

    confidence: float
    accuracy: float
    rows: int
    share: float
    """Share of all rows, by weight."""


def calibration_bins(
    labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None, bins: int = 10
) -> list[Bin]:
    """Return the reliability of the predicted class in bins of equal numbers of rows; those of weight 0 don't count."""
    if weights is not None:
        counted = weights > 0
        labels, predictions, weights = labels[counted], predictions[counted], weights[counted]
    if not len(labels):
        return []
    given = predictions.argmax(axis=1)
    confidence = predictions[np.arange(len(labels)), given].astype(np.float64)
    order = np.argsort(confidence, kind="stable")
    own = np.ones(len(labels)) if weights is None else weights[order].astype(np.float64)
    rows = np.array([len(part) for part in np.array_split(order, min(bins, len(order)))])
    starts = np.cumsum(rows) - rows
    sums = (own, own * confidence[order], own * (given == labels)[order])
    total, confident, right = (np.add.reduceat(one, starts) for one in sums)
    found = zip(confident / total, right / total, rows, total / total.sum(), strict=True)
    return [Bin(float(sure), float(hits), int(many), float(share)) for sure, hits, many, share in found]


def calibration_error(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Return the expected calibration error over `calibration_bins` (Naeini et al. 2015)."""
    return sum(bin.share * abs(bin.confidence - bin.accuracy) for bin in calibration_bins(labels, predictions, weights))


def _roc_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the area under the ROC curve, ties counted half; NaN where all rows that count are of one class.

    This and the two below equal scikit-learn's functions, in a tenth of the time. A bootstrap calls them thousands of
    times, and they were nine tenths of evaluate.
    """
    positive, negative = cumulated(labels, scores, weights)
    if not (positive[-1] and negative[-1] and np.isfinite(scores).all()):
        return float("nan")
    return float(np.trapezoid(positive, negative) / positive[-1] / negative[-1])


def _average_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the mean precision over the steps of recall; NaN where all rows that count are of one class."""
    positive, negative = cumulated(labels, scores, weights)
    if not (positive[-1] and negative[-1] and np.isfinite(scores).all()):
        return float("nan")
    told = positive[1:] + negative[1:]
    precision = np.divide(positive[1:], told, out=np.zeros(len(told)), where=told > 0)
    return float(np.diff(positive) @ precision / positive[-1])


def cumulated(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of positive and of negative rows above each distinct score, from 0, the highest first."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    own = np.ones(len(order)) if weights is None else weights[order].astype(np.float64)
    hit = labels[order] == 1
    positive, negative = (np.cumsum(np.where(mask, own, 0.0))[ends] for mask in (hit, ~hit))
    return np.insert(positive, 0, 0.0), np.insert(negative, 0, 0.0)


def _f1(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> float:
    """Return F1 of the positive class for two classes, or the mean over the classes that occur; NaN without one.

    scikit-learn's `f1_score` gives the same and takes 10 to 50 times as long, which a bootstrap asks for thousands of
    times.
    """
    given, counted = predictions.argmax(axis=1), predictions.shape[1]
    own, right = weights, given == labels

    def count(classes: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        return np.bincount(classes[rows], None if own is None else own[rows], counted)

    there = count(labels)
    chosen = there > 0
    if counted == 2:
        chosen[0] = False
    scores = 2 * count(labels, right)[chosen] / (count(given) + there)[chosen]
    return float(np.mean(scores)) if len(scores) else float("nan")


def _r2(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None) -> float:
    """Return R²; NaN where all labels that count are equal, for which scikit-learn would give 0 or 1."""
    if len(np.unique(labels if weights is None else labels[weights > 0])) < 2:
        return float("nan")
    labels = labels.astype(np.float64)
    spread = mean(np.square(labels - mean(labels, weights)), weights)
    return 1 - mean(np.square(labels - predictions), weights) / spread
