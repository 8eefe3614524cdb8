"""What a worker does: check a family with one batch, or train one trial."""

import os
import time
from dataclasses import dataclass, field, replace

import numpy as np

from kep.artifacts.trials import Trial
from kep.components.tune.objective import check_reported
from kep.config.search import SearchSettings
from kep.core.errors import UserError
from kep.core.seeds import derive
from kep.data.records import Rows
from kep.models.family import Family, Settings, reason
from kep.stats.metrics import metrics
from kep.training.monitor import Monitor


@dataclass(frozen=True)
class Check:
    """A job: is the family usable, and what is its space?"""

    family: str


@dataclass(frozen=True)
class Order:
    """A job: train this configuration; the fields are those of `Trial`."""

    number: int
    family: str
    values: dict
    execution: int = 0
    schedule: dict = field(default_factory=dict)

    def trial(self, status: str, seed: int = 0, reason: str = "", worker: int = 0) -> Trial:
        """A trial of this configuration without figures."""
        return Trial(
            number=self.number,
            family=self.family,
            values=self.values,
            seed=seed,
            status=status,
            reason=reason,
            worker=worker,
            execution=self.execution,
            schedule=self.schedule,
        )

    def seed(self, run: int) -> int:
        """Of this training, from the run's seed; executions of a trial differ in it alone."""
        return derive(run, "trial", self.number, *([self.execution] if self.execution else []))


@dataclass(frozen=True)
class Executor:
    """Does jobs; every exception becomes part of the answer.

    Args:
        members: Families by name.
        task: binary, multiclass or regression.
        train: Rows to fit on.
        validation: Rows to score on.
        settings: Of the search.
        seed: Of the run.
    """

    members: dict[str, Family]
    task: str
    train: Rows
    validation: Rows
    settings: SearchSettings
    seed: int

    def __call__(self, job: Check | Order) -> dict | UserError | tuple[Trial, np.ndarray | None]:
        """The answer: a space's configuration or why there is none; or a trial with its validation predictions."""
        return self._check(job) if isinstance(job, Check) else self._train(job)

    def _check(self, job: Check) -> dict | UserError:
        member, objective = self.members[job.family], self.settings.objective
        try:
            reported = member.check(self.train)
            check_reported(objective, self.task, job.family, reported)
            return member.space().get_config()
        except UserError as error:
            return error

    def _train(self, order: Order) -> tuple[Trial, np.ndarray | None]:
        member, started = self.members[order.family], time.monotonic()
        seed, objective = order.seed(self.seed), self.settings.objective.name
        base = order.trial("infeasible", seed, worker=os.getpid())
        epochs = order.schedule.get("epochs", self.settings.max_epochs)
        training = Settings(epochs, self.settings.patience, self.settings.batch_size, seed)
        predictions = None
        try:
            fit = member.fit(order.values, self.train, self.validation, training, Monitor())
            if not np.isfinite(fit.loss):
                raise FloatingPointError("the validation loss is not a finite number")
            measured = metrics(self.task, self.validation.labels, fit.predictions)
            if objective not in measured:
                measured[objective] = member.reported(fit.model(), self.validation)[objective]
            score = measured[objective]
            if not np.isfinite(score):
                raise FloatingPointError(f"{objective} is not a finite number")
            predictions = fit.predictions
            trial = replace(
                base,
                status="complete",
                score=score,
                loss=fit.loss,
                best=fit.best,
                unit=member.unit,
                metrics=measured,
                validation_curve=fit.validation_curve,
            )
        except (Exception, SystemExit) as error:
            # Whatever goes wrong in a user's model makes this trial infeasible, and says why; the search goes on.
            trial = replace(base, reason=reason(error))
        return replace(trial, seconds=time.monotonic() - started), predictions
