"""The compiled prediction pipeline, submitted and scheduled as a run file is."""

import json

import pytest

from tests.helpers.cloud import BUCKET, one_sentence

BATCH = ("batch", "gs://data/churn.csv", "--model", "gs://data/models/churn", "--key", "customer", "--fail-on-drift")


@pytest.fixture
def compiled(kep, churn):
    """Function that compiles the pipeline for a target; its file."""

    def of(target: str) -> str:
        code, _, err = kep(*BATCH, "--compile", f"{target}.yaml", "--target", target)
        assert code == 0, err
        return f"{target}.yaml"

    return of


def test_it_runs_once_for_the_same_data_and_never_from_a_cache(vertex, kep, compiled, gcs):
    submit = ("submit", compiled("vertex"), *BUCKET, "--no-wait")
    assert kep(*submit)[0] == 0
    assert "was submitted before" in kep(*submit)[1]
    gcs.put("data", "churn.csv", b"other")
    assert "submitted kep-predict-churn-" in kep(*submit)[1]
    first, second = vertex.jobs.values()
    assert first.display_name == "predict-churn"
    assert dict(first.runtime_config.parameter_values) == {}
    assert "cachingOptions" not in json.dumps(type(first).to_dict(first)["pipeline_spec"])
    assert first.name != second.name


def test_it_is_scheduled_on_vertex_and_on_kubeflow(vertex, kubeflow, kep, compiled):
    cron = ("--cron", "0 4 * * *")
    code, _, err = kep("schedule", "create", "nightly", compiled("vertex"), *cron, *BUCKET)
    assert (code, err) == (0, "")
    (schedule,) = vertex.schedules.values()
    spec = schedule.create_pipeline_job_request.pipeline_job.pipeline_spec
    assert "drift-gate" in spec["root"]["dag"]["tasks"]
    code, _, err = kep("schedule", "create", "nightly", compiled("kubeflow"), *cron, "--target", "kubeflow")
    assert (code, err) == (0, "")
    assert len(kubeflow.schedules) == 1


def test_a_price_is_not_made_up_and_settings_are_fixed(vertex, kep, compiled):
    file = compiled("vertex")
    code, out, _ = kep("submit", file, *BUCKET, "--dry-run")
    assert (code, vertex.jobs) == (0, {})
    assert "would be submitted; nobody can guess what predictions cost" in out
    _, _, err = kep("submit", file, *BUCKET, "--set", "seed=1")
    assert "--set: a pipeline was compiled already" in one_sentence(err)
