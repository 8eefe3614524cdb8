"""Decoding: one meaning of an image file, at ingest and at prediction."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.pixels import as_pixels, is_grey, losses, upright_size
from kep.data.records import Records
from kep.delivery.serving.instances import _decoded

RNG = np.random.default_rng(0)
SHOWN = RNG.integers(0, 256, (4, 6), np.uint8)
"""A grey image as a viewer shows it: 4 high, 6 wide."""
STORED = {
    1: SHOWN,
    2: SHOWN[:, ::-1],
    3: SHOWN[::-1, ::-1],
    4: SHOWN[::-1],
    5: SHOWN.T,
    6: SHOWN.T[::-1],
    7: SHOWN.T[::-1, ::-1],
    8: SHOWN.T[:, ::-1],
}
"""The same as a camera stores it, by EXIF orientation: where its first row and column belong (EXIF 2.3, 4.6.4)."""


def file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def oriented(number: object) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


@pytest.mark.parametrize("number", STORED)
def test_an_image_is_turned_as_a_viewer_shows_it(number):
    data = file(Image.fromarray(np.ascontiguousarray(STORED[number])), exif=oriented(number))
    assert upright_size(opened(data)) == (6, 4)
    np.testing.assert_array_equal(as_pixels(opened(data), (4, 6, 1), "a")[..., 0], SHOWN)
    np.testing.assert_array_equal(_decoded(data, (4, 6, 1), "a")[..., 0], SHOWN)


@pytest.mark.parametrize("number", [3, 6])
def test_a_jpeg_is_turned_too(number):
    large = np.kron(STORED[number], np.ones((8, 8), np.uint8))
    data = file(Image.fromarray(large), "JPEG", exif=oriented(number), quality=100)
    assert upright_size(opened(data)) == (48, 32)
    found = as_pixels(opened(data), (4, 6, 1), "a")[..., 0]
    np.testing.assert_allclose(found.astype(int), SHOWN, atol=3)


@pytest.mark.parametrize("number", [0, 9, 65535])
def test_an_unknown_orientation_changes_nothing(number):
    data = file(Image.fromarray(SHOWN), exif=oriented(number))
    np.testing.assert_array_equal(as_pixels(opened(data), (4, 6, 1), "a")[..., 0], SHOWN)


@pytest.mark.filterwarnings("ignore:.*(EXIF|Tag data).*:UserWarning")
def test_a_damaged_note_changes_nothing():
    whole = oriented(6).tobytes()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        note = bytearray(whole[: rng.integers(6, len(whole) + 1)])
        for place in rng.integers(6, len(note) + 1, 3):
            note[place - 1 : place] = rng.bytes(1)
        for kind in ("PNG", "JPEG"):
            size = upright_size(opened(file(Image.fromarray(SHOWN), kind, exif=bytes(note))))
            assert size in ((6, 4), (4, 6))


def test_sixteen_bits_keep_their_range():
    values = np.array([[0, 128, 129, 257, 4095, 32768, 65278, 65535]], np.uint16)
    for order in ("<u2", ">u2"):
        image = Image.fromarray(values.astype(order))
        found = as_pixels(opened(file(image, "TIFF")), (1, 8, 1), "a")
        np.testing.assert_array_equal(found[0, :, 0], np.round(values[0] / 257))
    png = opened(file(Image.fromarray(values)))
    assert is_grey(png)
    assert losses(png) == ["has 16 bits a pixel: values are divided by 257; rescale images that use few of the bits"]
    np.testing.assert_array_equal(as_pixels(png, (1, 8, 3), "a")[0, :, 1], np.round(values[0] / 257))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_without_a_range_are_refused(kind):
    data = file(Image.fromarray(SHOWN.astype(kind)), "TIFF")
    with pytest.raises(UserError, match="image a has 32 bits a pixel, which have no range; convert it to 8 or 16"):
        as_pixels(opened(data), (4, 6, 1), "a")


def palette(transparent: bool) -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    if transparent:
        image.info["transparency"] = 1
    return image


def rgba(*pixels: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.array([pixels], np.uint8))


WHITE = [255, 255, 255]
COLOURS = {
    "palette": (palette(False), "PNG", [[10, 20, 30], [40, 50, 60]]),
    "palette with a hole": (palette(True), "PNG", [[10, 20, 30], WHITE]),
    "opaque": (rgba((1, 2, 3, 255), (4, 5, 6, 255)), "PNG", [[1, 2, 3], [4, 5, 6]]),
    "drawn in the alpha channel": (rgba((0, 0, 0, 255), (0, 0, 0, 0)), "PNG", [[0, 0, 0], WHITE]),
    "half transparent": (rgba((0, 0, 0, 51), (255, 0, 0, 0)), "PNG", [[204, 204, 204], WHITE]),
    "grey with alpha": (Image.fromarray(np.array([[[7, 255], [7, 0]]], np.uint8), "LA"), "PNG", [[7, 7, 7], WHITE]),
    "bits": (Image.fromarray(np.array([[True, False]])), "PNG", [WHITE, [0, 0, 0]]),
    "inks": (
        Image.fromarray(np.array([[[0, 0, 0, 0], [0, 255, 255, 0]]], np.uint8), "CMYK"),
        "TIFF",
        [WHITE, [255, 0, 0]],
    ),
}


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_converted_by_one_rule(name):
    image, kind, expected = COLOURS[name]
    np.testing.assert_array_equal(as_pixels(opened(file(image, kind)), (1, 2, 3), "a"), [expected])


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("GIF", "gif"), ("WEBP", "webp")])
def test_of_an_animation_the_first_frame_counts(kind, suffix):
    frames = [Image.new("L", (2, 2), value) for value in (0, 255)]
    data = file(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert "is an animation: the first frame is used" in losses(opened(data))
    assert not as_pixels(opened(data), (2, 2, 1), "a").any()
    assert losses(opened(file(frames[0], kind))) == []


def test_ingest_turns_images_and_says_once_what_it_does_not_use(tmp_path: Path, caplog):
    """Two classes of 12 images; those of odd numbers lie on their side, and two are 16 bits deep and animated."""
    caplog.set_level(logging.WARNING)
    expected = set()
    for name in ("left", "right"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            shown = RNG.integers(0, 256, (4, 6), np.uint8)
            expected.add(shown.tobytes())
            stored, note = (shown.T[::-1], 6) if number % 2 else (shown, 1)
            image = Image.fromarray(np.ascontiguousarray(stored))
            if number == 2:
                image = Image.fromarray(shown.astype(np.uint16) * 257)
            options = {"save_all": True, "append_images": [image.transpose(0)]} if number == 4 else {}
            image.save(tmp_path / "images" / name / f"{number}.png", exif=oriented(note), **options)
    manifest = ingest(DataSettings(source="images"), 0, tmp_path / "out", tmp_path)
    assert manifest.image_shape == (4, 6, 1)
    found = Records(tmp_path / "out", "tune").load("train").image
    assert {one.tobytes() for one in found} <= expected
    for words in ("image 2.png has 16 bits", "image 4.png is an animation"):
        assert caplog.text.count(words) == 1
