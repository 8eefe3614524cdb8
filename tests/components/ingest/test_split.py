"""Roles as functions of content and seed."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from kep.components.ingest import spill
from kep.components.ingest.encode import Keys
from kep.components.ingest.split import DROPPED, TEST, TRAIN, VALIDATION, Roles, assign, keyed
from kep.components.ingest.statistics import Moments
from kep.config.data import Split

SPLITS = {"random": Split(), "files": Split(by="files")} | {
    by: Split(by=by, column="t") for by in ("group", "time", "column")
}


def assigned(
    ids: np.ndarray, labels: np.ndarray, classes: list | None, split: Split, seed: int, keys: np.ndarray | None = None
) -> tuple[np.ndarray, Roles]:
    """Roles of rows that come in units of up to 1000."""
    parts = [
        Keys(
            ids[start:][:1000],
            ids[start:][:1000],
            labels[start : start + 1000],
            None if keys is None else keys[start:][:1000],
        )
        for start in range(0, len(ids), 1000)
    ]
    third = len(ids) // 3
    rows = [third, third, len(ids) - 2 * third] if split.by == "files" else [len(ids)]
    with tempfile.TemporaryDirectory() as folder:
        roles = assign(parts, rows, classes, split, seed, Path(folder))
        return np.fromfile(roles.file, np.int8), roles


def random_roles(ids: np.ndarray, labels: np.ndarray, classes: list | None, split: Split, seed: int) -> np.ndarray:
    return assigned(ids, labels, classes, split, seed)[0]


def time_roles(times: np.ndarray, split: Split) -> np.ndarray:
    ids = np.arange(len(times), dtype=np.uint64)
    return assigned(ids, np.zeros(len(times)), None, split, 1, times)[0]


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
    given = np.array([TRAIN, VALIDATION, TEST, TRAIN, VALIDATION, TRAIN, TRAIN], np.uint64)
    kept, roles = assigned(ids, np.zeros(7), None, Split(by="column", column="part"), 1, given)
    assert kept.tolist() == [DROPPED, DROPPED, TEST, DROPPED, VALIDATION, TRAIN, TRAIN]
    assert roles.dropped == {"train": 2, "validation": 1}
    assert roles.duplicates == 7
    assert roles.rows == [2, 1, 1]


def expected(
    ids: np.ndarray, labels: np.ndarray, classes: list | None, split: Split, seed: int, keys: np.ndarray
) -> tuple[np.ndarray, int]:
    """The definition: roles and duplicates, from all rows at once."""
    distinct, place, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if split.by == "column":
        roles = keys.astype(int)
    elif split.by == "files":
        roles = np.minimum(np.arange(len(ids)) // (len(ids) // 3), 2)
    else:
        values = ids if split.by == "random" else keys
        blocks, block, sizes = np.unique(values, return_inverse=True, return_counts=True)
        strata = np.zeros(len(blocks), int)
        if split.by == "time":
            order = np.arange(len(blocks))[::-1]
        else:
            order = np.argsort(keyed(blocks, seed, "role"))
            if split.by == "group":
                sizes = np.ones_like(sizes)
            elif classes is not None:
                strata[:] = len(classes)
                np.minimum.at(strata, block, labels)
                found = np.bincount(strata, minlength=len(classes))
                strata[found[strata] < 3] = np.argmax(found)
        decided = np.empty(len(blocks), int)
        for stratum in np.unique(strata):
            mine = order[strata[order] == stratum]
            upto = np.cumsum(sizes[mine])
            test = max(1, round(split.test * upto[-1]))
            validation = max(1, round(split.validation * upto[-1]))
            first = nearest_cut(upto, test, 1, len(mine) - 2)
            second = nearest_cut(upto, upto[first - 1] + validation, first + 1, len(mine) - 1)
            decided[mine] = np.repeat([TEST, VALIDATION, TRAIN], [first, second - first, len(mine) - second])
        roles = decided[block]
    latest = np.zeros(len(distinct), int)
    np.maximum.at(latest, place, roles)
    return np.where(roles < latest[place], DROPPED, roles), int(counts[counts > 1].sum())


def nearest_cut(upto: np.ndarray, target: int, low: int, high: int) -> int:
    """How many blocks hold nearly `target` rows, fewer where two are as near but the larger is not nearer."""
    distance = np.abs(upto - target)
    nearest = int(len(upto) - 1 - np.argmin(distance[::-1])) + 1
    return min(max(nearest, low), high)


@pytest.mark.parametrize("rows_held", [7, 100, 1 << 17])
@pytest.mark.parametrize("by", SPLITS)
@pytest.mark.parametrize("kind", ["distinct", "repeated", "few", "one heavy", "regression"])
def test_parts_of_any_size_give_the_same_roles(by: str, kind: str, rows_held: int, monkeypatch: pytest.MonkeyPatch):
    """What is looked at in parts is what all rows at once would give, with repeats, conflicts and heavy rows."""
    monkeypatch.setattr(spill, "ROWS", rows_held)
    rng = np.random.default_rng(1)
    count = 2500
    ids = rng.integers(0, 900 if kind == "repeated" else 1 << 60, count).astype(np.uint64)
    if kind in ("few", "one heavy"):
        heavy = rng.integers(0, 12 if kind == "few" else 1, count)
        ids = np.where(rng.random(count) < 0.6, heavy, ids).astype(np.uint64)
    labels = rng.choice(4, count, p=[0.5, 0.3, 0.15, 0.05])
    classes = None if kind == "regression" else list("abcd")
    keys = {
        "group": rng.integers(0, 300, count).astype(np.uint64),
        "time": (rng.normal(size=count) * 100).round() if kind == "few" else rng.integers(-9999, 9999, count),
        "column": rng.integers(0, 3, count).astype(np.uint64),
    }.get(by)
    found, roles = assigned(ids, labels, classes, SPLITS[by], 3, keys)
    wanted, duplicates = expected(ids, labels, classes, SPLITS[by], 3, keys)
    np.testing.assert_array_equal(found, wanted)
    assert roles.duplicates == duplicates
    assert roles.rows == np.bincount(wanted[wanted >= 0], minlength=3).tolist()


def test_moments_of_parts_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(1e6, 3, (1000, 2))
    values[300:] += 50
    values[::7, 1] = np.nan
    total = Moments.of(values[:300]) + Moments.of(values[300:310]) + Moments.of(values[310:])
    np.testing.assert_array_equal(total.count, (~np.isnan(values)).sum(axis=0))
    np.testing.assert_allclose(total.mean, np.nanmean(values, axis=0), rtol=1e-13)
    np.testing.assert_allclose(total.std, np.nanstd(values, axis=0), rtol=1e-10)
