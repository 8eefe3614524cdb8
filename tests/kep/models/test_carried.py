"""Modules beside a user's file travel with it, and are those of that file."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.models.carried import modules_of
from kep.models.registry import family, travelling
from tests.helpers.commands import DONE, kep, write_run
from tests.helpers.paths import DATA

FAMILY = """
import keras
import numpy
from helper import UNITS
from blocks.dense import dense
from plain.part import PART

def build(hp):
    from late import RATE
    model = keras.Sequential([dense(hp.Choice("units", [UNITS * PART])), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(RATE), "binary_crossentropy")
    return model
"""
FILES = {
    "family.py": FAMILY,
    "helper.py": "import second\nUNITS = second.UNITS\n",
    "second.py": "UNITS = 4\n",
    "late.py": "RATE = 0.01\n",
    "blocks/__init__.py": "",
    "blocks/dense.py": "import keras\nfrom .sizes import N\ndef dense(n):\n    return keras.layers.Dense(n * N)\n",
    "blocks/sizes.py": "N = 1\n",
    "plain/part.py": "PART = 1\n",
    "unused.py": "raise ImportError('nobody imports this')\n",
    "keras.py": "raise ImportError('the installed one is meant')\n",
    "json.py": "raise ImportError('that of Python is meant')\n",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


@pytest.fixture
def cancer(records) -> Manifest:
    return Manifest.load(records("cancer"))


@pytest.fixture(autouse=True)
def forgotten():
    """No module of a test stays imported."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"helper", "second", "late", "blocks", "plain"}:
            del sys.modules[name]


def spec(folder: Path) -> dict:
    (one,) = travelling(["family.py:build"], folder)
    return json.loads(json.dumps(one))


def units(folder: Path, manifest: Manifest) -> int:
    return family(spec(folder), manifest).space().values["units"]


def test_what_a_file_imports_from_its_folder_travels(folder):
    names = [
        "blocks/__init__.py",
        "blocks/dense.py",
        "blocks/sizes.py",
        "helper.py",
        "late.py",
        "plain/part.py",
        "second.py",
    ]
    assert list(modules_of(folder / "family.py", folder)) == names


def test_it_is_found_where_the_folder_is_not(folder, cancer):
    travelled = spec(folder)
    shutil.rmtree(folder)
    built = family(travelled, cancer)
    assert built.space().values == {"units": 4}
    assert built.sample()


@pytest.mark.parametrize("name", ["helper.py", "second.py", "late.py", "blocks/sizes.py", "plain/part.py"])
def test_a_changed_module_is_another_family(folder, name):
    before = spec(folder)
    (folder / name).write_text((folder / name).read_text() + "\n")
    changed = spec(folder)
    assert changed != before
    (folder / "unused.py").write_text("")
    assert spec(folder) == changed


def test_the_modules_are_those_that_the_family_came_with(folder, cancer):
    assert units(folder, cancer) == 4
    (folder / "second.py").write_text("UNITS = 9\n")
    assert units(folder, cancer) == 9


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("helper.py", "def (", "helper.py is not Python"),
        ("second.py", "UNITS = 1 / 0\n", "family does not load: ZeroDivisionError in line 1 of second.py"),
        ("second.py", "import no_such_package\n", "No module named 'no_such_package'"),
    ],
)
def test_what_is_wrong_in_a_module_is_one_sentence(folder, cancer, name, text, words):
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=words):
        units(folder, cancer)


def test_the_folder_of_the_run_file_is_looked_into_too(folder, tmp_path, caplog):
    """As where a repository keeps its families in a package; an installed name is told of."""
    nested = tmp_path / "models" / "deep"
    nested.mkdir(parents=True)
    (tmp_path / "models" / "shared.py").write_text("UNITS = 4\n")
    (nested / "wide.py").write_text("import json\nfrom models.shared import UNITS\ndef build(hp): pass\n")
    (nested / "json.py").write_text("")
    assert list(modules_of(nested / "wide.py", tmp_path)) == ["models/deep/json.py", "models/shared.py"]
    assert "imports json: the installed one is taken" in caplog.text


def test_two_families_may_not_bring_different_files_of_one_name(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "family.py").rename(tmp_path / "other" / "another.py")
    assert len(travelling(["own/family.py:build", "other/another.py:build"], tmp_path)) == 2
    (tmp_path / "other" / "second.py").write_text("UNITS = 5\n")
    with pytest.raises(UserError, match=r"two families bring different files second\.py"):
        travelling(["own/family.py:build", "other/another.py:build"], tmp_path)


@pytest.mark.slow
def test_a_run_trains_again_after_a_module_was_changed(folder, tmp_path):
    """And an ensemble predicts without the folder."""
    search = {"families": ["family.py:build"], "max_trials": 1, "top_n": 1, "workers": 1}
    data = {"source": str(DATA / "churn.csv"), "label": "churned"}
    file = write_run(folder, "own", data=data, search=search, best_epoch={"seeds": 1})
    assert kep("run", file, "--runs", tmp_path / "runs").returncode in DONE
    (folder / "second.py").write_text("UNITS = 9\n")
    done = kep("run", file, "--runs", tmp_path / "runs")
    assert done.returncode in DONE, done.stdout
    assert "tune: started" in done.stdout
    assert "ingest: reused" in done.stdout
    shutil.rmtree(folder)
    model = tmp_path / "runs" / "own" / "latest" / "ensemble"
    done = kep("predict", DATA / "churn.csv", "--model", model, "-o", tmp_path / "out.csv")
    assert done.returncode == 0, done.stdout
