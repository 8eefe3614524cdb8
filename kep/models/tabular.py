"""Tabular network: embeddings of categories, batch normalisation, weight decay and the one-cycle schedule."""

import math
from typing import Any

import keras
from keras import layers

from kep.data.schema import Manifest
from kep.models.categories import by_width
from kep.models.family import Build
from kep.models.features import Features
from kep.models.head import compile_with, output_layer
from kep.models.layers import JoinedEmbedding, concatenated
from kep.training.one_cycle import OneCycle

EMBEDDING_DROPOUT = 0.1
"""Share of the embedded numbers that is dropped while training."""
_WIDEST = 600


def width_of(codes: int) -> int:
    """Return the length of the embedding of a category with so many codes: fastai's rule, 1.6 x codes^0.56."""
    return min(_WIDEST, round(1.6 * math.pow(codes, 0.56)))


def build_for(manifest: Manifest) -> Build:
    """Return KerasTuner's `build(hp)` for a table: the network of fastai's tabular learner.

    Howard & Gugger 2020, "fastai: a layered API for deep learning", `TabularModel`. Numbers are normalised over the
    batch, and each category has an embedding. A hidden layer is dense, ReLU, batch normalisation, dropout.
    """
    features = Features(manifest)

    def build(hp: Any) -> keras.Model:
        inputs, parts = [], []
        if features.categorical:
            given = keras.Input(features.shapes["categorical"], dtype="int32", name="categorical")
            inputs.append(given)
            codes = list(features.categorical.values())
            widths = {place: width_of(many) for place, many in enumerate(codes)}
            embedded = [
                JoinedEmbedding([codes[place] for place in places], widths[places[0]], _small())(part)
                for places, part in by_width(given, widths)
            ]
            parts.append(layers.Dropout(EMBEDDING_DROPOUT)(concatenated(embedded)))
        if features.numeric:
            numbers = keras.Input(features.shapes["numeric"], name="numeric")
            inputs.append(numbers)
            parts.append(layers.BatchNormalization(momentum=0.9)(numbers))
        hidden = concatenated(parts)
        width, dropout = (
            hp.Int("units", 64, 512, sampling="log", step=2, default=256),
            hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.1),
        )
        for place in range(hp.Int("layers", 1, 3, default=2)):
            # The first layer is the widest, as in fastai's [200, 100].
            hidden = layers.Dense(max(16, width >> place), activation="relu", kernel_initializer="he_uniform")(hidden)
            hidden = layers.BatchNormalization(momentum=0.9)(hidden)
            if dropout:
                hidden = layers.Dropout(dropout)(hidden)
        network = keras.Model(inputs, output_layer(manifest)(hidden))
        rate = hp.Float("learning_rate", 1e-3, 3e-2, sampling="log", default=1e-2)
        decay = hp.Float("weight_decay", 1e-3, 0.3, sampling="log", default=0.01)
        schedule = OneCycle(rate, hp.Int("epochs", 8, 32, sampling="log", step=2, default=32))
        return compile_with(manifest, network, keras.optimizers.AdamW(schedule, weight_decay=decay, beta_2=0.99))

    return build


def _small() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.01)
