"""The search itself: suggest, train in the workers, record, until the budget is spent."""

import time

import keras_tuner

from components.shared.errors import UserError
from components.shared.seeds import derive
from components.shared.settings import SearchSettings
from components.shared.step import Step
from components.tune.execute import Check, Order
from components.tune.pool import Died, Pool
from components.tune.suggest import suggest
from components.tune.trials import Study, Trial


def spaces(pool: Pool, families: list[str], step: Step) -> dict[str, keras_tuner.HyperParameters]:
    """The search space of each family, once a worker has trained its default model on one batch.

    Raises:
        UserError: A family can't be used, with the reason.
    """
    found: dict[str, keras_tuner.HyperParameters] = {}
    for name in families:
        step.progress(f"checking {name} with one batch")
        pool.submit(0, Check(name))
        ((_, answer),) = pool.results()
        if isinstance(answer, Died):
            raise UserError(f"search.families: {name} can't be trained on one batch: {answer.reason}")
        if isinstance(answer, UserError):
            raise answer
        found[name] = keras_tuner.HyperParameters.from_config(answer)
    return found


class Search:
    """One search over several families that take turns.

    The suggestion of trial n knows the scores of the trials before n - `lag`, and the configurations of all before
    n. It does not depend on which worker was faster: for a seed and a number of workers the trials are the same
    every time, also after a crash, whose missing trials are trained again.

    Args:
        step: For progress.
        study: Where the records are.
        spaces: Search space by family, in the order of the turns.
        settings: Of the search.
        seed: Of the run.
        pool: Trains the trials.
    """

    def __init__(
        self,
        step: Step,
        study: Study,
        spaces: dict[str, keras_tuner.HyperParameters],
        settings: SearchSettings,
        seed: int,
        pool: Pool,
    ) -> None:
        self._step, self._study, self._spaces = step, study, spaces
        self._settings, self._seed, self._pool = settings, seed, pool
        # Twice the workers: a slow trial then holds up none but the trials far behind it.
        self._lag = 1 if pool.workers == 1 else 2 * pool.workers
        self._orders: list[Order] = []
        self._running: set[int] = set()
        self._done: dict[int, Trial] = {}
        self._ended = False

    def run(self) -> list[Trial]:
        """Trains until the budget is spent or every space is exhausted; returns all trials in order.

        Raises:
            UserError: Too many trials in a row were infeasible.
        """
        recorded = self._study.load()
        if recorded:
            self._step.progress(f"going on after {len(recorded)} recorded trials")
        started = time.monotonic()
        while True:
            self._start_more(recorded, (time.monotonic() - started) / 60)
            if not self._running:
                return [self._done[order.number] for order in self._orders]
            self._collect()

    def _start_more(self, recorded: dict[int, Trial], minutes: float) -> None:
        """Gives every free worker a trial, as far as the budget and the lag allow."""
        limit, budget = self._settings.max_minutes, self._settings.max_trials
        while not self._ended and self._pool.free and len(self._orders) < budget and self._is_known():
            if limit and minutes >= limit:
                self._end(f"stopped after {minutes:.1f} minutes, {len(self._orders)} of {budget} trials")
                return
            order = self._next()
            if order is None:
                self._end(f"every configuration has been tried: {len(self._orders)} trials instead of {budget}")
                return
            self._orders.append(order)
            earlier = recorded.get(order.number)
            if earlier and (earlier.family, earlier.values) == (order.family, order.values):
                self._done[order.number] = earlier
            else:
                self._running.add(order.number)
                self._pool.submit(order.number, order)

    def _collect(self) -> None:
        """Waits for trials to end, records them, and stops a search that gets nowhere."""
        for number, answer in self._pool.results():
            if isinstance(answer, Died):
                order = self._orders[number]
                seed = derive(self._seed, "trial", number)
                answer = Trial(number, order.family, order.values, seed, "infeasible", answer.reason), None
            trial, predictions = answer
            self._study.save(trial, predictions)
            self._running.discard(number)
            self._done[number] = trial
            self._tell(trial)
        last = [self._done[number] for number in sorted(self._done)[-self._settings.max_failures :]]
        if len(last) == self._settings.max_failures and not any(trial.complete for trial in last):
            raise UserError(
                f"search: the last {len(last)} trials were all infeasible, so the search stopped; "
                f"the last reason: {last[-1].reason}"
            )

    def _is_known(self) -> bool:
        """Whether every trial whose score the next suggestion is to know has ended."""
        return all(number in self._done for number in range(len(self._orders) - self._lag + 1))

    def _next(self) -> Order | None:
        """The families take turns; one whose space is exhausted passes its turn on."""
        number, names = len(self._orders), list(self._spaces)
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            own = [self._as_known(order) for order in self._orders if order.family == name]
            direction, seed = self._settings.objective.direction, derive(self._seed, name)
            values = suggest(self._settings.tuner, self._spaces[name], own, direction, seed)
            if values is not None:
                return Order(number, name, values)
        return None

    def _as_known(self, order: Order) -> Trial:
        """The trial as the next suggestion is to know it: with its score, or as one that is still running."""
        if order.number <= len(self._orders) - self._lag:
            return self._done[order.number]
        return Trial(order.number, order.family, order.values, 0, "running")

    def _end(self, reason: str) -> None:
        self._ended = True
        self._step.progress(reason)

    def _tell(self, trial: Trial) -> None:
        name, total = self._settings.objective.name, self._settings.max_trials
        result = f"{name} {trial.score:.4f}" if trial.complete else f"infeasible: {trial.reason}"
        text = f"trial {trial.number + 1}/{total} {trial.id}: {result} ({trial.seconds:.1f} s)"
        self._step.progress(text, len(self._done), total)
