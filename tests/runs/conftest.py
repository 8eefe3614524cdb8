"""Whole runs through the command line, in processes of their own; shared by the tests that look at them."""

import pytest

from tests.helpers.commands import Run
from tests.helpers.paths import DATA


@pytest.fixture(scope="session")
def churn(finished) -> Run:
    """The run that most tests look at: missing values, categories, an unbalanced binary label, a network and trees."""
    return finished(
        "churn",
        search={"max_per_family": 1},
        data={"source": str(DATA / "churn.csv"), "label": "churned"},
        evaluate={"bootstrap": 100, "slices": ["plan", "months"]},
    )
