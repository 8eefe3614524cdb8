"""Histograms of a column's values."""

import numpy as np

BINS = 10


def quantile_edges(values: np.ndarray) -> np.ndarray:
    """Upper edges of all but the last of about `BINS` bins with equal shares of the values, float64, ascending.

    A value that is several of the quantiles, such as the 0 of a column that hardly ever has another value, gets a bin
    of its own.

    Args:
        values: float32 [n], NaN where missing.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.empty(0)
    quantiles = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")
    distinct, times = np.unique(quantiles, return_counts=True)
    below = np.nextafter(distinct[times > 1], np.float32(-np.inf))
    return np.union1d(distinct, below).astype(np.float64)


def binned(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Rows [edges + 1] by the first edge that is not below the value; missing values, NaN, are in none."""
    known = values[~np.isnan(values)].astype(np.float64)
    return np.bincount(np.searchsorted(edges, known, side="left"), minlength=len(edges) + 1)


def brightness(image: np.ndarray) -> np.ndarray:
    """Mean over all pixels and channels of each image: float32 [n, 1] of uint8 [n, h, w, c]."""
    pixels = image.reshape(len(image), -1)
    means: np.ndarray = (pixels.sum(axis=1, dtype=np.int64) / pixels.shape[1]).astype(np.float32)
    return means[:, None]
