"""Meaning of a network's outputs, and the form of its class labels: by its loss, its last layer and its units.

Where that is certain, logits become probabilities; where it is not, the refusal is one sentence.
"""

from typing import Any

import keras

from kep.core.errors import UserError
from kep.data.schema import Label

REACH = 1.0
"""Ranges of the train labels that a network's prediction may lie below or above all of them."""
_SPARSE = frozenset({"sparse_categorical_crossentropy"})
_ONE_HOT = frozenset({"categorical_crossentropy", "categorical_focal_crossentropy"})
_BINARY = frozenset({"binary_crossentropy", "binary_focal_crossentropy"})


def takes_one_hot(network: keras.Model) -> bool:
    """Return whether the network's loss takes class labels as rows of 0 and 1."""
    return _loss(network)[0] in _ONE_HOT


def activation(name: str, network: keras.Model, label: Label, shape: tuple[int | None, ...]) -> str | None:
    """Return what makes probabilities of a network's outputs: softmax, sigmoid, or None where nothing is to be done.

    Args:
        name: Name of the family.
        network: The network, compiled or not.
        label: The label.
        shape: Shape of its outputs, [None, units].

    Raises:
        UserError: Loss, last layer and label contradict each other, or don't say what the outputs are.
    """
    loss, from_logits = _loss(network)
    if label.task == "regression":
        if loss in _SPARSE | _ONE_HOT | _BINARY:
            raise UserError(
                f"search.families: {name} is compiled with {loss}, which is for classes, and the label is a number; "
                "use mean_squared_error"
            )
        return None
    units, end = shape[-1], _end(network)
    if loss is not None:
        _check_loss(name, loss, units)
    if not from_logits:
        if end == "linear":
            raise UserError(
                f"search.families: the outputs of {name} are not probabilities, since its last layer is linear; end "
                "it in softmax or sigmoid, or compile it with a loss of Keras and from_logits=True"
            )
        return None
    if end in ("softmax", "sigmoid"):
        raise UserError(
            f"search.families: {name} ends in {end}, and its loss has from_logits=True; remove one of the two"
        )
    return "sigmoid" if loss in _BINARY else "softmax"


def limits(label: Label) -> tuple[float, float] | None:
    """Return the lowest and highest output for a label that is a number, standardised; None where they are not known.

    They lie `REACH` ranges of the train labels beyond these.
    """
    if label.mean is None or label.low is None or label.high is None:
        return None
    beyond, scale = REACH * (label.high - label.low), label.std or 1.0
    return (label.low - beyond - label.mean) / scale, (label.high + beyond - label.mean) / scale


def _check_loss(name: str, loss: str, units: int | None) -> None:
    """Refuse a loss of Keras that does not go with the units."""
    begin = f"search.families: {name} is compiled with {loss} and ends in {units} unit{'' if units == 1 else 's'}"
    if units == 1 and loss in _SPARSE | _ONE_HOT:
        raise UserError(f"{begin}; use binary_crossentropy with one unit, or a unit for each class")
    if units != 1 and loss not in _SPARSE | _ONE_HOT:
        raise UserError(
            f"{begin}, of which it does not say which is which class; use sparse_categorical_crossentropy or "
            "categorical_crossentropy with a unit for each class"
        )


def _loss(network: keras.Model) -> tuple[str | None, bool]:
    """Return the name of the network's loss and whether it takes logits; no name for a user's own, or for several."""
    given: Any = getattr(network, "loss", None)
    if isinstance(given, dict | list | tuple):
        parts = list(given.values()) if isinstance(given, dict) else list(given)
        given = parts[0] if len(parts) == 1 else None
    if isinstance(given, str):
        given = keras.losses.get(given)
    if not getattr(type(given) if isinstance(given, keras.losses.Loss) else given, "__module__", "").startswith(
        "keras."
    ):
        return None, False
    if not isinstance(given, keras.losses.Loss):
        return given.__name__, False
    config = given.get_config()
    return _snake(type(given).__name__), bool(config.get("from_logits", False))


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _end(network: keras.Model) -> str | None:
    """Return the activation that ends a network, such as softmax or linear; None where it can't be known."""
    layer: Any = network
    while isinstance(layer, keras.Model):
        if isinstance(layer, keras.Sequential):
            layer = layer.layers[-1]
        elif len(outputs := getattr(layer, "outputs", None) or []) == 1:
            layer = outputs[0]._keras_history.operation
        else:
            return None
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    known = isinstance(layer, keras.layers.Dense | keras.layers.Activation)
    return str(keras.activations.serialize(layer.activation)) if known else None
