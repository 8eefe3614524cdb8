"""Search once, retrain often: which run's candidates are taken, and what is refused in one sentence."""

import json
from pathlib import Path

import pytest

from kep.artifacts import earlier
from kep.artifacts.report import Report
from kep.artifacts.study import Goal, SearchedData, Study
from kep.artifacts.trials import Order, TrialStore
from kep.config.run_file import load, validate
from kep.config.search import EarlierSearch
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.engines.earlier import check_data, in_cloud
from kep.engines.local.earlier import resolved
from kep.models.registry import automatic
from tests.helpers.artifacts import candidate
from tests.helpers.reports import whole
from tests.helpers.searches import tune

FROM = earlier.CANDIDATES
DATA = SearchedData(task="binary", classes=["no", "yes"], records="r")


def made(folder: Path, **more) -> Path:
    """A study of two candidates of trees."""
    folder.mkdir(parents=True)
    chosen = [candidate(f"boosted_trees-{place:03d}") for place in range(2)]
    known = {"identity": "i", "objective": Goal(name="loss", direction="min"), "tuner": "bayesian", "spaces": {}}
    known |= {"trials": 1, "executions": 1, "distinct": 1, "infeasible": 0, "lowest_loss": 0.3, "corrected_loss": 0.3}
    Study(**known | {"candidates": chosen, "data": DATA} | more).save(folder)
    order = Order(number=0, family="boosted_trees", values={})
    TrialStore(folder).save(order.trial("infeasible", reason="no"), None)
    return folder


def asked(given: object, **search):
    return validate({"name": "demo", "data": {"source": "sklearn:iris"}, "search": {"from": given} | search})


def found(tmp_path, **search) -> EarlierSearch:
    given = resolved(asked("study", **search), tmp_path, tmp_path / "runs").search.from_run
    assert isinstance(given, EarlierSearch)
    return given


def test_a_run_is_fixed_with_its_digest_when_it_is_named(tmp_path):
    made(tmp_path / "study")
    given = found(tmp_path)
    assert (given.task, given.classes, given.families) == ("binary", ["no", "yes"], ["boosted_trees"])
    assert given.study == str(tmp_path / "study")
    settings = resolved(asked("study"), tmp_path, tmp_path)
    again = validate(json.loads(settings.to_json()))
    assert again == settings  # as run.json has it, and --like reads it
    assert resolved(again, tmp_path, tmp_path) == settings
    assert json.loads(settings.search.to_json())["from"]["digest"] == given.digest


def edit_trial(study: Path) -> None:
    path = next((study / "trials").glob("*.json"))
    path.write_text(path.read_text().replace('"no"', '"yes"'))


def edit_study(study: Path) -> None:
    path = study / "study.json"
    path.write_text(path.read_text().replace("0.3", "0.2"))


@pytest.mark.parametrize("change", [edit_trial, edit_study, lambda study: (study / "study.json").unlink()])
def test_a_study_that_was_changed_since_is_refused(tmp_path, change):
    made(tmp_path / "study")
    settings = resolved(asked("study"), tmp_path, tmp_path)
    change(tmp_path / "study")
    with pytest.raises(UserError, match="is gone or was changed after this run was started; restore it"):
        resolved(settings, tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("study", "search", "words"),
    [
        ({"data": None}, {}, "does not say what it predicted"),
        ({"candidates": []}, {}, "has no candidate; give another run"),
        ({}, {"families": ["mlp"]}, r"searched boosted_trees, which is not in search.families \(mlp\)"),
    ],
)
def test_a_study_that_does_not_fit_is_one_sentence(tmp_path, study, search, words):
    made(tmp_path / "study", **study)
    with pytest.raises(UserError, match=f"search.from: .*{words}"):
        found(tmp_path, **search)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("key", ["from", "warm_start"])
def test_auto_fits_what_auto_searched(tmp_path, key, images):
    names = [spec["name"] for spec in automatic(images)]
    searched = [candidate(f"{name}-000") for name in names]
    made(tmp_path / "study", candidates=searched, spaces={name: [] for name in names})
    search = {"search": {key: "study"}}
    run = validate({"name": "demo", "data": {"source": "sklearn:iris"}} | search)
    settings = resolved(run, tmp_path, tmp_path / "runs")
    check_data(settings, "binary", ["no", "yes"], images)
    with pytest.raises(UserError, match=f"search.{key}: .* searched .*, which (is|are) not in search.families"):
        check_data(settings, "binary", ["no", "yes"], not images)


def test_a_damaged_study_and_a_run_that_there_is_not_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"search\.from: no finished run study in"):
        found(tmp_path)
    edit_study(made(tmp_path / "study"))
    with pytest.raises(UserError, match=r"search\.from: the search of study can't be used: .* was changed after kep"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("task", "classes", "words"),
    [
        ("binary", ["no", "yes"], None),
        ("binary", ["yes", "no"], None),
        ("regression", [], "searched for a binary label, and this one is regression"),
        ("multiclass", ["no", "yes", "maybe"], "searched for a binary label, and this one is multiclass"),
        ("binary", ["no", "never"], 'searched for other classes than these data have ("never" differs)'),
    ],
)
def test_the_label_must_be_the_same(tmp_path, task, classes, words):
    made(tmp_path / "study")
    settings = resolved(asked("study"), tmp_path, tmp_path)
    if words is None:
        check_data(settings, task, classes, images=False)
    else:
        with pytest.raises(UserError) as refused:
            check_data(settings, task, classes, images=False)
        assert words in str(refused.value)


def test_what_the_cloud_can_not_reach_and_rounds_are_refused():
    with pytest.raises(
        UserError, match="churn is on this machine, where no step in the cloud reaches it; give the gs://"
    ):
        in_cloud("churn", FROM)
    with pytest.raises(UserError, match='"from" trains no trial, so rounds have nothing to do'):
        asked("churn", rounds=2)


def test_a_study_on_gs_is_found_by_its_folder(gcs, tmp_path):
    from kep.google import objects

    made(tmp_path / "study")
    objects.upload(tmp_path / "study", "gs://data/jobs/tune/study", "search.from")
    given = in_cloud("gs://data/jobs/tune/study/", FROM)
    assert given.study == "gs://data/jobs/tune/study"
    with earlier.opened(given.study, "search.from") as folder:
        assert len(earlier.check(folder, given, "search.from").candidates) == 2
    with pytest.raises(UserError, match="there is no finished run in gs://data/jobs/none"):
        in_cloud("gs://data/jobs/none", FROM)


def test_the_latest_run_on_gs_is_found_by_its_name(gcs, tmp_path, records):
    from kep.google import objects

    study = Study.load(made(tmp_path / "churn" / "store" / "training-1" / "tune" / "study"))
    run = tmp_path / "churn" / "20260101-000000"
    run.mkdir()
    content = whole(Manifest.load(records("churn"))) | {"study": json.loads(study.to_json())}
    Report.from_json(json.dumps(content)).save(run)
    (tmp_path / "churn" / "latest.json").write_text('{"run": "20260101-000000"}')
    objects.upload(tmp_path / "churn", "gs://data/runs/churn", FROM)
    for name in ("gs://data/runs/churn", "gs://data/runs/churn/20260101-000000/"):
        given = in_cloud(name, FROM)
        assert (given.run, given.study) == ("churn/20260101-000000", "gs://data/runs/churn/store/training-1/tune/study")


def test_the_step_takes_the_candidates_and_trains_no_trial(records, tmp_path):
    first = tune(records("churn"), tmp_path / "first", max_trials=3)
    (tmp_path / "x.yaml").write_text("name: x\ndata: {source: x.csv}\nsearch: {from: first}")
    settings = resolved(load(tmp_path / "x.yaml"), tmp_path, tmp_path)
    given = settings.search.from_run.model_dump()
    taken = tune(records("churn"), tmp_path / "second", seed=7, **{"from": given})
    assert taken == first
    study = Study.load(tmp_path / "second")
    assert study.origin == settings.search.from_run
    assert TrialStore(tmp_path / "second").finished(study.executions)
    assert "no trial is trained" in (tmp_path / "second.log").read_text()
    assert "on the same rows" in (tmp_path / "second.log").read_text()
    page = (tmp_path / "second" / "summary.html").read_text()
    assert "The candidates are those of first" in page
    with pytest.raises(SystemExit):  # another label
        tune(records("digits"), tmp_path / "third", **{"from": given})
    assert "search.from: first searched for a binary label" in (tmp_path / "third.log").read_text()
    other = Study.load(tmp_path / "first")
    split = other.data.split.model_copy(update={"seed": 5})
    with pytest.raises(UserError, match=r"another way in first \(seed 5 there and 0 here\), so rows that chose"):
        earlier.check_roles(
            other.model_copy(update={"data": other.data.model_copy(update={"split": split})}),
            "first",
            other.data.split,
            "search.from",
        )


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"rounds": 2}, '"warm_start" is for a search in one task; remove rounds'),
        ({"tuner": "hyperband"}, '"warm_start" has no meaning with tuner: hyperband'),
        ({"from": "churn"}, '"from" trains no trial, so "warm_start" has nothing to begin'),
    ],
)
def test_what_a_warm_start_does_not_go_with_is_refused(search, words):
    with pytest.raises(UserError, match=words):
        validate({"name": "x", "data": {"source": "sklearn:iris"}, "search": {"warm_start": "churn"} | search})
