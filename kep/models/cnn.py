"""Convolutional network for images: blocks of convolution, batch normalisation and pooling."""

from typing import Any

import keras
from keras import layers

from kep.data.schema import Manifest
from kep.models.family import Build
from kep.models.head import compile_for, output_layer


def build_for(manifest: Manifest) -> Build:
    """KerasTuner's `build(hp)` for the images and the label of `manifest`."""
    if (shape := manifest.image_shape) is None:
        raise ValueError("cnn is for images")

    def build(hp: Any) -> keras.Model:
        model = keras.Sequential()
        filters = hp.Int("filters", 8, 32, sampling="log", step=2)
        size = min(shape[:2])
        for block in range(hp.Int("blocks", 1, 3)):
            model.add(layers.Conv2D(filters * 2**block, 3, padding="same", use_bias=False))
            # Small data train few steps: averages with Keras's momentum of 0.99 would lag behind.
            model.add(layers.BatchNormalization(momentum=0.9))
            model.add(layers.Activation("relu"))
            if size >= 4:
                model.add(layers.MaxPooling2D())
                size //= 2
        model.add(layers.Flatten())
        model.add(layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1)))
        model.add(layers.Dense(hp.Int("units", 32, 128, sampling="log", step=2), activation="relu"))
        model.add(output_layer(manifest))
        return compile_for(manifest, model, hp.Float("learning_rate", 3e-4, 3e-3, sampling="log", default=1e-3))

    return build
