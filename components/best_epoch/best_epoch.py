"""The length of a candidate's training: the median over fresh trainings of the best epoch; and their predictions."""

import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kep.artifacts.best_epoch import PREDICTIONS, TRAINED_ON, BestEpoch, HeldOutTraining, Training
from kep.artifacts.study import Candidate
from kep.artifacts.trials import Hyperparameters
from kep.components.best_epoch.folds import Fold, folds
from kep.config.fit import BestEpochTask
from kep.core.errors import RunError, UserError
from kep.core.files import new_folder, tree_digest, write_file
from kep.core.seeds import derive, identity
from kep.data.few import for_rows
from kep.data.records import AnyRows, Rows, concat
from kep.data.schema import Manifest
from kep.models.family import Family, Fit, Settings
from kep.models.placed import Placed, placed
from kep.models.registry import spec_of
from kep.runtime.step import Step, entry
from kep.stats.metrics import Truth

CALLS = 100
"""Timed calls behind a latency: their median."""


@entry("best_epoch")
def run(
    step: Step,
    *,
    candidate: str,
    records: str,
    families: str,
    config: str,
    batch_size: int,
    hardware: str,
) -> None:
    """Trains a candidate from several fresh seeds on train rows, watching validation rows; or so in each fold.

    The folder gets `best_epoch.json`, two files of arrays, and `models/0`, the first training's model at its best
    epoch. `predictions.npz` holds the held-out rows, fold after fold: `predictions` float32 [seeds, n, classes] or
    [seeds, n], `labels` [n], `ids` uint64 [n], `folds` [n]. `trained_on.npz` holds the uint64 ids of the rows that each
    fold was trained on, by the fold's number. A killed step goes on after the trainings that were finished.

    Args:
        step: This execution.
        candidate: JSON of the candidate that `tune` chose.
        records: Folder of the records.
        families: JSON list made by `kep.models.registry.travelling`.
        config: JSON of `BestEpochTask`.
        batch_size: Rows of one optimiser step; 0 lets the number of train rows choose.
        hardware: JSON of `TrainingHardware`.

    Raises:
        UserError: This machine can't do what `hardware` asks for.
        RunError: A training did not reach a finite validation loss.
    """
    chosen = Candidate.from_json(candidate)
    step.label = chosen.id
    data = step.open(records)
    settings = for_rows(BestEpochTask.model_validate_json(config), data.manifest)
    if chosen.seeds is not None:
        settings = settings.model_copy(update={"seeds": chosen.seeds})
    train, validation = data.open("train"), data.open("validation")
    key = identity(step.seed, step.code, candidate, families, config, batch_size, hardware, data.manifest.fingerprint)
    work = step.work(key)
    parts = folds(train, validation, data.manifest, settings.folds, derive(step.seed, "folds"))
    trainings = [(number, fold) for number in range(settings.seeds) for fold in range(len(parts))]
    with placed(step, spec_of(chosen.family, families, data.manifest), data.manifest, hardware, batch_size) as place:
        for number, fold in trainings:
            if place.agreed(_is_whole(work / f"{number}-{fold}", step)):
                continue
            training = Settings(
                max_epochs=settings.max_epochs,
                patience=settings.patience,
                batch_size=place.batch_size,
                seed=derive(step.seed, "best_epoch", chosen.id, number, *([fold] if fold else [])),
            )
            where = f", fold {fold + 1} of {len(parts)}" if settings.folds else ""
            name = f"seed {number + 1} of {settings.seeds}{where}" if len(trainings) > 1 else ""
            _train(step, place, chosen.values, parts[fold], training, work / f"{number}-{fold}", name)
        if place.chief:
            _write(step, place.family, chosen, settings, _Done(work, trainings, parts), data.manifest)


@dataclass(frozen=True)
class _Done:
    """The finished trainings of a candidate.

    Attributes:
        work: Folder of their partial work.
        trainings: Seed and fold of each, by number: seed after seed, fold after fold.
        parts: The folds.
    """

    work: Path
    trainings: Sequence[tuple[int, int]]
    parts: Sequence[Fold]

    @property
    def model(self) -> Path:
        """Folder of the first training's model."""
        return self.work / "0-0" / "model"

    def predictions(self) -> list[np.ndarray]:
        """Return the predictions of the held-out rows, one array a training."""
        return [np.load(self.work / f"{number}-{fold}" / "predictions.npy") for number, fold in self.trainings]

    def records(self, task: str, predictions: Sequence[np.ndarray]) -> list[HeldOutTraining]:
        """Return the trainings with the metrics of their predictions."""
        found = []
        for (number, fold), predicted in zip(self.trainings, predictions, strict=True):
            fit = Training.load(self.work / f"{number}-{fold}")
            measured = Truth.of(task, self.parts[fold].held).metrics(predicted)
            found.append(HeldOutTraining(**dict(fit) | {"files": {}}, fold=fold, metrics=measured))
        return found


def _is_whole(done: Path, step: Step) -> bool:
    """Return whether a training is finished, and is what it wrote; the log says which one is not."""
    if not done.exists():
        return False
    try:
        Training.load(done).check(done, "predictions.npy", "model")
    except UserError as error:
        step.progress(str(error))
        return False
    return True


def _write(
    step: Step, member: Family, chosen: Candidate, settings: BestEpochTask, done: _Done, manifest: Manifest
) -> None:
    """Write the step's output from the finished trainings."""
    predictions = done.predictions()
    fits = done.records(manifest.label.task, predictions)
    held = concat([part.held for part in done.parts])
    _save_arrays(step.out, done.parts, predictions, held)
    shutil.copytree(done.model, step.out / "models" / "0")
    best, timed = median(fits), None
    if settings.latency_rows is not None:
        rows = held.take(np.arange(settings.latency_rows) % len(held))
        timed = latency(member, member.load(done.model), rows)
        step.progress(f"predicts {settings.latency_rows} row(s) in {timed:.3g} ms")
    BestEpoch(
        candidate=chosen,
        unit=chosen.unit,
        median_best=best,
        at_cap=any(fit.at_cap for fit in fits),
        folds=settings.folds,
        trained_rows=round(statistics.fmean(len(part.train) for part in done.parts)),
        fingerprints={role: manifest.roles[role].fingerprint for role in ("train", "validation")},
        seeds=fits,
        latency_ms=timed,
        files={name: tree_digest(step.out / name) for name in (PREDICTIONS, TRAINED_ON, "models/0")},
    ).save(step.out)
    bests = [fit.best for fit in fits]
    spread = f" (median of {len(fits)} trainings, {min(bests)} to {max(bests)})" if len(fits) > 1 else ""
    cap = "; stopped by the cap, raise best_epoch.max_epochs" if any(fit.at_cap for fit in fits) else ""
    step.progress(f"best {member.unit} {best}{spread}{cap}")


def _save_arrays(folder: Path, parts: Sequence[Fold], predicted: Sequence[np.ndarray], held: AnyRows) -> None:
    """Write `predictions.npz` and `trained_on.npz`."""
    seeds = range(0, len(predicted), len(parts))
    predictions = np.stack([np.concatenate(predicted[first : first + len(parts)]) for first in seeds])
    fold = np.repeat(np.arange(len(parts)), [len(part.held) for part in parts])
    arrays: dict[str, Any] = {"predictions": predictions, "labels": held.labels, "ids": held.ids, "folds": fold}
    if held.weights is not None:
        arrays["weights"] = held.weights
    write_file(folder / PREDICTIONS, lambda path: np.savez(path, **arrays))
    seen: dict[str, Any] = {str(number): part.train.ids for number, part in enumerate(parts)}
    write_file(folder / TRAINED_ON, lambda path: np.savez(path, **seen))


def median(fits: Sequence[Training]) -> int:
    """Return the median of the trainings' 1-based best units; half a unit is rounded up.

    A schedule with an end has its own places to end at, and between two of them lies none.
    """
    bests = [fit.best for fit in fits]
    return int(statistics.median(bests) + 0.5) if fits[0].horizon is None else statistics.median_low(bests)


def latency(member: Family, model: Any, rows: Rows) -> float:
    """Milliseconds that the model takes to predict `rows`: the median over `CALLS` calls, after one that compiles."""
    member.predict(model, rows)
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        member.predict(model, rows)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def _train(
    step: Step, place: Placed, values: Hyperparameters, rows: Fold, settings: Settings, done: Path, name: str
) -> None:
    """One training: `fit.json`, `predictions.npy` and `model/` in the folder `done`."""
    step.progress(name or "training")
    kept = place.checkpoints(done.with_name(f"{done.name}.checkpoints"), identity(done.parent.name, done.name))
    with place.monitor(step, f"{name}: " if name else "", kept, settings.max_epochs) as monitor:
        fit = place.family.fit(values, rows.train, rows.held, settings, monitor)
        if problem := fit.problem:
            raise RunError(f"{step.label} can't be used: with seed {settings.seed}, {problem}")
        if place.chief:
            with new_folder(done) as folder:
                _store(place.family, fit, settings, folder)


def _store(member: Family, fit: Fit, settings: Settings, folder: Path) -> None:
    np.save(folder / "predictions.npy", fit.predictions)
    (folder / "model").mkdir()
    member.save(fit.model(), folder / "model")
    Training(
        seed=settings.seed,
        best=fit.best,
        loss=fit.loss,
        at_cap=fit.at_cap,
        train_curve=fit.train_curve,
        validation_curve=fit.validation_curve,
        horizon=fit.horizon,
        files={name: tree_digest(folder / name) for name in ("predictions.npy", "model")},
    ).save(folder)
