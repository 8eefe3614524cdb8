"""Trials are immutable records, one JSON file for each execution; the search has no other state."""

import json
import shutil
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from kep.core.files import read_json, write_file, write_json


@dataclass(frozen=True)
class Trial:
    """One configuration and what training it gave: one execution, as it is recorded, or all of them together.

    Attributes:
        number: 0-based place in the order of suggestion.
        family: Name of the family.
        values: Hyperparameters by name.
        seed: Of this training.
        status: "complete", "infeasible" with a reason, or "running" (never recorded).
        score: Value of the objective on the validation rows; None when infeasible.
        loss: Validation loss at the best unit; None when infeasible.
        best: 1-based best epoch or boosting round.
        unit: "epoch" or "round".
        metrics: Every metric of the task on the validation rows, and the objective if the model reports it itself.
        validation_curve: Validation loss after each unit.
        seconds: Wall time of the training.
        worker: Process that ran it.
        execution: 0-based number of this training of the configuration.
        executions: How many trainings the figures are of.
        schedule: Of a tuner that trains in rungs: `epochs`, the longest training, and its place in the schedule.
    """

    number: int
    family: str
    values: dict
    seed: int
    status: str
    reason: str = ""
    score: float | None = None
    loss: float | None = None
    best: int = 0
    unit: str = "epoch"
    metrics: dict = field(default_factory=dict)
    validation_curve: list = field(default_factory=list)
    seconds: float = 0.0
    worker: int = 0
    execution: int = 0
    executions: int = 1
    schedule: dict = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.family}-{self.number:03d}"

    @property
    def complete(self) -> bool:
        return self.status == "complete"

    @property
    def configuration(self) -> str:
        """The same text for the same hyperparameters of the same family."""
        return json.dumps([self.family, self.values], sort_keys=True)


def merge(executions: Iterable[Trial]) -> Trial:
    """The executions of one trial together.

    Score, loss and metrics are means. Curve, best unit and stored predictions are those of the execution with the
    median loss: an average over executions would be an ensemble of them, which no member is. A trial with an
    infeasible execution is infeasible.
    """
    executions = sorted(executions, key=lambda trial: trial.execution)
    seconds = sum(trial.seconds for trial in executions)
    infeasible = [trial for trial in executions if not trial.complete]
    if infeasible:
        return replace(infeasible[0], seconds=seconds, executions=len(executions))
    middle = sorted(executions, key=lambda trial: trial.loss)[(len(executions) - 1) // 2]
    names = executions[0].metrics
    return replace(
        middle,
        score=statistics.fmean(trial.score for trial in executions),
        loss=statistics.fmean(trial.loss for trial in executions),
        metrics={name: statistics.fmean(trial.metrics[name] for trial in executions) for name in names},
        seconds=seconds,
        executions=len(executions),
    )


def merged(executions: Iterable[Trial]) -> list[Trial]:
    """The trials that the executions are of, in order."""
    together: dict[int, list[Trial]] = {}
    for trial in executions:
        together.setdefault(trial.number, []).append(trial)
    return [merge(together[number]) for number in sorted(together)]


class Study:
    """The trials of one search in a folder.

    Each execution is `trials/NNNN-E.json`, with `predictions/NNNN-E.npy` where it is complete.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> dict[tuple[int, int], Trial]:
        """All records by trial and execution; a torn or foreign file is not one, and that execution runs again."""
        records = {}
        for path in (self.folder / "trials").glob("[0-9]*-[0-9]*.json"):
            try:
                trial = Trial(**read_json(path))
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
                continue
            if path == self._trial(trial):
                records[trial.number, trial.execution] = trial
        return records

    def save(self, trial: Trial, predictions: np.ndarray | None) -> None:
        """Writes the predictions (float32 [n, classes] or [n]) first: a record without them can't exist."""
        if predictions is not None:
            write_file(self._predictions(trial), lambda temporary: np.save(temporary, predictions))
        write_json(self._trial(trial), asdict(trial))

    def whole(self) -> dict[tuple[int, int], Trial]:
        """The records of which a search can go on: without those of complete executions whose predictions are gone."""
        found = self.load().items()
        return {key: trial for key, trial in found if not trial.complete or self._predictions(trial).is_file()}

    def predictions(self, trial: Trial) -> np.ndarray:
        return np.load(self._predictions(trial))

    def copy(self, trial: Trial, folder: Path) -> None:
        """Copies the files of one execution into another study's folder."""
        predictions = self._predictions(trial) if trial.complete else None
        for path in filter(None, (self._trial(trial), predictions)):
            target = folder / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def _predictions(self, trial: Trial) -> Path:
        return self.folder / "predictions" / f"{trial.number:04d}-{trial.execution}.npy"

    def _trial(self, trial: Trial) -> Path:
        return self.folder / "trials" / f"{trial.number:04d}-{trial.execution}.json"
