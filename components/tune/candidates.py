"""The candidates are not the N best scores, but the trials that add most to an ensemble."""

import numpy as np

from kep.artifacts.trials import Trial, TrialStore
from kep.stats.metrics import Truth, mean


def choose(
    study: TrialStore, trials: list[Trial], truth: Truth, top_n: int, max_per_family: int | None = None
) -> list[Trial]:
    """Greedy forward selection without replacement by the loss of the uniform average (Caruana et al. 2004).

    Of a configuration that was a trial more than once, in several rungs, the last trial counts.

    Args:
        study: Holds the validation predictions.
        trials: All trials; infeasible ones are never chosen.
        truth: Labels and weights of the validation rows.
        top_n: Number of candidates.
        max_per_family: Most of one family; None for no limit.

    Returns:
        The chosen trials in the order in which they were chosen, the one with the lowest loss first; fewer than `top_n`
        when there are fewer complete trials.
    """
    left = list({trial.configuration: trial for trial in trials if trial.complete}.values())
    chosen: list[Trial] = []
    total: np.ndarray | float = 0.0
    while left and len(chosen) < top_n:
        losses = [truth.loss((total + study.predictions(trial)) / (len(chosen) + 1)) for trial in left]
        best = left.pop(int(np.argmin(losses)))
        total = total + study.predictions(best).astype(np.float64)
        chosen.append(best)
        if sum(trial.family == best.family for trial in chosen) == max_per_family:
            left = [trial for trial in left if trial.family != best.family]
    return chosen


RESAMPLES = 500
"""Bootstrap samples of the rows behind the corrected loss."""


def corrected_loss(study: TrialStore, trials: list[Trial], truth: Truth, seed: int) -> float | None:
    """Return the lowest validation loss as if the trial had not been picked by the rows that score it.

    Bootstrap bias correction (Tsamardinos et al. 2018): the trial that is best on a sample of the rows is scored on
    the rows outside the sample; the mean over samples. It tends to the pessimistic side, since a sample holds fewer
    rows.

    Args:
        study: Holds the validation predictions.
        trials: All trials.
        truth: Labels and weights of the validation rows.
        seed: Seed of the samples.

    Returns:
        The corrected loss; None without a complete trial.
    """
    losses = [truth.losses(study.predictions(trial)) for trial in trials if trial.complete]
    if not losses:
        return None
    table, rng = np.stack(losses, axis=1), np.random.default_rng(seed)
    weights = np.ones(len(table)) if truth.weights is None else truth.weights
    outside = []
    for _ in range(RESAMPLES):
        counts = np.bincount(rng.integers(0, len(table), len(table)), minlength=len(table))
        picked = np.argmin((counts * weights) @ table)
        # Without the rows of a weight above 0 nothing could be measured.
        if (weights[counts == 0] > 0).any():
            outside.append(mean(table[counts == 0, picked], weights[counts == 0]))
    return float(np.mean(outside)) if outside else None
