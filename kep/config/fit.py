"""Settings of the trainings after the search: best_epoch and retrain."""

from typing import Annotated, Literal

from pydantic import Field

from kep.config.section import Count, Epochs, Section, Switch


class BestEpochSettings(Section):
    """The trainings that find how long each candidate should train."""

    max_epochs: Epochs = 100
    """Longest training, in epochs (boosting rounds are 20 to an epoch)."""
    patience: Count = 10
    """Epochs without a better validation loss before a training stops."""
    seeds: Count = 3
    """Number of fresh trainings per candidate; the best epoch is the median over them."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """For small data: cross-validate the train and validation rows in this number of folds. Each fold is predicted by
    models of the other folds (with split.by: time, of earlier rows), trained from every seed. Weights are then fitted
    on all of these rows."""


class BestEpochTask(BestEpochSettings):
    """Settings of the step: how to train, and what `ensemble` needs measured."""

    latency_rows: Count | None = None
    """Rows of the calls that are timed; None where no latency budget is set, since times are not reproducible."""
    adapts: Annotated[Switch, Field(exclude_if=lambda given: not given)] = False
    """Whether the number of trainings follows rows and time: the run has a time, and the run file says no number."""


class RetrainSettings(Section):
    """The final training on train and validation rows."""

    enabled: Switch = True
    """Train the members again on train and validation rows. false: use the models of best_epoch as they are."""
    epochs: Literal["book", "same", "steps"] = "same"
    """Length of the final training. same: the best epoch | book: 1.2 times the best epoch | steps: as many optimiser
    steps as the best epoch took"""


CURVE_SHARES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the train rows that a learning curve is trained on, each within the next."""


class CurveSettings(Section):
    """How the learning curve of `evaluate.learning_curve` is trained and scored."""

    max_epochs: Epochs
    patience: Count
    bootstrap: Count


class RetrainTask(RetrainSettings):
    """Settings of the step: how to train, and whether a learning curve is asked for."""

    curve: Annotated[CurveSettings | None, Field(exclude_if=lambda curve: curve is None)] = None
