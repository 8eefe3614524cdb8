"""Trials are immutable records, one JSON file for each execution; the search has no other state."""

import json
import operator
import shutil
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from kep.core.arrays import Floats
from kep.core.errors import UserError
from kep.core.files import tree_digest, write_file
from kep.core.json_model import Figure, JsonFile, JsonModel, is_none
from kep.core.seeds import derive
from kep.stats.metrics import problem, problem_of_probabilities

Unit = Literal["epoch", "round"]
"""Unit of a training's length: an epoch of a network, a boosting round of trees."""
Status = Literal["complete", "infeasible", "running"]
Hyperparameters = dict[str, bool | int | float | str]
"""Values by name."""


class Hyperparameter(JsonModel):
    """One entry of a search space, as KerasTuner describes it."""

    class_name: str
    """KerasTuner's class, such as `Float`."""
    config: dict[str, Any]
    """KerasTuner's description: name, range, default, conditions."""


class Declared(Hyperparameter):
    """A hyperparameter that a build declared beyond the values that it was given."""

    value: bool | int | float | str
    """Its default, which the build took."""


class Rung(JsonModel):
    """Place of a trial in the schedule of a tuner that trains in rungs."""

    epochs: int
    """Longest training in epochs."""
    initial_epoch: int
    """Epochs of the rung below; every training starts anew all the same."""
    bracket: int
    """Number of the bracket."""
    round: int
    """Number of the round in its bracket."""
    trial_id: str | None = None
    """The tuner's id of the trial that was promoted from the rung below."""


class Execution(JsonModel):
    """One training of one configuration."""

    number: int
    """0-based place of the trial in the order of suggestion."""
    family: str
    """Name of the family."""
    values: Hyperparameters
    """Suggested hyperparameters."""
    execution: int = 0
    """0-based number of this training of the configuration."""
    schedule: Rung | None = None
    """Rung of the trial; None for a tuner without rungs."""

    @property
    def id(self) -> str:
        """Name of the trial, as candidates carry it."""
        return f"{self.family}-{self.number:03d}"

    @property
    def configuration(self) -> str:
        """Text that is the same for the same hyperparameters of the same family."""
        return json.dumps([self.family, self.values], sort_keys=True)

    def epochs(self, most: int) -> int:
        """Return the longest training in epochs: `most`, unless the schedule says less."""
        return self.schedule.epochs if self.schedule else most


class Scores(NamedTuple):
    """Figures of a complete trial.

    Attributes:
        score: Value of the objective on the validation rows.
        loss: Validation loss at the best unit.
    """

    score: float
    loss: float


class Trial(Execution, JsonFile):
    """Record of one execution, or of all executions of a configuration together."""

    KIND: ClassVar[str] = "a trial"

    seed: int
    """Seed of this training."""
    status: Status
    """Status of the trial; `running` is never recorded."""
    reason: str = ""
    """Reason why it is infeasible."""
    score: Figure = None
    """Value of the objective on the validation rows; None when infeasible."""
    loss: Figure = None
    """Validation loss at the best unit; None when infeasible."""
    best: int = 0
    """1-based best epoch or boosting round of the training."""
    unit: Unit = "epoch"
    """Unit of `best`."""
    metrics: dict[str, Figure] = Field(default_factory=dict)
    """Every metric of the task on the validation rows, and the objective if the model reports it itself."""
    validation_curve: list[Figure] = Field(default_factory=list)
    """Validation loss after each unit."""
    full_epochs: int | None = Field(default=None, exclude_if=is_none)
    """Epochs that the schedule of its learning rate spans in a training without a limit; None where it has no end."""
    seconds: float = 0.0
    """Wall time of the training."""
    worker: int = 0
    """Id of the process that ran it."""
    executions: int = 1
    """Number of trainings behind the figures."""
    declared: list[Declared] = Field(default_factory=list, exclude_if=operator.not_)
    """Hyperparameters that this build declared beyond those of `values`."""
    predicted: str | None = Field(default=None, exclude_if=is_none)
    """sha256 of the file of its predictions; None where there are none."""

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def used(self) -> Hyperparameters:
        """Values that the model was built with: those that were suggested, and defaults."""
        return self.values | {one.config["name"]: one.value for one in self.declared}

    @property
    def scores(self) -> Scores:
        """The figures that every complete trial has.

        Raises:
            ValueError: The trial is not complete.
        """
        if self.score is None or self.loss is None:
            raise ValueError(f"{self.id} has no score: it is {self.status}")
        return Scores(self.score, self.loss)


class Order(Execution):
    """Request for one training: an item of the fan-out of a search in rounds."""

    KIND: ClassVar[str] = "a trial to train"

    def trial(self, status: Status, seed: int = 0, reason: str = "", worker: int = 0) -> Trial:
        """Return a trial of this configuration without figures."""
        return Trial(
            number=self.number,
            family=self.family,
            values=self.values,
            execution=self.execution,
            schedule=self.schedule,
            seed=seed,
            status=status,
            reason=reason,
            worker=worker,
        )

    def seed(self, run: int) -> int:
        """Return the seed of this training, from the run's seed; executions of a trial differ in it alone."""
        return derive(run, "trial", self.number, *([self.execution] if self.execution else []))


def merge(executions: Iterable[Trial]) -> Trial:
    """Return the executions of one trial together.

    Score, loss and metrics are means. Curve, best unit and stored predictions are those of the execution with the
    median loss: an average over executions would be an ensemble of them, which no member is. A trial with an
    infeasible execution is infeasible.
    """
    ordered = sorted(executions, key=lambda trial: trial.execution)
    common = {"seconds": sum(trial.seconds for trial in ordered), "executions": len(ordered)}
    infeasible = [trial for trial in ordered if not trial.complete]
    if infeasible:
        return infeasible[0].model_copy(update=common)
    middle = sorted(ordered, key=lambda trial: trial.scores.loss)[(len(ordered) - 1) // 2]
    means = {
        "score": statistics.fmean(trial.scores.score for trial in ordered),
        "loss": statistics.fmean(trial.scores.loss for trial in ordered),
        "metrics": {name: _mean([trial.metrics[name] for trial in ordered]) for name in ordered[0].metrics},
    }
    return middle.model_copy(update=means | common)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None


def merged(executions: Iterable[Trial]) -> list[Trial]:
    """Return the trials of the executions, in order."""
    together: dict[int, list[Trial]] = {}
    for trial in executions:
        together.setdefault(trial.number, []).append(trial)
    return [merge(together[number]) for number in sorted(together)]


class TrialStore:
    """The trials of one search in a folder.

    Each execution is `trials/NNNN-E.json`, with `predictions/NNNN-E.npy` where it is complete. A record carries the
    fingerprint of its content and the digest of its predictions.

    Args:
        folder: Folder of the search.
        shape: Shape of each execution's predictions, [n, classes] or [n]; None where the reader does not know it.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...] | None = None) -> None:
        self.folder, self._shape = folder, shape

    def load(self, tell: Callable[[str], None] = lambda text: None) -> dict[tuple[int, int], Trial]:
        """Return all records by trial and execution.

        A torn, edited or foreign file is not a record, and that execution runs again.

        Args:
            tell: Called with one sentence for each file that is not a record.
        """
        records = {}
        for path in sorted((self.folder / "trials").glob("[0-9]*-[0-9]*.json")):
            try:
                trial = Trial.read(path)
                if path != self._trial(trial):
                    raise UserError(f"{path} is the record of another training")
            except UserError as error:
                tell(f"{error}; that training runs again")
            else:
                records[trial.number, trial.execution] = trial
        return records

    def save(self, trial: Trial, predictions: Floats | None) -> None:
        """Write the predictions (float32 [n, classes] or [n]) first: a record without them can't exist."""
        if predictions is not None:
            write_file(self._predictions(trial), lambda temporary: np.save(temporary, predictions))
            trial = trial.model_copy(update={"predicted": tree_digest(self._predictions(trial))})
        trial.write(self._trial(trial))

    def whole(self, tell: Callable[[str], None] = lambda text: None) -> dict[tuple[int, int], Trial]:
        """Return the records that a search can go on from: not complete ones without their predictions.

        Args:
            tell: Called with one sentence for each execution that has to run again, with the reason.
        """
        found = {}
        for key, trial in self.load(tell).items():
            if trial.complete and (damage := self._damage(trial)):
                tell(f"{self._predictions(trial)} {damage}; {trial.id} runs again")
            else:
                found[key] = trial
        return found

    def finished(self, executions: int) -> list[Trial]:
        """Return the trials of a search that has ended.

        Args:
            executions: Number of its records.

        Raises:
            UserError: A record is missing or damaged.
        """
        damage: list[str] = []
        records = self.load(damage.append)
        if damage or len(records) != executions:
            told = f" ({damage[0].removesuffix('; that training runs again')})" if damage else ""
            raise UserError(
                f"{self.folder / 'trials'} holds {len(records)} whole records instead of {executions}{told}; run tune "
                "again"
            )
        return merged(records.values())

    def predictions(self, trial: Trial) -> Floats:
        """Return the validation predictions of a complete execution, float32 [n, classes] or [n]."""
        predictions: Floats = np.load(self._predictions(trial))
        return predictions

    def copy(self, trial: Trial, folder: Path) -> None:
        """Copy the files of one execution into another study's folder."""
        predictions = self._predictions(trial) if trial.complete else None
        for path in filter(None, (self._trial(trial), predictions)):
            target = folder / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def _damage(self, trial: Trial) -> str | None:
        """Return why the predictions of a complete execution can't be used, as the end of a sentence."""
        path = self._predictions(trial)
        if not path.is_file():
            return "is missing"
        if trial.predicted != tree_digest(path):
            return "is damaged: these are not the predictions that were recorded"
        if self._shape is None:
            return None
        predictions = self.predictions(trial)
        wrong = problem(predictions, self._shape)
        if wrong is None and len(self._shape) > 1:
            wrong = problem_of_probabilities(predictions)
        return wrong and f"can't be predictions of the validation rows: {wrong}"

    def _predictions(self, trial: Trial) -> Path:
        return self.folder / "predictions" / f"{trial.number:04d}-{trial.execution}.npy"

    def _trial(self, trial: Trial) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}-{trial.execution}.json"
