"""Digits by dense layers or by convolutions: what only one of them has is declared in a scope of its own.

The structure is that of KerasTuner's guide on conditional scopes.
"""

import keras


def build(hp):
    kind = hp.Choice("kind", ["dense", "convolutional"])
    model = keras.Sequential()
    if kind == "dense":
        with hp.conditional_scope("kind", ["dense"]):
            model.add(keras.layers.Flatten())
            model.add(keras.layers.Dense(hp.Choice("units", [16, 32, 64]), activation="relu"))
    else:
        with hp.conditional_scope("kind", ["convolutional"]):
            filters = hp.Choice("filters", [8, 16])
            model.add(keras.layers.Conv2D(filters, hp.Choice("kernel", [2, 3]), activation="relu"))
            model.add(keras.layers.MaxPooling2D())
            model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-2, sampling="log")),
        # The last layer gives logits; predictions of the ensemble are probabilities.
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
