"""A folder of image folders, one per class, as units of decoded images."""

import functools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import fs

from kep.core.errors import UserError
from kep.data.pixels import as_pixels, is_grey, losses, unreadable, upright_size
from kep.data.sources.arrays import image_array
from kep.data.sources.unit import BLOCK, Part, Source, Unit

log = logging.getLogger("kep.ingest")

ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass
class Shapes:
    """Sizes in pixels of all images with an example of each, whether all are grey, and what of them is not used."""

    examples: dict[tuple[int, int], str] = field(default_factory=dict)
    grey: bool = True
    losses: dict[str, str] = field(default_factory=dict)
    """Name of the first such image by what it loses."""

    def add(self, image: Image.Image, name: str) -> None:
        """Adds one image."""
        self.examples.setdefault(upright_size(image), name)
        self.grey = self.grey and is_grey(image)
        for loss in losses(image):
            self.losses.setdefault(loss, name)

    def shape(self, size: tuple[int, int] | None) -> tuple[int, int, int]:
        """Height, width and channels that all images get; says once what of them is not used.

        Raises:
            UserError: they differ in size and no size is asked for.
        """
        if size is None and len(self.examples) > 1:
            (first, one), (second, other) = list(self.examples.items())[:2]
            raise UserError(
                f"data.image_size: the images differ in size ({one} has {first[0]}x{first[1]} pixels, {other} "
                f"{second[0]}x{second[1]}); set data.image_size: [height, width]"
            )
        for loss, name in self.losses.items():
            _tell(f"image {name} {loss}")
        width, height = next(iter(self.examples)) if size is None else (size[1], size[0])
        return height, width, 1 if self.grey else 3


@functools.cache
def _tell(sentence: str) -> None:
    """Say something once: a source is opened for each pass over it."""
    log.warning("%s", sentence)


def image_source(
    location: str,
    root: str | None,
    system: fs.FileSystem,
    files: list[fs.FileInfo],
    label: str,
    size: tuple[int, int] | None,
    part: Part | None = None,
) -> Source:
    """Images whose folder is their class, decoded by `kep.data.pixels`: grey where all are grey, else RGB.

    Args:
        location: for messages.
        root: the folder that holds the class folders; None for a glob, where an image's folder is its class.
        system: holds the files.
        files: all files of the source.
        label: the name of the label column.
        size: height and width in pixels to resize to.
        part: the images to read; all when not given.

    Raises:
        UserError: an image cannot be read, or they differ in size and no size is asked for.
    """
    pictures = [info for info in files if info.path.lower().endswith(ENDINGS)]
    classes = _classes(pictures, root, system)
    if part:
        mine = [place for place, info in enumerate(pictures) if info.path in part.paths]
        pictures, classes = ([every[place] for place in mine] for every in (pictures, classes))
    shape = part.shape if part and part.shape else _shape(pictures, system, size)
    # Whether all are grey does not change the units: tasks that see some of the images must agree on them.
    step = max(1, min(512, BLOCK // (3 * math.prod(shape[:2]))))

    def units(columns: list[str]) -> Iterator[Unit]:
        for start in range(0, len(pictures), step):
            paths = [info.path for info in pictures[start : start + step]]
            yield Unit(_read, (system, paths, classes[start : start + step], shape, label, columns), location)

    total = sum(info.size for info in pictures)
    return Source(location, ["image", label], True, total, units, label, {"image": shape})


def _shape(pictures: list[fs.FileInfo], system: fs.FileSystem, size: tuple[int, int] | None) -> tuple[int, int, int]:
    shapes = Shapes()
    for info in pictures:
        with _open(system, info.path) as image:
            shapes.add(image, info.base_name)
    return shapes.shape(size)


def _classes(pictures: list[fs.FileInfo], root: str | None, system: fs.FileSystem) -> list[str]:
    """The class of each image.

    Raises:
        UserError: an image lies in no class folder, or a class folder has no image.
    """
    if root is None:
        return [PurePosixPath(info.path).parent.name for info in pictures]
    parts = [PurePosixPath(info.path).relative_to(root).parts for info in pictures]
    loose = next((part[0] for part in parts if len(part) == 1), None)
    if loose:
        raise UserError(
            f"data.source: image {loose} lies in no class folder; put each image in a folder named by its class"
        )
    found = {part[0] for part in parts}
    for info in system.get_file_info(fs.FileSelector(root)):
        if info.type == fs.FileType.Directory and info.base_name[0] not in "._" and info.base_name not in found:
            raise UserError(f'data.source: class folder "{info.base_name}" holds no images; fill it or remove it')
    return [part[0] for part in parts]


def _open(system: fs.FileSystem, path: str) -> Image.Image:
    try:
        return Image.open(system.open_input_file(path))
    except OSError as error:
        raise unreadable(_short(path), error) from error


def _short(path: str) -> str:
    return "/".join(PurePosixPath(path).parts[-2:])


def _read(
    system: fs.FileSystem,
    paths: list[str],
    classes: list[str],
    shape: tuple[int, int, int],
    label: str,
    columns: list[str],
) -> Iterator[pa.RecordBatch]:
    arrays: dict[str, pa.Array] = {}
    if "image" in columns:
        arrays["image"] = image_array(np.stack([as_pixels(_open(system, path), shape, _short(path)) for path in paths]))
    arrays[label] = pa.array(classes)
    yield pa.record_batch({name: arrays[name] for name in columns})
