"""Keras callbacks beside a user's `build(hp)` work with the one loop."""

import csv
from pathlib import Path

import numpy as np
import pytest

from kep.core.errors import RunError
from kep.data.records import Records
from kep.models.family import Settings
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints
from kep.training.monitor import Monitor, StepMonitor
from tests.helpers.families import Interrupting, made

OWN = """
import os
import keras
from keras import layers

def build(hp):
    model = keras.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

class Counting(keras.callbacks.Callback):
    def __init__(self, folder):
        super().__init__()
        self.file, self.calls = os.path.join(folder, "counts"), 0

    def on_train_batch_end(self, batch, logs=None):
        self.calls += 1

    def on_epoch_end(self, epoch, logs=None):
        with open(self.file, "a") as file:
            file.write(f"{epoch} {self.calls} {','.join(sorted(logs))}\\n")
        if epoch == 11:
            self.model.stop_training = True

def callbacks(hp):
    folder = os.environ["CALLBACKS"]
    return [
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=1, min_lr=1e-5),
        keras.callbacks.CSVLogger(os.path.join(folder, "log.csv")),
        keras.callbacks.TensorBoard(os.path.join(folder, "board"), write_graph=False),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=8),
        Counting(folder),
    ]
"""


@pytest.fixture(scope="module")
def rows(records):
    data = Records(records("cancer"), "tune")
    return data.manifest, data.load("train"), data.load("validation")


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("CALLBACKS", str(tmp_path))
    return tmp_path


def read_rates(folder: Path) -> list[dict]:
    with open(folder / "log.csv") as file:
        return list(csv.DictReader(file))


def test_callbacks_see_each_epoch_and_can_stop(own, rows):
    manifest, train, validation = rows
    member = made(own, "build", manifest)
    fit = member.fit({}, train, validation, Settings(100, 50, 32, 0), Monitor())
    counts = [line.split() for line in (own / "counts").read_text().splitlines()]
    assert [int(line[0]) for line in counts] == list(range(len(fit.train_curve)))
    assert len(counts) <= 12
    assert counts[0][2] == "accuracy,learning_rate,loss,val_loss"
    logged = read_rates(own)
    assert [float(line["val_loss"]) for line in logged] == pytest.approx(fit.validation_curve)
    rates = [float(line["learning_rate"]) for line in logged]
    assert rates[-1] < rates[0] == pytest.approx(0.05)
    assert list((own / "board").rglob("events*"))


def test_without_validation_rows_those_that_watch_them_are_left_out(own, rows):
    manifest, train, _ = rows
    made(own, "build", manifest).refit({}, train, 3, Settings(0, 0, 32, 0), Monitor())
    counts = [line.split() for line in (own / "counts").read_text().splitlines()]
    assert [line[2] for line in counts] == ["accuracy,loss"] * 3
    assert "learning_rate" not in (own / "log.csv").read_text()


@pytest.mark.parametrize("calls", [1, 4, 6])
def test_a_fit_that_was_interrupted_goes_on_with_its_curves_and_callbacks(own, rows, calls):
    manifest, train, validation = rows
    settings = Settings(100, 50, 32, 0)
    whole = made(own, "build", manifest).fit({}, train, validation, settings, Monitor())
    rates = [line["learning_rate"] for line in read_rates(own)]
    kept = Checkpoints(own / "kept", "x", 60)
    with pytest.raises(RunError, match="told to end"), Interrupting(kept, calls) as monitor:
        made(own, "build", manifest).fit({}, train, validation, settings, monitor)
    with StepMonitor(Step("best_epoch"), "", checkpoints=kept) as monitor:
        resumed = made(own, "build", manifest).fit({}, train, validation, settings, monitor)
    assert resumed.train_curve == whole.train_curve
    assert resumed.validation_curve == whole.validation_curve
    np.testing.assert_array_equal(resumed.predictions, whole.predictions)
    for one, other in zip(resumed.model().get_weights(), whole.model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # The learning rate's own countdown went on, too.
    assert [line["learning_rate"] for line in read_rates(own)] == rates[-len(read_rates(own)) :]


def test_epochs_become_scalars_of_tensorboard(own, rows, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    manifest, train, validation = rows
    with StepMonitor(Step("best_epoch"), "", scalars=own / "scalars") as monitor:
        fit = made(own, "build", manifest).fit({}, train, validation, Settings(5, 5, 32, 0), monitor)
    events = EventAccumulator(str(own / "scalars"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_loss")] == [1, 2, 3, 4, 5]
    assert [event.value for event in events.Scalars("val_loss")] == pytest.approx(fit.validation_curve)
    assert {"loss", "learning_rate", "rows_per_second", "input_share"} <= set(events.Tags()["scalars"])
