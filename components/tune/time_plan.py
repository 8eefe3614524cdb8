"""The time of a whole run: when the search ends, and how many candidates the later steps have time for."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Later:
    """What the steps after the search do.

    Attributes:
        candidates: Number of candidates.
        seeds: Fresh trainings of each, in each fold.
        seconds: Seconds that these steps are taken to need.
    """

    candidates: int
    seeds: int
    seconds: float


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

    def seconds_of(self, trials: Sequence[Trial], count: int, seeds: int) -> float:
        """Return the seconds of the later steps with so many candidates, those of the lowest losses.

        Args:
            trials: The trials so far.
            count: Number of candidates.
            seeds: Fresh trainings of each.
        """
        best = sorted((one for one in trials if one.complete), key=lambda one: one.scores.loss)[:count]
        after, times = self._budget.best_epoch, seeds * (self._budget.best_epoch.folds or 1)
        members = best[: self._budget.members] if self._budget.retrain else []
        fresh = [times * self._fresh(one, after.max_epochs, after.patience) for one in best]
        again = [_MORE_ROWS * self._fresh(one, after.max_epochs, 0) for one in members]
        # Of a candidate a model is trained, measured and kept; a member is only trained and kept.
        begins = math.ceil(len(best) / _LANES) + math.ceil(len(members) / _LANES) / 2 + _OTHER_BEGINS
        trainings = sum(max(sum(step) / _LANES, *step) for step in (fresh, again) if step)
        return trainings + _BEGIN * begins * self._start + self._budget.why_seconds

    @property
    def _seeds(self) -> tuple[int, ...]:
        """Numbers of fresh trainings that a candidate may have, the usual one first."""
        usual = self._budget.best_epoch.seeds
        return (usual, 1) if self._budget.best_epoch.adapts and usual > 1 else (usual,)

    def affordable(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the complete trials that may become candidates: alone, each leaves the search its share of the time.

        Where none does, all of them are returned.
        """
        complete = [one for one in trials if one.complete]
        seeds, most = self._seeds[-1], _MOST * self.seconds
        return [one for one in complete if self.seconds_of([one], 1, seeds) <= most] or complete

    def resting(self, trials: Sequence[Trial]) -> set[str]:
        """Return the families that are passed over: those of whose trials none may become a candidate."""
        affordable = {one.family for one in self.affordable(trials)}
        return {one.family for one in trials if one.complete} - affordable

    def later(self, trials: Sequence[Trial]) -> Later:
        """Return what the later steps have time for: at least one candidate.

        An ensemble gains more from another member than from a better known length of training. So where the time is
        short, the last few candidates are trained from one seed before one of them is left out.
        """
        usual, fewer, trials = self._budget.best_epoch.seeds, self._seeds, self.affordable(trials)
        for count in range(min(self._settings.top_n, len(trials)), 0, -1):
            limit = _COMFORT if count > FEWEST else _MOST
            for seeds in (usual,) if count > FEWEST else fewer:
                if (seconds := self.seconds_of(trials, count, seeds)) <= limit * self.seconds:
                    return Later(count, seeds, seconds)
        return Later(1, fewer[-1], self.seconds_of(trials, 1, fewer[-1]))

    def fewer_seeds(self, trials: Sequence[Trial]) -> int | None:
        """Return the fresh trainings of a candidate where the time leaves fewer than the run file says."""
        seeds = self.later(trials).seeds
        return None if seeds == self._budget.best_epoch.seeds else seeds

    def left(self, trials: Sequence[Trial]) -> float:
        """Return the seconds that the search may still take, after the later steps have theirs."""
        return self.seconds - self.elapsed - self.later(trials).seconds

    def is_over(self, trials: Sequence[Trial]) -> bool:
        """Return whether one more training would take time of the later steps; never before one is complete."""
        took = [one.seconds for one in trials if one.complete]
        return bool(took) and self.left(trials) < statistics.median(took) / 2

    def told(self, trials: Sequence[Trial]) -> str:
        """Return why the search ends, for people."""
        later = self.later(trials)
        late = self.elapsed + later.seconds - self.seconds
        said = (
            f"stopped after {self.elapsed:.0f} s of the run and {len(trials)} trainings: {later.candidates} "
            f"candidate{'s' if later.candidates > 1 else ''}, trained from {later.seeds} "
            f"seed{'s' if later.seeds > 1 else ''}, and the later steps need about {later.seconds:.0f} s of "
            f"{self.seconds:.0f}"
        )
        return f"{said}; minutes: {self._budget.minutes:g} will not be met" if late > LATE * self.seconds else said

    def _fresh(self, trial: Trial, max_epochs: int, patience: int) -> float:
        """Return the seconds of a fresh training of a trial's configuration; without patience, to its best unit."""
        an_epoch = ROUNDS_PER_EPOCH if trial.unit == "round" else 1
        units = max(1, len(trial.validation_curve))
        if trial.full_epochs is not None:
            # Watched, a training lasts its whole schedule; without, it ends where the trial was best.
            wanted = trial.full_epochs if patience else trial.full_epochs * trial.best / units
        elif units - trial.best >= self._settings.patience * an_epoch:
            wanted = trial.best + patience * an_epoch
        elif units >= self._settings.max_epochs * an_epoch and patience:
            wanted = _UNKNOWN * units
        else:
            wanted = units
        return trial.seconds * min(wanted, max_epochs * an_epoch) / units
