"""The role of each row: a function of its content and the seed, never of its position in the source.

What is known of each row lies in files, some 40 bytes a row, and is looked at in parts of bounded size.
"""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kep.components.ingest.encode import Keys, ascending
from kep.components.ingest.spill import Group, group, places, read, spill
from kep.config.data import Split
from kep.core.errors import UserError
from kep.data.columns import mix, text_hash
from kep.data.schema import ROLES

log = logging.getLogger("kep.ingest")

TRAIN, VALIDATION, TEST = range(3)
DROPPED = -1
_FEW = 30
"""Rows below which an accuracy of 0.9 has a standard error of over 0.05."""


@dataclass(frozen=True)
class Roles:
    """Role of each row.

    Attributes:
        file: int8 of each row, in the order of the source's rows: a role, or DROPPED.
        ids: file of the rows' identities, uint64, in the same order.
        counts: rows by role and class, int64 [roles, classes]; one column for regression.
        extremes: lowest and highest label by role, [roles, 2]; class indices, or numbers.
        dropped: by role, rows left out because their features occur in a later role.
        duplicates: rows whose features occur more than once.
    """

    file: Path
    ids: Path
    counts: np.ndarray
    extremes: np.ndarray
    dropped: dict[str, int]
    duplicates: int

    @property
    def rows(self) -> list[int]:
        """Rows by role."""
        return [int(rows) for rows in self.counts.sum(axis=1)]


def keyed(ids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    """uint64 [n] that depends on the ids, the seed and the purpose alone."""
    return mix(ids ^ np.uint64(text_hash(f"{purpose} {seed}")))


def assign(
    parts: Iterable[Keys],
    rows: list[int],
    classes: list[Any] | None,
    split: Split,
    seed: int,
    folder: Path,
    named: bool = False,
) -> Roles:
    """Gives each row its role.

    Roles follow the rows' identities, so that a column more or less among the features leaves them as they are. By
    `random` roles are stratified by class. Rows with equal features stay together, at the smallest place that one of
    them has, and count for the stratum of their smallest label. By `group` the shares are of groups. By `time` the
    latest rows are test, and rows of one time stay together. Where rows with equal features would land in several
    roles, those of the latest role are kept.

    Args:
        parts: ids, features, labels and split keys of the source's rows, in their order.
        rows: of each source, which is what split by: files goes by.
        classes: of the label; None for regression.
        split: the rule and the shares.
        seed: of the run.
        folder: an empty one, for the files.
        named: whether identities are those of a column, so that rows of one identity may differ in their features.

    Raises:
        UserError: the split leaves a role without rows, or a class without train rows.
    """
    _write(parts, rows, classes, split, seed, folder)
    if split.by == "random":
        _keep_together(folder, ("same", "ids") if named else ("same",))
    file = folder / "roles"
    strata = 1 if classes is None else len(classes)
    if split.by in ("random", "group", "time"):
        np.memmap(file, np.int8, "w+", shape=sum(rows))
        duplicates = _cut(folder, file, classes, split)
    dropped: dict[str, int] = {}
    if split.by != "random":  # which never parts rows with equal features
        dropped, duplicates = _drop_repeats(folder, file)
    counts = np.zeros((len(ROLES), strata), np.int64)
    lows, highs = np.full(len(ROLES), np.inf), np.full(len(ROLES), -np.inf)
    known = (read(file, np.int8), read(folder / "labels", np.int32), read(folder / "values", np.float32))
    for roles, labels, values in zip(*known, strict=True):
        kept = roles != DROPPED
        cells = roles[kept].astype(np.int64) * strata + labels[kept]
        counts += np.bincount(cells, minlength=counts.size).reshape(counts.shape)
        np.minimum.at(lows, roles[kept], values[kept])
        np.maximum.at(highs, roles[kept], values[kept])
    _check(counts, classes)
    return Roles(file, folder / "ids", counts, np.stack([lows, highs], axis=1), dropped, duplicates)


def _write(
    parts: Iterable[Keys], rows: list[int], classes: list[Any] | None, split: Split, seed: int, folder: Path
) -> None:
    """Writes what the rule needs of each row: its label, its id, and its place in the order or its role.

    The label is a stratum, which a number is none of, and its value.
    """
    start, ends = 0, np.cumsum(rows)
    with ExitStack() as stack:
        names = ("labels", "values", "ids", "same", "order", "roles")
        files = {name: stack.enter_context(open(folder / name, "wb")) for name in names}
        for part in parts:
            labels = np.zeros(len(part.ids)) if classes is None else part.labels
            labels.astype(np.int32).tofile(files["labels"])
            part.labels.astype(np.float32).tofile(files["values"])
            part.ids.tofile(files["ids"])
            part.same.tofile(files["same"])
            if split.by == "random":
                keyed(part.ids, seed, "role").tofile(files["order"])
            elif part.split is None:
                numbers = np.arange(start, start + len(part.ids))
                np.searchsorted(ends, numbers, side="right").astype(np.int8).tofile(files["roles"])
            elif split.by == "group":
                keyed(part.split, seed, "role").tofile(files["order"])
            elif split.by == "time":
                (~ascending(part.split)).tofile(files["order"])
            else:
                part.split.astype(np.int8).tofile(files["roles"])
            start += len(part.ids)


def _keep_together(folder: Path, what: tuple[str, ...]) -> None:
    """Gives rows that are equal in one of the files `what` one place in the order: the smallest of theirs."""
    changed = True
    while changed:
        changed = False
        for keys in what:
            order = np.memmap(folder / "order", np.uint64, "r+")
            for file in spill(folder / keys, folder / "order", np.uint64):
                grouped = group(file, np.uint64)
                for numbers, places_, key in places(file, grouped, np.uint64):
                    lower = places_ > grouped.first[key]
                    changed |= bool(lower.any()) and keys == "ids"
                    order[numbers[lower]] = grouped.first[key][lower]
                file.unlink()
            order.flush()


def _targets(total: int, split: Split, what: str) -> tuple[int, int]:
    """Numbers of test and validation rows (or groups) out of `total`, at least one of each role."""
    if total < 3:
        raise UserError(f"data.split: {what}, too few for train, validation and test; give more or leave it out")
    test = min(max(1, round(split.test * total)), total - 2)
    validation = min(max(1, round(split.validation * total)), total - 1 - test)
    return test, validation


@dataclass
class _Strata:
    """Each stratum's blocks of rows, cut in two places by going through them in order; all arrays are [strata].

    Attributes:
        blocks: how many there are.
        test, validation: rows wanted of each role.
        seen_blocks, seen_rows: so far.
        test_blocks, test_rows: so far, of test.
    """

    blocks: np.ndarray
    test: np.ndarray
    validation: np.ndarray

    def __post_init__(self) -> None:
        zeros = np.zeros_like(self.blocks)
        self.seen_blocks, self.seen_rows, self.test_blocks, self.test_rows = (zeros.copy() for _ in range(4))

    def cut(self, strata: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Roles of the next blocks: their strata [n] and numbers of rows [n] -> int8 [n].

        A block belongs before a cut if that brings the rows before the cut nearer to what is wanted; every role gets
        at least one block.
        """
        order = np.argsort(strata, kind="stable")
        mine, sizes = strata[order], rows[order]
        starts = np.flatnonzero(np.r_[True, mine[1:] != mine[:-1]])
        lengths = np.diff(np.r_[starts, len(mine)])
        number = np.arange(len(mine)) - np.repeat(starts, lengths) + self.seen_blocks[mine]
        upto = np.cumsum(sizes)
        upto += self.seen_rows[mine] - np.repeat(upto[starts] - sizes[starts], lengths)
        before = upto - sizes

        def inside(target: np.ndarray) -> np.ndarray:
            near: np.ndarray = (before < target) & (upto - target <= target - before)
            return near

        test = ((number == 0) | inside(self.test[mine])) & (number < self.blocks[mine] - 2)
        np.add.at(self.test_blocks, mine[test], 1)
        np.add.at(self.test_rows, mine[test], sizes[test])
        # The blocks of test come first: where one that is not of test is met, all of test has been counted.
        validation = (number == self.test_blocks[mine]) | inside(self.test_rows[mine] + self.validation[mine])
        validation &= number < self.blocks[mine] - 1
        self.seen_blocks[mine[starts]] += lengths
        self.seen_rows[mine[starts]] += np.add.reduceat(sizes, starts)
        roles = np.empty(len(mine), np.int8)
        roles[order] = np.where(test, TEST, np.where(validation, VALIDATION, TRAIN))
        return roles


def _cut(folder: Path, target: Path, classes: list[Any] | None, split: Split) -> int:
    """Writes the roles of rows that go by an order of blocks: of equal features, of groups or of times.

    Returns:
        the rows whose block has several.

    Raises:
        UserError: there are fewer than 3 blocks, of a class or in all.
    """
    names = classes if split.by == "random" else None
    blocks, rows, shown = np.zeros((3, 1 if names is None else len(names)), np.int64)

    def parts(grouped: Group) -> tuple[np.ndarray, np.ndarray]:
        """Strata and sizes of the blocks."""
        size = np.ones_like(grouped.rows) if split.by == "group" else grouped.rows
        return np.zeros_like(grouped.first) if names is None else grouped.first, size

    repeated = 0
    files = spill(folder / "order", folder / "labels", np.int32)
    for file in files:
        grouped = group(file)
        strata, sizes = parts(grouped)
        np.add.at(blocks, strata, 1)
        np.add.at(rows, strata, sizes)
        if names is not None:
            np.add.at(shown, grouped.pair_labels, 1)
        repeated += int(grouped.rows[grouped.rows > 1].sum())
    if names is not None:
        for name, count in zip(names, shown.tolist(), strict=True):
            _targets(count, split, f'class "{name}" has {count} distinct rows')
    else:
        what = {"random": "there are {} distinct rows", "group": 'column "{1}" has {0} groups'}
        sentence = what.get(split.by, 'column "{1}" has {0} distinct times')
        _targets(int(blocks[0]), split, sentence.format(blocks[0], split.column))
    # A class may share nearly all its features with smaller labels: what is left of it is split with the rest.
    merged = np.where(blocks < len(ROLES), np.argmax(blocks), np.arange(len(blocks)))
    blocks, rows = (np.bincount(merged, values, len(values)).astype(np.int64) for values in (blocks, rows))
    wanted = [_targets(count, split, "rows") if count else (0, 0) for count in rows.tolist()]
    cutter = _Strata(blocks, *np.array(wanted).T)
    roles = np.memmap(target, np.int8, "r+")
    for file in files:
        grouped = group(file)
        mine, sizes = parts(grouped)
        decided = cutter.cut(merged[mine], sizes)
        for numbers, _, key in places(file, grouped):
            roles[numbers] = decided[key]
        file.unlink()
    return repeated


def _drop_repeats(folder: Path, target: Path) -> tuple[dict[str, int], int]:
    """Takes rows out of a role whose features occur in a later one (train, validation, test is the order).

    Returns:
        how many were dropped by role, and the rows whose id occurs more than once.
    """
    roles = np.memmap(target, np.int8, "r+")
    dropped, repeated = np.zeros(len(ROLES), np.int64), 0
    for file in spill(folder / "same", target, np.int8):
        grouped = group(file)
        earlier = grouped.pair_labels < grouped.last[grouped.pair_key]
        np.add.at(dropped, grouped.pair_labels[earlier], grouped.pair_rows[earlier])
        repeated += int(grouped.rows[grouped.rows > 1].sum())
        for numbers, given, key in places(file, grouped):
            again = given < grouped.last[key]
            roles[numbers[again]] = DROPPED
        file.unlink()
    found = {name: count for name, count in zip(ROLES, dropped.tolist(), strict=True) if count}
    for name, count in found.items():
        log.warning("dropped %d %s rows whose features occur again in a later role", count, name)
    return found, repeated


def _check(counts: np.ndarray, classes: list[Any] | None) -> None:
    """Refuses a role without rows, and a class that train rows never show; counts are [roles, classes].

    Raises:
        UserError: naming the role or the class.
    """
    names = classes or []
    for role, name in enumerate(ROLES):
        if not counts[role].any():
            raise UserError(f"data.split: no row is left for {name}; change the split so that every role has rows")
        absent = np.flatnonzero(counts[role] == 0)
        if len(absent) and role == TRAIN:
            raise UserError(
                f'data.split: class "{names[absent[0]]}" has no train row; change the split so that it has some'
            )
        if len(absent):
            log.warning("%s has no row of %d of %d classes", name, len(absent), len(names))
    rows = counts.sum(axis=1)
    few = [f"{rows[role]} {ROLES[role]}" for role in (VALIDATION, TEST) if rows[role] < _FEW]
    if few:
        log.warning("only %s rows: scores on fewer than %d rows are mostly noise", " and ".join(few), _FEW)
