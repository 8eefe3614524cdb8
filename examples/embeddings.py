"""Diabetes by a network of several inputs: all numbers together, and an embedding for each category.

An input gets the column or the group that it is called after. `features` says what the data hold; with KerasTuner
alone, give it yourself: `functools.partial(build, features=…)`.
"""

import keras


def build(hp, features):
    numbers = keras.Input(features.shapes["numeric"], name="numeric")
    inputs, parts = [numbers], [numbers]
    for name, codes in features.categorical.items():
        code = keras.Input((), name=name, dtype="int32")
        inputs.append(code)
        parts.append(keras.layers.Embedding(codes, hp.Int("width", 1, 4))(code))
    hidden = keras.layers.Concatenate()(parts)
    for _ in range(hp.Int("layers", 1, 2)):
        hidden = keras.layers.Dense(hp.Choice("units", [16, 32, 64]), activation="relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(
        optimizer=keras.optimizers.Adam(hp.Float("learning_rate", 3e-3, 3e-2, sampling="log")),
        loss="mean_squared_error",
    )
    return model
