"""Multilayer perceptron: dense layers on the encoded features."""

from typing import Any

import keras
from keras import layers

from kep.data.schema import Manifest
from kep.models.family import Build
from kep.models.head import compile_for, output_layer


def build_for(manifest: Manifest) -> Build:
    """KerasTuner's `build(hp)` for the label of `manifest`; images are flattened."""

    def build(hp: Any) -> keras.Model:
        model = keras.Sequential([layers.Flatten()])
        dropout = hp.Float("dropout", 0.0, 0.5, step=0.1)
        units = hp.Int("units", 32, 256, sampling="log", step=2)
        for _ in range(hp.Int("layers", 1, 3)):
            model.add(layers.Dense(units, activation="relu"))
            if dropout:
                model.add(layers.Dropout(dropout))
        model.add(output_layer(manifest))
        return compile_for(manifest, model, hp.Float("learning_rate", 3e-4, 1e-2, sampling="log", default=2e-3))

    return build
