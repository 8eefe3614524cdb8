"""KerasTuner's premade search spaces for images, as families: HyperResNet, HyperXception, HyperEfficientNet.

They start from random weights, and nothing is downloaded, unless the run file asks for ImageNet's.
"""

import functools
from typing import Any
from unittest import mock

import keras
from keras_tuner import applications
from keras_tuner.src.applications.efficientnet import EFFICIENTNET_MODELS

from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.models.encode import encoding
from kep.models.family import Build

SPACES = {
    "hyperresnet": applications.HyperResNet,
    "hyperxception": applications.HyperXception,
    "hyperefficientnet": applications.HyperEfficientNet,
}


def build_for(name: str, manifest: Manifest, weights: str | None = None) -> Build:
    """KerasTuner's `build(hp)` of a premade space, for the images and the classes of `manifest`.

    Args:
        name: A key of `SPACES`.
        manifest: Manifest of images with classes.
        weights: "imagenet" for weights trained on it, which only HyperEfficientNet has: Keras downloads them once for
            each version into its cache. None for random ones.

    Raises:
        UserError: The weights are for images in colour. `build(hp)` raises it when they can't be downloaded.
    """
    shape = manifest.image_shape
    if shape is None:
        raise ValueError(f"{name} is for images")
    if weights and shape[2] != 3:
        raise UserError(
            f"search.families: the weights of {name}:{weights} are for images in colour, and these have "
            f"{shape[2]} channel; use {name}"
        )
    space = SPACES[name](input_shape=shape, classes=manifest.label.class_count)

    def build(hp: Any) -> keras.Model:
        # KerasTuner always asks for ImageNet's weights.
        asked = {version: functools.partial(make, weights=weights) for version, make in EFFICIENTNET_MODELS.items()}
        try:
            with mock.patch.dict(EFFICIENTNET_MODELS, asked):
                model = space.build(hp)
        except Exception as error:
            # The one sign by which Keras's download can be known.
            if "URL fetch failure" not in str(error):
                raise
            reason = str(error).rpartition("--")[2].strip()
            raise UserError(
                f"search.families: the weights of {name}:{weights} can't be downloaded ({reason}); "
                f"use {name}, which starts from random ones"
            ) from error
        optimizer = model.optimizer
        if name == "hyperefficientnet":
            # It begins by scaling pixels of 0 to 255, so it gets them back.
            images = encoding(manifest)
            pixels = keras.layers.Rescaling(images["std"], offset=images["mean"])
            model = keras.Sequential([keras.Input(shape), pixels, model])
        # The labels here are class indices, KerasTuner's are one-hot.
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build
