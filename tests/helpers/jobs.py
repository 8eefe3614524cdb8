"""Custom jobs as tests ask for them."""

from kep.google.custom_jobs import MODULE, RUN
from tests.helpers.cloud import job

GPU = "{accelerator: nvidia-tesla-t4, accelerators: 2, spot: true}"


def arguments(vertex) -> list[str]:
    """Of the task, with the placeholder that Vertex AI fills in."""
    container = type(job(vertex)).to_dict(job(vertex))["pipeline_spec"]["deploymentSpec"]["executors"]["exec-retrain"]
    assert container["container"]["command"] == ["python3", "-m", MODULE]
    return [word.replace(RUN, job(vertex).name) for word in container["container"]["args"]]


def only(jobs):
    (made,) = jobs.jobs.values()
    return made
