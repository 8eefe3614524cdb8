"""Checks of a Keras family before its first run: its outputs, its shapes, and whether its models can be saved.

Every refusal is a `UserError` of one sentence.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from kep.core.errors import UserError
from kep.data.records import Rows
from kep.data.schema import Label
from kep.models.family import Family


def check_outputs(name: str, label: Label, outputs: np.ndarray) -> None:
    """Refuse outputs that are no predictions of the label.

    Args:
        name: Name of the family.
        label: The label.
        outputs: What the network gives for some rows, [n, …].

    Raises:
        UserError: They have another shape, or are no probabilities.
    """
    if label.task == "regression":
        if outputs.ndim != 2 or outputs.shape[1] != 1:
            raise UserError(
                f"search.families: {name} must end in one unit for a regression, it gives {_shape(outputs)}"
            )
        return
    binary = label.class_count == 2 and outputs.shape[1:] == (1,)
    if outputs.shape[1:] != (label.class_count,) and not binary:
        raise UserError(
            f"search.families: {name} must end in {label.class_count} units (softmax over the classes), "
            f"it gives {_shape(outputs)}"
        )
    sums = outputs.sum(axis=1)
    if outputs.min() < 0 or outputs.max() > 1 or (not binary and np.abs(sums - 1).max() > 1e-3):
        raise UserError(f"search.families: the outputs of {name} are not probabilities; end it in softmax or sigmoid")


def check_shapes(name: str, operation: str | None) -> None:
    """Refuse shapes that depend on the data.

    Args:
        name: Name of the family.
        operation: The first operation with such a shape; None where there is none.

    Raises:
        UserError: There is one.
    """
    if operation is not None:
        raise UserError(
            f"search.families: {name} has a shape that depends on the data ({operation}), for which XLA "
            "compiles it again and again, and a TPU can't; pad it to a known size, or set jit: off"
        )


def check_saving(family: Family, model: Any, batch: Rows) -> None:
    """Refuse a model whose saved form predicts something else, or can't be read again.

    Args:
        family: Saves, loads and predicts.
        model: One of its models.
        batch: Rows to predict.

    Raises:
        UserError: The saved model differs, or can't be loaded.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            family.save(model, Path(folder))
            again = family.load(Path(folder))
        except Exception as error:
            raise UserError(
                f"search.families: a saved {family.name} can't be loaded again ({type(error).__name__}); "
                "decorate its layers with @keras.saving.register_keras_serializable() and give them get_config()"
            ) from error
    if np.abs(family.predict(again, batch) - family.predict(model, batch)).max() > 1e-5:
        raise UserError(f"search.families: a saved and reloaded {family.name} predicts something else")


def _shape(outputs: np.ndarray) -> str:
    return " x ".join(["rows", *(str(size) for size in outputs.shape[1:])])
