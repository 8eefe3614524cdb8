"""The jobs of a worker: check a family with one batch, or train one trial."""

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from kep.artifacts.trials import Order, Trial
from kep.components.tune.objective import check_reported
from kep.config.search import SearchTask
from kep.core.arrays import Floats
from kep.core.errors import UserError
from kep.data.records import AnyRows
from kep.models.family import Family, Settings, reason, step_rows
from kep.stats.metrics import Truth
from kep.training.monitor import Monitor


@dataclass(frozen=True)
class Check:
    """A job: tell whether the family is usable, and its space."""

    family: str


@dataclass(frozen=True)
class Executor:
    """Does jobs; every exception becomes part of the answer.

    Attributes:
        members: Families by name.
        task: binary, multiclass or regression.
        train: Rows to fit on.
        validation: Rows to score on.
        settings: Settings of the search.
        seed: Seed of the run.
    """

    members: dict[str, Family]
    task: str
    train: AnyRows
    validation: AnyRows
    settings: SearchTask
    seed: int

    def __call__(self, job: Check | Order) -> dict[str, Any] | UserError | tuple[Trial, Floats | None]:
        """Return a space's configuration, or why there is none; or a trial with its validation predictions."""
        return self._check(job) if isinstance(job, Check) else self._train(job)

    def _check(self, job: Check) -> dict[str, Any] | UserError:
        member, objective = self.members[job.family], self.settings.objective
        try:
            reported = member.check(self.train)
            check_reported(objective, self.task, job.family, reported)
            config: dict[str, Any] = member.space().get_config()
            return config
        except UserError as error:
            return error

    def _train(self, order: Order) -> tuple[Trial, Floats | None]:
        member, started = self.members[order.family], time.monotonic()
        seed, objective = order.seed(self.seed), self.settings.objective.name
        base = order.trial("infeasible", seed, worker=os.getpid())
        batch = step_rows(self.settings.asked_batch, len(self.train))
        training = Settings(order.epochs(self.settings.max_epochs), self.settings.patience, batch, seed)
        predictions = None
        try:
            fit = member.fit(order.values, self.train, self.validation, training, Monitor())
            if problem := fit.problem:
                raise ValueError(problem)
            measured = Truth.of(self.task, self.validation).metrics(fit.predictions)
            if objective not in measured:
                told = fit.reported
                if objective not in told:
                    told = told | member.reported(fit.model(), self.validation)
                if objective not in told:
                    raise ValueError(f"{objective} was not reported; there were {', '.join(told) or 'no metrics'}")
                measured[objective] = told[objective]
            score = measured[objective]
            if not np.isfinite(score):
                raise FloatingPointError(f"{objective} is not a finite number")
            predictions = fit.predictions
            figures = {"score": score, "loss": fit.loss, "best": fit.best, "metrics": measured}
            figures |= {"unit": member.unit, "validation_curve": fit.validation_curve, "declared": fit.declared}
            figures["full_epochs"] = fit.full_epochs
            trial = Trial(**dict(base) | figures | {"status": "complete"})
        except (Exception, SystemExit) as error:
            # Whatever goes wrong in a user's model makes this trial infeasible, and says why; the search goes on.
            trial = base.model_copy(update={"reason": reason(error)})
        return trial.model_copy(update={"seconds": time.monotonic() - started}), predictions
