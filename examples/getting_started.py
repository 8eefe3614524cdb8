"""Digits by dense layers: a hyperparameter says how many, each has units of its own, and another one adds dropout.

The structure is that of KerasTuner's guide "Getting started". `units_1` exists only in models of two layers and more.
"""

import keras


def build(hp):
    model = keras.Sequential([keras.layers.Flatten()])
    for number in range(hp.Int("layers", 1, 3)):
        units = hp.Int(f"units_{number}", min_value=16, max_value=64, step=16)
        model.add(keras.layers.Dense(units, activation=hp.Choice("activation", ["relu", "tanh"])))
    if hp.Boolean("dropout"):
        model.add(keras.layers.Dropout(hp.Float("rate", 0.1, 0.4, step=0.1)))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model
