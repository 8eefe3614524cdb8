"""One ensemble as a server holds it: being loaded, ready, or about to go."""

from pathlib import Path
from typing import Literal

import numpy as np

from kep.artifacts.member import EnsembleFile
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.delivery.serving.describe import example
from kep.delivery.serving.instances import encode
from kep.models.ensemble import Ensemble
from kep.runtime.hardware import visible_gpus


class Model:
    """An ensemble with a name and a version.

    Args:
        folder: Folder of the ensemble.
        name: In the paths of requests.
        version: In the paths of requests.
        most: Rows that are predicted at once.

    Attributes:
        state: By TensorFlow Serving's names; AVAILABLE once it has predicted.

    Raises:
        UserError: The folder holds no manifest.
    """

    def __init__(self, folder: Path, name: str, version: int, most: int) -> None:
        self.folder, self.name, self.version, self.most = folder, name, version, most
        self.manifest = EnsembleFile.load(folder).deciding(Manifest.load(folder))
        self.state: Literal["LOADING", "AVAILABLE", "UNLOADING"] = "LOADING"
        self.ensemble: Ensemble | None = None

    def load(self) -> None:
        """Loads the members and predicts, with one row and with a full batch, so that no request waits for compiling.

        Raises:
            RuntimeError: A prediction is not a finite number.
        """
        self.ensemble = Ensemble(self.folder, _gpus())
        row = {name: [value] for name, value in example(self.manifest).items()}
        rows = encode(row, self.manifest, lambda index, name: name)
        for count in (1, 2, self.most):
            if not all(np.isfinite(array).all() for array in self.predict(rows.take(np.zeros(count, np.int64)))):
                raise RuntimeError(f"the ensemble in {self.folder} predicts what is no finite number")
        if self.state == "LOADING":
            self.state = "AVAILABLE"

    def predict(self, rows: Rows) -> list[np.ndarray]:
        """The ensemble's predictions, then each member's, as `kep.models.ensemble.Ensemble` gives them."""
        ensemble = self.served
        members = ensemble.predict_members(rows)
        label = self.manifest.label
        return [label.restored(one) for one in (ensemble.combine(members), *members)]

    @property
    def served(self) -> Ensemble:
        """The ensemble; `load` has read it.

        Raises:
            RuntimeError: It was not called yet.
        """
        if self.ensemble is None:
            raise RuntimeError(f"the ensemble in {self.folder} is not loaded yet")
        return self.ensemble


def _gpus() -> tuple[str, ...]:
    """The GPUs of this machine where there are several, for a member each."""
    if len(visible_gpus()) < 2:
        return ()
    import tensorflow as tf

    return tuple(device.name for device in tf.config.list_logical_devices("GPU"))
