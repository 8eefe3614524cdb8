"""Shifts of distributions: known values of the indices, and how often chance is taken for a shift."""

import numpy as np
import pytest

from kep.stats.divergence import LEVEL, chance, compare, divergence, labelled, psi


def test_the_index_is_the_symmetric_divergence_of_the_shares():
    before, after = np.array([4000, 6000]), np.array([6000, 4000])
    assert psi(before, after) == pytest.approx(0.2 * np.log(1.5) * 2, rel=1e-3)
    assert psi(before, after) == psi(after, before)
    assert psi(before, before) == 0


def test_an_empty_bin_counts_but_not_without_bound():
    assert 0.5 < psi(np.array([900, 100, 0]), np.array([800, 100, 100])) < 1
    # Bins that are empty on both sides change nothing.
    assert psi(np.array([5, 3, 0, 0]), np.array([2, 6, 0, 0])) == psi(np.array([5, 3]), np.array([2, 6]))


def test_the_divergence_is_in_bits():
    assert divergence(np.array([7, 0]), np.array([0, 9])) == pytest.approx(1)
    assert divergence(np.array([1, 1]), np.array([5, 5])) == pytest.approx(0, abs=1e-12)
    assert divergence(np.array([0, 0]), np.array([5, 5])) == 0


@pytest.mark.parametrize(("rows", "new"), [(360, 120), (20_000, 50)])
def test_chance_is_exceeded_as_often_as_it_says(rows, new):
    rng, shares = np.random.default_rng(0), np.full(10, 0.1)
    many = 0.2  # a level of LEVEL / 0.2 = 5 %, which needs fewer draws than 1 %
    beyond = 0
    for _ in range(2000):
        before, after = rng.multinomial(rows, shares), rng.multinomial(new, shares)
        beyond += psi(before, after) > chance(before, after, many)
    assert 0.5 * LEVEL / many < beyond / 2000 < 1.6 * LEVEL / many


def test_few_rows_are_no_drift_and_many_are():
    few = compare("x", "numeric", ["a", "b"], np.array([50, 50]), np.array([7, 3]), 10)
    many = compare("x", "numeric", ["a", "b"], np.array([5000, 5000]), np.array([750, 250]), 10)
    assert few.psi > 0.1
    assert many.psi > 0.1
    assert (few.beyond(0.1), many.beyond(0.1)) == (False, True)
    assert not many.beyond(0.5)


def test_bins_are_named_by_what_they_hold():
    below = float(np.nextafter(np.float32(0), np.float32(-1)))
    assert labelled([below, 0.0, 10.0]) == ["below 0", "0", "0 to 10", "above 10"]
    assert labelled([1.0, 2.5]) == ["up to 1", "1 to 2.5", "above 2.5"]
    assert labelled([]) == ["any"]
