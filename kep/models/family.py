"""Interface of a family: one search space and one way to fit it.

The search, the best-epoch step and retraining know nothing else about models: a Keras network and boosted trees look
the same to them.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kep.artifacts.trials import Declared
from kep.data.records import AnyRows
from kep.stats.metrics import problem_of_probabilities
from kep.training.monitor import Monitor

Values = dict[str, Any]
"""Values of hyperparameters by name."""
Build = Callable[[Any], Any]
"""KerasTuner's `build(hp)`, or a user's `callbacks(hp)`."""
ROUNDS_PER_EPOCH = 20
"""Boosting rounds that the limits of a training, which are in epochs, count as one epoch."""
FEW_ROWS, MANY_ROWS = 1_500, 5_000
"""Train rows from which an optimiser step has more rows; docs/explanation/measured-tables.md has what that brings."""


def step_rows(asked: int, train_rows: int) -> int:
    """Return the rows of an optimiser step: `asked`, or where that is 0 what the number of train rows says.

    With few rows an epoch has few steps, and a network of so few steps is not trained.
    """
    return asked or (32 if train_rows < FEW_ROWS else 64 if train_rows < MANY_ROWS else 128)


@dataclass(frozen=True)
class Settings:
    """How long and with what to fit.

    Attributes:
        max_epochs: Longest training in epochs.
        patience: Epochs without a better validation loss before the training stops.
        batch_size: Rows of one optimiser step.
        seed: Seed of the initial weights, the order of the rows and dropout.
        share: Share of a schedule with an end after which a training of a known length is over; 1 for all of it.
    """

    max_epochs: int
    patience: int
    batch_size: int
    seed: int
    share: float = 1.0


@dataclass
class Fit:
    """A finished training that watched validation rows.

    Attributes:
        best: 1-based number of the unit (epoch, or boosting round) with the lowest validation loss.
        loss: Lowest validation loss.
        at_cap: Whether the training reached its limit before its patience ran out.
        train_curve: Training loss after each unit.
        validation_curve: Validation loss after each unit.
        predictions: Predictions of the validation rows at the best unit, float32 of shape [n, classes] or [n].
        model: Builds the model at its best unit, for `Family.save`: a new one at each call.
    """

    best: int
    loss: float
    at_cap: bool
    train_curve: list[float]
    validation_curve: list[float]
    predictions: np.ndarray
    model: Callable[[], Any] = field(repr=False)
    declared: list[Declared] = field(default_factory=list)
    """Hyperparameters that the build declared beyond the values that it was given."""
    horizon: int | None = None
    """Epochs over which the schedule of its learning rate spans; None where it has no end."""
    full_epochs: int | None = None
    """Epochs that this schedule would span without the limit of the training."""
    reported: dict[str, float] = field(default_factory=dict)
    """Metrics of the validation rows that a `fit` of the user's own told, by name."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be made of the training, in words; None where something can."""
        if not np.isfinite(self.loss):
            return "the validation loss is not a finite number"
        return None if self.predictions.ndim == 1 else problem_of_probabilities(self.predictions)


def _place(error: BaseException) -> str:
    """Where in a user's own file an error arose, such as " in line 12 of wide.py"; empty where it was elsewhere.

    A user's source is compiled under its bare name; every other file has an absolute path.
    """
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if not Path(frame.filename).is_absolute()]
    own = [frame for frame in own if frame.filename.endswith(".py")]
    return f" in line {own[-1].lineno} of {own[-1].filename}" if own else ""


def reason(error: BaseException) -> str:
    """Describe an error in a user's model: its kind, its line in the user's file and its message, within 500 letters.

    TensorFlow puts an error in a compiled function behind the trace of that function, level by level; what is left here
    is the error itself.
    """
    text = f"{type(error).__name__}: {error}"
    while (traced := text.split(": ", 1)[-1].split("\n\n", 2))[0] == "in user code:" and len(traced) == 3:
        text = traced[2].strip()
    kind, _, words = text.partition(": ")
    return f"{kind}{_place(error)}: {' '.join(words.split())}"[:500]


class Family(Protocol):
    """One search space and one way to fit it.

    Attributes:
        name: As in the run file and the report.
        unit: What `Fit.best` counts: "epoch" or "round".
        looped: Whether kep's own loop trains it (kep/training/loop.py), which can train a part of an epoch, on several
            devices, and go on from a checkpoint.
    """

    name: str
    unit: str
    looped: bool

    def space(self) -> Any:
        """The search space, a KerasTuner `HyperParameters`, with every branch of its conditional scopes."""

    def declared(self, values: Values) -> list[Declared]:
        """Builds the model of `values`, and returns the hyperparameters that this declares beyond them.

        Raises:
            UserError: A value is none that its hyperparameter can have.
        """

    def sample(self) -> str:
        """The default model, as a text for people."""

    def check(self, train: AnyRows) -> dict[str, float]:
        """Builds the default model and trains it on one batch.

        Returns:
            The metrics that the model itself reports, as `reported`.

        Raises:
            UserError: The family can't be used with this data, with the reason.
        """

    def fit(self, values: Values, train: AnyRows, validation: AnyRows, settings: Settings, monitor: Monitor) -> Fit:
        """Fits on `train` and watches `validation`."""

    def refit(self, values: Values, rows: AnyRows, best: float, settings: Settings, monitor: Monitor) -> Any:
        """Fits for `best` units, without validation. A fraction of an epoch is trained as its share of the steps."""

    def predict(self, model: Any, rows: AnyRows) -> np.ndarray:
        """Predicts: float32 of shape [n, classes], or [n] in label units for a regression."""

    def reported(self, model: Any, rows: AnyRows) -> dict[str, float]:
        """Values of the metrics that the model was compiled with, by name; empty where it has none."""

    def save(self, model: Any, folder: Path) -> None:
        """Writes the model, preprocessing included, in the family's native format."""

    def load(self, folder: Path) -> Any:
        """Reads what `save` wrote."""
