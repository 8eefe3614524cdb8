"""The time of a whole run: when the search ends, and how many candidates the later steps have time for."""

import math
import statistics
import time
from collections.abc import Sequence

from kep.artifacts.trials import Trial
from kep.config.search import FEWEST, LATE, SearchSettings, TimeBudget
from kep.models.family import ROUNDS_PER_EPOCH

_COMFORT = 0.35
"""Share of the time that the later steps may take for more candidates than the fewest."""
_MOST = 0.6
"""Share of the time that the later steps may take at all; beyond it there are fewer candidates."""
_UNKNOWN = 3
"""Length of a training beside its trial that the cap had stopped: nobody knows when it would have ended."""
_LANES = 2
"""Trainings of a step at the same time; kfp.local runs two."""
_OTHER_BEGINS = 4
"""Begins that ending the search, weigh, evaluate, promote and the report take together."""
_BEGIN = 1.5
"""Time of a begin beside that of a family's check: a task is started, a model is written and measured."""
_MORE_ROWS = 1.25
"""Time of a training on train and validation rows, beside one on train rows."""


class TimePlan:
    """What is left of a run's time, by the trials so far.

    A candidate is trained again as often as `best_epoch` says, and a member once more by `retrain`. Each training is
    taken to last as its trial did, stretched by the epochs that the step allows beyond the search. What it takes to
    begin, compile and write is taken from the time in which the families were checked, on this machine and today.

    Args:
        settings: Settings of the search.
        budget: Time of the run, and what the later steps are to do.
        spent: Seconds that the run has taken so far.
        start: Seconds in which a family was checked with one batch, the mean over the families.
    """

    def __init__(self, settings: SearchSettings, budget: TimeBudget, spent: float, start: float) -> None:
        self._settings, self._budget, self._start = settings, budget, start
        self._began = time.monotonic() - spent

    @property
    def seconds(self) -> float:
        """Time of the whole run."""
        return 60 * self._budget.minutes

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def later(self, trials: Sequence[Trial], count: int) -> float:
        """Return the seconds of the later steps with so many candidates: those of the lowest losses."""
        best = sorted((one for one in trials if one.complete), key=lambda one: one.scores.loss)[:count]
        after, times = self._budget.best_epoch, self._budget.best_epoch.seeds * (self._budget.best_epoch.folds or 1)
        members = best[: self._budget.members] if self._budget.retrain else []
        fresh = [times * self._fresh(one, after.max_epochs, after.patience) for one in best]
        again = [_MORE_ROWS * self._fresh(one, after.max_epochs, 0) for one in members]
        # Of a candidate a model is trained, measured and kept; a member is only trained and kept.
        begins = math.ceil(len(best) / _LANES) + math.ceil(len(members) / _LANES) / 2 + _OTHER_BEGINS
        return (sum(fresh) + sum(again)) / _LANES + _BEGIN * begins * self._start + self._budget.why_seconds

    def candidates(self, trials: Sequence[Trial]) -> int:
        """Return the number of candidates that the later steps have time for, at least 1."""
        for count in range(self._settings.top_n, 1, -1):
            limit = _COMFORT if count > FEWEST else _MOST
            if self.later(trials, count) <= limit * self.seconds:
                return count
        return 1

    def left(self, trials: Sequence[Trial]) -> float:
        """Return the seconds that the search may still take, after the later steps have theirs."""
        return self.seconds - self.elapsed - self.later(trials, self.candidates(trials))

    def is_over(self, trials: Sequence[Trial]) -> bool:
        """Return whether one more training would take time of the later steps; never before one is complete."""
        took = [one.seconds for one in trials if one.complete]
        return bool(took) and self.left(trials) < statistics.median(took) / 2

    def told(self, trials: Sequence[Trial]) -> str:
        """Return why the search ends, for people."""
        count = self.candidates(trials)
        later = self.later(trials, count)
        late = self.elapsed + later - self.seconds
        said = (
            f"stopped after {self.elapsed:.0f} s of the run and {len(trials)} trainings: {count} "
            f"candidate{'s' if count > 1 else ''} and the later steps need about {later:.0f} s of {self.seconds:.0f}"
        )
        return f"{said}; minutes: {self._budget.minutes:g} will not be met" if late > LATE * self.seconds else said

    def _fresh(self, trial: Trial, max_epochs: int, patience: int) -> float:
        """Return the seconds of a fresh training of a trial's configuration."""
        an_epoch = ROUNDS_PER_EPOCH if trial.unit == "round" else 1
        units = max(1, len(trial.validation_curve))
        if units - trial.best >= self._settings.patience * an_epoch:
            wanted = trial.best + patience * an_epoch
        elif units >= self._settings.max_epochs * an_epoch and patience:
            wanted = _UNKNOWN * units
        else:
            wanted = units
        return trial.seconds * min(wanted, max_epochs * an_epoch) / units
