"""The structure of a Keras network: what its compiled training depends on beside its variables."""

import json
from typing import Any

import keras

from kep.training.horizon import horizon

_OURS = ("keras.", "kep.models.", "kep.training.")
"""Beginnings of the modules whose layers, losses and optimisers their configuration describes whole."""
_DENSE = frozenset({"InputLayer", "Flatten", "Reshape", "Dense", "Activation", "ReLU"})
"""Layers that XLA makes faster on a CPU; its convolutions and random numbers are slow there.

Figures: docs/explanation/measured-training.md.
"""


def structure(network: keras.Model) -> str | None:
    """What a compiled training of the network depends on, beside its variables; None where that can't be known.

    It is known of networks of layers, losses, metrics and optimisers of Keras or ours, which their configuration
    describes whole. The learning rate is a variable, also in a schedule with an end, so trainings that differ in it
    alone share their compiled functions.
    """
    if not type(network).__module__.startswith("keras."):
        return None
    try:
        built, compiled = network.get_config(), network.get_compile_config()
        rates, schedule = compiled["optimizer"]["config"], horizon(network)
        if isinstance(rates.get("learning_rate"), float) or schedule is not None:
            rates["learning_rate"] = None if schedule is None else type(schedule).__name__
        if _foreign([built, compiled]) or _adapted(network):
            return None
        return json.dumps([built, compiled, [variable.path for variable in network.variables]], sort_keys=True)
    except Exception:  # a layer or a loss without a configuration
        return None


def _adapted(network: keras.Model) -> bool:
    """Whether a layer computes with what it was adapted to, which a compiled function holds as a constant."""
    return any(hasattr(layer, "adapt") for layer in network._flatten_layers(include_self=False))


def is_dense(network: keras.Model) -> bool:
    """Whether it has none but dense layers and what goes with them, and nothing of a user's own."""
    if structure(network) is None or network.get_compile_config()["metrics"] not in (None, [], ["accuracy"]):
        return False
    return {type(layer).__name__ for layer in network._flatten_layers(include_self=False)} <= _DENSE


def _foreign(config: Any) -> bool:
    """Whether a part of a serialised configuration is a user's own code."""
    if isinstance(config, dict):
        if config.get("class_name") in ("Lambda", "__lambda__"):
            return True
        if not f"{config.get('module', 'keras')}.".startswith(_OURS):
            return True
        return any(_foreign(value) for value in config.values())
    return isinstance(config, list | tuple) and any(_foreign(value) for value in config)
