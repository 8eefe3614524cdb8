"""What networks for tables make of the codes of a category: one-hot features, or an embedding.

Holzmüller, Grinsztajn & Steinwart 2024, "Better by default", with the constants of the authors' implementation.
"""

import keras
import numpy as np
from keras import layers

from kep.data.schema import Column

MOST_ONE_HOT = 8
"""Values of a category up to which it is one-hot; one with more has an embedding."""
EMBEDDED = 8
"""Length of the embedding of a category."""
NEAR_BOUND = 3.0
"""Size that a feature approaches and never reaches."""


def category(column: Column, codes: int) -> layers.Layer:
    """Return the layer that makes features of a category's codes."""
    counts = np.array(column.counts or [1] * codes, float)
    if codes - 2 <= MOST_ONE_HOT:
        table = one_hot(counts)
        return layers.Embedding(
            codes, table.shape[1], embeddings_initializer=keras.initializers.Constant(table), trainable=False
        )
    embedding = layers.Embedding(codes, EMBEDDED, embeddings_initializer=keras.initializers.RandomNormal(stddev=1.0))
    embedding.build((None,))
    # What no row has taught would add noise to a row that has it.
    embedding.embeddings.assign(embedding.embeddings * (counts > 0).astype(np.float32)[:, None])
    return embedding


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
