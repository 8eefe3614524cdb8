"""KerasTuner's premade search spaces for images, as families: HyperResNet, HyperXception, HyperEfficientNet.

They start from random weights: nothing is downloaded.
"""

import functools
from collections.abc import Callable
from unittest import mock

import keras
from keras_tuner import applications
from keras_tuner.src.applications.efficientnet import EFFICIENTNET_MODELS

from components.shared.schema import Manifest
from models.encode import encoding

SPACES = {
    "hyperresnet": applications.HyperResNet,
    "hyperxception": applications.HyperXception,
    "hyperefficientnet": applications.HyperEfficientNet,
}


def build_for(name: str, manifest: Manifest) -> Callable:
    """KerasTuner's `build(hp)` of a premade space, for the images and the classes of `manifest`.

    Args:
        name: A key of `SPACES`.
        manifest: Of images with classes.
    """
    space = SPACES[name](input_shape=tuple(manifest.image.shape), classes=len(manifest.label.classes))

    def build(hp) -> keras.Model:
        # KerasTuner asks for ImageNet's weights whatever the shape of the images.
        untrained = {version: functools.partial(make, weights=None) for version, make in EFFICIENTNET_MODELS.items()}
        with mock.patch.dict(EFFICIENTNET_MODELS, untrained):
            model = space.build(hp)
        optimizer = model.optimizer
        if name == "hyperefficientnet":
            # It begins by scaling pixels of 0 to 255, so it gets them back.
            images = encoding(manifest)
            pixels = keras.layers.Rescaling(images["std"], offset=images["mean"])
            model = keras.Sequential([keras.Input(manifest.image.shape), pixels, model])
        # The labels here are class indices, KerasTuner's are one-hot.
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build
