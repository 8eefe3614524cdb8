"""What a family is: one search space and one way to fit it.

`family` turns the name in the run file into a `Family`. The search, the best-epoch step and retraining know nothing
else about models: a Keras network and boosted trees look the same to them.
"""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from components.shared.errors import UserError, nearest
from components.shared.records import Rows
from components.shared.schema import Manifest

BUILT_IN = ("mlp", "cnn", "boosted_trees")

Progress = Callable[[int, float], None]
"""Called after each epoch with its 1-based number and its validation loss."""


@dataclass(frozen=True)
class Settings:
    """How long and with what to fit.

    Attributes:
        max_epochs: Longest training in epochs.
        patience: Epochs without a better validation loss before the training stops.
        batch_size: Rows of one optimiser step.
        seed: Of the initial weights, the order of the rows and dropout.
    """

    max_epochs: int
    patience: int
    batch_size: int
    seed: int


@dataclass
class Fit:
    """A finished training that watched validation rows.

    Attributes:
        best: 1-based number of the unit (epoch, or boosting round) with the lowest validation loss.
        loss: That lowest validation loss.
        at_cap: Whether the training was still improving when it reached its limit.
        train_curve: Training loss after each unit.
        validation_curve: Validation loss after each unit.
        predictions: Of the validation rows at the best unit, float32 of shape [n, classes] or [n].
        model: The model at its best unit, for `Family.save`.
    """

    best: int
    loss: float
    at_cap: bool
    train_curve: list[float]
    validation_curve: list[float]
    predictions: np.ndarray
    model: Any = field(repr=False)


class Family(Protocol):
    """One search space and one way to fit it.

    Attributes:
        name: As in the run file and the report.
        unit: What `Fit.best` counts: "epoch" or "round".
    """

    name: str
    unit: str

    def space(self, hp: Any) -> None:
        """Declares the search space on a KerasTuner `HyperParameters`."""

    def check(self, train: Rows) -> None:
        """Builds the default model and trains it on one batch.

        Raises:
            UserError: The family can't be used with this data, with the reason.
        """

    def fit(self, values: dict, train: Rows, validation: Rows, settings: Settings, progress: Progress) -> Fit:
        """Fits on `train` and watches `validation`."""

    def refit(self, values: dict, rows: Rows, best: float, settings: Settings, progress: Progress) -> Any:
        """Fits for `best` units, without validation. A fraction of an epoch is trained as its share of the steps."""

    def predict(self, model: Any, rows: Rows) -> np.ndarray:
        """Predicts: float32 of shape [n, classes], or [n] in label units for a regression."""

    def save(self, model: Any, folder: Path) -> None:
        """Writes the model, preprocessing included, in the family's native format."""

    def load(self, folder: Path) -> Any:
        """Reads what `save` wrote."""


def travelling(names: list[str] | str, base: Path) -> list[dict] | str:
    """What the families of a run file are on their way to the steps: a user's own source travels with the run.

    Args:
        names: Names of built-in families, or `path/to/file.py:build` relative to `base`; or "auto", which stays as
            it is until the data are known.
        base: Folder of the run file.

    Returns:
        One dictionary per family with `name`, and `function` and `source` (compressed, base64) for a user's own.

    Raises:
        UserError: A name is neither, a file does not exist, or two families share a name.
    """
    if names == "auto":
        return "auto"
    families = []
    for name in names:
        if name in BUILT_IN:
            families.append({"name": name})
            continue
        file, colon, function = name.rpartition(":")
        if not colon or not file.endswith(".py"):
            raise UserError(
                f'search.families: "{name}" is not one of {", ".join(BUILT_IN)}, nor path/to/file.py:build'
                + nearest(name, BUILT_IN)
            )
        path = base / file
        if not path.is_file():
            raise UserError(f"search.families: no file {file} in {base}")
        source = base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode()
        stem = path.stem if function == "build" else f"{path.stem}_{function}"
        families.append({"name": stem.lower(), "function": function, "source": source})
    twice = {family["name"] for family in families if [f["name"] for f in families].count(family["name"]) > 1}
    if twice:
        raise UserError(f'search.families: two families are called "{min(twice)}"; rename a file or remove one')
    return families


def specs(travelled: str, manifest: Manifest) -> list[dict]:
    """The families of a JSON string made from `travelling`, with "auto" spelled out for the data."""
    families = json.loads(travelled)
    return automatic(manifest.image is not None) if families == "auto" else families


def automatic(images: bool) -> list[dict]:
    """The families that "auto" means."""
    return [{"name": name} for name in (("mlp", "cnn", "boosted_trees") if images else ("mlp", "boosted_trees"))]


def spec_of(name: str, travelled: str, manifest: Manifest) -> dict:
    """The family called `name` among `specs`."""
    return next(spec for spec in specs(travelled, manifest) if spec["name"] == name)


def family(spec: dict, manifest: Manifest) -> Family:
    """The family that `travelling` described, for the data of `manifest`.

    Raises:
        UserError: The user's source does not load, has no such function, or the family does not fit the data.
    """
    # A user's own may have a built-in one's name.
    if spec["name"] == "boosted_trees" and "source" not in spec:
        from models.boosted_trees import BoostedTrees

        return BoostedTrees(manifest)

    from models.keras_family import KerasFamily

    if "source" in spec:
        return KerasFamily(spec["name"], _user_build(spec), manifest)
    if spec["name"] == "mlp":
        from models import mlp

        return KerasFamily("mlp", mlp.build_for(manifest), manifest)

    from models import cnn

    return KerasFamily("cnn", cnn.build_for(manifest), manifest)


def _user_build(spec: dict) -> Callable:
    import keras_tuner

    file, function = f"{spec['name']}.py", spec["function"]
    source = zlib.decompress(base64.b64decode(spec["source"]))
    namespace: dict[str, Any] = {"__name__": spec["name"]}
    try:
        exec(compile(source, file, "exec"), namespace)
    except Exception as error:
        raise UserError(f"search.families: {file} does not load: {type(error).__name__}: {error}") from error
    if function not in namespace:
        defined = [name for name, value in namespace.items() if callable(value)]
        raise UserError(f"search.families: {file} has no function {function}{nearest(function, defined)}")
    build = namespace[function]
    if isinstance(build, type) and issubclass(build, keras_tuner.HyperModel):
        build = build()
    return build.build if isinstance(build, keras_tuner.HyperModel) else build
