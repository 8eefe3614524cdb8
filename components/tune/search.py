"""The search itself: suggest, train in the workers, record, until the budget is spent."""

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import keras_tuner

from kep.artifacts.study import Direction
from kep.artifacts.trials import Hyperparameters, Order, Trial, TrialStore, merge
from kep.components.tune.execute import Check
from kep.components.tune.pool import Died, Pool
from kep.components.tune.space import completed
from kep.components.tune.suggest import No, Suggestion, suggest
from kep.components.tune.time_plan import TimePlan
from kep.components.tune.warm import Warm
from kep.config.search import SearchSettings
from kep.core.arrays import Floats
from kep.core.errors import UserError
from kep.core.seeds import derive
from kep.models.declared import grown
from kep.runtime.step import Step

if TYPE_CHECKING:
    from kep.components.tune.vizier import Vizier


def spaces(pool: Pool, families: list[str], step: Step) -> dict[str, keras_tuner.HyperParameters]:
    """The search space of each family, once a worker has trained its default model on one batch.

    Raises:
        UserError: A family can't be used, with the reason; of several the first.
    """
    answers: dict[int, Any] = {}
    begun = 0
    while len(answers) < len(families):
        while begun < len(families) and pool.free:
            step.progress(f"checking {families[begun]} with one batch")
            pool.submit(begun, Check(families[begun]))
            begun += 1
        answers.update(pool.results())
    found: dict[str, keras_tuner.HyperParameters] = {}
    for place, name in enumerate(families):
        answer = answers[place]
        if isinstance(answer, Died):
            raise UserError(f"search.families: {name} can't be trained on one batch: {answer.reason}")
        if isinstance(answer, UserError):
            raise answer
        found[name] = keras_tuner.HyperParameters.from_config(answer)
    return found


def result(order: Order, answer: tuple[Trial, Floats | None] | Died, seed: int) -> tuple[Trial, Floats | None]:
    """Return the record of a training, and its validation predictions if it is complete."""
    if isinstance(answer, Died):
        return order.trial("infeasible", order.seed(seed), answer.reason), None
    return answer


def check_failures(trials: list[Trial], most: int) -> None:
    """Stops a search that gets nowhere.

    Args:
        trials: The executions that have ended, in order.
        most: Infeasible ones in a row that are too many.

    Raises:
        UserError: With the last reason.
    """
    last = trials[-most:]
    if len(last) == most and not any(trial.complete for trial in last):
        raise UserError(
            f"search: the last {most} trials were all infeasible, so the search stopped; the last reason: "
            f"{last[-1].reason}"
        )


def told(trial: Trial, objective: str) -> str:
    """One execution, for people."""
    again = f" execution {trial.execution + 1}" if trial.execution else ""
    rung = f" for {trial.schedule.epochs} epochs" if trial.schedule else ""
    figure = f"{objective} {trial.score:.4f}" if trial.complete else f"infeasible: {trial.reason}"
    return f"{trial.id}{again}{rung}: {figure} ({trial.seconds:.1f} s)"


COLD = Warm()
"""A search that begins with nothing."""


class Plan:
    """The next training, as a function of the trainings so far and of their known results.

    New configurations come first, one family after the other, each with `executions_per_trial` trainings. When the
    spaces hold no more, the rest of the budget goes to further executions of the trials that have the fewest. A small
    space so ends with a mean of several seeds for each configuration.

    Args:
        spaces: Search space by family, in the order of the turns.
        settings: Settings of the search, the objective with its direction.
        seed: Seed of the run.
        data: Fingerprint of the records, which tells a search in Vizier from others.
        warm: Records of an earlier search.
        portfolio: Configurations by family that the Gaussian process begins with.
    """

    def __init__(
        self,
        spaces: dict[str, keras_tuner.HyperParameters],
        settings: SearchSettings,
        seed: int,
        data: str = "",
        warm: Warm = COLD,
        portfolio: Mapping[str, Sequence[Hyperparameters]] = MappingProxyType({}),
    ) -> None:
        self._spaces, self._settings, self._seed, self._data = spaces, settings, seed, data
        # What an earlier search on rows like these knows is worth more.
        self._portfolio = portfolio if settings.tuner == "bayesian" and not warm.known else {}
        self.warm = warm

    def next(self, orders: list[Order], known: dict[int, Trial], resting: Collection[str] = frozenset()) -> Order | No:
        """The next training.

        Args:
            orders: All trainings so far, in order.
            known: The ended ones whose results may be used, by their place in `orders`.
            resting: Families that get no turn.
        """
        if orders and orders[-1].execution + 1 < self._settings.executions_per_trial:
            last = known.get(len(orders) - 1)
            if last is None or last.complete:
                return orders[-1].model_copy(update={"execution": orders[-1].execution + 1})
        trials = self._trials(orders, known)
        if len(trials) < len(self.warm.first):
            again = self.warm.first[len(trials)]
            return Order(number=len(trials), family=again.family, values=again.values)
        names, reasons = [name for name in self._spaces if name not in resting], set()
        for turn in range(len(names)):
            name = names[(len(trials) + turn) % len(names)]
            found = self._suggested(
                name, [*self.warm.informing(name, trials), *(trial for trial in trials if trial.family == name)]
            )
            if not isinstance(found, No):
                return Order(number=len(trials), family=name, values=found.values, schedule=found.schedule)
            reasons.add(found)
        return No.YET if No.YET in reasons else self._again(orders, trials)

    def space(self, name: str, trials: list[Trial]) -> keras_tuner.HyperParameters:
        """Return a family's space with what the builds of its trials declared beyond it."""
        declared = [one for trial in trials for one in trial.declared]
        return grown(self._spaces[name], declared) if declared else self._spaces[name]

    @property
    def _direction(self) -> Direction:
        """Direction of better scores, which `objective.load` has filled in."""
        return self._settings.objective.direction or "min"

    def _suggested(self, name: str, trials: list[Trial]) -> Suggestion | No:
        space, settings = self.space(name, trials), self._settings
        if settings.tuner == "vizier":
            if space is not self._spaces[name]:
                late = space.space[len(self._spaces[name].space)].name
                raise UserError(
                    f'search.tuner: {name}: "{late}" is declared by some builds alone, which a study in Vizier can\'t '
                    "take up; declare it in every build, or use tuner: bayesian"
                )
            return self._vizier.suggest(name, space, trials)
        for values in self._portfolio.get(name, ()):
            whole = completed(space, values)
            if all(whole != trial.values for trial in trials):
                return Suggestion(whole)
        seed = derive(self._seed, name)
        return suggest(settings.tuner, space, trials, self._direction, seed, settings.max_epochs)

    @cached_property
    def _vizier(self) -> "Vizier":
        from kep.components.tune.vizier import Vizier  # Google's client, which other tuners don't need

        # A search of more rounds goes on with the same trials.
        own = self._settings.model_dump(mode="json", exclude={"max_trials", "rounds", "workers", "top_n"})
        spaces = {name: space.get_config() for name, space in self._spaces.items()}
        parts = json.dumps([own, spaces, self._data, self._seed], sort_keys=True)
        search = hashlib.sha256(parts.encode()).hexdigest()[:16]
        return Vizier(self._settings.vizier or "", search, self._direction)

    def _trials(self, orders: list[Order], known: dict[int, Trial]) -> list[Trial]:
        """The trials as far as they are known; one of which no training has ended is running."""
        ended: dict[int, list[Trial]] = {}
        for place, trial in known.items():
            ended.setdefault(orders[place].number, []).append(trial)
        first = [order for order in orders if order.execution == 0]
        return [
            merge(ended[order.number])
            if order.number in ended
            else order.trial("running").model_copy(update={"executions": 0})
            for order in first
        ]

    def _again(self, orders: list[Order], trials: list[Trial]) -> Order | No:
        """A further execution of the trial that has the fewest, of several the one with the best score."""
        times = [0] * len(trials)
        for order in orders:
            times[order.number] += 1
        sign = 1 if self._direction == "min" else -1
        most = self._settings.max_epochs
        longest = [trial for trial in trials if trial.epochs(most) == most]
        ready = [trial for trial in longest if trial.complete]
        if not ready:
            return No.YET if any(trial.status == "running" for trial in longest) else No.MORE
        chosen = min(ready, key=lambda trial: (times[trial.number], sign * trial.scores.score, trial.number))
        return Order(
            number=chosen.number,
            family=chosen.family,
            values=chosen.values,
            execution=times[chosen.number],
            schedule=chosen.schedule,
        )


class Search:
    """One search over several families that take turns.

    The suggestion of training n knows the scores of the trainings before n - `lag`, and the configurations of all
    before n. It does not depend on which worker was faster: for a seed and a number of workers the trials are the same
    every time. After a crash the missing trainings are done again.

    Args:
        step: For progress.
        study: Holds the records.
        plan: Says which training comes next.
        settings: Settings of the search.
        seed: Seed of the run.
        pool: Trains the trials.
        time: Time of the whole run; None where the run file gives none.
    """

    def __init__(
        self,
        step: Step,
        study: TrialStore,
        plan: Plan,
        settings: SearchSettings,
        seed: int,
        pool: Pool,
        time: TimePlan | None = None,
    ) -> None:
        self._step, self._study, self._plan, self._time = step, study, plan, time
        self._settings, self._seed, self._pool = settings, seed, pool
        # What counts of an earlier search was paid for there.
        self._budget = settings.trainings + len(plan.warm.begun)
        # Twice the workers: a slow trial then holds up none but the trials far behind it.
        self._lag = 1 if pool.workers == 1 else 2 * pool.workers
        self._awaited = 0
        self._orders: list[Order] = plan.warm.orders
        self._running: set[int] = set()
        self._done: dict[int, Trial] = dict(enumerate(plan.warm.begun))
        self._ended, self._until = False, math.inf

    def run(self) -> list[Trial]:
        """Trains until the budget is spent or nothing is left to try; returns the ended executions in order.

        Raises:
            UserError: Too many trials in a row were infeasible.
        """
        recorded = self._study.whole(self._step.progress)
        if recorded:
            self._step.progress(f"going on after {len(recorded)} recorded trials")
        started = time.monotonic()
        while True:
            self._start_more(recorded, (time.monotonic() - started) / 60)
            if not self._running:
                return [self._done[place] for place in sorted(self._done)]
            self._collect()

    def _start_more(self, recorded: dict[tuple[int, int], Trial], minutes: float) -> None:
        """Gives every free worker a training, as far as the budget and the lag allow."""
        limit = self._settings.max_minutes
        while not self._ended and self._pool.free and len(self._orders) < self._budget and self._is_known():
            if limit and minutes >= limit:
                self._end(f"stopped after {minutes:.1f} minutes, {len(self._orders)} of {self._budget} trainings")
                return
            if self._time and self._time.is_over(ended := list(self._done.values())):
                self._end(self._time.told(ended))
                self._until = time.monotonic() + max(0.0, self._time.left(ended))
                return
            place = len(self._orders)
            resting = self._time.resting(list(self._done.values())) if self._time else ()
            order = self._plan.next(self._orders, {p: self._done[p] for p in range(self._horizon())}, resting)
            if order is No.YET and self._awaited < place:
                # The next suggestion knows all that runs now, on every machine and after every crash alike.
                self._awaited = place
                continue
            if isinstance(order, No):
                self._end(f"nothing is left to try: {place} trainings instead of {self._budget}")
                return
            self._orders.append(order)
            earlier = recorded.get((order.number, order.execution))
            if earlier and (earlier.family, earlier.values) == (order.family, order.values):
                self._done[place] = earlier
            else:
                self._running.add(place)
                self._pool.submit(place, order)

    def _collect(self) -> None:
        """Waits for trainings to end, records them, and stops a search that gets nowhere."""
        answers = self._pool.results(self._until)
        if not answers:
            # They leave no record: a run with more time trains them.
            names = ", ".join(self._orders[place].id for place in sorted(self._running))
            self._step.progress(f"left out what had not ended in time: {names}")
            self._running.clear()
        for place, answer in answers:
            trial, predictions = result(self._orders[place], answer, self._seed)
            self._study.save(trial, predictions)
            self._running.discard(place)
            self._done[place] = trial
            self._tell(trial)
        check_failures([self._done[place] for place in sorted(self._done)], self._settings.max_failures)

    def _horizon(self) -> int:
        """Return the number of first trainings that the next suggestion knows."""
        return max(self._awaited, len(self._orders) - self._lag + 1, 0)

    def _is_known(self) -> bool:
        """Return whether every training has ended whose score the next suggestion is to know."""
        return all(place in self._done for place in range(self._horizon()))

    def _end(self, reason: str) -> None:
        self._ended = True
        self._step.progress(reason)

    def _tell(self, trial: Trial) -> None:
        said = told(trial, self._settings.objective.name)
        if self._time is None:
            self._step.progress(f"training {len(self._done)}/{self._budget} {said}", len(self._done), self._budget)
            return
        elapsed, left = self._time.elapsed, max(0.0, self._time.left(list(self._done.values())))
        self._step.progress(
            f"training {len(self._done)} {said}, {left:.0f} s left", round(elapsed), round(elapsed + left)
        )
