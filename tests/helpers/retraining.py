"""Retrains a network in a process of its own: TensorFlow takes its devices once in a process's life."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kep.models.encode  # noqa: F401  (a saved model names its layers)
from kep.artifacts.weights import Member
from kep.core.environment import EVENTS, WORK
from kep.models.registry import travelling
from tests.helpers.artifacts import candidate

OWN = """
import keras
from keras import layers

def plain(hp):
    model = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(2, "softmax", dtype="float32")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def noisy(hp):
    model = keras.Sequential([layers.Dense(8, "tanh"), layers.BatchNormalization(), layers.Dropout(0.3),
                              layers.Dense(2, "softmax", dtype="float32")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model

def named(hp):
    given = [keras.Input((30,), name="numeric"), keras.Input((), name="mean radius")]
    rows = layers.Concatenate()([given[0], layers.Reshape((1,))(given[1])])
    model = keras.Model(given, layers.Dense(2, "softmax")(layers.Dense(8, "tanh")(rows)))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model

def cycled(hp):
    from kep.training.one_cycle import OneCycle
    model = keras.Sequential([layers.Dense(8, "tanh"), layers.Dense(2, "softmax", dtype="float32")])
    model.compile(keras.optimizers.AdamW(OneCycle(0.02, 4)), "sparse_categorical_crossentropy")
    return model

def diverging(hp):
    model = keras.Sequential([layers.Dense(8), layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.SGD(1e30), "sparse_categorical_crossentropy")
    return model

class Stepping(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)

def stepping(hp):
    model = Stepping([layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


class Retraining:
    """Runs of `retrain` on one set of records, under different hardware.

    Args:
        folder: Of everything that is written.
        records: Folder of the records.
    """

    def __init__(self, folder: Path, records: Path) -> None:
        self.folder, self.records = folder, records
        (folder / "own.py").write_text(OWN)

    def start(
        self,
        out: str,
        function: str = "plain",
        epochs: int = 4,
        work: str = "",
        records: Path | None = None,
        **hardware,
    ) -> subprocess.Popen:
        """Starts a run whose result goes to the folder `out`, its partial work to `work`."""
        call = self.call(out, function, epochs, records, **hardware)
        environment = os.environ | {EVENTS: str(self.folder / f"{out}.events")}
        environment |= {WORK: str(self.folder / work)} if work else {}
        code = "import json, sys; from kep.components.retrain.retrain import run; run(**json.loads(sys.argv[1]))"
        with open(self.folder / f"{out}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", code, json.dumps(call)],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def call(
        self, out: str, function: str = "plain", epochs: int = 4, records: Path | None = None, **hardware
    ) -> dict[str, Any]:
        """The arguments of a run."""
        (family,) = travelling([f"own.py:{function}"], self.folder)
        member = Member(**dict(candidate(f"{family['name']}-001")), median_best=epochs, trained_rows=1, weight=1.0)
        return {
            "out": str(self.folder / out),
            "member": member.to_json(),
            "records": str(records or self.records),
            "weights": "",
            "families": json.dumps([family]),
            "config": "{}",
            "batch_size": 32,
            "hardware": json.dumps({"threads": 1} | hardware),
            "seed": 0,
            "code": "c",
        }

    def run(self, out: str, **how) -> int:
        """Runs to the end; returns the exit status."""
        return self.start(out, **how).wait()

    def log(self, out: str) -> str:
        return (self.folder / f"{out}.log").read_text()

    def wait_for(self, words: str, out: str, process: subprocess.Popen) -> None:
        """Waits until a run that goes on has logged `words`."""
        while words not in self.log(out):
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                raise AssertionError(self.log(out))

    def member(self, out: str) -> dict:
        return json.loads((self.folder / out / "member.json").read_text())

    def weights(self, out: str) -> list[np.ndarray]:
        """Of the model that the run wrote."""
        assert (self.folder / out / "model.keras").is_file(), self.log(out)
        return keras.saving.load_model(self.folder / out / "model.keras", compile=False).get_weights()


def kill(process: subprocess.Popen) -> None:
    """SIGKILL for the process and everything that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints below `folder`."""
    return sorted(path for path in folder.rglob("[0-9]*.npz") if zipfile.is_zipfile(path))


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


MIRRORED = {"strategy": "mirrored", "device": "cpu"}


WAYS = {
    "single": {},
    "mirrored 2": MIRRORED | {"devices": 2},
    "mirrored 4": MIRRORED | {"devices": 4, "steps_per_execution": 3},
    "2 workers": {"strategy": "multi_worker", "devices": 2},
}
