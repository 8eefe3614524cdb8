"""Who watches a training says how far it is, and ends one that no longer moves."""

import logging
import subprocess
import sys
import threading

import numpy as np
import pytest

from kep.core.errors import RunError
from kep.runtime.step import Step
from kep.training import monitor as monitors
from kep.training.loop import Feed
from kep.training.machine import TrainingMachine
from kep.training.monitor import StepMonitor

STALLS = """
import threading
from kep.training.monitor import StepMonitor
from kep.runtime.step import Step
with StepMonitor(Step("retrain", "mlp-001"), "seed 1: ", stall_minutes=0.2 / 60):
    threading.Event().wait()
"""


def test_a_training_that_does_not_move_is_ended_with_a_sentence():
    done = subprocess.run([sys.executable, "-c", STALLS], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: seed 1: no step in 0.00333333 minutes, so the training has stalled" in done.stdout
    assert done.stderr == ""


def test_rows_that_never_come_are_a_sentence():
    def gather(index: np.ndarray):
        if len(index) > 1:
            threading.Event().wait()
        return {"numeric": np.zeros((len(index), 2), np.float32)}, np.zeros(len(index), np.int64)

    feed = Feed(gather, 64, 32, 0, TrainingMachine(stall_minutes=0.1 / 60))
    with pytest.raises(
        RunError, match=r"the input pipeline stalled: no rows for 0\.0016\d* minutes in epoch 1, step 0"
    ):
        next(feed.blocks(1, 0, 2))
    assert feed.waited >= 0.1


def test_an_error_while_gathering_reaches_the_training():
    def gather(index: np.ndarray):
        if len(index) > 1:
            raise RunError("records: shard x is damaged")
        return {"numeric": np.zeros((len(index), 2), np.float32)}, np.zeros(len(index), np.int64)

    with pytest.raises(RunError, match="shard x is damaged"):
        next(Feed(gather, 64, 32, 0).blocks(1, 0, 2))


def test_a_long_epoch_says_its_speed_and_what_is_left(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(monitors, "HEARTBEAT", 0.0)
    with StepMonitor(Step("retrain", "mlp-001"), "", epochs=4) as monitor:
        monitor.call(1, 10, 100, 32)
        monitor.call(1, 60, 100, 32)
        monitor.epoch(1, {"loss": 0.5, "rows_per_second": 10.0, "step_ms": 1.0, "input_share": 0.25})
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("mlp-001: epoch 1, step 60 of 100: ")
    assert "rows/s" in lines[0]
    assert "ms a step; at most" in lines[0]
    assert "epoch 1: training loss 0.5000; at most 0 s left" in lines[1]


def test_the_speed_of_the_trainings_ends_in_the_steps_own_file(tmp_path):
    step = Step("retrain")
    for share in (0.1, 0.3):
        with StepMonitor(step, "") as monitor:
            monitor.epoch(1, {"loss": 0.5, "rows_per_second": 10.0, "step_ms": 1.0, "input_share": share})
    step._finish(tmp_path)
    assert '"input_share": 0.2' in (tmp_path / "step.json").read_text()
