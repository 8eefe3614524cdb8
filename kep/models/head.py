"""What ends a network: its last layer and its loss, as the label wants them."""

import keras

from kep.data.schema import Manifest


def output_layer(manifest: Manifest) -> keras.layers.Layer:
    """Return a softmax over the classes, or one linear unit for a regression; float32 under every precision policy."""
    if manifest.label.task == "regression":
        return keras.layers.Dense(1, dtype="float32")
    return keras.layers.Dense(manifest.label.class_count, activation="softmax", dtype="float32")


def compile_for(manifest: Manifest, model: keras.Model, learning_rate: float) -> keras.Model:
    """Compile with Adam and the loss of the label's task, and return the model."""
    return compile_with(manifest, model, keras.optimizers.Adam(learning_rate))


def compile_with(
    manifest: Manifest,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss | None = None,
) -> keras.Model:
    """Compile with a loss, by default that of the label's task, and return the model."""
    regression = manifest.label.task == "regression"
    model.compile(optimizer, loss or ("mean_squared_error" if regression else "sparse_categorical_crossentropy"))
    return model
