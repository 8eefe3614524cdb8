"""A step's code is what its component can reach: an edit elsewhere leaves its results valid, an edit there does not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kep.core import code
from kep.pipelines.steps import PREDICTION_STEPS, STEPS
from tests.helpers.paths import ROOT

ALL = (*STEPS, *PREDICTION_STEPS)
PROGRAM = (
    "import json; from kep.core.code import step_closure; "
    f"print(json.dumps({{step: step_closure(step).hash() for step in {ALL}}}))"
)
TRAIN = {"tune", "best_epoch", "retrain"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of the package, that may be edited."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("kep", "components", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def hashes(copy: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM], env={"PYTHONPATH": str(copy)}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def before(copy) -> dict[str, str]:
    return hashes(copy)


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("kep/cli/run.py", set()),
        ("kep/engines/vertex/engine.py", set()),
        ("kep/delivery/serving/app.py", set()),
        ("pipelines/machines.py", set()),
        ("kep/training/loop.py", TRAIN | {"evaluate", "predict"}),
        ("components/weigh/weigh.py", {"weigh"}),
        ("components/ingest/split.py", {"ingest"}),
        ("kep/report/templates/page.html.j2", {"tune", "evaluate", "drift"}),
        ("kep/core/files.py", set(ALL)),
    ],
)
def test_an_edit_changes_the_code_of_the_steps_that_reach_it(copy, before, file, changed):
    path = copy / file
    kept = path.read_text()
    path.write_text(kept + ("{# edited #}\n" if path.suffix == ".j2" else "# edited\n"))
    try:
        after = hashes(copy)
    finally:
        path.write_text(kept)
    assert {step for step in ALL if after[step] != before[step]} == changed


@pytest.mark.parametrize("step", ALL)
def test_no_step_reaches_a_floor_above_the_steps(step):
    floors = {file.split("/")[0] for file in code.step_closure(step).files}
    assert not floors & {"cli", "delivery", "engines", "pipelines"}


def test_the_libraries_of_a_step_are_those_that_it_imports():
    assert {"numpy", "pyarrow", "PIL"} <= set(code.step_closure("ingest").libraries)
    assert {"Pillow", "pyarrow"} <= {
        name.replace("pillow", "Pillow") for name in code.step_closure("ingest").versions()
    }
    assert "tensorflow" not in code.step_closure("ingest").libraries
    assert {"tensorflow", "keras", "lightgbm"} <= set(code.step_closure("retrain").libraries)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("", False),
        ("0123456789abcdef.01234567", False),
        ("0123456789abcdef.76543210-0123456789ab", False),  # other libraries, in an image
        ("fedcba9876543210.01234567", True),
        ("mine", False),  # a cache key of the caller's own
    ],
)
def test_what_counts_as_other_code(given, other):
    assert code.differs(given, "0123456789abcdef") is other
