"""Features that a network takes: those that its inputs are named after, or all of them as one tensor.

What can't be matched is refused in one sentence, and so is what would lose the values: another shape or type.
"""

from typing import Any

import keras
import numpy as np

from kep.core.errors import UserError, nearest
from kep.models.encode import Encode, EncodeByName
from kep.models.features import Feature, Features

UNKNOWN = "[UNK]"
"""Keras's token of a text outside a vocabulary."""
_LISTED = 20


def encoder(name: str, network: keras.Model, features: Features, steps: dict[str, Any]) -> Encode:
    """Return the layer that gives a network its inputs.

    Args:
        name: Name of the family.
        network: Its network.
        features: Features of the data.
        steps: Arguments of `Encode`.

    Raises:
        UserError: The inputs can't be matched with the features.
    """
    tensors = _inputs(name, network)
    # An input without a name of its own takes all features, and so does a model that tells no inputs.
    if len(tensors) < 2 and not any(map(features.named, tensors)):
        return Encode(**steps)
    for one in tensors:
        if features.named(one) is None:
            raise UserError(
                f'search.families: {name} has several inputs, and none of the features is called "{one}"'
                f"{nearest(one, features.shapes)}; call each keras.Input after one of {_offered(features)}"
            )
    parts, texts = {}, {}
    for one, tensor in tensors.items():
        if features.is_twofold(one):
            raise UserError(
                f'search.families: the input "{one}" of {name} is a group and a column of this name; rename the column'
            )
        feature = features.groups.get(one) or features.columns[one]
        _check_shape(f'search.families: the input "{one}" of {name}', feature, tensor)
        _check_type(f'search.families: the input "{one}" of {name}', feature, tensor)
        _check_embeddings(name, network, one, feature, tensor)
        parts[one] = [feature.group, feature.place]
        if _kind(tensor) == "string" and feature.texts is not None:
            texts[one] = feature.texts
    return EncodeByName(parts, len(parts) == 1 and not isinstance(_structure(network), dict), texts, **steps)


def _inputs(name: str, network: keras.Model) -> dict[str, keras.KerasTensor]:
    """Return a network's inputs by name; of a dictionary, by key. None of a model that does not tell them."""
    tensors: list[keras.KerasTensor] = getattr(network, "inputs", None) or []
    given = _structure(network)
    if isinstance(given, dict):
        if all(isinstance(one, keras.KerasTensor) for one in given.values()):
            return given
    elif not isinstance(given, list | tuple) or all(isinstance(one, keras.KerasTensor) for one in given):
        return {tensor.name: tensor for tensor in tensors}
    raise UserError(
        f"search.families: the inputs of {name} are lists or dictionaries within others, which features can't be "
        "matched with; give keras.Model one list or dictionary of keras.Input"
    )


def _structure(network: keras.Model) -> Any:
    """Return the inputs as keras.Model was given them; None of a sequence of layers and where they are not told."""
    if isinstance(network, keras.Sequential) or not getattr(network, "inputs", None):
        return None
    return network.input


def _kind(tensor: keras.KerasTensor) -> str:
    return str(keras.backend.standardize_dtype(tensor.dtype))


def _check_shape(begin: str, feature: Feature, tensor: keras.KerasTensor) -> None:
    """Refuse a shape that Keras can't make of the feature's; it adds and drops a last dimension of 1 itself."""
    asked, has = tuple(tensor.shape[1:]), feature.shape
    fitting = [has, (*has, 1), *([has[:-1]] if has[-1] == 1 else [])]
    if not any(
        len(asked) == len(one) and all(size in (None, known) for size, known in zip(asked, one, strict=True))
        for one in fitting
    ):
        raise UserError(f"{begin} has the shape {asked}, and these features have {has} in each row; give it that shape")


def _check_type(begin: str, feature: Feature, tensor: keras.KerasTensor) -> None:
    """Refuse a type that does not hold the feature's values, which Keras would cast."""
    kind = _kind(tensor)
    if not feature.codes:
        if not keras.backend.is_float_dtype(kind):
            raise UserError(f"{begin} is of {kind}, and its features are standardised numbers; make it float32")
        return
    if kind == "string":
        if feature.texts is None:
            raise UserError(f"{begin} is of texts, which come column by column; call an input after each column")
        if UNKNOWN in feature.texts:
            raise UserError(f'{begin} is of texts, and the column has "{UNKNOWN}", which Keras keeps for unknown texts')
        return
    # Layers would round codes in a float to half precision.
    halves = keras.config.dtype_policy().compute_dtype != "float32" or kind not in ("float32", "float64")
    if keras.backend.is_float_dtype(kind) and halves:
        raise UserError(f"{begin} is of {kind}, in which half precision would round the codes of categories; use int32")
    if kind == "bool" or (keras.backend.is_int_dtype(kind) and feature.codes - 1 > np.iinfo(kind).max):
        raise UserError(f"{begin} is of {kind}, and it gets {feature.codes} codes; make it int32")


def _check_embeddings(name: str, network: keras.Model, given: str, feature: Feature, tensor: keras.KerasTensor) -> None:
    """Refuse an embedding of too few codes: on a GPU the others would be zeros without a word."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.Embedding) and layer.input is tensor and layer.input_dim < feature.codes:
            raise UserError(
                f'search.families: the embedding of "{given}" in {name} has an input_dim of {layer.input_dim}, and '
                f"there are {feature.codes} codes; take it from features.categorical"
            )


def _offered(features: Features) -> str:
    """Return the names of groups and columns, of many the first."""
    columns = [one for one in features.columns if one not in features.groups]
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    text = f"the groups {', '.join(features.groups)}" if len(features.groups) > 1 else next(iter(features.groups))
    if not columns:
        return f"{text} (records of images hold no other columns)" if "image" in features.groups else text
    return f"{text}, or the columns {', '.join(columns[:_LISTED])}{more}"
