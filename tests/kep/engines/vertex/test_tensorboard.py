"""`--tensorboard`: which tasks of a run are told of an instance, and what is refused before a run is made."""

from pathlib import Path

import pytest
import yaml

from kep.core.environment import TENSORBOARD
from kep.google import launch
from tests.helpers.cloud import BUCKET, CREATE, INSTANCE, SUBMIT, job, one_sentence, short
from tests.helpers.jobs import GPU, arguments, only


def spec_of(message) -> dict:
    return type(message).to_dict(message)["pipeline_spec"]


def taken(executor: dict) -> list[dict]:
    """Take the variable of an instance, or none, from a task."""
    container = executor["container"]
    found = [one for one in container.get("env", []) if one["name"] == TENSORBOARD]
    container["env"] = [one for one in container.get("env", []) if one not in found]
    return found


@pytest.mark.usefixtures("churn", "boards")
def test_a_run_tells_its_trainings_and_no_other_task(vertex, kep):
    assert kep(*SUBMIT)[0] == 0
    code, out, err = kep(*SUBMIT, "--again", "--tensorboard", INSTANCE)
    assert (code, err) == (0, "")
    plain, told = (spec_of(job(vertex, place)) for place in (0, 1))
    executors = told["deploymentSpec"]["executors"]
    variable = [{"name": TENSORBOARD, "value": INSTANCE}]
    found = {label for label, one in executors.items() if taken(one) == variable}
    assert found == {"exec-tune", "exec-best-epoch", "exec-retrain"}
    # Nothing else changes, and the run's id is nowhere: the cache answers in the next run.
    assert told == plain
    name = short(job(vertex, 1).name)
    place = "https://europe-west4.tensorboard.googleusercontent.com/experiment"
    url = f"TensorBoard: {place}/{INSTANCE.replace('/', '+')}+experiments+{name}"
    assert url in out.splitlines()
    status = kep("status", name, *BUCKET[:4])[1]
    assert url in status.splitlines()
    assert "TensorBoard" not in kep("status", short(job(vertex).name), *BUCKET[:4])[1]


@pytest.mark.usefixtures("churn", "boards")
def test_trials_of_a_search_in_rounds_are_told_by_their_last_task(vertex, kep):
    rounds = ("--set", "search.rounds=2", "--set", "search.families=[boosted_trees]")
    code, _, err = kep(*SUBMIT, *rounds, "--tensorboard", INSTANCE)
    assert (code, err) == (0, "")
    executors = spec_of(job(vertex))["deploymentSpec"]["executors"]
    assert "exec-trial" in executors
    found = {label for label, one in executors.items() if taken(one)}
    assert found == {"exec-tune", "exec-best-epoch", "exec-retrain"}


@pytest.mark.usefixtures("churn", "boards")
@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ("42", '--tensorboard: "42" is no TensorBoard instance; give projects/P/locations/R/tensorboards/ID'),
        (f"{INSTANCE}/experiments/1", "is no TensorBoard instance"),
        (
            INSTANCE.replace("europe-west4", "us-central1"),
            "the instance is in us-central1, and the run in europe-west4",
        ),
        (
            INSTANCE.replace("42", "43"),
            "--tensorboard: there is no projects/shop-ml/locations/europe-west4/tensorboard",
        ),
    ],
)
def test_an_instance_that_cannot_be_one_is_one_sentence(vertex, kep, instance, words):
    code, _, err = kep(*SUBMIT, "--tensorboard", instance)
    assert code == 2
    assert words in one_sentence(err)
    code, _, err = kep(*CREATE, "--tensorboard", instance)
    assert code == 2
    assert words in one_sentence(err)
    assert (vertex.jobs, vertex.schedules) == ({}, {})


@pytest.mark.usefixtures("churn", "boards")
def test_an_instance_that_may_not_be_looked_at(vertex, kep):
    vertex.fault("GetTensorboard", "PERMISSION_DENIED", "aiplatform.tensorboards.get denied.")
    code, _, err = kep(*SUBMIT, "--tensorboard", INSTANCE)
    assert code == 2
    assert "grant it roles/aiplatform.user (aiplatform.tensorboards.get denied)" in one_sentence(err)


@pytest.mark.usefixtures("churn")
def test_kubeflow_has_none(kubeflow, kep):
    code, _, err = kep("submit", "churn.yaml", "--target", "kubeflow", "--tensorboard", INSTANCE)
    assert code == 2
    assert "--tensorboard has no meaning on Kubeflow; remove it" in one_sentence(err)


@pytest.mark.usefixtures("churn", "boards")
def test_a_pipeline_that_trains_nothing(vertex, kep):
    assert kep(*SUBMIT)[0] == 0
    spec = spec_of(job(vertex))
    executors = spec["deploymentSpec"]["executors"]
    spec["deploymentSpec"]["executors"] = {label: executors[label] for label in ("exec-ingest", "exec-weigh")}
    Path("glue.yaml").write_text(yaml.safe_dump(spec))
    code, _, err = kep("submit", "glue.yaml", *BUCKET, "--again", "--tensorboard", INSTANCE)
    assert code == 2
    assert "--tensorboard: this pipeline trains nothing" in one_sentence(err)


@pytest.mark.usefixtures("churn", "boards")
def test_a_schedule_keeps_its_instance(vertex, kep):
    def told() -> str:
        (found,) = vertex.schedules.values()
        executors = spec_of(found.create_pipeline_job_request.pipeline_job)["deploymentSpec"]["executors"]
        return taken(executors["exec-retrain"])[0]["value"]

    assert kep(*CREATE, "--tensorboard", INSTANCE)[0] == 0
    assert told() == INSTANCE
    assert kep("schedule", "update", "weekly", "churn.yaml", "--set", "seed=7", *BUCKET[:4])[0] == 0
    assert told() == INSTANCE


@pytest.mark.usefixtures("churn")
def test_a_custom_job_is_told_by_its_task(vertex, jobs, boards, kep, monkeypatch, capsys):
    assert kep(*SUBMIT, "--set", f"hardware.retrain.machine={GPU}", "--tensorboard", INSTANCE)[0] == 0
    container = spec_of(job(vertex))["deploymentSpec"]["executors"]["exec-retrain"]["container"]
    words = arguments(vertex)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    assert launch.main([*words[: words.index("--") + 1], "true"]) == 0, capsys.readouterr().out
    (pool,) = only(jobs).job_spec.worker_pool_specs
    assert {one.name: one.value for one in pool.container_spec.env}[TENSORBOARD] == INSTANCE
