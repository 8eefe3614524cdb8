"""Images as arrays of pixels: the one way in which files are decoded, at ingest and at prediction.

An image is turned as its EXIF orientation says, as every viewer shows it. Values of 16 bits are divided by 257, so that
0 to 65535 become 0 to 255. Transparent pixels are laid on white. Palettes and CMYK become RGB by Pillow's plain
formulas, without colour profiles; of an animation the first frame counts.
"""

import struct

import numpy as np
from PIL import Image

from kep.core.errors import UserError

_ORIENTATION = 0x0112
"""EXIF tag; 1 is upright."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that turns an image of each orientation upright."""
_SIDEWAYS = (5, 6, 7, 8)
_GREY = ("1", "L", "LA", "La")
_DEEP = "I;16"
"""Start of the modes with 16 bits a pixel."""


def unreadable(name: str, error: Exception) -> UserError:
    """The sentence for a damaged image."""
    return UserError(f"data.source: image {name} cannot be read ({type(error).__name__}); replace or remove it")


def is_grey(image: Image.Image) -> bool:
    """Return whether an image has no colours by its mode."""
    return image.mode in _GREY or image.mode.startswith(_DEEP)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as a viewer shows an opened image; its pixels are not decoded."""
    width, height = image.size
    return (height, width) if _orientation(image) in _SIDEWAYS else (width, height)


def losses(image: Image.Image) -> list[str]:
    """Return what of an opened image is not used, as ends of sentences."""
    found = []
    if image.mode.startswith(_DEEP):
        found.append("has 16 bits a pixel: values are divided by 257; rescale images that use few of the bits")
    # A photograph of several pictures (MPO) is no animation.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        found.append("is an animation: the first frame is used")
    return found


def as_pixels(image: Image.Image, shape: tuple[int, int, int], name: str) -> np.ndarray:
    """Return an opened image as uint8 [h, w, c], resized by area averaging where its size differs.

    Args:
        image: The image; it is closed.
        shape: Height, width and channels: 1 for grey, 3 for RGB.
        name: Its name in messages.

    Raises:
        UserError: It is damaged, or its values have no range.
    """
    height, width, channels = shape
    try:
        with image:
            # Read before the pixels, as for `upright_size`.
            turn = _TURNS.get(_orientation(image))
            plain = _on_white(_in_8_bits(image, name)).convert("L" if channels == 1 else "RGB")
        if turn is not None:
            plain = plain.transpose(turn)
        if plain.size != (width, height):
            plain = plain.resize((width, height), Image.Resampling.BOX)
        return np.asarray(plain, np.uint8).reshape(shape)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(name, error) from error


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image whose pixels are not decoded; 1 where there is none.

    Of a PNG, it counts where it stands before the pixels: to find it behind them would decode them.
    """
    try:
        if image.format == "PNG":
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
        else:
            exif = image.getexif()
        found = exif.get(_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error):  # a damaged note says nothing
        return 1
    return found if isinstance(found, int) else 1


def _in_8_bits(image: Image.Image, name: str) -> Image.Image:
    """Return the image with at most 8 bits a channel."""
    if image.mode in ("I", "F"):
        raise UserError(f"data.source: image {name} has 32 bits a pixel, which have no range; convert it to 8 or 16")
    if not image.mode.startswith(_DEEP):
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Return the image without transparency."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
