"""A pipeline of a user's own, from our components."""

import os
import subprocess
import sys

import pytest
import yaml

from tests.helpers.paths import ROOT

FILE = ROOT / "examples" / "own_pipeline" / "pipeline.py"


def started(folder, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, FILE, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_compiles_with_typed_parameters(tmp_path):
    started(tmp_path, "--compile", str(tmp_path / "own.yaml"))
    spec = yaml.safe_load((tmp_path / "own.yaml").read_text())
    assert set(spec["root"]["dag"]["tasks"]) == {"ingest", "tune", "winners"}
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == {"data", "families", "search", "hardware", "seed"}


@pytest.mark.slow
def test_it_runs_on_this_machine(tmp_path):
    assert "with a validation loss of" in started(tmp_path).splitlines()[-1]
