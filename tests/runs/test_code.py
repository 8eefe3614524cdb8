"""What runs again after an edit of the code: the steps that reach it, and no others."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.commands import environment, write_run
from tests.helpers.paths import DATA, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Function that edits a copy of the package, runs it on one run file, and returns the steps that were reused."""
    folder = tmp_path_factory.mktemp("edited")
    for name in ("kep", "components", "pipelines"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    data = {"source": str(DATA / "churn.csv"), "label": "churned"}
    file = write_run(folder, "churn", data=data, search={"families": ["mlp"], "max_trials": 2, "top_n": 1})

    def run(*paths: str) -> set[str]:
        for path in paths:
            with open(folder / path, "a") as stream:
                stream.write("# edited\n")
        program = "from kep.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-P", "-c", program, "run", str(file), "--runs", str(folder / "runs")],
            env=environment() | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line for line in done.stdout.splitlines() if "reused from an earlier run" in line]
        return {line.split("]")[-1].split(":")[0].strip() for line in lines}

    assert run() == set()
    return run


def test_what_is_reused_after_an_edit(edited):
    every = {"ingest", "tune", "best_epoch", "weigh", "retrain", "evaluate"}  # promote is never
    assert edited() == every - {"evaluate"}  # which compares with the champion that there is now
    assert edited("kep/cli/run.py", "kep/engines/submit.py", "kep/delivery/serving/app.py") == every
    assert edited("components/weigh/weigh.py") == {"ingest", "tune", "best_epoch"}
    assert edited("kep/training/loop.py") == {"ingest"}


def test_a_package_elsewhere_is_the_one_that_runs(tmp_path):
    program = "import kep; print(kep.__file__)"
    (tmp_path / "kep").mkdir()
    (tmp_path / "kep" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == ROOT / "kep" / "__init__.py"
