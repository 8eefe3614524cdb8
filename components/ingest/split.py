"""Which role each row has: a function of its content and the seed, never of its place in the source."""

import logging

import numpy as np

from components.shared.columns import mix, text_hash
from components.shared.errors import UserError
from components.shared.schema import ROLES
from components.shared.settings import Split

log = logging.getLogger("kep.ingest")

TRAIN, VALIDATION, TEST = range(3)
DROPPED = -1


def keyed(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """uint64 [n] that depends on the ids, the seed and the purpose alone."""
    return mix(ids ^ np.uint64(text_hash(f"{purpose} {seed}")))


def _counts(total: int, split: Split, what: str) -> tuple[int, int]:
    """Numbers of test and validation rows (or groups) out of `total`, at least one of each role."""
    if total < 3:
        raise UserError(f"data.split: {what}, too few for train, validation and test; give more or leave it out")
    test = min(max(1, round(split.test * total)), total - 2)
    validation = min(max(1, round(split.validation * total)), total - 1 - test)
    return test, validation


def random_roles(ids: np.ndarray, labels: np.ndarray, classes: list | None, split: Split, seed: int) -> np.ndarray:
    """Stratified by class: in each class the rows with the lowest keyed hashes are test, the next validation.

    Rows with equal ids count for the stratum of their smallest label, so that they stay together.

    Args:
        ids: uint64 [n].
        labels: class indices, int64 [n]; not looked at when `classes` is None (regression: one stratum).

    Returns:
        int8 [n] roles.

    Raises:
        UserError: a class has fewer than 3 distinct rows.
    """
    distinct, inverse, weights = np.unique(ids, return_inverse=True, return_counts=True)
    strata = np.zeros(len(distinct), np.int64)
    if classes is None:
        _counts(len(distinct), split, f"there are {len(distinct)} distinct rows")
    else:
        _check_classes(inverse, labels, classes, split)
        strata[:] = len(classes)
        np.minimum.at(strata, inverse, labels)
        # A class may share nearly all its features with smaller labels: what is left of it is split with the rest.
        sizes = np.bincount(strata, minlength=len(classes))
        strata[sizes[strata] < len(ROLES)] = np.argmax(sizes)
    order = np.lexsort((keyed(distinct, seed, "role"), strata))
    roles = np.empty(len(distinct), np.int8)
    for members in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1):
        roles[members] = _cut(weights[members], split)
    return roles[inverse]


def _check_classes(inverse: np.ndarray, labels: np.ndarray, classes: list, split: Split) -> None:
    """Refuses a class that cannot have a row in each role.

    Args:
        inverse: which distinct row each row is, int64 [n].
        labels: class indices, [n].
        classes: their names.
        split: for the shares.
    """
    pairs = np.unique(inverse * len(classes) + labels) % len(classes)
    for name, count in zip(classes, np.bincount(pairs, minlength=len(classes)), strict=True):
        _counts(int(count), split, f'class "{name}" has {count} distinct rows')


def _cut(weights: np.ndarray, split: Split) -> np.ndarray:
    """Roles of ordered blocks of rows, test first, so that the rows per role come nearest to the shares."""
    upto = np.cumsum(weights)
    test, validation = _counts(int(upto[-1]), split, "rows")
    first = _nearest_cut(upto, test, 1, len(weights) - 2)
    second = _nearest_cut(upto, int(upto[first - 1]) + validation, first + 1, len(weights) - 1)
    roles = np.full(len(weights), TRAIN, np.int8)
    roles[:first] = TEST
    roles[first:second] = VALIDATION
    return roles


def _nearest_cut(upto: np.ndarray, target: int, low: int, high: int) -> int:
    """How many blocks hold nearly `target` rows, between `low` and `high` blocks."""
    place = int(np.searchsorted(upto, target))
    blocks = place + 1
    if place > 0 and target - upto[place - 1] < upto[min(place, len(upto) - 1)] - target:
        blocks = place
    return min(max(blocks, low), high)


def group_roles(groups: np.ndarray, split: Split, seed: int) -> np.ndarray:
    """Groups, uint64 [n], get their roles by keyed hash; the shares are of groups.

    Raises:
        UserError: there are fewer than 3 groups.
    """
    distinct, inverse = np.unique(groups, return_inverse=True)
    test, validation = _counts(len(distinct), split, f'column "{split.column}" has {len(distinct)} groups')
    order = np.argsort(keyed(distinct, seed, "role"))
    roles = np.full(len(distinct), TRAIN, np.int8)
    roles[order[:test]] = TEST
    roles[order[test : test + validation]] = VALIDATION
    return roles[inverse]


def time_roles(times: np.ndarray, split: Split) -> np.ndarray:
    """The latest rows are test, those before them validation; rows of one time stay together.

    Raises:
        UserError: there are fewer than 3 distinct times.
    """
    distinct, inverse, weights = np.unique(times, return_inverse=True, return_counts=True)
    _counts(len(distinct), split, f'column "{split.column}" has {len(distinct)} distinct times')
    return _cut(weights[::-1], split)[::-1][inverse]


def drop_repeats(ids: np.ndarray, roles: np.ndarray) -> tuple[np.ndarray, dict[str, int], int]:
    """Takes rows out of a role whose features occur in a later one (train, validation, test is the order).

    Returns:
        the roles with DROPPED for those rows, how many were dropped by role, and the rows whose id
        occurs more than once.
    """
    distinct, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    latest = np.zeros(len(distinct), np.int8)
    np.maximum.at(latest, inverse, roles)
    repeated = roles < latest[inverse]
    dropped = {name: int((repeated & (roles == role)).sum()) for role, name in enumerate(ROLES)}
    for name, count in dropped.items():
        if count:
            log.warning("dropped %d %s rows whose features occur again in a later role", count, name)
    return (
        np.where(repeated, np.int8(DROPPED), roles),
        {name: count for name, count in dropped.items() if count},
        int(counts[counts > 1].sum()),
    )


def check_roles(roles: np.ndarray, labels: np.ndarray, classes: list | None) -> None:
    """Refuses a role without rows, and a class that train rows never show.

    Raises:
        UserError: naming the role or the class.
    """
    for role, name in enumerate(ROLES):
        rows = roles == role
        if not rows.any():
            raise UserError(f"data.split: no row is left for {name}; change the split so that every role has rows")
        absent = [] if classes is None else np.setdiff1d(np.arange(len(classes)), labels[rows])
        if len(absent) and role == TRAIN:
            raise UserError(
                f'data.split: class "{classes[absent[0]]}" has no train row; change the split so that it has some'
            )
        if len(absent):
            log.warning("%s has no row of %d of %d classes", name, len(absent), len(classes))
