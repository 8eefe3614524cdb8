"""Which trials go on: not the N best scores, but those that add most to an ensemble."""

import numpy as np

from components.shared.metrics import loss
from components.tune.trials import Study, Trial


def choose(study: Study, trials: list[Trial], labels: np.ndarray, task: str, top_n: int) -> list[Trial]:
    """Greedy forward selection without replacement by the loss of the uniform average (Caruana et al. 2004).

    Args:
        study: Holds the validation predictions.
        trials: All trials; infeasible ones are never chosen.
        labels: Of the validation rows, shape [n].
        task: binary, multiclass or regression.
        top_n: How many to choose.

    Returns:
        The chosen trials in the order in which they were chosen, the one with the lowest loss first; fewer than `top_n`
        when there are fewer complete trials.
    """
    left = [trial for trial in trials if trial.complete]
    chosen: list[Trial] = []
    total: np.ndarray | float = 0.0
    while left and len(chosen) < top_n:
        losses = [loss(task, labels, (total + study.predictions(trial)) / (len(chosen) + 1)) for trial in left]
        best = left.pop(int(np.argmin(losses)))
        total = total + study.predictions(best).astype(np.float64)
        chosen.append(best)
    return chosen
