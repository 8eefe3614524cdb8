"""What networks for tables make of the codes of a category: one-hot features, or an embedding.

Holzmüller, Grinsztajn & Steinwart 2024, "Better by default", with the constants of the authors' implementation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kep.data.schema import Column
from kep.models.layers import JoinedEmbedding

MOST_ONE_HOT = 8
"""Values of a category up to which it is one-hot; one with more has an embedding."""
EMBEDDED = 8
"""Length of the embedding of a category."""
NEAR_BOUND = 3.0
"""Size that a feature approaches and never reaches."""


def features_of(given: Any, columns: Sequence[Column], codes: Sequence[int]) -> list[Any]:
    """Return features of categories: the small ones are one-hot, the others have an embedding.

    Args:
        given: Input of the codes, int [n, columns].
        columns: The columns.
        codes: Number of codes of each.
    """
    counts = [np.array(column.counts or [1] * many, float) for column, many in zip(columns, codes, strict=True)]
    small = {place: one_hot(counts[place]) for place, many in enumerate(codes) if many - 2 <= MOST_ONE_HOT}
    large = {place: EMBEDDED for place in range(len(codes)) if place not in small}
    found = []
    for places, part in by_width(given, {place: table.shape[1] for place, table in small.items()}):
        table = np.concatenate([small[place] for place in places])
        layer = JoinedEmbedding([codes[place] for place in places], table.shape[1], trainable=False)
        found.append(layer(part))
        layer.embeddings.assign(table)
    for places, part in by_width(given, large):
        first = keras.initializers.RandomNormal(stddev=1.0)
        layer = JoinedEmbedding([codes[place] for place in places], EMBEDDED, first)
        found.append(layer(part))
        # What no row has taught would add noise to a row that has it.
        taught = np.concatenate([counts[place] for place in places]) > 0
        layer.embeddings.assign(layer.embeddings * taught.astype(np.float32)[:, None])
    return found


def by_width(given: Any, widths: Mapping[int, int]) -> Iterator[tuple[list[int], Any]]:
    """Yield the places of the columns of each width, and their part of the codes.

    Args:
        given: Input of the codes, int [n, columns].
        widths: Number of features by place of a column.
    """
    for width in dict.fromkeys(widths.values()):
        places = [place for place, own in widths.items() if own == width]
        yield places, given if len(places) == given.shape[1] else ops.take(given, places, axis=1)


def one_hot(counts: np.ndarray) -> np.ndarray:
    """Return the features of each code of a category, float32 [codes, features].

    A value is 1 in a feature of its own, and 0 in the others; of two values one is 1 and the other -1 in one feature. A
    missing value is 0 in all of them. As with numbers, the median is taken off, the rest is divided by the distance of
    the quartiles, or else by half the range, and it is clipped smoothly.

    Args:
        counts: Training rows of each code, [codes]. Code 0 is missing, and 1 any other value.
    """
    # Other values have a feature where there are some, or where there is nothing else.
    others = bool(counts[1]) or len(counts) == 2
    values = np.eye(len(counts))[:, 2 - others :]
    if values.shape[1] == 2:
        values = values[:, :1] - values[:, 1:]
    found = []
    for column in values.T:
        order = np.argsort(column)
        reached = np.cumsum(counts[order])
        low, median, high = column[order][np.searchsorted(reached, np.array([0.25, 0.5, 0.75]) * reached[-1])]
        scaled = (column - median) / (high - low or np.ptp(column[counts > 0]) / 2 or 1.0)
        found.append(scaled / np.sqrt(1 + (scaled / NEAR_BOUND) ** 2))
    return np.stack(found, axis=1).astype(np.float32)
