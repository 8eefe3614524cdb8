"""Trials are immutable records, one JSON file each; the search has no other state."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from components.shared.files import read_json, write_file, write_json


@dataclass(frozen=True)
class Trial:
    """One configuration that was trained once.

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
        metrics: Every metric of the task on the validation rows.
        validation_curve: Validation loss after each unit.
        seconds: Wall time of the training.
        worker: Process that ran it.
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

    @property
    def id(self) -> str:
        return f"{self.family}-{self.number:03d}"

    @property
    def complete(self) -> bool:
        return self.status == "complete"


class Study:
    """The trials of one search in a folder: `trials/NNNN.json`, and `predictions/NNNN.npy` of complete ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> dict[int, Trial]:
        """All trials by number; a torn or foreign file is not one, and that trial runs again."""
        trials = {}
        for path in (self.folder / "trials").glob("[0-9]*.json"):
            try:
                trial = Trial(**read_json(path))
            except (json.JSONDecodeError, UnicodeDecodeError, TypeError):
                continue
            if path == self._trial(trial.number):
                trials[trial.number] = trial
        return trials

    def save(self, trial: Trial, predictions: np.ndarray | None) -> None:
        """Writes the predictions (float32 [n, classes] or [n]) first: a record without them can't exist."""
        if predictions is not None:
            write_file(self._predictions(trial), lambda temporary: np.save(temporary, predictions))
        write_json(self._trial(trial.number), asdict(trial))

    def predictions(self, trial: Trial) -> np.ndarray:
        return np.load(self._predictions(trial))

    def copy(self, trial: Trial, folder: Path) -> None:
        """Copies the files of one trial into another study's folder."""
        predictions = self._predictions(trial) if trial.complete else None
        for path in filter(None, (self._trial(trial.number), predictions)):
            target = folder / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def _predictions(self, trial: Trial) -> Path:
        return self.folder / "predictions" / f"{trial.number:04d}.npy"

    def _trial(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04d}.json"
