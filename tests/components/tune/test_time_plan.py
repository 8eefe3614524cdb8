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


def trial(number: int, seconds: float, best: int = 10, units: int = 15, unit: str = "epoch", **more) -> Trial:
    own = recorded(number, "f", {"x": number}, 0, "complete", score=number, loss=number, best=best, unit=unit)
    return own.model_copy(update={"seconds": seconds, "validation_curve": [1.0] * units} | more)


def trials(seconds: float, count: int = 20) -> list[Trial]:
    return [trial(number, seconds) for number in range(count)]


@pytest.mark.parametrize(
    ("one", "stretched"),
    [
        (trial(0, 3.0, best=10, units=15), 20 / 15),  # stopped by patience: the step's own patience is longer
        (trial(0, 3.0, best=29, units=30), 90 / 30),  # stopped by the cap, and nobody knows where it would have
        (trial(0, 3.0, best=16, units=16), 1.0),  # ended by itself
        (trial(0, 3.0, best=14, units=30, full_epochs=64), 64 / 30),  # as long as its schedule
        (trial(0, 3.0, best=30, units=30, full_epochs=32), 32 / 30),
        (trial(0, 3.0, best=16, units=16, full_epochs=16), 1.0),
        (trial(0, 3.0, best=30, units=30, full_epochs=128), 100 / 30),
        (trial(0, 3.0, best=100, units=200, unit="round"), 300 / 200),
        (trial(0, 3.0, best=600, units=600, unit="round"), 3.0),
    ],
)
def test_a_training_is_as_long_as_its_trial_and_what_the_step_allows_beyond(clock, one, stretched):
    calm = plan(start=0, retrain=False, why_seconds=0, best_epoch=BestEpochTask(seeds=1))
    assert calm.seconds_of([one], 1, 1) == pytest.approx(3.0 * stretched)


@pytest.mark.parametrize(("best", "stretched"), [(30, 64 / 30), (14, 64 * 14 / 30**2)])
def test_a_member_ends_at_its_share_of_the_schedule(clock, best, stretched):
    one = trial(0, 3.0, best=best, units=30, full_epochs=64)
    once, both = (plan(start=0, retrain=retrain, why_seconds=0).seconds_of([one], 1, 1) for retrain in (False, True))
    assert both - once == pytest.approx(1.25 * 3.0 * stretched)


@pytest.mark.parametrize(
    ("change", "seeds", "more"),
    [
        ({}, 6, True),
        ({"best_epoch": BestEpochTask(seeds=3, folds=5)}, 3, True),
        ({"why_seconds": 20.0}, 3, True),
        ({"start": 9.0}, 3, True),
        ({}, 1, False),
        ({"retrain": False}, 3, False),
        ({"members": 1}, 3, False),
    ],
)
def test_what_the_later_steps_do_counts(clock, change, seeds, more):
    usual, changed = (one.seconds_of(trials(1.0), 4, seeds) for one, seeds in ((plan(), 3), (plan(**change), seeds)))
    assert (changed > usual) == more
    assert changed != usual


@pytest.mark.parametrize(
    ("seconds", "minutes", "count"),
    [(0.05, 3.0, 12), (0.6, 2.0, range(5, 12)), (3.0, 2.0, range(2, FEWEST + 1)), (60.0, 2.0, 1), (60.0, 600.0, 12)],
)
def test_there_are_as_many_candidates_as_the_time_allows(clock, seconds, minutes, count):
    assert plan(minutes).later(trials(seconds)).candidates in (count if isinstance(count, range) else (count,))


@pytest.mark.parametrize(
    ("best_epoch", "seconds", "expected"),
    [
        (BestEpochTask(adapts=True), 0.05, 3),
        (BestEpochTask(adapts=True), 6.0, 1),
        (BestEpochTask(adapts=True), 60.0, 1),
        (BestEpochTask(), 6.0, 3),  # the run file says so
        (BestEpochTask(seeds=1, folds=5, adapts=True), 6.0, 1),
    ],
)
def test_where_time_is_short_candidates_are_trained_from_one_seed(clock, best_epoch, seconds, expected):
    assert plan(best_epoch=best_epoch).later(trials(seconds)).seeds == expected


def test_a_lone_candidate_has_its_usual_seeds_where_there_is_time(clock):
    one = plan(best_epoch=BestEpochTask(adapts=True))
    assert (one.later(trials(1.0, 1)).candidates, one.later(trials(1.0, 1)).seeds) == (1, 3)


def test_one_seed_leaves_time_for_more_candidates(clock):
    few, more = (plan(best_epoch=BestEpochTask(adapts=own)).later(trials(6.0)).candidates for own in (False, True))
    assert few < more <= FEWEST


def test_the_search_ends_when_the_later_steps_need_the_rest(clock):
    one, done = plan(), trials(1.0)
    assert not one.is_over(done)
    clock[0] = 120 - 10 - one.later(done).seconds - 0.1
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


def test_a_trial_that_would_take_the_time_of_all_others_is_no_candidate_and_its_family_rests(clock):
    slow = trial(0, 60.0).model_copy(update={"family": "slow"})
    one = plan(best_epoch=BestEpochTask(adapts=True))
    assert one.affordable([slow]) == [slow]
    assert one.resting([slow]) == set()
    assert one.affordable([slow, *trials(1.0, 3)]) == trials(1.0, 3)
    assert one.resting([slow, *trials(1.0, 3)]) == {"slow"}
    assert one.later([slow, *trials(1.0)]) == one.later(trials(1.0))


def test_one_training_has_no_other_beside_it(clock):
    calm = plan(start=0, retrain=False, why_seconds=0)
    alone, two = (calm.seconds_of(trials(3.0, count), count, 1) for count in (1, 2))
    assert alone == two
