"""The test rows that the ensemble gets most wrong, with their raw values."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from kep.artifacts.explanation import WorstRow, WorstRows
from kep.components.evaluate.groups import groups
from kep.components.evaluate.raw import raw_value
from kep.data.records import Rows
from kep.data.schema import Manifest
from kep.stats.divergence import shown
from kep.stats.metrics import Truth

MOST_COLUMNS = 8
"""Columns that are shown of a row."""
SIDE = 64
"""Longest side of a small picture in pixels: one is at most 16 kB, and there are at most 100."""
_DARK = 128
_CLASSES = 3
"""Most probable classes that are shown of a row."""


def worst(manifest: Manifest, rows: Rows, predictions: np.ndarray, first: Sequence[str], most: int) -> WorstRows:
    """Return the rows of the greatest loss, and the most confidently wrong ones.

    Args:
        manifest: Manifest of the rows.
        rows: The test rows; those of weight 0 are left out.
        predictions: Shape [n, classes] or [n].
        first: Names of columns, the most important first.
        most: Rows of each list.
    """
    truth, classes = Truth.of(manifest.label.task, rows), manifest.label.classes
    counted = np.ones(len(rows), bool) if rows.weights is None else rows.weights > 0
    losses = truth.losses(predictions)

    def listed(scores: np.ndarray, among: np.ndarray) -> list[WorstRow]:
        places = np.flatnonzero(among)
        chosen = places[np.argsort(-scores[places], kind="stable")[:most]]
        return [_row(manifest, rows, predictions, int(row), float(losses[row]), first) for row in chosen]

    confident: list[WorstRow] = []
    if classes is not None and len(classes) > 2:
        confident = listed(predictions.max(axis=1), counted & (predictions.argmax(axis=1) != rows.labels))
    return WorstRows(loss=listed(losses, counted), confident=confident, columns=len(manifest.inputs))


def _row(
    manifest: Manifest, rows: Rows, predictions: np.ndarray, row: int, loss: float, first: Sequence[str]
) -> WorstRow:
    label, probabilities = manifest.label, list[tuple[str, float]]()
    if label.classes is None:
        told, predicted = (shown(float(one[row]), label.offset) for one in (rows.labels, predictions))
    else:
        order = [int(one) for one in np.argsort(-predictions[row], kind="stable")]
        true = int(rows.labels[row])
        told, predicted = str(label.classes[true]), str(label.classes[label.decide(predictions[row : row + 1])[0]])
        named = dict.fromkeys([*order[:_CLASSES], true])
        probabilities = [(str(label.classes[one]), float(predictions[row, one])) for one in named]
    places = {name: place for place, name in enumerate(first)}
    columns = sorted(
        (group for group in groups(manifest) if not group.image and group.kind != "text"),
        key=lambda group: places.get(group.name, len(places)),
    )
    return WorstRow(
        id=str(rows.ids[row]),
        label=told,
        prediction=predicted,
        probabilities=probabilities,
        loss=loss,
        weight=None if rows.weights is None else float(rows.weights[row]),
        values=[(group.name, raw_value(manifest, rows, group, row)) for group in columns[:MOST_COLUMNS]],
        image=None if rows.image is None else small_picture(rows.image[row], int(rows.image.max())),
    )


def small_picture(pixels: np.ndarray, brightest: int = 255) -> str:
    """Return an image as a PNG of at most `SIDE` pixels a side, in a `data:` URI.

    Args:
        pixels: uint8 [height, width, channels].
        brightest: Greatest value of all images. Where it is below `_DARK`, values are stretched up to it: images of
            4 bits would be black.
    """
    if 0 < brightest < _DARK:
        pixels = (np.minimum(pixels, brightest) * (255 / brightest)).round().astype(np.uint8)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
