"""Records that several tests read."""

import builtins
import gc
import logging
import os

from tests.helpers.commands import Run, write_run
from tests.helpers.commands import kep as run_kep
from tests.helpers.paths import DATA

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from pathlib import Path

import pytest

from kep.cli import main, options
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.core import waiting
from kep.data.records import Records
from kep.engines import rehearsal
from kep.training.monitor import Monitor
from tests.helpers.artifacts import member
from tests.helpers.processes import CLEAN

PRINT = print
pytest_plugins = ["tests.servers.fixtures"]
SOURCES = {
    "digits": DataSettings(source="sklearn:digits"),
    "cancer": DataSettings(source="sklearn:breast_cancer"),
    "churn": DataSettings(source=str(DATA / "churn.csv"), label="churned"),
    "diabetes": DataSettings(source="sklearn:diabetes", types={"sex": "categorical"}),
    "houses": DataSettings(source=str(DATA / "houses.csv"), label="price"),
    "shapes": DataSettings(source=str(DATA / "shapes")),
}


@pytest.fixture(autouse=True)
def _print_as_it_was(monkeypatch):
    """kfp.local indents `print` of the whole process while a task runs; two at once leave it indented."""
    monkeypatch.setattr(builtins, "print", PRINT)


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A step sets up logging for its process; run inside the tests' process, it must not outlive its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True, scope="module")
def _collected():
    """Keras collects garbage before each model; what earlier modules left alive is not looked at again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """On a busy machine a stand-in of a server takes its time, and nobody is to be told."""
    monkeypatch.setattr(waiting, "SILENCE", 600.0)


@pytest.fixture(autouse=True)
def _rehearsed_at_once(monkeypatch):
    """Most rehearsals are forked from a process that has imported TensorFlow: seconds less for each."""
    monkeypatch.setattr(rehearsal, "OWN_PROCESS", CLEAN)


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


@pytest.fixture(scope="session")
def ensembles(records, tmp_path_factory):
    """Function from a source and its families to the folder of an ensemble of members trained for a moment."""
    made = {}

    def of(source: str, *names: str, pooling: str = "arithmetic") -> Path:
        from kep.models import ensemble
        from kep.models.family import Settings
        from kep.models.registry import family

        key = (source, names, pooling)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("ensemble")
            data, members = Records(records(source), "tune"), {}
            train = data.load("train")
            weights = [1.0] if len(names) == 1 else [0.7, 0.3]
            for place, name in enumerate(names):
                own = family({"name": name}, data.manifest)
                folder = tmp_path_factory.mktemp("members") / f"{name}-{place}"
                folder.mkdir()
                own.save(own.refit(own.space().values, train, 2, Settings(2, 2, 64, place), Monitor()), folder)
                unit = "round" if name == "boosted_trees" else "epoch"
                described = member(folder.name, weights[place], family=name, unit=unit, spec={"name": name})
                described.save(folder)
                members[folder.name] = folder
            ensemble.write(made[key], members, records(source), train.ids, pooling)
        return made[key]

    return of


@pytest.fixture
def kep(tmp_path, monkeypatch, capsys):
    """Function that runs `kep` in an empty folder; returns its exit status, its output and its errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options.console, "width", 200)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["kep", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Function that runs a run file in a runs folder of its own and expects its exit status, 0 unless told."""

    def run(name: str, *options: str, ends: tuple[int, ...] = (0,), **sections) -> Run:
        root = tmp_path_factory.mktemp(name)
        file = write_run(root, name, **sections)
        done = run_kep("run", file, "--runs", root / "runs", *options)
        assert done.returncode in ends, done.stdout
        return Run(root / "runs", name, done.stdout)

    return run
