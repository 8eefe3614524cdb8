"""Addresses of pages of Google Cloud's console."""

import re

_JOB = re.compile(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/([^/]+)")


def run_page(project: str, region: str, name: str) -> str:
    """Return the address of a run of Vertex AI Pipelines."""
    return f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/{name}?project={project}"


def page_of(job: str) -> str:
    """Return the address of a run by its resource name; empty where it is none."""
    match = _JOB.fullmatch(job)
    return run_page(match[1], match[2], match[3]) if match else ""
