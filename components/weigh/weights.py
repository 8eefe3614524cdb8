"""Ensemble weights on the simplex from stored predictions.

Everything works on one problem: `Problem(a, y)`, with `a` of shape [rows, members]. For classes `a` holds the
probability that each member gave to the row's own class, since the log-loss of a weighted average needs nothing
else; for a regression it holds the predictions and `y` the labels. Both losses are convex in the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from components.shared.metrics import FLOOR

BAGS = 20
"""Row samples that the bagged method averages over."""
DRAWS = 1000
"""Weight vectors that random search tries."""
GREEDY_STEPS = 50
"""Additions of greedy selection; weights are multiples of one over their number."""


@dataclass(frozen=True)
class Problem:
    """Predictions of K members on n rows.

    Attributes:
        a: float64 [n, K]: probabilities of the true class, or predictions of a regression.
        y: float64 [n] labels of a regression; None for classes.
    """

    a: np.ndarray
    y: np.ndarray | None = None

    @property
    def members(self) -> int:
        return self.a.shape[1]

    def take(self, rows: np.ndarray) -> "Problem":
        return Problem(self.a[rows], None if self.y is None else self.y[rows])

    def row_losses(self, weights: np.ndarray) -> np.ndarray:
        """Loss of each row under the weighted average, shape [n]."""
        mean = self.a @ weights
        return -np.log(np.maximum(mean, FLOOR)) if self.y is None else np.square(mean - self.y)

    def loss(self, weights: np.ndarray) -> float:
        return float(np.mean(self.row_losses(weights)))

    def gradient(self, weights: np.ndarray) -> np.ndarray:
        """Of `loss`, shape [K]."""
        mean = self.a @ weights
        if self.y is None:
            return -(self.a / np.maximum(mean, FLOOR)[:, None]).mean(axis=0)
        return 2 * (self.a * (mean - self.y)[:, None]).mean(axis=0)

    def gap(self, weights: np.ndarray) -> float:
        """A bound on how far `loss(weights)` is above the optimum over the simplex (Frank-Wolfe duality gap).

        For the log-loss it is `max_k mean(a_k / (a @ w)) - 1` (Cover 1984).
        """
        gradient = self.gradient(weights)
        return float(gradient @ weights - gradient.min())


def uniform(problem: Problem, seed: int) -> np.ndarray:
    """The plain average."""
    return np.full(problem.members, 1 / problem.members)


def nelder_mead(problem: Problem, seed: int) -> np.ndarray:
    """SciPy's Nelder-Mead with its defaults, on weights scaled to sum to 1, as in the book."""

    def scaled(free: np.ndarray) -> np.ndarray:
        positive = np.abs(free)
        return positive / max(positive.sum(), 1e-12)

    found = optimize.minimize(lambda free: problem.loss(scaled(free)), uniform(problem, seed), method="Nelder-Mead")
    return scaled(found.x)


def random_search(problem: Problem, seed: int) -> np.ndarray:
    """The best of `DRAWS` random weight vectors, uniform on the simplex, and the plain average."""
    draws = np.random.default_rng(seed).dirichlet(np.ones(problem.members), DRAWS)
    return min([uniform(problem, seed), *draws], key=problem.loss)


def greedy(problem: Problem, seed: int) -> np.ndarray:
    """Forward selection with replacement, best prefix kept (Caruana et al. 2004)."""
    counts, total = np.zeros(problem.members), np.zeros(len(problem.a))
    best, best_loss = uniform(problem, seed), np.inf
    for size in range(1, GREEDY_STEPS + 1):
        sums = total[:, None] + problem.a
        mean = sums / size
        if problem.y is None:
            losses = -np.log(np.maximum(mean, FLOOR)).mean(axis=0)
        else:
            losses = np.square(mean - problem.y[:, None]).mean(axis=0)
        added = int(np.argmin(losses))
        counts[added] += 1
        total = sums[:, added]
        if losses[added] < best_loss:
            best, best_loss = counts / size, losses[added]
    return best


def exact(problem: Problem, seed: int) -> np.ndarray:
    """The optimum over the simplex, by sequential least squares; `Problem.gap` certifies it."""
    start = uniform(problem, seed)
    if problem.members == 1:
        return start
    found = optimize.minimize(
        problem.loss,
        start,
        jac=problem.gradient,
        method="SLSQP",
        bounds=[(0, 1)] * problem.members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 200},
    )
    weights = np.where(found.x > 1e-6, found.x, 0)
    weights = weights / weights.sum()
    return weights if problem.loss(weights) <= problem.loss(start) else start


def exact_bagged(problem: Problem, seed: int) -> np.ndarray:
    """Mean of the optima on `BAGS` bootstrap samples of the rows: less sure of single rows than the optimum itself."""
    rng = np.random.default_rng(seed)
    rows = len(problem.a)
    return np.mean([exact(problem.take(rng.integers(0, rows, rows)), seed) for _ in range(BAGS)], axis=0)


METHODS: dict[str, Callable[[Problem, int], np.ndarray]] = {
    "uniform": uniform,
    "greedy": greedy,
    "exact_bagged": exact_bagged,
    "exact": exact,
    "nelder_mead": nelder_mead,
    "random_search": random_search,
}
"""From the simplest and steadiest to the one that trusts the validation rows most; the last two are the book's."""


def fit(method: str, problem: Problem, max_members: int, seed: int) -> np.ndarray:
    """Weights of `method` with at most `max_members` of them positive.

    Members are dropped by smallest weight (for `uniform`: those that greedy selection has least use for), then the
    method runs again on the rest.

    Returns:
        float64 [K], non-negative, sums to 1.
    """
    ranking = greedy(problem, seed) if method == "uniform" else METHODS[method](problem, seed)
    kept = np.argsort(-ranking, kind="stable")[:max_members]
    if method != "uniform":
        kept = kept[ranking[kept] > 1e-3]
    weights = np.zeros(problem.members)
    weights[np.sort(kept)] = METHODS[method](Problem(problem.a[:, np.sort(kept)], problem.y), seed)
    return weights / weights.sum()


def cross_fitted(
    fit_on: Callable[[Problem], np.ndarray], problem: Problem, rows: np.ndarray, folds: int, seed: int
) -> np.ndarray:
    """Losses of rows under weights that were fitted without them.

    Args:
        fit_on: Weights from a problem.
        problem: Of all rows.
        rows: Which data row each row of the problem is, shape [n]: a data row is in one fold with all its repeats.
        folds: Number of folds.
        seed: Of the assignment to folds.

    Returns:
        Loss of each data row (mean over its repeats), in order of the row's number.
    """
    unique, position = np.unique(rows, return_inverse=True)
    fold_of_row = np.random.default_rng(seed).permutation(np.arange(len(unique)) % folds)
    losses = np.empty(len(rows))
    for fold in range(folds):
        held = fold_of_row[position] == fold
        losses[held] = problem.take(held).row_losses(fit_on(problem.take(~held)))
    return np.bincount(position, losses) / np.bincount(position)
