"""Images as arrays of pixels."""

import numpy as np
from PIL import Image

from kep.core.errors import UserError


def unreadable(name: str, error: Exception) -> UserError:
    """The sentence for a damaged image."""
    return UserError(f"data.source: image {name} cannot be read ({type(error).__name__}); replace or remove it")


def as_pixels(image: Image.Image, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """One image as uint8 [h, w, c], resized by area averaging where its size differs; `name` is for messages."""
    height, width, channels = shape
    try:
        with image:
            if image.mode in ("I;16", "I"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BOX)
            return np.asarray(image, np.uint8).reshape(shape)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(name, error) from error
