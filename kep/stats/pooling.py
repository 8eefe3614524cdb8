"""How members' predictions become the ensemble's: the one definition that weigh fits and every prediction uses."""

from collections.abc import Sequence

import numpy as np

from kep.stats.metrics import FLOOR


def pool(predictions: Sequence[np.ndarray], weights: Sequence[float], pooling: str) -> np.ndarray:
    """The members' predictions as one.

    Args:
        predictions: Predictions of each member, each of shape [..., classes], or any one shape of a regression.
        weights: Weights of each member, non-negative, sum 1.
        pooling: `arithmetic`: the weighted average. `geometric`, for classes alone: the logarithmic pool p ∝ exp(sum_k
            w_k log p_k) (Genest & Zidek 1986), with no probability below `FLOOR`. A class that one member excludes is
            not excluded by all.

    Returns:
        float64, of the shape of one member's predictions.
    """
    pairs = [(weight, own.astype(np.float64)) for weight, own in zip(weights, predictions, strict=True)]
    if pooling == "arithmetic":
        return _sum([weight * own for weight, own in pairs])
    logs = _sum([weight * np.log(np.maximum(own, FLOOR)) for weight, own in pairs])
    powers: np.ndarray = np.exp(logs - logs.max(axis=-1, keepdims=True))
    pooled: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return pooled


def _sum(terms: Sequence[np.ndarray]) -> np.ndarray:
    """Add arrays one after the other: the order decides the last bits."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total
