"""Permutation importance: how much worse predictions get when a column is permuted (Breiman; Fisher et al.)."""

from collections.abc import Sequence

import numpy as np

from kep.stats.bootstrap import Bootstrap, Estimate, estimate, resampled
from kep.stats.metrics import Truth, directions, mean


def loss_increase(truth: Truth, before: np.ndarray, after: Sequence[np.ndarray], resamples: int, seed: int) -> Estimate:
    """Return the increase of the loss, paired by row, as the mean over repeats.

    The interval covers both the rows and the luck of the permutations: rows and repeats are resampled with replacement,
    and crossed (Owen 2007, "The pigeonhole bootstrap").

    Args:
        truth: Labels and weights of the rows.
        before: Predictions, [n, classes] or [n].
        after: Predictions with the column permuted, one array a repeat.
        resamples: Number of resamples.
        seed: Seed of the draws.
    """
    increases = np.stack([truth.losses(one) for one in after]) - truth.losses(before)
    shares = _of_repeats(len(after), resamples, seed)
    draws = []
    for rows, share in zip(resampled(len(before), resamples, seed), shares, strict=True):
        weights = None if truth.weights is None else truth.weights[rows]
        draws.append(mean((share @ increases)[rows], weights))
    return estimate(mean(increases.mean(axis=0), truth.weights), np.array(draws))


def metric_worsening(
    metric: str, truth: Truth, before: np.ndarray, after: Sequence[np.ndarray], resamples: int, seed: int
) -> Estimate:
    """Return how much worse a metric gets, as the mean over repeats; above 0 the column helps.

    Args:
        metric: Name of the metric.
        truth: As of `loss_increase`.
        before: As of `loss_increase`.
        after: As of `loss_increase`.
        resamples: As of `loss_increase`.
        seed: As of `loss_increase`.
    """
    own, *others = (Bootstrap.of(truth, one, resamples, seed, [metric]) for one in (before, *after))
    worse = 1 if directions(truth.task)[metric] == "min" else -1
    shares = _of_repeats(len(after), resamples, seed)
    drawn = (shares * np.stack([one.draws[metric] for one in others], axis=1)).sum(axis=1)
    value = float(np.mean([one.values[metric] for one in others]))
    return estimate(worse * (value - own.values[metric]), worse * (drawn - own.draws[metric]))


def _of_repeats(repeats: int, resamples: int, seed: int) -> np.ndarray:
    """Return the share of each repeat in each resample, float [resamples, repeats]."""
    rng = np.random.default_rng([seed, repeats])
    return rng.multinomial(repeats, np.full(repeats, 1 / repeats), size=resamples) / repeats
