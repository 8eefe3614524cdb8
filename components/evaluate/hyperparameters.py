"""Hyperparameters that the score of a search depends on, from the records of its trials."""

from collections.abc import Sequence

import numpy as np

from kep.artifacts.explanation import HyperparameterImportance
from kep.artifacts.study import Study
from kep.artifacts.trials import Hyperparameter, Trial

FEWEST = 10
"""Trials with a score below which nothing can be told."""
LEAST = 0.1
"""Share of the variance that a forest must explain, on trials that it did not learn from, to be believed."""
TREES = 200
REPEATS = 5
_LEAF = 2
EPOCHS = "epochs of the schedule"
"""Name of the longest training of a trial, where a tuner gives trials different ones: it decides much of the score."""


def hyperparameters(study: Study, trials: Sequence[Trial], seed: int) -> dict[str, HyperparameterImportance]:
    """Return the importance of the hyperparameters of each family with a space.

    Args:
        study: The search.
        trials: Its trials.
        seed: Seed of the forests.
    """
    return {
        family: of_family(space, [trial for trial in trials if trial.family == family and trial.complete], seed)
        for family, space in study.spaces.items()
        if space
    }


def of_family(space: Sequence[Hyperparameter], trials: Sequence[Trial], seed: int) -> HyperparameterImportance:
    """Return the importance of one family's hyperparameters.

    A forest of trees learns the ranks of the scores from the values, so that one trial that diverged does not decide.
    A hyperparameter is permuted among the trials that a tree has not seen, and the increase of the squared error is
    its importance (Breiman 2001). It is permuted only among trials that have it: one that belongs to a choice is
    compared where that choice was made, and the choice itself keeps its own importance.

    Args:
        space: Hyperparameters of the family.
        trials: Trials with a score.
        seed: Seed of the forest.
    """
    from scipy.stats import rankdata

    values, names = _encoded(space, trials)
    if len(trials) < FEWEST:
        few = f"{len(trials)} trials have a score, and importance can't be told from fewer than {FEWEST}"
        return HyperparameterImportance(trials=len(trials), problem=few)
    if not names:
        return HyperparameterImportance(trials=len(trials), problem="all trials have the same hyperparameters")
    ranks = rankdata([trial.scores.score for trial in trials]) / len(trials)
    if np.ptp(ranks) == 0:
        return HyperparameterImportance(trials=len(trials), problem="all trials have the same score")
    explained, increases = _forest(values, ranks, seed)
    increases = np.maximum(increases, 0)
    if not (explained >= LEAST and increases.any()):
        return HyperparameterImportance(
            trials=len(trials),
            explained=explained,
            problem="the scores of trials can't be predicted from their hyperparameters: chance, or too few trials",
        )
    order = np.argsort(-increases, kind="stable")
    return HyperparameterImportance(
        trials=len(trials),
        explained=explained,
        shares=[(names[one], float(increases[one] / increases.sum())) for one in order],
    )


def _encoded(space: Sequence[Hyperparameter], trials: Sequence[Trial]) -> tuple[np.ndarray, list[str]]:
    """Return values as float [trials, names], NaN where a trial has none, and the names of those that vary.

    Values are numbered in their order, which is all that a tree looks at; words in that of the alphabet.
    """
    used = [trial.used | ({EPOCHS: trial.schedule.epochs} if trial.schedule else {}) for trial in trials]
    declared = [one.config["name"] for one in space]
    found = list(dict.fromkeys([*declared, *(name for one in used for name in one)]))
    columns, names = [], []
    for name in found:
        own = [one.get(name) for one in used]
        numeric = all(value is None or isinstance(value, int | float) for value in own)
        known = {value for value in own if value is not None}
        order = sorted(known, key=float) if numeric else sorted(known, key=str)
        codes = {value: float(place) for place, value in enumerate(order)}
        column = np.array([np.nan if value is None else codes[value] for value in own])
        if len(known) > 1 or (len(known) == 1 and np.isnan(column).any()):
            columns.append(column)
            names.append(name)
    return np.stack(columns, axis=1) if columns else np.empty((len(trials), 0)), names


def _forest(values: np.ndarray, ranks: np.ndarray, seed: int) -> tuple[float, np.ndarray]:
    """Return the out-of-bag share of the variance that a forest explains, and the increase of the error by column."""
    from sklearn.ensemble import BaggingRegressor
    from sklearn.tree import DecisionTreeRegressor

    # A value that a trial does not have lies below all others: a tree can part such trials with one split.
    filled = np.where(np.isnan(values), -1.0, values)
    forest = BaggingRegressor(DecisionTreeRegressor(min_samples_leaf=_LEAF), n_estimators=TREES, random_state=seed).fit(
        filled, ranks
    )
    rng, rows = np.random.default_rng(seed), np.arange(len(ranks))
    sums, counts = np.zeros(len(ranks)), np.zeros(len(ranks))
    increases = np.zeros(values.shape[1])
    for tree, drawn in zip(forest.estimators_, forest.estimators_samples_, strict=True):
        unseen = np.setdiff1d(rows, drawn)
        if not len(unseen):
            continue
        predicted = tree.predict(filled[unseen])
        sums[unseen] += predicted
        counts[unseen] += 1
        error = np.square(predicted - ranks[unseen]).mean()
        # All permuted copies in one call.
        copies = np.tile(filled[unseen], (values.shape[1], REPEATS, 1, 1))
        for column in range(values.shape[1]):
            having = np.flatnonzero(~np.isnan(values[unseen, column]))
            for repeat in range(REPEATS):
                copies[column, repeat, having, column] = filled[unseen[rng.permutation(having)], column]
        changed = tree.predict(copies.reshape(-1, values.shape[1])).reshape(values.shape[1], REPEATS, len(unseen))
        increases += np.square(changed - ranks[unseen]).mean(axis=(1, 2)) - error
    seen = counts > 0
    residual = np.square(sums[seen] / counts[seen] - ranks[seen]).mean()
    return float(1 - residual / ranks[seen].var()), increases / TREES
