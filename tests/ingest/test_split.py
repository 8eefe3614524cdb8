"""Roles as functions of content and seed."""

import numpy as np
import pytest

from components.ingest.split import DROPPED, TEST, TRAIN, VALIDATION, drop_repeats, random_roles, time_roles
from components.ingest.statistics import Moments
from components.shared.settings import Split


@pytest.mark.parametrize("seed", range(5))
def test_conflicting_labels_follow_the_smallest(seed: int):
    """Rows with equal features and several labels keep their role in any order of rows."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 40, 200).astype(np.uint64)
    labels = rng.integers(0, 3, 200)
    order = rng.permutation(200)
    roles = random_roles(ids, labels, ["a", "b", "c"], Split(), seed)
    np.testing.assert_array_equal(random_roles(ids[order], labels[order], ["a", "b", "c"], Split(), seed), roles[order])
    assert all(len(set(roles[ids == value])) == 1 for value in np.unique(ids))


def test_a_class_that_shares_all_its_features():
    """Eight kinds of rows, each with both labels: no stratum of its own is left for the second class."""
    ids, labels = np.arange(80, dtype=np.uint64) % 8, np.arange(80) // 8 % 2
    roles = random_roles(ids, labels, ["a", "b"], Split(), 1)
    assert [set(roles[labels == label]) for label in (0, 1)] == [{TRAIN, VALIDATION, TEST}] * 2


def test_more_rows_of_a_class_leave_the_others_alone():
    """A row's role depends on its own class: rows of another class can come and go."""
    ids = np.arange(100, dtype=np.uint64)
    labels = np.arange(100) % 2
    roles = random_roles(ids, labels, ["a", "b"], Split(), 1)
    fewer = np.flatnonzero((labels == 0) | (ids < 50))
    again = random_roles(ids[fewer], labels[fewer], ["a", "b"], Split(), 1)
    np.testing.assert_array_equal(again[labels[fewer] == 0], roles[labels == 0])


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.1, 0.3), (0.05, 0.01), (0.5, 0.45)])
def test_shares(validation: float, test: float):
    ids, labels = np.arange(1000, dtype=np.uint64), np.arange(1000) % 10 // 9
    roles = random_roles(ids, labels, [0, 1], Split(validation=validation, test=test), 1)
    for label, count in ((0, 900), (1, 100)):
        found = np.bincount(roles[labels == label], minlength=3)
        assert found[VALIDATION] == round(validation * count)
        assert found[TEST] == round(test * count)


def test_smallest_class_that_splits():
    roles = random_roles(np.arange(33, dtype=np.uint64), np.arange(33) // 30, ["a", "b"], Split(), 1)
    assert sorted(roles[30:]) == [TRAIN, VALIDATION, TEST]


def test_a_row_that_is_most_of_a_class():
    """One row repeated 90 times among 12 distinct ones still leaves rows for each role."""
    ids = np.r_[np.zeros(90), np.arange(1, 12)].astype(np.uint64)
    for seed in range(20):
        roles = random_roles(ids, np.zeros(101, np.int64), None, Split(), seed)
        assert set(roles) == {TRAIN, VALIDATION, TEST}
        assert len(set(roles[:90])) == 1


def test_rows_of_one_time_stay_together():
    times = np.repeat(np.arange(10), 10)[::-1]
    roles = time_roles(times, Split(by="time", column="t"))
    assert roles.tolist() == [TEST] * 20 + [VALIDATION] * 20 + [TRAIN] * 60
    uneven = np.r_[np.zeros(5), np.ones(5), np.full(90, 2)]
    assert np.bincount(time_roles(uneven, Split(by="time", column="t"))).tolist() == [5, 5, 90]


def test_repeats_stay_in_the_latest_role():
    ids = np.array([7, 7, 7, 8, 8, 9, 9], np.uint64)
    roles = np.array([TRAIN, VALIDATION, TEST, TRAIN, VALIDATION, TRAIN, TRAIN], np.int8)
    kept, dropped, repeated = drop_repeats(ids, roles)
    assert kept.tolist() == [DROPPED, DROPPED, TEST, DROPPED, VALIDATION, TRAIN, TRAIN]
    assert dropped == {"train": 2, "validation": 1}
    assert repeated == 7


def test_moments_of_parts_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(1e6, 3, (1000, 2))
    values[300:] += 50
    values[::7, 1] = np.nan
    total = Moments.of(values[:300]) + Moments.of(values[300:310]) + Moments.of(values[310:])
    np.testing.assert_array_equal(total.count, (~np.isnan(values)).sum(axis=0))
    np.testing.assert_allclose(total.mean, np.nanmean(values, axis=0), rtol=1e-13)
    np.testing.assert_allclose(total.std, np.nanstd(values, axis=0), rtol=1e-10)
