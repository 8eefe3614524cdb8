"""Folds: the rows that a candidate trains on, and those that it then predicts."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from kep.core.errors import UserError
from kep.data.records import AnyRows, concat
from kep.data.schema import Manifest


@dataclass(frozen=True)
class Fold:
    """One way to part the rows.

    Attributes:
        train: Rows to fit on.
        held: Rows to watch and to predict; none has the features of a train row.
    """

    train: AnyRows
    held: AnyRows


Pair = tuple[np.ndarray, np.ndarray]
"""Numbers of the rows to fit on, and of those to hold out."""


def folds(train: AnyRows, validation: AnyRows, manifest: Manifest, count: int | None, seed: int) -> list[Fold]:
    """The folds of a candidate, the same for every candidate.

    Without `count` it is one: train rows to fit on, validation rows held out. Otherwise the two roles are pooled, and
    every row is predicted once by a model that did not see it. Folds are stratified by class. Where rows were split by
    group, whole groups are held out. Where they were split by time, each of `count` later parts is predicted by a model
    of all rows before it, so that the earliest rows are not predicted.

    Args:
        train: Rows of the train role.
        validation: Rows of the validation role.
        manifest: Manifest of the records.
        count: Number of folds.
        seed: Seed of the assignment.

    Raises:
        UserError: There are fewer groups, times or rows of a class than folds.
    """
    if count is None:
        return [Fold(train, validation)]
    rows = concat([train, validation])
    rule = manifest.split.rule
    groups = rows.groups if rule in ("group", "time") else rows.alike
    if groups is None:
        raise UserError(
            f"best_epoch.folds: these records do not hold what their rows were split by ({rule}); run ingest again"
        )
    pairs = _forward(groups, count) if rule == "time" else _crosswise(rows, groups, manifest, count, seed)
    parts = []
    for fitted, held in pairs:
        # Equal features in two groups, or at two times, would be known already.
        fitted = fitted[~np.isin(rows.alike[fitted], rows.alike[held])]
        parts.append(Fold(rows.take(fitted), rows.take(held)))
    return parts


def _crosswise(rows: AnyRows, groups: np.ndarray, manifest: Manifest, count: int, seed: int) -> list[Pair]:
    classes = manifest.label.classes
    distinct = len(np.unique(groups))
    if distinct < count:
        raise UserError(f"best_epoch.folds: {count} folds of {distinct} groups of rows leave some empty; ask for fewer")
    if classes is None:
        return list(GroupKFold(count, shuffle=True, random_state=seed).split(groups, groups=groups))
    least = np.bincount(rows.labels, minlength=len(classes))
    if least.min() < count:
        raise UserError(
            f'best_epoch.folds: class "{classes[int(least.argmin())]}" has {least.min()} train and validation rows, '
            f"fewer than {count} folds; ask for fewer"
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return list(splitter.split(groups, rows.labels, groups))


def _forward(times: np.ndarray, count: int) -> list[Pair]:
    """Parts of about equal numbers of rows, cut between times: the first is only learnt from."""
    distinct, sizes = np.unique(times, return_counts=True)
    if len(distinct) <= count:
        raise UserError(
            f"best_epoch.folds: {count} folds forward in time need more than {len(distinct)} distinct times; ask for "
            "fewer"
        )
    before = np.cumsum(sizes) - sizes
    part_of_time = np.minimum(before * (count + 1) // len(times), count)
    part = part_of_time[np.searchsorted(distinct, times)]
    held = [number for number in np.unique(part) if number > 0]
    return [(np.flatnonzero(part < number), np.flatnonzero(part == number)) for number in held]
