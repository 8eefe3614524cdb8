"""Weights against closed forms and brute force on problems with known answers."""

import numpy as np
import pytest

from components.weigh.weights import METHODS, Problem, cross_fitted, exact, fit


def probabilities(seed: int = 0, rows: int = 400, members: int = 3) -> Problem:
    return Problem(np.random.default_rng(seed).beta(4, 2, (rows, members)))


def brute_force(problem: Problem, step: float = 0.01) -> float:
    grid = np.arange(0, 1 + step / 2, step)
    return min(problem.loss(np.array([a, b, 1 - a - b])) for a in grid for b in grid if a + b <= 1 + 1e-9)


def test_exact_reaches_the_brute_force_optimum():
    problem = probabilities()
    weights = exact(problem, 0)
    assert problem.loss(weights) <= brute_force(problem)
    assert problem.gap(weights) < 1e-6
    assert problem.loss(weights) - brute_force(problem) > -1e-4


def test_exact_matches_the_closed_form_of_two_predictors():
    rng = np.random.default_rng(1)
    y, a = rng.normal(size=500), rng.normal(size=(500, 2))
    a = y[:, None] + a * [0.5, 0.8]
    difference = a[:, 0] - a[:, 1]
    expected = difference @ (y - a[:, 1]) / (difference @ difference)
    assert exact(Problem(a, y), 0)[0] == pytest.approx(expected, abs=1e-5)


def test_gap_bounds_the_distance_to_the_optimum():
    problem = probabilities()
    best = problem.loss(exact(problem, 0))
    for weights in np.random.default_rng(2).dirichlet(np.ones(3), 50):
        assert problem.loss(weights) - best <= problem.gap(weights) + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_every_method_prefers_a_perfect_member(method):
    a = np.column_stack([np.full(300, 0.99), np.random.default_rng(0).uniform(0.01, 0.5, (300, 3))])
    weights = fit(method, Problem(a), max_members=4, seed=1)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    if method != "uniform":
        assert weights.argmax() == 0
        assert Problem(a).loss(weights) < Problem(a).loss(np.full(4, 0.25))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_to_the_most_members(method):
    weights = fit(method, probabilities(members=6), max_members=2, seed=1)
    assert (weights > 0).sum() <= 2


@pytest.mark.parametrize("method", METHODS)
def test_every_method_weighs_a_regression(method):
    rng = np.random.default_rng(3)
    y = rng.normal(size=300)
    problem = Problem(y[:, None] + rng.normal(size=(300, 3)) * [0.1, 1, 2], y)
    weights = fit(method, problem, max_members=3, seed=1)
    assert problem.loss(weights) <= problem.loss(np.full(3, 1 / 3)) + 1e-12


def test_weights_follow_the_member_not_its_position():
    problem = probabilities(members=4)
    order = np.array([2, 0, 3, 1])
    straight = exact(problem, 0)
    shuffled = exact(Problem(problem.a[:, order]), 0)
    np.testing.assert_allclose(shuffled, straight[order], atol=1e-4)


def test_cross_fitting_never_scores_rows_that_it_fitted_on():
    problem, seen = Problem(np.linspace(0.1, 0.9, 30)[:, None].repeat(2, 1)), []
    rows = np.tile(np.arange(10), 3)

    def remember(part: Problem) -> np.ndarray:
        seen.append(set(part.a[:, 0]))
        return np.array([0.5, 0.5])

    losses = cross_fitted(remember, problem, rows, folds=5, seed=0)
    assert len(losses) == 10
    assert len(seen) == 5
    # A data row's three repeats are left out together.
    assert all(len(part) == 24 for part in seen)
    for part in seen:
        left_out = {i for i in range(30) if problem.a[i, 0] not in part}
        assert left_out == {i for i in range(30) if rows[i] in {rows[j] for j in left_out}}
