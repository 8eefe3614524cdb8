"""How often an engine starts a task again that failed or was lost with its machine, and for how long."""

from typing import Any

DAYS = 7
"""The most that a task may take on Vertex AI; what it takes on Kubeflow has no limit of its own."""


def retried(task: Any, times: int) -> Any:
    """Returns the task, to be started again up to `times` times.

    Kubeflow counts this time from the start of the first attempt. With kfp's default of an hour, a training that is
    lost after an hour is not started again. Vertex AI caps a longer time at an hour.
    """
    return task.set_retry(times, backoff_max_duration=f"{DAYS * (times + 1)}d")
