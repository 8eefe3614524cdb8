"""Ensemble weights on the simplex from stored predictions.

Everything works on one `Problem`. For classes `Problem.a` holds the probability that each member gave to the row's own
class, since the log-loss of a weighted average needs nothing else. A geometric pool and other metrics need `full`, the
probabilities of all classes. The losses are convex in the weights, so their optimum can be certified; other metrics are
not.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize

from kep.stats.metrics import METRICS
from kep.stats.pooling import pool

BAGS = 20
"""Samples that the bagged methods average over."""
BAG_MEMBERS = 8
"""Fewest candidates in a bag (all of them where there are fewer): a bag of few is forced to use poor ones."""
BAG_ROWS = 2_000
"""Most rows of a bag for another metric than the loss: ranking many rows thousands of times takes minutes."""
BAG_LOSS_ROWS = 10_000
"""Most rows of a bag for the loss. Of few weights the mean over the bags needs no more (subagging, Bühlmann & Yu 2002).
"""
DRAWS = 1000
"""Weight vectors that random search tries."""
GREEDY_STEPS = 50
"""Additions of greedy selection; weights are multiples of one over their number."""
FEWEST_AVERAGED = 3
"""Members that a plain average is taken over at least: on few rows one member alone often looks the best by luck."""
GREEDY_PATIENCE = 10
"""Additions without a gain that end greedy selection for a metric, whose every value costs a pass over the rows."""
GAP = 1e-7
"""The solver stops when it is surely no further than this above the optimum; relative to the loss for a regression."""
NEWTON_STEPS = 100
SMALL = 0.01
"""Weights below this share of the largest one are not worth a member."""
SLACK = 1e-4
"""Members within the limits are the best up to this much validation loss, relative to the loss for a regression."""
NODES = 500
"""Problems that the search for them solves at most."""


@dataclass(frozen=True)
class Problem:
    """Predictions of K members on n rows, by S trainings of each member that differ in their seed.

    Attributes:
        a: float64 [S, n, K]: probabilities of the true class, or predictions of a regression. Probabilities are at
            least `FLOOR`, since cutting their average off instead would make the loss non-convex.
        y: [n]: labels of a regression, or class indices beside `full`.
        full: float64 [S, n, C, K]: probabilities of all classes, at least `FLOOR`.
        metric: Metric that the weights are for: `loss`, or one of `METRICS`.
        pooling: `arithmetic` or `geometric`.
        counts: float64 [n]: how much each row counts, 1 in the mean; None where all rows count the same.
    """

    a: np.ndarray
    y: np.ndarray | None = None
    full: np.ndarray | None = None
    metric: str = "loss"
    pooling: str = "arithmetic"
    counts: np.ndarray | None = None

    @property
    def members(self) -> int:
        return int(self.a.shape[-1])

    @property
    def rows(self) -> int:
        return int(self.a.shape[1])

    def take(self, rows: np.ndarray) -> "Problem":
        """The problem of some rows, each with all its trainings."""
        y = None if self.y is None else self.y[rows]
        full = None if self.full is None else self.full[:, rows]
        counts = None if self.counts is None else relative(self.counts[rows])
        return dataclasses.replace(self, a=self.a[:, rows], y=y, full=full, counts=counts)

    def only(self, members: np.ndarray) -> "Problem":
        """The problem of some members."""
        full = None if self.full is None else self.full[..., members]
        return dataclasses.replace(self, a=self.a[..., members], full=full)

    def with_pooling(self, pooling: str) -> "Problem":
        return dataclasses.replace(self, pooling=pooling)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """Loss of every prediction under every column of `weights` [K, M], shape [S, n, M]."""
        if self.regression:
            losses: np.ndarray = np.square(self._errors @ weights)
        elif self.pooling == "arithmetic":
            losses = -np.log(self.a @ weights)
        else:
            # Logarithms lie between log(FLOOR) and 0, and so do their averages: their powers need no care.
            losses = np.log(np.exp(self._logs @ weights).sum(axis=2)) - np.log(self.a) @ weights
        return losses

    def row_losses(self, weights: np.ndarray) -> np.ndarray:
        """Loss of each row under `weights` [K], the mean over its trainings, shape [n]."""
        losses: np.ndarray = self.losses(weights[:, None])[..., 0].mean(axis=0)
        return losses

    def loss(self, weights: np.ndarray) -> float:
        return float(np.mean(self.counted(self.row_losses(weights))))

    def counted(self, values: np.ndarray) -> np.ndarray:
        """Return values [n, …] times how much their rows count: the mean of these is the mean by weight."""
        counted: np.ndarray = _scaled(values[None], self.counts)[0]
        return counted

    def values(self, weights: np.ndarray) -> np.ndarray:
        """Return the value to minimise for every column of `weights` [K, M]: the loss, or a metric as less is better.

        Shape [M].
        """
        if self.metric == "loss" and self.regression:
            squared: np.ndarray = np.einsum("km,kl,lm->m", weights, self._products, weights)
            return squared
        if self.metric == "loss":
            losses: np.ndarray = _scaled(self.losses(weights), self.counts).mean(axis=(0, 1))
            return losses
        sign = 1 if METRICS[self.metric].direction == "min" else -1
        found = np.array([sign * self.score(self.pooled(one)) for one in weights.T])
        return np.where(np.isnan(found), np.inf, found)

    def pooled(self, weights: np.ndarray) -> np.ndarray:
        """The ensemble's predictions, [S, n, C] or [S, n]; of classes they need `full`."""
        members = self.a if self.regression else self._probabilities
        return pool(list(np.moveaxis(members, -1, 0)), weights.tolist(), self.pooling)

    def score(self, predictions: np.ndarray) -> float:
        """The metric of predictions, the mean over the trainings: rows of two trainings are not ranked together."""
        value = METRICS[self.metric].value
        return float(np.mean([value(self._labels, own, self.counts) for own in predictions]))

    def derivatives(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient [K] and Hessian [K, K] of `loss`, up to a constant that no step on the simplex sees."""
        count = self.a.shape[0] * self.a.shape[1]
        if self.regression:
            hessian = 2 * self._products
            return hessian @ weights, hessian
        root = self._root
        if self.pooling == "arithmetic":
            ratios = self.a / (self.a @ weights)[..., None]
            gradient = -_scaled(ratios, self.counts).reshape(count, -1).mean(axis=0)
            ratios = _scaled(ratios, root).reshape(count, -1)
            return gradient, ratios.T @ ratios / count
        shares = np.exp(self._logs @ weights)
        shares /= shares.sum(axis=2, keepdims=True)
        expected = np.einsum("snc,snck->snk", shares, self._logs)
        spread = (self._logs - expected[:, :, None]) * np.sqrt(shares)[..., None]
        spread = _scaled(spread, root).reshape(-1, self.members)
        return _scaled(expected - np.log(self.a), self.counts).mean(axis=(0, 1)), spread.T @ spread / count

    def gap(self, weights: np.ndarray) -> float:
        """A bound on how far `loss(weights)` is above the optimum over the simplex (Frank-Wolfe duality gap).

        For the log-loss of an average it is `max_k mean(a_k / (a @ w)) - 1` (Cover 1984).
        """
        gradient, _ = self.derivatives(weights)
        return float(gradient @ weights - gradient.min())

    @property
    def tolerance(self) -> float:
        """`GAP` in the units of the loss, and the same for a label in metres and in millimetres."""
        if not self.regression:
            return GAP
        lowest: float = _scaled(self.losses(np.eye(self.members)), self.counts).mean(axis=(0, 1)).min()
        return GAP * lowest

    @property
    def regression(self) -> bool:
        """True if the label is a number."""
        return self.y is not None and self.full is None

    @property
    def _labels(self) -> np.ndarray:
        if self.y is None:
            raise ValueError("this problem holds no labels")
        return self.y

    @property
    def _probabilities(self) -> np.ndarray:
        if self.full is None:
            raise ValueError("this problem does not hold the probabilities of all classes")
        return self.full

    # Kept, since a fit asks for them at every step.
    @functools.cached_property
    def _errors(self) -> np.ndarray:
        errors: np.ndarray = self.a - self._labels[:, None]
        return errors

    @functools.cached_property
    def _products(self) -> np.ndarray:
        """Mean products of two members' errors [K, K], which a regression's loss is a sum of."""
        errors = _scaled(self._errors, self._root).reshape(-1, self.members)
        products: np.ndarray = errors.T @ errors / len(errors)
        return products

    @property
    def _root(self) -> np.ndarray | None:
        """Root of how much each row counts: both factors of a square get it."""
        return None if self.counts is None else np.sqrt(self.counts)

    @functools.cached_property
    def _logs(self) -> np.ndarray:
        logs: np.ndarray = np.log(self._probabilities)
        return logs


@dataclass(frozen=True)
class Folds:
    """Folds of a cross-fit.

    Attributes:
        fold: Fold of each row, shape [n].
        weights: float64 [folds, K], weights of each fold's rows, fitted without them.
        counts: How much each row counts, as in `Problem`.
    """

    fold: np.ndarray
    weights: np.ndarray
    counts: np.ndarray | None


def relative(counts: np.ndarray) -> np.ndarray:
    """Return how much rows [n] count, 1 in the mean; where none of them counts, all count the same."""
    mean = counts.mean() if len(counts) else 0.0
    return counts.astype(np.float64) / mean if mean else np.ones(len(counts))


def _scaled(values: np.ndarray, factors: np.ndarray | None) -> np.ndarray:
    """Return values [S, n, …] times factors [n]."""
    if factors is None:
        return values
    scaled: np.ndarray = values * factors.reshape(1, -1, *[1] * (values.ndim - 2))
    return scaled


@dataclass(frozen=True)
class Limits:
    """Limits of an ensemble.

    Attributes:
        members: Most members.
        latency: float64 [K]: milliseconds that each candidate takes to predict; None when time is of no concern.
        budget: Most milliseconds of all members together.
    """

    members: int
    latency: np.ndarray | None = None
    budget: float = np.inf

    def allow(self, members: np.ndarray) -> bool:
        """Return whether the members [K] that are true may form an ensemble."""
        spent = 0.0 if self.latency is None else self.latency[members].sum()
        return bool(members.sum() <= self.members and spent <= self.budget)

    def without(self, member: int) -> "Limits":
        """The limits of a problem without a candidate."""
        latency = None if self.latency is None else np.delete(self.latency, member)
        return dataclasses.replace(self, latency=latency)


def best_single(problem: Problem, limits: Limits) -> np.ndarray:
    """All weight on the one candidate within the limits with the lowest loss, or the best metric."""
    alone = np.eye(problem.members)
    allowed = [number for number, one in enumerate(alone) if limits.allow(one > 0)]
    best: np.ndarray = alone[min(allowed, key=problem.values(alone).__getitem__)]
    return best


def uniform(problem: Problem, seed: int) -> np.ndarray:
    """The plain average."""
    return np.full(problem.members, 1 / problem.members)


def greedy_uniform(problem: Problem, seed: int) -> np.ndarray:
    """The plain average of the members that forward selection without replacement chooses: its best prefix."""
    return _best_average(_forward(problem, problem.members, again=False))


def greedy(problem: Problem, seed: int) -> np.ndarray:
    """Forward selection with replacement, best prefix kept (Caruana et al. 2004)."""
    return min(_forward(problem, GREEDY_STEPS, again=True), key=lambda step: step[1])[0]


def greedy_bagged(problem: Problem, seed: int) -> np.ndarray:
    """Mean of greedy selections on `BAGS` samples of the rows, with replacement, each of half of the candidates.

    Caruana et al. 2004, section 2.3, samples candidates alone; rows too, since few candidates leave little to sample.
    """
    rng = np.random.default_rng(seed)
    size = max(-(-problem.members // 2), min(problem.members, BAG_MEMBERS))
    drawn = min(problem.rows, BAG_LOSS_ROWS if problem.metric == "loss" else BAG_ROWS)
    total = np.zeros(problem.members)
    for _ in range(BAGS):
        members = np.sort(rng.choice(problem.members, size, replace=False))
        rows = rng.integers(0, problem.rows, drawn)
        total[members] += greedy(problem.only(members).take(rows), seed)
    return total / BAGS


def exact(problem: Problem, seed: int) -> np.ndarray:
    """The optimum of the loss over the simplex by Newton's method; `Problem.gap` certifies it.

    Each step minimises the second-order model over the whole simplex, so that weights become exactly 0 (the active set
    of mixSQP, Kim et al. 2020). It is halved until the loss falls enough. For a regression the model is the loss.
    """
    weights, tolerance = uniform(problem, seed), problem.tolerance
    for _ in range(NEWTON_STEPS):
        gradient, hessian = problem.derivatives(weights)
        if gradient @ weights - gradient.min() <= tolerance:
            break
        step = _quadratic(gradient, hessian, weights) - weights
        before, slope, share = problem.loss(weights), gradient @ step, 1.0
        while problem.loss(weights + share * step) > before + 1e-4 * share * slope and share > 1e-9:
            share /= 2
        weights = weights + share * step
    return weights


def exact_bagged(problem: Problem, seed: int) -> np.ndarray:
    """Mean of the optima on `BAGS` bootstrap samples of the rows: less sure of single rows than the optimum itself."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, problem.rows, min(problem.rows, BAG_LOSS_ROWS)) for _ in range(BAGS)]
    mean: np.ndarray = np.mean([exact(problem.take(bag), seed) for bag in rows], axis=0)
    return mean


def nelder_mead(problem: Problem, seed: int) -> np.ndarray:
    """SciPy's Nelder-Mead with its defaults, on weights scaled to sum to 1, as in the book."""

    def scaled(free: np.ndarray) -> np.ndarray:
        positive: np.ndarray = np.abs(free)
        weights: np.ndarray = positive / max(positive.sum(), 1e-12)
        return weights

    found = optimize.minimize(
        lambda free: problem.values(scaled(free)[:, None])[0], uniform(problem, seed), method="Nelder-Mead"
    )
    return scaled(found.x)


def random_search(problem: Problem, seed: int) -> np.ndarray:
    """The best of `DRAWS` random weight vectors, uniform on the simplex, and the plain average.

    Of many rows `BAG_LOSS_ROWS` decide, drawn at random.
    """
    rng = np.random.default_rng(seed)
    draws = np.vstack([uniform(problem, seed), rng.dirichlet(np.ones(problem.members), DRAWS)])
    if problem.rows > BAG_LOSS_ROWS:
        problem = problem.take(rng.choice(problem.rows, BAG_LOSS_ROWS, replace=False))
    # In parts, since the losses of all draws on all rows may not fit in memory.
    values = np.concatenate([problem.values(part.T) for part in np.array_split(draws, 50)])
    best: np.ndarray = draws[values.argmin()]
    return best


METHODS: dict[str, Callable[[Problem, int], np.ndarray]] = {
    "uniform": uniform,
    "greedy_uniform": greedy_uniform,
    "greedy_bagged": greedy_bagged,
    "greedy": greedy,
    "exact_bagged": exact_bagged,
    "exact": exact,
    "nelder_mead": nelder_mead,
    "random_search": random_search,
}
"""From the simplest and steadiest to the one that trusts the validation rows most; the last two are the book's."""
BEST_SINGLE = "best_single"
"""The method that takes one candidate alone; what ensembles are held against."""
BOOK = ("nelder_mead", "random_search")
"""Methods that are never chosen automatically: what they find depends on where they give up."""
AVERAGES = ("uniform", "greedy_uniform")
"""Methods whose members weigh the same: nothing but the choice of members is fitted."""
OF_METRICS = ("uniform", "greedy_uniform", "greedy_bagged", "greedy")
"""Methods that are compared for a metric other than the loss."""


def fit(method: str, problem: Problem, limits: Limits, seed: int) -> np.ndarray:
    """Weights of `method` within the limits.

    The best single candidate is chosen within them. Where another method's own members are within them, those are the
    members. Otherwise the members are chosen for the
    lowest loss that is possible within the limits (`members_within`), and the method weighs them again.

    Returns:
        float64 [K], non-negative, sums to 1.
    """
    if method == BEST_SINGLE:
        return best_single(problem, limits)
    weights = _without_small(method, problem, seed)
    if limits.allow(weights > 0):
        return weights
    kept = members_within(problem, limits, weighted=method not in AVERAGES and problem.metric == "loss")
    weights = np.zeros(problem.members)
    weights[kept] = _without_small(method, problem.only(kept), seed)
    return weights


def members_within(problem: Problem, limits: Limits, weighted: bool) -> np.ndarray:
    """The members within the limits whose ensemble is the best.

    Forward selection by the loss of the plain average, or by the metric, finds a good choice. For weights it is then
    improved by branch and bound: the optimum over all candidates that are still open bounds what any choice among them
    can reach. The result is the best choice up to `SLACK`, unless `NODES` problems did not suffice to prove it.

    Args:
        problem: Problem of all candidates.
        limits: At least one candidate alone is within them.
        weighted: True if the members will get weights of their own.

    Returns:
        Indices of the members, ascending.
    """
    best = _best_average(_forward(problem, limits.members, again=False, limits=limits)) > 0
    if not weighted:
        return np.flatnonzero(best)

    @functools.cache
    def solved(open_: tuple[int, ...]) -> tuple[float, np.ndarray]:
        own = problem.only(np.array(open_))
        weights = np.zeros(problem.members)
        weights[list(open_)] = exact(own, 0)
        return problem.loss(weights), weights

    lowest, slack = solved(tuple(np.flatnonzero(best)))[0], SLACK * problem.tolerance / GAP
    waiting: list[tuple[frozenset[int], frozenset[int]]] = [(frozenset(range(problem.members)), frozenset())]
    while waiting and solved.cache_info().misses < NODES:
        open_, sure = waiting.pop()
        open_ = frozenset(k for k in open_ if limits.allow(np.isin(np.arange(problem.members), [*sure, k])))
        if not open_:
            continue
        value, weights = solved(tuple(sorted(open_)))
        if value >= lowest - slack:
            continue
        support = weights > 0
        if limits.allow(support):
            lowest, best = value, support
            continue
        heaviest = max(set(np.flatnonzero(support).tolist()) - sure, key=lambda k: weights[k])
        waiting += [(open_ - {heaviest}, sure), (open_, sure | {heaviest})]
    return np.flatnonzero(best)


def excess(problem: Problem, weights: np.ndarray) -> float:
    """A proven bound on how far the loss of any `weights` is above the optimum over the simplex."""
    optimum = exact(problem, 0)
    return problem.loss(weights) - problem.loss(optimum) + problem.gap(optimum)


def cross_fitted(
    fit_on: Callable[[Problem], np.ndarray], problem: Problem, folds: int, seed: int
) -> tuple[np.ndarray, float | None, Folds]:
    """Losses of rows under weights that were fitted without them.

    Args:
        fit_on: Weights from a problem.
        problem: Problem of all rows.
        folds: Number of folds; a row is in one fold with all its trainings.
        seed: Seed of the assignment to folds.

    Returns:
        Loss of each row (mean over its trainings) times how much it counts, shape [n]; the metric where that is not
        the loss; the folds with their weights.
    """
    fold = np.random.default_rng(seed).permutation(np.arange(problem.rows) % folds)
    losses, predictions, fitted = np.empty(problem.rows), None, []
    for number in range(folds):
        held = problem.take(fold == number)
        weights = fit_on(problem.take(fold != number))
        fitted.append(weights)
        losses[fold == number] = held.row_losses(weights)
        if problem.metric != "loss":
            pooled = held.pooled(weights)
            if predictions is None:
                predictions = np.empty((len(pooled), problem.rows, *pooled.shape[2:]))
            predictions[:, fold == number] = pooled
    score = None if predictions is None else problem.score(predictions)
    return problem.counted(losses), score, Folds(fold, np.array(fitted), problem.counts)


def _forward(
    problem: Problem, steps: int, again: bool, limits: Limits | None = None
) -> Iterator[tuple[np.ndarray, float]]:
    """Forward selection: weights and their value after each addition.

    Args:
        problem: Problem of all candidates.
        steps: Most additions.
        again: Allow a member to be added more than once.
        limits: Limits of the members.
    """
    counts, lowest, since = np.zeros(problem.members), np.inf, 0
    for size in range(1, steps + 1):
        trials = counts[:, None] + np.eye(problem.members)
        open_ = [
            k
            for k in range(problem.members)
            if (again or not counts[k]) and (limits is None or limits.allow(trials[:, k] > 0))
        ]
        if not open_:
            return
        values = problem.values(trials[:, open_] / size)
        added = int(np.argmin(values))
        counts = trials[:, open_[added]]
        yield counts / size, float(values[added])
        lowest, since = (values[added], 0) if values[added] < lowest else (lowest, since + 1)
        if problem.metric != "loss" and since == GREEDY_PATIENCE:
            return


def _best_average(steps: Iterable[tuple[np.ndarray, float]]) -> np.ndarray:
    """The best of the averages of at least `FEWEST_AVERAGED` members, of the most members where there are fewer."""
    found = list(steps)
    return min(found[min(FEWEST_AVERAGED, len(found)) - 1 :], key=lambda step: step[1])[0]


def _without_small(method: str, problem: Problem, seed: int) -> np.ndarray:
    """The method's weights, fitted again without the members that hardly count; an optimum stays a certified one."""
    weights = METHODS[method](problem, seed)
    kept = weights > SMALL * weights.max()
    if not weights[~kept].any():
        return weights
    fewer = np.zeros(problem.members)
    fewer[kept] = METHODS[method](problem.only(kept), seed)
    if method == "exact":
        bound = problem.loss(fewer) - problem.loss(weights) + problem.gap(weights)
        return fewer if bound <= 10 * problem.tolerance else weights
    return fewer


def _quadratic(gradient: np.ndarray, hessian: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Minimiser over the simplex of the second-order model around `weights`.

    On the simplex the model is half the squared length of `points @ v`. The point of a convex hull that is nearest to
    the origin comes from one non-negative least squares (Lawson & Hanson 1974, chapter 23).
    """
    size = len(weights)
    # Equal members make the Hessian singular; the ridge chooses among equal optima.
    hessian = hessian + 1e-10 * (np.trace(hessian) / size + 1e-300) * np.eye(size)
    root = linalg.cholesky(hessian)
    offset = linalg.solve_triangular(root, gradient - hessian @ weights, trans="T")
    points = root + offset[:, None]
    points = points / np.linalg.norm(points, axis=0).mean()
    found, _ = optimize.nnls(np.vstack([points, np.ones(size)]), np.append(np.zeros(size), 1.0))
    nearest: np.ndarray = found / found.sum()
    return nearest
