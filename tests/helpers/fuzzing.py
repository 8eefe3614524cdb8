"""How long tests with made-up input go on: a moment in `make test`, each time alike, and longer in `make fuzz`."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("KEP_FUZZ", "1"))
"""How many times as many examples as `make test` tries; more than one are others in each run."""


def examples(count: int) -> settings:
    """Settings of a test that tries `count` inputs in `make test`."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
