"""RealMLP: a multilayer perceptron for tables whose defaults were tuned on many of them.

Holzmüller, Grinsztajn & Steinwart 2024, "Better by default: Strong pre-tuned MLPs and boosted trees on tabular data":
RealMLP-TD, with the constants of the authors' implementation, pytabkit.
"""

import math
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from kep.data.schema import Manifest
from kep.data.texts import place_of
from kep.models.categories import NEAR_BOUND, features_of
from kep.models.encode import BOUND
from kep.models.family import Build
from kep.models.features import Features
from kep.models.head import compile_with, output_layer
from kep.models.layers import Blend, FadingDropout, PeriodicEmbedding, Scale, concatenated
from kep.models.smoothing import SmoothedCrossentropy
from kep.training.cos_log import CosLog, flat_cosine
from kep.training.grouped_adam import Group, GroupedAdam

_QUARTILES = 1.349
"""Distance between the quartiles of a normal distribution, in standard deviations."""
_GROUPS = {
    "scale": Group(6, 36),
    "kernel": Group(),
    "embeddings": Group(),
    "bias": Group(0.1, 0),
    "blend": Group(0.1, 0.01),
    "frequency": Group(0.1, 0.01),
    "phase": Group(0.1, 0.01),
    "mixing": Group(0.1, 0.01),
    "offset": Group(0.1, 0.01),
}
"""Groups by the name of a variable. As in the authors' code, a factor of the rate counts twice in the decay."""


def build_for(manifest: Manifest) -> Build:
    """Return KerasTuner's `build(hp)` for a table."""
    features, regression = Features(manifest), manifest.label.task == "regression"
    # Hashed texts are sparse, and what marks a missing number is 0 or 1: neither is worth a function of its own.
    plain = [place for place, column in enumerate(manifest.numeric) if place_of(column) is None]

    def build(hp: Any) -> keras.Model:
        inputs, parts = [], []
        sigma = hp.Float("sigma", 0.05, 0.5, sampling="log", default=0.1)
        if features.numeric:
            given = keras.Input(features.shapes["numeric"], name="numeric")
            inputs.append(given)
            parts += _numbers(given, plain, sigma)
        if features.categorical:
            given = keras.Input(features.shapes["categorical"], dtype="int32", name="categorical")
            inputs.append(given)
            parts += features_of(given, manifest.categorical, list(features.categorical.values()))
        hidden = Scale()(concatenated(parts))
        units = hp.Int("units", 64, 512, sampling="log", step=2, default=256)
        dropout = hp.Float("dropout", 0.0, 0.3, step=0.15, default=0.15)
        for _ in range(hp.Int("layers", 2, 4, default=3)):
            hidden = layers.Dense(units, kernel_initializer="lecun_normal")(hidden)
            hidden = Blend("mish" if regression else "selu")(hidden)
            if dropout:
                hidden = FadingDropout(dropout)(hidden)
        network = keras.Model(inputs, output_layer(manifest)(hidden))
        rate = hp.Float("learning_rate", 0.02, 0.3, sampling="log", default=0.2 if regression else 0.04)
        schedule = CosLog(rate, hp.Int("epochs", 16, 64, sampling="log", step=2, default=64))
        decay = hp.Choice("weight_decay", [0.0, 0.02], default=0.02)
        optimizer = GroupedAdam(schedule, [_group(variable) for variable in network.trainable_variables], decay)
        for layer in network.layers:
            if isinstance(layer, FadingDropout):
                layer.fading = partial(_fading, schedule, optimizer)
        # The paper smooths by 0.1, which helps accuracy; what is searched for here is the loss.
        smoothing = 0.0 if regression else hp.Choice("label_smoothing", [0.0, 0.1], default=0.0)
        return compile_with(manifest, network, optimizer, SmoothedCrossentropy(smoothing) if smoothing else None)

    return build


def _fading(schedule: CosLog, optimizer: GroupedAdam) -> Any:
    return flat_cosine(schedule.share(optimizer.iterations))


def _group(variable: keras.Variable) -> Group:
    group = _GROUPS[variable.name]
    # NTK parametrisation: a kernel is 1 / sqrt(inputs) times what is trained.
    return Group(unit=1 / math.sqrt(variable.shape[0])) if variable.name == "kernel" else group


def _numbers(given: Any, plain: list[int], sigma: float) -> list[Any]:
    """Return embeddings of the numbers, and the other features as they are."""
    # A normal distribution has the distance 1 between its quartiles, and the bound is nearer than that of the encoding:
    # from z / sqrt(1 + (z / 8)^2) to u z / sqrt(1 + (u z / 3)^2), where u makes up for the scale.
    factor = 1 / _QUARTILES
    excess = (factor / NEAR_BOUND) ** 2 - 1 / BOUND**2
    width = given.shape[1]
    others = [place for place in range(width) if place not in set(plain)]
    found = []
    if plain:
        numbers = given if not others else ops.take(given, plain, axis=1)
        scaled = factor * numbers / ops.sqrt(1.0 + excess * ops.square(numbers))
        embedding = PeriodicEmbedding()
        found.append(embedding(scaled))
        # No part of the layer's configuration: networks that differ in it share a compiled training.
        embedding.frequency.assign(sigma * embedding.frequency)
    if others:
        found.append(ops.take(given, others, axis=1))
    return found


def begin(network: keras.Model, given: Any, seed: int) -> None:
    """Draw the weights of the dense layers by what training rows make of them.

    Each output of a layer has the standard deviation 1 over the rows. Its bias is minus the mean of the output over
    five rows, weighed at random. So the kink of the activation lies among the rows: he+5 of Steinwart 2019, "A sober
    look at neural network initializations".

    Args:
        network: Untrained network of `build_for`.
        given: Inputs of the network for some rows.
        seed: Seed of the weights.
    """
    rng = np.random.default_rng(seed)
    first = next(place for place, layer in enumerate(network.layers) if isinstance(layer, Scale))
    front = keras.Model(network.inputs, network.layers[first].input)
    values = front(given)
    for layer in network.layers[first:]:
        if isinstance(layer, layers.Dense):
            rows = np.asarray(ops.cast(values, "float32"))
            kernel = rng.normal(size=layer.kernel.shape)
            deviation = (rows @ kernel).std(axis=0)
            kernel = (kernel / np.where(deviation > 0, deviation, math.sqrt(len(kernel)))).astype(np.float32)
            outputs, units = rows @ kernel, np.arange(kernel.shape[1])
            shares = rng.dirichlet(np.ones(5), len(units))
            drawn = outputs[rng.integers(len(rows), size=(len(units), 5)), units[:, None]]
            layer.kernel.assign(kernel)
            layer.bias.assign(-(drawn * shares).sum(axis=1))
        values = layer(values)
