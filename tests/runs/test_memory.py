"""A step that the kernel kills for want of memory, for real: in a control group that holds too little."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.commands import command, environment, write_run
from tests.helpers.paths import DATA

GROUPS = Path("/sys/fs/cgroup/memory")
GREEDY = """
import multiprocessing

import keras

def build(hp):
    hp.Int("units", 4, 8)
    # Not in the workers of a search, which are known when they are killed.
    if multiprocessing.parent_process() is None:
        keras.kept = bytearray(1_500_000_000)
    model = keras.Sequential([keras.layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model
"""


@pytest.fixture
def small():
    """A control group of 1 GB: a run without a model like that needs less."""
    group = GROUPS / f"kep-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("1000M")
    yield group
    group.rmdir()


@pytest.mark.slow
@pytest.mark.skipif(not os.access(GROUPS / "cgroup.procs", os.W_OK), reason="no control groups of version 1 to write")
def test_a_step_that_is_killed_for_want_of_memory_is_told_as_that(small, tmp_path):
    (tmp_path / "greedy.py").write_text(GREEDY)
    file = write_run(
        tmp_path,
        "greedy",
        data={"source": str(DATA / "churn.csv"), "label": "churned"},
        search={"families": ["greedy.py:build"], "max_trials": 1},
    )
    done = subprocess.run(
        ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', small, *command("run", file, "--runs", tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (sentence,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "killed because the memory of this machine ran out" in sentence
