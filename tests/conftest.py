"""Records that several tests read."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import pytest

from components.ingest.ingest import ingest
from components.shared.settings import DataSettings

DATA = Path(__file__).parent / "data"
SOURCES = {
    "digits": DataSettings(source="sklearn:digits"),
    "cancer": DataSettings(source="sklearn:breast_cancer"),
    "churn": DataSettings(source=str(DATA / "churn.csv"), label="churned"),
    "houses": DataSettings(source=str(DATA / "houses.csv"), label="price"),
}


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """Function from the name of a source to the folder of its records."""
    folder, made = tmp_path_factory.mktemp("records"), {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = folder / name
            ingest(SOURCES[name], 0, made[name])
        return made[name]

    return of
