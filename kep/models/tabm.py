"""TabM: a multilayer perceptron for tables that is an ensemble of 32, trained together with shared kernels.

Gorishniy, Kotelnikov & Babenko 2025, "TabM: Advancing tabular deep learning with parameter-efficient ensembling": TabM
without embeddings of numbers, with the constants of the authors' implementation.
"""

from typing import Any

import keras
from keras import layers

from kep.data.schema import Manifest
from kep.models.batch_ensemble import MemberLoss, MemberOutputs, SharedDense
from kep.models.categories import features_of
from kep.models.family import Build
from kep.models.features import Features
from kep.models.head import compile_with
from kep.models.layers import concatenated

MEMBERS = 32
"""Members of a network."""


def build_for(manifest: Manifest) -> Build:
    """Return KerasTuner's `build(hp)` for a table."""
    features, regression = Features(manifest), manifest.label.task == "regression"

    def build(hp: Any) -> keras.Model:
        inputs, parts = [], []
        if features.numeric:
            inputs.append(keras.Input(features.shapes["numeric"], name="numeric"))
            parts.append(inputs[-1])
        if features.categorical:
            given = keras.Input(features.shapes["categorical"], dtype="int32", name="categorical")
            inputs.append(given)
            parts += features_of(given, manifest.categorical, list(features.categorical.values()))
        hidden = concatenated(parts)
        units = hp.Int("units", 64, 512, sampling="log", step=2, default=256)
        dropout = hp.Float("dropout", 0.0, 0.4, step=0.1, default=0.1)
        for place in range(hp.Int("layers", 1, 3, default=3)):
            hidden = layers.ReLU()(SharedDense(MEMBERS, units, signs=place == 0)(hidden))
            if dropout:
                hidden = layers.Dropout(dropout)(hidden)
        outputs = 1 if regression else manifest.label.class_count
        network = keras.Model(inputs, MemberOutputs(outputs, not regression)(hidden))
        rate = hp.Float("learning_rate", 5e-4, 1e-2, sampling="log", default=2e-3)
        decay = hp.Choice("weight_decay", [0.0, 0.01, 0.1], default=0.0)
        return compile_with(manifest, network, keras.optimizers.AdamW(rate, weight_decay=decay), MemberLoss(regression))

    return build
