"""The search as a step: its records, what an infeasible trial does to it, and how it goes on."""

import json
import shutil
import zlib
from base64 import b64encode
from pathlib import Path

import numpy as np
import psutil
import pytest

from kep.artifacts.trials import Trial, TrialStore
from kep.components.tune.objective import resolve
from kep.config.search import Objective
from kep.core.environment import WORK
from kep.core.errors import UserError
from kep.data.records import Records
from kep.stats.metrics import metrics
from tests.helpers.searches import TREES, start, tune

SOMETIMES = """
import keras
def build(hp):
    kind = hp.Choice("kind", ["good", "raises", "nan", "loose"])
    hp.Int("units", 2, 4)
    if kind == "raises":
        raise ValueError("no such kind of layer")
    model = keras.Sequential([keras.layers.Dense(2, "sigmoid" if kind == "loose" else "softmax")])
    rate = float("nan") if kind == "nan" else 1e-2
    model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    return model
"""
GOOD = SOMETIMES.replace('["good", "raises", "nan", "loose"]', '["good"]')
NEVER = """
import keras
def build(hp):
    hp.Int("units", 1, 100)
    if hp.get("units") > 1:
        raise ValueError("no such layer")
    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(float("nan")), "sparse_categorical_crossentropy")
    return model
"""


def own(source: str, name: str = "own") -> list[dict]:
    return [
        {
            "name": name,
            "file": f"{name}.py",
            "function": "build",
            "source": b64encode(zlib.compress(source.encode())).decode(),
        }
    ]


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    return tmp_path / "work"


def said(out: Path) -> str:
    return out.with_suffix(".log").read_text()


def study(out: Path) -> dict:
    return json.loads((out / "study.json").read_text())


def content(out: Path) -> list[tuple]:
    """What the trials found, without what differs between two runs of the same trial."""
    return [(t.number, t.family, t.values, t.seed, t.score, t.validation_curve) for t in trials(out)]


def trials(out: Path) -> list[Trial]:
    found = TrialStore(out).load()
    return [found[key] for key in sorted(found)]


def files(folder: Path) -> dict[str, bytes]:
    """Records and predictions of a study as they lie on the disk: a trial that ran again took another time."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("*/0*"))}


def test_a_search_records_its_trials_and_chooses_candidates(records, tmp_path):
    candidates = tune(records("cancer"), tmp_path / "out")
    validation = Records(records("cancer"), "tune").load("validation")
    found = trials(tmp_path / "out")
    assert [trial.id for trial in found] == ["boosted_trees-000", "boosted_trees-001", "boosted_trees-002"]
    for trial in found:
        assert trial.complete
        predictions = TrialStore(tmp_path / "out").predictions(trial)
        assert trial.metrics == pytest.approx(metrics("binary", validation.labels, predictions))
        assert trial.score == trial.loss == pytest.approx(trial.metrics["loss"])
        assert trial.best == int(np.argmin(trial.validation_curve)) + 1
        assert trial.unit == "round"
    assert len({trial.seed for trial in found}) == 3
    written = study(tmp_path / "out")
    assert (written["trials"], written["distinct"], written["infeasible"]) == (3, 3, 0)
    assert written["candidates"] == candidates
    assert len(candidates) == 2
    # The first candidate is the trial with the lowest loss, with that trial's own numbers.
    best = min(found, key=lambda trial: trial.loss)
    assert candidates[0] == {
        "id": best.id,
        "family": "boosted_trees",
        "values": best.values,
        "loss": best.loss,
        "best": best.best,
        "unit": "round",
    }
    assert (tmp_path / "out" / "summary.html").exists() or list((tmp_path / "out").glob("*.html"))


def test_a_search_reads_train_and_validation_rows(records, tmp_path):
    tune(records("cancer"), tmp_path / "out", max_trials=1, top_n=1)
    ledger = json.loads((tmp_path / "out" / "step.json").read_text())["ledger"]
    assert [line["role"] for line in ledger] == ["train", "validation"]


def test_families_take_turns(records, tmp_path):
    families = own(GOOD) + TREES
    tune(records("cancer"), tmp_path / "out", families, max_trials=4)
    assert [trial.family for trial in trials(tmp_path / "out")] == ["own", "boosted_trees"] * 2


def test_a_users_family_may_have_a_built_in_ones_name(records, tmp_path):
    families = own(GOOD, "boosted_trees")
    tune(records("cancer"), tmp_path / "out", families, max_trials=1, top_n=1)
    (trial,) = trials(tmp_path / "out")
    assert trial.unit == "epoch"
    assert set(trial.values) == {"kind", "units"}


def test_infeasible_trials_say_why_and_never_become_candidates(records, tmp_path):
    candidates = tune(
        records("cancer"), tmp_path / "out", own(SOMETIMES), max_trials=12, top_n=12, max_failures=12, tuner="grid"
    )
    found = trials(tmp_path / "out")
    assert len(found) == 12
    kinds = ("good", "raises", "nan", "loose")
    by_kind = {kind: [trial for trial in found if trial.values["kind"] == kind] for kind in kinds}
    assert [len(some) for some in by_kind.values()] == [3] * 4
    assert all(trial.complete for trial in by_kind["good"])
    for trial in by_kind["raises"]:
        assert trial.status == "infeasible"
        assert trial.reason == "ValueError in line 7 of own.py: no such kind of layer"
    for trial in by_kind["nan"]:
        assert trial.status == "infeasible"
        assert "not a finite number" in trial.reason
    for trial in by_kind["loose"]:
        assert trial.status == "infeasible"
        assert "don't sum to 1" in trial.reason
    for trial in by_kind["raises"] + by_kind["nan"] + by_kind["loose"]:
        assert (trial.score, trial.loss) == (None, None)
        assert not (tmp_path / "out" / "predictions" / f"{trial.number:04d}-0.npy").exists()
    assert {candidate["id"] for candidate in candidates} == {trial.id for trial in by_kind["good"]}
    assert study(tmp_path / "out")["infeasible"] == 9


def test_a_search_that_always_fails_ends_after_max_failures_with_the_reason(records, tmp_path, work):
    with pytest.raises(SystemExit) as error:
        tune(records("cancer"), tmp_path / "out", own(NEVER), max_trials=50, max_failures=3, workers=1)
    assert error.value.code == 2
    text = said(tmp_path / "out")
    assert "the last 3 trials were all infeasible" in text
    assert "no such layer" in text
    assert len(list(work.glob("tune/*/trials/*.json"))) == 3
    assert not (tmp_path / "out").exists()


def test_a_search_without_one_complete_trial_hands_on_an_error_not_an_empty_list(records, tmp_path):
    with pytest.raises(SystemExit) as error:
        tune(records("cancer"), tmp_path / "out", own(NEVER), max_trials=2, max_failures=5)
    assert error.value.code == 2
    assert "none of 2 trials was feasible" in said(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("task", "name", "direction", "words"),
    [
        ("binary", "acuracy", None, '"acuracy" is not one of loss, accuracy, roc_auc.*did you mean "accuracy"'),
        ("multiclass", "roc_auc", None, '"roc_auc" is not one of loss, accuracy'),
        ("regression", "accuracy", None, "loss, mae, rmse, r2"),
        ("binary", "accuracy", "min", "accuracy is to be maximised, not minimised"),
        ("binary", "loss", "max", "loss is to be minimised, not maximised"),
    ],
)
def test_an_objective_that_can_not_be_meant_is_refused(task, name, direction, words):
    with pytest.raises(UserError, match=words):
        resolve(Objective(name=name, direction=direction), task)


@pytest.mark.parametrize(
    ("task", "name", "direction"),
    [
        ("binary", "roc_auc", "max"),
        ("multiclass", "f1", "max"),
        ("regression", "rmse", "min"),
        ("binary", "loss", "min"),
    ],
)
def test_an_objective_of_the_task_is_taken(task, name, direction):
    assert resolve(Objective(name=name, direction=direction), task).direction == direction
    assert resolve(Objective(name=name), task).direction == direction


def test_a_wrong_objective_is_refused_before_anything_is_trained(records, tmp_path, work):
    with pytest.raises(SystemExit) as error:
        tune(records("cancer"), tmp_path / "out", objective={"name": "r2"})
    assert error.value.code == 2
    assert "search.objective.name" in said(tmp_path / "out")
    assert not work.exists()


def test_the_objective_is_the_score(records, tmp_path):
    tune(records("cancer"), tmp_path / "out", objective={"name": "roc_auc", "direction": "max"})
    for trial in trials(tmp_path / "out"):
        assert trial.score == trial.metrics["roc_auc"] != trial.loss


def test_a_killed_search_goes_on_from_its_records_to_the_same_end(records, tmp_path, work, monkeypatch):
    whole = tune(records("cancer"), tmp_path / "whole", max_trials=4)
    # Killed while it trained the third trial.
    monkeypatch.setenv(WORK, str(tmp_path / "other work"))
    shutil.copytree(work, tmp_path / "other work")
    for path in (tmp_path / "other work").glob("tune/*/*/000[23]-*"):
        path.unlink()
    resumed = tune(records("cancer"), tmp_path / "resumed", max_trials=4)
    assert resumed == whole
    assert content(tmp_path / "resumed") == content(tmp_path / "whole")
    before, after = files(tmp_path / "whole"), files(tmp_path / "resumed")
    assert set(before) == set(after)
    assert {name for name in before if before[name] != after[name]} == {"trials/0002-0.json", "trials/0003-0.json"}


def test_a_search_that_had_ended_trains_nothing_again(records, tmp_path):
    first = tune(records("cancer"), tmp_path / "out")
    before = files(tmp_path / "out")
    assert tune(records("cancer"), tmp_path / "out") == first
    assert files(tmp_path / "out") == before


def test_a_larger_budget_goes_on_from_the_smaller_ones_trials(records, tmp_path):
    tune(records("cancer"), tmp_path / "small", max_trials=2)
    tune(records("cancer"), tmp_path / "large", max_trials=4, top_n=3)
    small, large = files(tmp_path / "small"), files(tmp_path / "large")
    assert len(small) == 4
    assert small.items() < large.items()
    assert study(tmp_path / "large")["identity"] == study(tmp_path / "small")["identity"]
    assert study(tmp_path / "large")["trials"] == 4


def test_a_smaller_budget_has_the_first_trials_of_the_larger_ones_and_no_others(records, tmp_path):
    tune(records("cancer"), tmp_path / "large", max_trials=4)
    candidates = tune(records("cancer"), tmp_path / "small", max_trials=2)
    small, large = files(tmp_path / "small"), files(tmp_path / "large")
    assert len(small) == 4
    assert small.items() < large.items()
    assert study(tmp_path / "small")["trials"] == 2
    assert {candidate["id"] for candidate in candidates} == {"boosted_trees-000", "boosted_trees-001"}


@pytest.mark.parametrize("change", [{"seed": 1}, {"code": "d"}, {"max_epochs": 2}, {"families": own(GOOD) + TREES}])
def test_another_search_has_another_study(records, tmp_path, work, change):
    tune(records("cancer"), tmp_path / "a", max_trials=1, top_n=1)
    tune(records("cancer"), tmp_path / "b", **({"max_trials": 1, "top_n": 1} | change))
    assert study(tmp_path / "a")["identity"] != study(tmp_path / "b")["identity"]
    assert len(list((work / "tune").iterdir())) == 2


def test_other_data_have_another_study(records, tmp_path, work):
    tune(records("cancer"), tmp_path / "a", max_trials=1, top_n=1)
    tune(records("churn"), tmp_path / "b", max_trials=1, top_n=1)
    assert len(list((work / "tune").iterdir())) == 2


def test_another_seed_searches_elsewhere(records, tmp_path):
    tune(records("cancer"), tmp_path / "a", max_trials=1, top_n=1, tuner="random")
    tune(records("cancer"), tmp_path / "b", max_trials=1, top_n=1, tuner="random", seed=1)
    assert content(tmp_path / "a")[0][2] != content(tmp_path / "b")[0][2]


def test_what_a_small_space_leaves_of_the_budget_goes_to_replicates(records, tmp_path):
    one = own(GOOD.replace('"units", 2, 4', '"units", 2, 3'))
    candidates = tune(records("cancer"), tmp_path / "out", one, max_trials=5, top_n=3)
    found = trials(tmp_path / "out")
    assert [(trial.number, trial.execution) for trial in found][:2] == [(0, 0), (0, 1)]
    assert len(found) == len({trial.seed for trial in found}) == 5
    written = study(tmp_path / "out")
    assert (written["trials"], written["executions"], written["distinct"]) == (2, 5, 2)
    assert "2 trials: 2 distinct configurations, 3 replicates, 0 infeasible" in said(tmp_path / "out")
    assert "2 candidates, fewer than top_n (3)" in said(tmp_path / "out")
    assert len(candidates) == 2
    losses = {number: np.mean([trial.loss for trial in found if trial.number == number]) for number in (0, 1)}
    assert {c["id"]: c["loss"] for c in candidates} == pytest.approx({f"own-{n:03d}": v for n, v in losses.items()})


def test_each_configuration_is_trained_as_often_as_asked_and_scored_by_the_mean(records, tmp_path):
    tune(records("cancer"), tmp_path / "out", max_trials=2, executions_per_trial=2)
    found = trials(tmp_path / "out")
    assert [(trial.number, trial.execution) for trial in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert found[0].values == found[1].values != found[2].values
    assert found[0].loss != found[1].loss
    assert study(tmp_path / "out")["lowest_loss"] == pytest.approx(
        min((found[0].loss + found[1].loss) / 2, (found[2].loss + found[3].loss) / 2)
    )


REPORTS = """
import keras
def build(hp):
    hp.Int("units", 2, 40)
    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[
        keras.metrics.SparseTopKCategoricalAccuracy(1, name="top"),
        keras.metrics.SparseCategoricalAccuracy(name="own_accuracy")])
    return model
"""


def test_a_metric_of_the_model_can_be_the_objective(records, tmp_path):
    objective = {"name": "own_accuracy", "direction": "max"}
    tune(records("cancer"), tmp_path / "out", own(REPORTS), max_trials=2, objective=objective)
    for trial in trials(tmp_path / "out"):
        assert trial.score == trial.metrics["own_accuracy"] == pytest.approx(trial.metrics["accuracy"])
    assert study(tmp_path / "out")["objective"] == objective


def test_a_metric_that_no_model_reports_is_found_before_the_first_trial(records, tmp_path, work):
    with pytest.raises(SystemExit) as error:
        tune(records("cancer"), tmp_path / "out", own(REPORTS), objective={"name": "own_acuracy", "direction": "max"})
    assert error.value.code == 2
    text = said(tmp_path / "out")
    assert 'search.objective.name: own does not report "own_acuracy"; did you mean "own_accuracy"?' in text
    assert not list(work.glob("tune/*/trials/*"))


BRANCHES = """
import keras
def build(hp):
    kind = hp.Choice("kind", ["plain", "wide"])
    with hp.conditional_scope("kind", ["wide"]):
        if kind == "wide":
            hp.Int("units", 2, 3)
    units = hp.get("units") if kind == "wide" else 2
    model = keras.Sequential([keras.layers.Dense(units), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


def test_a_branch_that_the_default_model_does_not_take_is_searched(records, tmp_path):
    tune(records("cancer"), tmp_path / "out", own(BRANCHES), max_trials=3, tuner="grid")
    values = [trial.values for trial in trials(tmp_path / "out")]
    assert values == [{"kind": "plain"}, {"kind": "wide", "units": 2}, {"kind": "wide", "units": 3}]


def test_hyperband_and_evolution_run(records, tmp_path):
    tune(records("cancer"), tmp_path / "rungs", max_trials=13, max_epochs=9, tuner="hyperband", workers=1)
    found = trials(tmp_path / "rungs")
    assert [trial.schedule.epochs for trial in found] == [1] * 9 + [3] * 3 + [9]
    assert all(len(trial.validation_curve) <= 20 * trial.schedule.epochs for trial in found)
    tune(records("cancer"), tmp_path / "evolved", max_trials=14, tuner="evolution")
    assert len({trial.configuration for trial in trials(tmp_path / "evolved")}) == 14


EATS = """
import keras, os, signal, time
def build(hp):
    how = hp.Choice("how", ["works", "dies", "hangs", "exits"])
    hp.Choice("again", [1, 2])
    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "hangs":
        time.sleep(3600)
    if how == "exits":
        raise SystemExit(3)
    return model
"""


@pytest.mark.slow
def test_a_worker_that_dies_or_hangs_costs_its_trial_alone(records, tmp_path):
    tune(
        records("cancer"),
        tmp_path / "out",
        own(EATS),
        max_trials=8,
        tuner="grid",
        trial_minutes=20 / 60,
        max_failures=9,
    )
    reasons = {how: {t.reason for t in trials(tmp_path / "out") if t.values["how"] == how} for how in HOW}
    assert reasons["works"] == {""}
    assert reasons["dies"] == {"the worker was killed by SIGKILL, perhaps because the memory ran out, 2 times"}
    assert reasons["hangs"] == {"over the limit of 20 s"}
    assert reasons["exits"] == {"SystemExit in line 13 of own.py: 3"}


HOW = ("works", "dies", "hangs", "exits")


def test_several_workers_share_the_trials_and_find_the_same_ones_every_time(records, tmp_path, monkeypatch):
    tune(records("cancer"), tmp_path / "a", max_trials=8, workers=3)
    assert len({trial.worker for trial in trials(tmp_path / "a")}) == 3
    monkeypatch.setenv(WORK, str(tmp_path / "other"))
    tune(records("cancer"), tmp_path / "b", max_trials=8, workers=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_missing_record_among_others_is_trained_again(records, tmp_path, work):
    tune(records("cancer"), tmp_path / "a", max_trials=6)
    (torn,) = work.glob("tune/*/trials/0002-0.json")
    torn.write_text("{")
    tune(records("cancer"), tmp_path / "b", max_trials=6)
    before, after = files(tmp_path / "a"), files(tmp_path / "b")
    assert {name for name in before if before[name] != after[name]} == {"trials/0002-0.json"}
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_search_killed_at_twenty_points_ends_with_the_uninterrupted_records(records, tmp_path, work, monkeypatch):
    """Each attempt is killed as soon as it has written one or two files more: also between predictions and record."""
    tune(records("cancer"), tmp_path / "whole", max_trials=12)
    monkeypatch.setenv(WORK, str(tmp_path / "killed"))

    def written() -> int:
        return len(list((tmp_path / "killed").glob("tune/*/*/*")))

    random, kills = np.random.default_rng(0), 0
    while kills < 20:
        before, more = written(), int(random.integers(1, 3))
        process = start(records("cancer"), tmp_path / "out", max_trials=12)
        while process.is_alive() and written() < before + more:
            process.join(0.002)
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        kills += 1
        # A kill may leave a file that is being written; it has another name, and is no record.
        if written() >= 20:
            for path in random.permutation(sorted((tmp_path / "killed").glob("tune/*/*/0*")))[:12]:
                Path(path).unlink()
    assert kills == 20
    tune(records("cancer"), tmp_path / "out", max_trials=12)
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    before, after = files(tmp_path / "whole"), files(tmp_path / "out")
    assert set(before) == set(after)
    assert all(before[name] == after[name] for name in before if name.endswith(".npy"))


def test_two_searches_with_one_work_folder_end_with_the_records_of_one(records, tmp_path):
    """The engine may start a task twice; both then write the same bytes to the same names."""
    tune(records("cancer"), tmp_path / "alone", code="other", max_trials=12)
    both = [start(records("cancer"), tmp_path / name, max_trials=12) for name in ("first", "second")]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    for name in ("first", "second"):
        assert content(tmp_path / name) == content(tmp_path / "alone")


HALF = """
import keras
def build(hp):
    rate = hp.Float("rate", -2.0, 2.0)
    model = keras.Sequential([keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(float("inf") if rate > 0 else 10.0 ** rate), "sparse_categorical_crossentropy")
    return model
"""


def test_a_search_stays_out_of_the_half_of_the_space_that_diverges(records, tmp_path):
    """KerasTuner's Gaussian process takes an infinite loss for a perfect score and moves into that half."""
    candidates = tune(records("cancer"), tmp_path / "out", own(HALF), max_trials=20, max_failures=20, workers=1)
    found = trials(tmp_path / "out")
    diverged = [trial for trial in found if trial.values["rate"] > 0]
    assert diverged
    assert all(not trial.complete for trial in diverged)
    assert all(candidate["values"]["rate"] <= 0 for candidate in candidates)
    assert sum(trial.values["rate"] > 0 for trial in found[10:]) <= 7


GROWS = """
import keras
def build(hp):
    hp.Float("x", 0.0, 1.0)
    model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


@pytest.mark.slow
def test_memory_is_flat_over_two_hundred_trials(records, tmp_path):
    """TensorFlow keeps some megabytes of each model; workers are replaced before that adds up."""
    process = start(
        records("cancer"), tmp_path / "out", own(GROWS), tuner="random", max_trials=200, patience=5, batch_size=512
    )
    log = (tmp_path / "out").with_suffix(".log")
    sizes = []
    while process.is_alive():
        done = log.read_text().count(": loss ") if log.exists() else 0
        try:
            family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            sizes.append((done, sum(one.memory_full_info().uss for one in family)))
        except psutil.NoSuchProcess:
            continue
        process.join(0.5)
    assert process.exitcode == 0, log.read_text()
    early = [size for done, size in sizes if 40 <= done < 100]
    late = [size for done, size in sizes if done >= 140]
    assert np.mean(late) < 1.15 * np.mean(early)
