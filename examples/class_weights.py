"""Tumours by a HyperModel whose `fit` tunes what is no part of a model: the size of a batch and the classes' weights.

The structure is that of KerasTuner's guide "Getting started", section "Tune model training".
"""

import keras
import keras_tuner


class Weighted(keras_tuner.HyperModel):
    def build(self, hp):
        model = keras.Sequential(
            [
                keras.layers.Dense(hp.Int("units", 8, 32, step=8), activation="relu"),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        model.compile(
            optimizer=keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")),
            loss="binary_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def fit(self, hp, model, *args, **kwargs):
        return model.fit(
            *args,
            batch_size=hp.Choice("batch_size", [16, 32, 64]),
            class_weight={0: hp.Float("weight", 0.5, 2.0, step=0.5), 1: 1.0},
            **kwargs,
        )
