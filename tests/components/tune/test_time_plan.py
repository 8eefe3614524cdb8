"""The time of a run is shared: the search takes what the later steps leave."""

import json
from pathlib import Path

import pytest

from kep.artifacts.trials import Trial
from kep.components.tune import time_plan
from kep.components.tune.objective import load
from kep.components.tune.time_plan import TimePlan
from kep.config.fit import BestEpochTask
from kep.config.run_file import validate
from kep.config.search import FEWEST, SearchSettings, TimeBudget
from kep.pipelines.parameters import arguments
from tests.helpers.trials import recorded

SETTINGS = SearchSettings(max_epochs=30, patience=5, top_n=12)


@pytest.fixture
def clock(monkeypatch):
    """The clock that the plan looks at, in seconds."""
    now = [0.0]
    monkeypatch.setattr(time_plan.time, "monotonic", lambda: now[0])
    return now


def budget(minutes: float = 2.0, **changes) -> TimeBudget:
    own = {"best_epoch": BestEpochTask(seeds=3), "retrain": True, "members": 8, "why_seconds": 6.0}
    return TimeBudget(minutes=minutes, **own | changes)


def plan(minutes: float = 2.0, spent: float = 10.0, start: float = 2.0, **changes) -> TimePlan:
    return TimePlan(SETTINGS, budget(minutes, **changes), spent, start)


def trial(number: int, seconds: float, best: int = 10, units: int = 15, unit: str = "epoch") -> Trial:
    own = recorded(number, "f", {"x": number}, 0, "complete", score=number, loss=number, best=best, unit=unit)
    return own.model_copy(update={"seconds": seconds, "validation_curve": [1.0] * units})


def trials(seconds: float, count: int = 20) -> list[Trial]:
    return [trial(number, seconds) for number in range(count)]


@pytest.mark.parametrize(
    ("one", "stretched"),
    [
        (trial(0, 3.0, best=10, units=15), 20 / 15),  # stopped by patience: the step's own patience is longer
        (trial(0, 3.0, best=29, units=30), 90 / 30),  # stopped by the cap, and nobody knows where it would have
        (trial(0, 3.0, best=16, units=16), 1.0),  # ended by itself, as a schedule that knows its end
        (trial(0, 3.0, best=100, units=200, unit="round"), 300 / 200),
        (trial(0, 3.0, best=600, units=600, unit="round"), 3.0),
    ],
)
def test_a_training_is_as_long_as_its_trial_and_what_the_step_allows_beyond(clock, one, stretched):
    calm = plan(start=0, retrain=False, why_seconds=0, best_epoch=BestEpochTask(seeds=1))
    assert calm.later([one], 1) == pytest.approx(3.0 * stretched / 2)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        ({"best_epoch": BestEpochTask(seeds=6)}, True),
        ({"best_epoch": BestEpochTask(seeds=3, folds=5)}, True),
        ({"why_seconds": 20.0}, True),
        ({"start": 9.0}, True),
        ({"retrain": False}, False),
        ({"members": 1}, False),
    ],
)
def test_what_the_later_steps_do_counts(clock, change, more):
    usual, changed = plan().later(trials(1.0), 4), plan(**change).later(trials(1.0), 4)
    assert (changed > usual) == more
    assert changed != usual


@pytest.mark.parametrize(
    ("seconds", "minutes", "count"),
    [(0.05, 3.0, 12), (0.6, 2.0, range(5, 12)), (3.0, 2.0, range(2, FEWEST + 1)), (60.0, 2.0, 1), (60.0, 600.0, 12)],
)
def test_there_are_as_many_candidates_as_the_time_allows(clock, seconds, minutes, count):
    assert plan(minutes).candidates(trials(seconds)) in (count if isinstance(count, range) else (count,))


def test_the_search_ends_when_the_later_steps_need_the_rest(clock):
    one, done = plan(), trials(1.0)
    assert not one.is_over(done)
    clock[0] = 120 - 10 - one.later(done, one.candidates(done)) - 0.1
    assert one.is_over(done)
    assert one.told(done).startswith("stopped after ")
    assert "not be met" not in one.told(done)


def test_no_search_ends_before_a_trial_is_complete(clock):
    one = plan(minutes=0.1)
    clock[0] = 1e6
    failed = trial(0, 1.0).model_copy(update={"status": "infeasible"})
    assert not one.is_over([])
    assert not one.is_over([failed])
    assert one.is_over([failed, trial(1, 1.0)])
    assert one.told([trial(1, 1.0)]).endswith("; minutes: 0.1 will not be met")


def test_the_budget_travels_with_the_search():
    own = {"name": "demo", "data": {"source": "sklearn:iris"}}
    plain, timed = (
        json.loads(arguments(validate(own | more), Path(), "c")["search_config"])
        for more in ({}, {"minutes": 3, "best_epoch": {"seeds": 2}, "retrain": {"enabled": False}})
    )
    assert "time" not in plain
    assert (plain["max_trials"], plain["top_n"]) == (30, 4)
    time = load(json.dumps(timed), "multiclass").time
    assert (time.minutes, time.best_epoch.seeds, time.retrain, time.members, time.why_seconds) == (3, 2, False, 8, 9.0)
