"""Free text: a bag of words and pairs of words, hashed into a fixed number of features.

Each of them counts the words whose hash falls there, with a sign by another bit of the hash, so that collisions cancel
out on average. Source: Weinberger, Dasgupta, Langford, Smola and Attenberg 2009, Feature Hashing for Large Scale
Multitask Learning.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from kep.data.schema import HASH, Column

FEATURES = 256


@cache
def _vectorizer() -> Any:
    from sklearn.feature_extraction.text import HashingVectorizer  # a second that no other column needs

    return HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), norm="l2", alternate_sign=True)


def hashed(texts: Sequence[str | None]) -> np.ndarray:
    """Return texts as float32 [n, FEATURES], rows of length 1; zeros where a text is missing or has no words."""
    found: np.ndarray = _vectorizer().transform([text or "" for text in texts]).toarray().astype(np.float32)
    return found


def hashes_of(text: Column) -> list[Column]:
    """Return the numeric columns that a column of texts becomes."""
    return [
        Column(
            name=f"{text.name} ({HASH}{place})",
            kind="numeric",
            of=text.name,
            part=f"{HASH}{place}",
            reading=text.reading,
        )
        for place in range(FEATURES)
    ]


def place_of(column: Column) -> int | None:
    """Return which of the features a column is; None of a column that is none of them."""
    part = column.part or ""
    return int(part.removeprefix(HASH)) if part.startswith(HASH) else None
