"""Weights against closed forms and brute force on problems with known answers."""

import dataclasses
import itertools

import numpy as np
import pytest

from kep.components.weigh import weights as ways
from kep.components.weigh.weights import (
    METHODS,
    Limits,
    Problem,
    cross_fitted,
    exact,
    excess,
    fit,
    greedy,
    greedy_bagged,
    greedy_uniform,
    members_within,
)
from kep.stats.metrics import METRICS
from kep.stats.pooling import pool

FREE = Limits(100)


def probabilities(seed: int = 0, rows: int = 400, members: int = 3, seeds: int = 1) -> Problem:
    """True-class probabilities alone."""
    return Problem(np.random.default_rng(seed).beta(4, 2, (seeds, rows, members)))


def classes(seed: int = 0, rows: int = 150, members: int = 3, number: int = 3, **settings) -> Problem:
    """Probabilities of all classes, from two seeds, by members whose mistakes differ."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, number, rows)
    logits = rng.normal(0, 1.5, (2, rows, number, members)) + 1.5 * (np.arange(number) == y[:, None])[None, ..., None]
    full = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    return Problem(full[:, np.arange(rows), y], y, full, **settings)


def numbers(rows: int = 300, noise=(0.5, 0.8, 1.0), metric: str = "loss") -> Problem:
    rng = np.random.default_rng(3)
    y = rng.normal(size=rows)
    return Problem((y[:, None] + rng.normal(size=(rows, len(noise))) * noise)[None], y, metric=metric)


def grid(step: float = 0.02) -> list[np.ndarray]:
    points = np.arange(0, 1 + step / 2, step)
    return [np.array([a, b, max(0, 1 - a - b)]) for a in points for b in points if a + b <= 1 + 1e-9]


def brute_force(problem: Problem) -> float:
    return problem.values(np.array(grid()).T).min()


PROBLEMS = {
    "log-loss": probabilities(),
    "log-loss over seeds": probabilities(seeds=3),
    "geometric": classes(pooling="geometric"),
    "squared error": numbers(),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_optimum_is_certified_and_no_grid_point_is_better(problem):
    weights = exact(problem, 0)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert problem.gap(weights) <= 1e-6
    assert -1e-3 < problem.loss(weights) - brute_force(problem) <= 1e-9


@pytest.mark.parametrize("counts", [None, np.linspace(0.1, 1.9, 300)], ids=["equal rows", "rows that weigh"])
@pytest.mark.parametrize("problem", [numbers(), probabilities(rows=300), classes(rows=300, pooling="geometric")])
def test_the_value_of_weights_is_the_mean_of_the_losses_of_rows(problem, counts):
    problem = dataclasses.replace(problem, counts=counts)
    for weights in [*np.eye(3).tolist(), [0.2, 0.5, 0.3]]:
        weights = np.array(weights)
        assert problem.values(weights[:, None])[0] == pytest.approx(problem.loss(weights), rel=1e-12)


@pytest.mark.parametrize("method", ["greedy_bagged", "exact_bagged", "random_search"])
def test_of_many_rows_a_sample_decides(monkeypatch, method):
    monkeypatch.setattr(ways, "BAG_LOSS_ROWS", 1000)
    problem, sizes, values = probabilities(rows=5000), set(), Problem.values

    def counted(self: Problem, weights: np.ndarray) -> np.ndarray:
        sizes.add(self.rows)
        return values(self, weights)

    monkeypatch.setattr(Problem, "values", counted)
    weights = METHODS[method](problem, 0)
    assert sizes <= {1000}
    assert problem.loss(weights) - problem.loss(exact(problem, 0)) < 2e-3


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_derivatives_are_those_of_finite_differences_along_the_simplex(problem):
    weights, step = np.array([0.5, 0.3, 0.2]), 1e-4
    gradient, hessian = problem.derivatives(weights)
    for direction in (np.array([1, -1, 0.0]), np.array([0.5, 0.5, -1])):
        up, middle, down = (problem.loss(weights + share * direction) for share in (step, 0, -step))
        assert gradient @ direction == pytest.approx((up - down) / (2 * step), rel=1e-5, abs=1e-8)
        assert direction @ hessian @ direction == pytest.approx((up + down - 2 * middle) / step**2, rel=1e-3)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_gap_and_excess_bound_the_distance_to_the_optimum(problem):
    best = problem.loss(exact(problem, 0))
    for weights in np.random.default_rng(2).dirichlet(np.ones(3), 50):
        above = problem.loss(weights) - best
        assert above <= problem.gap(weights) + 1e-9
        assert above <= excess(problem, weights) + 1e-12 <= above + 1e-6


def test_the_solver_certifies_many_members_rows_and_equal_ones():
    a = np.random.default_rng(0).beta(2, 1, (1, 3000, 48))
    for problem in (Problem(a), Problem(a[..., :1]), Problem(np.repeat(a[:, :200, :10], 3, axis=2)), Problem(a[:, :5])):
        weights = exact(problem, 0)
        assert problem.gap(weights) <= 1e-6


def test_the_optimum_does_not_depend_on_the_units_of_the_label():
    problem = numbers()
    small = Problem(problem.a * 1e-6, problem.y * 1e-6)
    large = Problem(problem.a * 1e6 + 1e9, problem.y * 1e6 + 1e9)
    for other in (small, large):
        np.testing.assert_allclose(exact(other, 0), exact(problem, 0), atol=1e-4)


def test_exact_matches_the_closed_form_of_two_predictors():
    problem = numbers(500, (0.5, 0.8))
    a, b = problem.a[0].T
    expected = (a - b) @ (problem.y - b) / ((a - b) @ (a - b))
    assert exact(problem, 0)[0] == pytest.approx(expected, abs=1e-6)


def test_greedy_matches_hand_computed_additions():
    # Two members that are right on different halves, and one in between that greedy takes first.
    a = np.array([[0.9, 0.1, 0.52], [0.1, 0.9, 0.52]])[None]
    assert greedy(Problem(a[..., :2]), 0) == pytest.approx([0.5, 0.5])
    assert greedy(Problem(a), 0) == pytest.approx([0, 0, 1])


def average(members: list[int]) -> np.ndarray:
    return np.isin(np.arange(6), members) / len(members)


def test_greedy_uniform_is_the_best_average_of_a_nested_choice():
    problem = probabilities(members=6)
    weights = greedy_uniform(problem, 0)
    chosen = weights > 0
    assert weights[chosen] == pytest.approx(1 / chosen.sum())
    # Brute force over the nested choices: start with the best one, then always add what helps the average most.
    members, nested = [], []
    for _ in range(6):
        members.append(min(set(range(6)) - set(members), key=lambda k: problem.loss(average([*members, k]))))
        nested.append(problem.loss(average(members)))
    assert problem.loss(weights) == pytest.approx(min(nested[ways.FEWEST_AVERAGED - 1 :]))


def test_an_average_has_at_least_three_members_where_there_are_three():
    a = np.column_stack([np.full(30, 0.99), *[np.full(30, 0.2)] * 4])[None]
    assert (greedy_uniform(Problem(a), 0) > 0).sum() == 3
    assert greedy_uniform(Problem(a[..., :2]), 0) == pytest.approx([0.5, 0.5])
    assert fit("greedy_uniform", Problem(a), Limits(1), 0) == pytest.approx([1, 0, 0, 0, 0])


def test_greedy_bagged_is_the_mean_of_its_bags(monkeypatch):
    bags = []

    def remember(problem: Problem, seed: int) -> np.ndarray:
        bags.append(problem)
        return np.eye(problem.members)[0]

    monkeypatch.setattr(ways, "greedy", remember)
    weights = greedy_bagged(probabilities(members=20), 0)
    assert len(bags) == ways.BAGS
    assert {bag.members for bag in bags} == {10}
    assert weights.sum() == pytest.approx(1)
    assert len(np.unique(bags[0].a[0, :, 0])) / 400 == pytest.approx(1 - np.exp(-1), abs=0.06)
    bags.clear()
    greedy_bagged(probabilities(members=6), 0)
    assert {bag.members for bag in bags} == {6}


@pytest.mark.parametrize("metric", ["accuracy", "f1"])
@pytest.mark.parametrize("pooling", ["arithmetic", "geometric"])
def test_greedy_for_a_metric_comes_close_to_brute_force(metric, pooling):
    problem = classes(metric=metric, pooling=pooling)
    alone = problem.values(np.eye(3)).min()
    best = brute_force(problem)
    assert best < alone - 0.02
    for way in (greedy, greedy_bagged):
        assert problem.values(way(problem, 0)[:, None])[0] <= best + 0.015


@pytest.mark.parametrize("metric", ["roc_auc", "pr_auc", "calibration_error"])
def test_metrics_of_two_classes_are_improved(metric):
    problem = classes(number=2, metric=metric)
    found = problem.values(greedy(problem, 0)[:, None])[0]
    assert brute_force(problem) - 1e-9 <= found <= problem.values(np.eye(3)).min()


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_metrics_of_a_regression_come_close_to_brute_force(metric):
    problem = numbers(metric=metric)
    best = brute_force(problem)
    assert problem.values(greedy(problem, 0)[:, None])[0] == pytest.approx(best, rel=0.02)


def test_a_score_is_the_mean_over_seeds_of_the_deployed_metric():
    problem = classes(metric="accuracy", pooling="geometric")
    weights = np.array([0.2, 0.5, 0.3])
    expected = [
        METRICS["accuracy"].value(problem.y, pool([own[..., k] for k in range(3)], weights, "geometric"), None)
        for own in problem.full
    ]
    assert -problem.values(weights[:, None])[0] == pytest.approx(np.mean(expected))


def test_an_undefined_metric_is_the_worst():
    problem = classes(number=2, metric="roc_auc")
    one = dataclasses.replace(problem, y=np.zeros_like(problem.y))
    assert np.isinf(one.values(np.eye(3))).all()
    assert greedy(one, 0).sum() == pytest.approx(1)


@pytest.mark.parametrize("pooling", ["arithmetic", "geometric"])
def test_the_loss_that_is_minimised_is_that_of_the_pooled_predictions(pooling):
    problem = classes(pooling=pooling)
    weights = np.array([0.6, 0.1, 0.3])
    rows = np.arange(problem.rows)
    expected = -np.log(problem.pooled(weights)[:, rows, problem.y]).mean(axis=0)
    np.testing.assert_allclose(problem.row_losses(weights), expected, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_prefers_a_perfect_member(method):
    a = np.column_stack([np.full(300, 0.99), np.random.default_rng(0).uniform(0.01, 0.5, (300, 3))])[None]
    weights = fit(method, Problem(a), FREE, seed=1)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    if method not in ways.AVERAGES:
        assert weights.argmax() == 0
        assert Problem(a).loss(weights) < Problem(a).loss(np.full(4, 0.25))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_to_the_most_members(method):
    weights = fit(method, probabilities(members=6), Limits(2), seed=1)
    assert (weights > 0).sum() <= 2
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_weighs_a_regression(method):
    problem = numbers(noise=(0.1, 1, 2))
    weights = fit(method, problem, FREE, seed=1)
    assert problem.loss(weights) <= problem.loss(np.full(3, 1 / 3)) + 1e-12


@pytest.mark.parametrize("method", ["uniform", "greedy_uniform", "greedy", "exact"])
def test_weights_follow_the_member_not_its_position(method):
    problem = probabilities(members=5)
    order = np.array([2, 0, 4, 3, 1])
    straight = fit(method, problem, FREE, 0)
    np.testing.assert_allclose(fit(method, problem.only(order), FREE, 0), straight[order], atol=1e-4)


def affordable(latency: np.ndarray, limits: Limits):
    size = len(latency)
    for number in range(1, size + 1):
        for own in itertools.combinations(range(size), number):
            if limits.allow(np.isin(np.arange(size), own)):
                yield np.array(own)


@pytest.mark.parametrize("slack", [0.0, ways.SLACK])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["probabilities", "classes"])
def test_members_within_the_limits_are_those_of_brute_force(seed, kind, slack, monkeypatch):
    monkeypatch.setattr(ways, "SLACK", slack)
    problem = (
        probabilities(seed, members=7) if kind == "probabilities" else classes(seed, members=7, pooling="geometric")
    )
    latency = np.random.default_rng(seed).uniform(1, 10, 7)
    for limits in (Limits(3), Limits(7, latency, 12.0), Limits(2, latency, 15.0), Limits(7, latency, latency.min())):
        found = problem.loss(fit("exact", problem, limits, 0))
        best = min(problem.only(own).loss(exact(problem.only(own), 0)) for own in affordable(latency, limits))
        assert best - 1e-9 <= found <= best + slack + 1e-6
        for method in ("uniform", "greedy_uniform", "greedy_bagged"):
            assert limits.allow(fit(method, problem, limits, 0) > 0)


def test_an_expensive_best_member_does_not_take_the_whole_budget():
    # One member is the best, but two cheap ones together are better.
    limits = Limits(3, np.array([10.0, 5.0, 5.0]), 10.0)
    problem = Problem(np.array([[0.62, 0.99, 0.3], [0.62, 0.3, 0.99]] * 20)[None])
    assert problem.values(np.eye(3)).argmin() == 0
    assert members_within(problem, limits, weighted=True).tolist() == [1, 2]


def test_cross_fitting_never_scores_rows_that_it_fitted_on():
    a = np.linspace(0.1, 0.9, 30).reshape(3, 10)[..., None].repeat(2, 2)
    problem, seen = Problem(a), []

    def remember(part: Problem) -> np.ndarray:
        seen.append(set(part.a[..., 0].ravel()))
        return np.array([0.5, 0.5])

    losses, score, _ = cross_fitted(remember, problem, folds=5, seed=0)
    assert score is None
    np.testing.assert_allclose(losses, -np.log(a[..., 0]).mean(axis=0))
    # A row's three repeats are left out together.
    assert [len(part) for part in seen] == [24] * 5
    for part in seen:
        left_out = [i for i in range(10) if a[0, i, 0] not in part]
        assert not part & set(a[:, left_out, 0].ravel())


def test_the_cross_fitted_score_is_of_all_rows_together():
    problem = classes(number=2, metric="roc_auc")
    _, score, _ = cross_fitted(lambda part: np.full(3, 1 / 3), problem, folds=5, seed=0)
    assert score == pytest.approx(problem.score(problem.pooled(np.full(3, 1 / 3))))


@pytest.mark.parametrize("small", [0.01, 0.3])
def test_an_optimum_without_its_small_weights_is_still_certified(small, monkeypatch):
    monkeypatch.setattr(ways, "SMALL", small)
    problem = Problem(np.random.default_rng(5).beta(3, 1, (1, 500, 12)))
    assert excess(problem, fit("exact", problem, FREE, 0)) <= 1e-6


def test_members_that_hardly_count_are_dropped(monkeypatch):
    monkeypatch.setattr(ways, "SMALL", 0.3)
    problem = Problem(np.random.default_rng(5).beta(3, 1, (1, 500, 12)))
    plain = METHODS["exact_bagged"](problem, 0)
    assert fit("exact_bagged", problem, FREE, 0)[plain < 0.3 * plain.max()].sum() == 0


REPEATED = {
    "log-loss": probabilities(rows=60, seeds=2),
    "geometric": classes(rows=60, pooling="geometric"),
    "regression": numbers(rows=60),
    "accuracy": classes(rows=60, metric="accuracy"),
}


@pytest.mark.parametrize("name", REPEATED)
def test_a_row_that_counts_twice_is_two_rows(name):
    problem = REPEATED[name]
    counts = np.random.default_rng(1).integers(0, 4, problem.rows)
    weighted = dataclasses.replace(problem, counts=ways.relative(counts))
    repeated = problem.take(np.repeat(np.arange(problem.rows), counts))
    some = np.array([0.2, 0.5, 0.3])
    assert weighted.loss(some) == pytest.approx(repeated.loss(some))
    assert weighted.values(np.array(grid(0.25)).T) == pytest.approx(repeated.values(np.array(grid(0.25)).T))
    for one, other in zip(weighted.derivatives(some), repeated.derivatives(some), strict=True):
        np.testing.assert_allclose(one, other)
    if problem.metric == "loss":
        assert weighted.tolerance == pytest.approx(repeated.tolerance)
        # Where the optimum is flat the weights may differ, their losses do not.
        assert weighted.loss(exact(weighted, 0)) == pytest.approx(repeated.loss(exact(repeated, 0)), abs=1e-6)


def test_cross_fitted_losses_count_as_their_rows():
    problem = numbers(rows=60)
    counts = ways.relative(np.arange(60) % 3)
    losses, _, _ = cross_fitted(
        lambda part: np.array([1.0, 0, 0]), dataclasses.replace(problem, counts=counts), folds=4, seed=0
    )
    assert losses.mean() == pytest.approx(np.average(problem.row_losses(np.array([1.0, 0, 0])), weights=counts))
    assert (losses[::3] == 0).all()


def test_rows_of_which_none_counts_count_the_same():
    counts = np.r_[np.ones(30), np.zeros(30)]
    part = dataclasses.replace(numbers(rows=60), counts=counts).take(np.arange(40, 50))
    assert (part.counts == 1).all()
