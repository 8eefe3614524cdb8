"""Records that several tests read."""

import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import pytest
from rich.console import Console

from components.ingest.ingest import ingest
from components.shared.settings import DataSettings
from pipelines import cli, cloud

DATA = Path(__file__).parent / "data"
SOURCES = {
    "digits": DataSettings(source="sklearn:digits"),
    "cancer": DataSettings(source="sklearn:breast_cancer"),
    "churn": DataSettings(source=str(DATA / "churn.csv"), label="churned"),
    "houses": DataSettings(source=str(DATA / "houses.csv"), label="price"),
}


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A step sets up logging for its process; run inside the tests' process, it must not outlive its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


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


@pytest.fixture
def kep(tmp_path, monkeypatch, capsys):
    """Function that runs `kep` in an empty folder; returns its exit status, its output and its errors."""
    monkeypatch.chdir(tmp_path)
    for module in (cli, cloud):
        monkeypatch.setattr(module, "console", Console(width=200, highlight=False))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run
