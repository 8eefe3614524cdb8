"""The hyperparameter search: suggest, train, record, until the budget is spent; then choose the candidates."""

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path

import keras_tuner
import numpy as np

from components.shared.errors import UserError
from components.shared.files import write_json
from components.shared.hardware import limit_threads
from components.shared.metrics import metrics
from components.shared.records import Rows
from components.shared.schema import Label
from components.shared.seeds import derive
from components.shared.settings import SearchSettings
from components.shared.step import Step, entry
from components.tune import candidates
from components.tune.objective import check_objective
from components.tune.suggest import suggest
from components.tune.trials import Study, Trial
from models.family import Family, Settings, family, specs


@entry("tune")
def run(step: Step, *, records: str, families: str, config: str, hardware: str, seed: int, code: str) -> list[str]:
    """Searches and writes the study; a search that was killed goes on from its records.

    Args:
        step: Of this execution.
        records: Folder of the records.
        families: JSON list made by `models.family.travelling`.
        config: JSON of `SearchSettings`.
        hardware: JSON of `HardwareSettings`.
        seed: Of the run.
        code: Hash of the code, part of the study's identity.

    Returns:
        One JSON string per candidate: `id`, `family`, `values`, `loss`, `best`, `unit`.

    Raises:
        UserError: A family does not fit the data, the objective does not exist, or too many trials in a row failed.
    """
    limit_threads(hardware)
    settings = SearchSettings.model_validate_json(config)
    data = step.open(records)
    label = data.manifest.label
    check_objective(settings.objective, label.task)
    train, validation = data.load("train"), data.load("validation")
    members = [family(spec, data.manifest) for spec in specs(families, data.manifest)]
    for member in members:
        step.progress(f"checking {member.name} with one batch")
        member.check(train)

    identity = _identity(settings, families, data.manifest.fingerprint, seed, code)
    # A search with a larger budget goes on from these records.
    study = Study(step.work(identity, keep=True))
    search = Search(step, study, members, settings, label, train, validation, seed)
    trials = search.run()
    chosen = candidates.choose(study, trials, validation.labels, label.task, settings.top_n)
    if len(chosen) < settings.top_n:
        step.progress(f"{len(chosen)} candidates, fewer than top_n ({settings.top_n}): no more trials completed")
    items = [
        {"id": t.id, "family": t.family, "values": t.values, "loss": t.loss, "best": t.best, "unit": t.unit}
        for t in chosen
    ]
    _write(step.out, study, trials, items, settings, search.spaces, identity)
    return [json.dumps(item, sort_keys=True) for item in items]


class Search:
    """One search over several families in turn."""

    def __init__(
        self,
        step: Step,
        study: Study,
        members: list[Family],
        settings: SearchSettings,
        label: Label,
        train: Rows,
        validation: Rows,
        seed: int,
    ) -> None:
        self._step, self._study, self._settings, self._label = step, study, settings, label
        self._train, self._validation = train, validation
        self._seed = seed
        self._members = {member.name: member for member in members}
        self.spaces: dict[str, keras_tuner.HyperParameters] = {}
        for member in members:
            self.spaces[member.name] = keras_tuner.HyperParameters()
            member.space(self.spaces[member.name])

    def run(self) -> list[Trial]:
        """Trains until the budget is spent or every space is exhausted; returns all trials."""
        trials = self._study.load()
        if trials:
            self._step.progress(f"going on after {len(trials)} recorded trials")
        started, budget = time.monotonic(), self._settings.max_trials
        trials = trials[:budget]
        while len(trials) < budget:
            minutes = (time.monotonic() - started) / 60
            if self._settings.max_minutes and minutes >= self._settings.max_minutes:
                self._step.progress(f"stopped after {minutes:.1f} minutes, {len(trials)} of {budget} trials")
                break
            suggestion = self._next(trials)
            if suggestion is None:
                self._step.progress(f"every configuration has been tried: {len(trials)} trials instead of {budget}")
                break
            trials.append(self._train_one(len(trials), *suggestion))
            self._stop_if_hopeless(trials)
        return trials

    def _next(self, trials: list[Trial]) -> tuple[str, dict] | None:
        """The families take turns; one whose space is exhausted passes its turn on."""
        names = list(self._members)
        for turn in range(len(names)):
            name = names[(len(trials) + turn) % len(names)]
            own = [trial for trial in trials if trial.family == name]
            direction = self._settings.objective.direction
            values = suggest(self._settings.tuner, self.spaces[name], own, direction, derive(self._seed, name))
            if values is not None:
                return name, values
        return None

    def _train_one(self, number: int, name: str, values: dict) -> Trial:
        settings = Settings(
            max_epochs=self._settings.max_epochs,
            patience=self._settings.patience,
            batch_size=self._settings.batch_size,
            seed=derive(self._seed, "trial", number),
        )
        base = Trial(number, name, values, settings.seed, "infeasible", worker=os.getpid())
        member, started, predictions = self._members[name], time.monotonic(), None
        try:
            fit = member.fit(values, self._train, self._validation, settings, lambda *_: None)
            if not np.isfinite(fit.loss):
                raise FloatingPointError("the validation loss is not a finite number")
            measured = metrics(self._label.task, self._validation.labels, fit.predictions)
            score = measured[self._settings.objective.name]
            if not np.isfinite(score):
                raise FloatingPointError(f"{self._settings.objective.name} is not a finite number")
            predictions = fit.predictions
            trial = dataclasses.replace(
                base,
                status="complete",
                score=score,
                loss=fit.loss,
                best=fit.best,
                unit=member.unit,
                metrics=measured,
                validation_curve=fit.validation_curve,
            )
        except Exception as error:
            # Whatever goes wrong in a user's model makes this trial infeasible, and says why; the search goes on.
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
            trial = dataclasses.replace(base, reason=reason)
        trial = dataclasses.replace(trial, seconds=time.monotonic() - started)
        self._study.save(trial, predictions)
        result = (
            f"{self._settings.objective.name} {trial.score:.4f}" if trial.complete else f"infeasible: {trial.reason}"
        )
        total = self._settings.max_trials
        self._step.progress(
            f"trial {number + 1}/{total} {trial.id}: {result} ({trial.seconds:.1f} s)", number + 1, total
        )
        return trial

    def _stop_if_hopeless(self, trials: list[Trial]) -> None:
        last = trials[-self._settings.max_failures :]
        if len(last) == self._settings.max_failures and not any(trial.complete for trial in last):
            raise UserError(
                f"search: the last {len(last)} trials were all infeasible, so the search stopped; "
                f"the last reason: {last[-1].reason}"
            )


def _identity(settings: SearchSettings, families: str, fingerprint: str, seed: int, code: str) -> str:
    """Of everything that a trial depends on: a search with a larger budget goes on with the same trials."""
    own = settings.model_dump(mode="json", exclude={"max_trials", "max_minutes", "top_n", "max_failures", "families"})
    parts = json.dumps([own, families, fingerprint, seed, code], sort_keys=True)
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _write(
    out: Path,
    study: Study,
    trials: list[Trial],
    items: list[dict],
    settings: SearchSettings,
    spaces: dict,
    identity: str,
) -> None:
    from components.tune.summary import write_summary

    for trial in trials:
        study.copy(trial, out)
    configurations = {json.dumps([trial.family, trial.values], sort_keys=True) for trial in trials}
    write_json(
        out / "study.json",
        {
            "identity": identity,
            "objective": settings.objective.model_dump(),
            "tuner": settings.tuner,
            "spaces": {name: space.get_config()["space"] for name, space in spaces.items()},
            "trials": len(trials),
            "distinct": len(configurations),
            "infeasible": sum(not trial.complete for trial in trials),
            "candidates": items,
        },
    )
    write_summary(out)
