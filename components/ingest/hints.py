"""Hints: what in the data may mislead the user, one sentence each. A hint warns and never stops a run.

A sentence names a column or a count and says what to do. What is said of a source's values comes from the scan, since
records hold float32; the rest comes from a bounded sample of the written records. Shards hold rows in the order of a
hash, so their first rows are a random sample, the same for any number of workers and tasks.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kep.components.ingest.plan import ColumnPlan
from kep.components.ingest.scan import LOST, ColumnScan, Scan
from kep.config.data import DataSettings
from kep.data.schema import ROLES, Column, Manifest
from kep.data.shards import Rows, decode, empty, read_shard
from kep.data.texts import place_of

log = logging.getLogger("kep.ingest")

NEAR_PERFECT = 0.99
"""Share of the label's variance that a feature explains alone, from which it gives the label away."""
LEAK_ROWS, LEAK_CELLS, LEAK_FEWEST = 20_000, 600_000, 50
"""Train rows that trees are fitted on: at most, times columns at most, and at least."""
_FOLDS, _LEAVES, _CLASSES = 3, 128, 16
_LARGEST = float(np.finfo(np.float32).max)
_FEWEST_EACH = 200
"""Rows that each of very many columns is still looked at."""

NEAR = 0.01
"""Nearer than this share of the usual distance between train rows is a near-duplicate."""
NEAR_SHARE, NEAR_FEWEST = 0.01, 3
"""Share of the sampled held-out rows, and their number, from which near-duplicates are told of."""
_CROWD = 5
"""Number of the neighbour that a near-duplicate is much nearer than."""
_CLEAR = 0.75
"""Share of the rows within a tenth of the usual distance that are within a hundredth, where they are copies."""
TRAIN_ROWS, HELD_OUT_ROWS = 50_000, 1000
"""Rows of train, and of each of the other roles, that are compared."""
_COORDINATES = 4_000_000
"""Numbers that the compared train rows are made of, at most: 32 MB, and about a second of distances."""
_SAMPLED = 256 << 20
"""Bytes of a role's shards that are read, at most."""
_PIXELS = 8
"""Height and width that images are shrunk to."""
_FEW_CODES = 16
"""Codes of a category that get an axis each; more of them share as many axes, in random directions."""
_TREE_AXES = 8
"""Axes up to which a tree finds neighbours faster than a comparison with every row."""

ID_ROWS, INDEX_ROWS = 50, 10
"""Rows from which a column can look like an id, or like an index."""


def find_hints(manifest: Manifest, folder: Path, scan: Scan, plan: ColumnPlan, settings: DataSettings) -> list[str]:
    """Return the hints about records that were just written, the most serious first.

    Args:
        manifest: With the statistics of the train rows.
        folder: The shards of all roles, none sealed yet.
        scan: Scan of the source's columns.
        plan: Plan of the features.
        settings: The data section of the run file, whose settings the sentences name.
    """
    leave = "take it out of data.features" if settings.features else "leave it out with data.exclude"
    columns = [one for one in plan.features if one.kind != "image" and (one.of or one.name) != plan.key]
    columns = [one for one in columns if place_of(one) is None]
    names = [one.name for one in columns if one.of is None]
    counting = {name: sentence for name in names if (sentence := _index(name, scan.columns.get(name), leave))}
    numeric = [one.name for one in plan.features if one.kind == "numeric" and one.name in names]
    others = [name for name in numeric if name not in counting]
    ids = {name: sentence for name in others if (sentence := _id(name, scan.columns[name], leave, settings))}
    told = counting | ids
    # A row's number would set rows apart that are copies but for it.
    rest = manifest.model_copy(update={"columns": [one for one in manifest.columns if one.name not in told]})
    train = _sample(rest, folder, "train", TRAIN_ROWS)
    leaks = _leaks(rest, train, [one for one in columns if one.name not in told], leave)
    near = _near_duplicates(rest, folder, train)
    told |= leaks
    offsets = {one.name: one.offset for one in plan.features}
    lost = [
        f'column "{name}" has values that float32 can\'t tell apart: subtract an offset or rescale it, or {leave}'
        for name in numeric
        if name not in told and scan.columns[name].lost(offsets[name]) > LOST
    ]
    return [*leaks.values(), *near, *ids.values(), *counting.values(), *lost]


def tell(hints: Sequence[str]) -> None:
    """Write the hints to the log."""
    for hint in hints:
        log.warning("hint: %s", hint)


def _index(name: str, scan: ColumnScan | None, leave: str) -> str | None:
    """Return the hint about a column that counts the rows, if it does."""
    if scan and scan.numbers == scan.rows >= INDEX_ROWS and scan.offset in (0, 1):
        return f'column "{name}" counts the rows from {scan.offset:.0f}: {leave}'
    return None


def _id(name: str, scan: ColumnScan, leave: str, settings: DataSettings) -> str | None:
    """Return the hint about a column whose integers are all different, if they are."""
    if not scan.whole or scan.numbers < max(scan.rows, ID_ROWS) or scan.distinct.repeated:
        return None
    name_it = "" if settings.id else ", or name it in data.id"
    return f'column "{name}" has a value of its own in every row, like an id: {leave}{name_it}'


def _sample(manifest: Manifest, folder: Path, role: str, most: int) -> Rows:
    """Return the first rows of a role, images shrunk."""
    most = max(1, min(most, _SAMPLED // manifest.record.length))
    return Rows.concat(list(_first(manifest, folder, role, most)))


def _first(manifest: Manifest, folder: Path, role: str, most: int) -> Iterator[Rows]:
    for shard in manifest.roles[role].shards:
        for frames in read_shard(folder, manifest, shard):
            rows = empty(manifest, min(most, len(frames)))
            decode(manifest, frames[:most], rows)
            rows.image = None if rows.image is None else shrunk(rows.image)
            yield rows
            most -= len(rows)
            if not most:
                return


def shrunk(images: np.ndarray) -> np.ndarray:
    """Return images, uint8 [n, h, w, c], as float32 means of blocks, [n, at most 8, at most 8, c]."""
    means: np.ndarray = images.astype(np.float32)
    for axis in (1, 2):
        size = images.shape[axis]
        edges = np.linspace(0, size, min(size, _PIXELS) + 1).astype(int)
        sizes = np.diff(edges).reshape([-1 if place == axis else 1 for place in range(4)])
        means = np.add.reduceat(means, edges[:-1], axis=axis) / sizes.astype(np.float32)
    return means


def _leaks(manifest: Manifest, train: Rows, features: Sequence[Column], leave: str) -> dict[str, str]:
    """Return the hints about columns that give the label away, by name."""
    label = manifest.label
    most = min(LEAK_ROWS, max(_FEWEST_EACH, LEAK_CELLS // max(1, len(features))))
    rows = train.take(slice(most))
    if len(rows) < LEAK_FEWEST:
        return {}
    targets = _targets(rows.labels, label.class_count)
    values = dict(zip([column.name for column in manifest.numeric], rows.numeric.T, strict=True))
    values |= dict(zip([column.name for column in manifest.categorical], rows.categorical.T, strict=True))
    return {
        (name := one.of or one.name): f'column "{name}" alone predicts "{label.name}" almost perfectly: {leave} unless '
        f'it is known before "{label.name}" is'
        for one in features
        if explained(values[one.name], targets, NEAR_PERFECT) is not None
    }


def _targets(labels: np.ndarray, classes: int) -> np.ndarray:
    """Return what a feature has to explain, float64 [n, k].

    Classes become indicators, of which squared errors make the Gini impurity; all but the most frequent classes count
    as one. Numbers become ranks, so that a few large ones don't decide.
    """
    if not classes:
        _, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
        ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
        return ranks[:, None]
    frequency = np.argsort(np.argsort(-np.bincount(labels, minlength=classes), kind="stable"), kind="stable")
    # One indicator says all of two classes.
    indicators: np.ndarray = np.eye(min(classes, _CLASSES))[np.minimum(frequency, _CLASSES - 1)[labels]]
    return indicators[:, 1:] if classes == 2 else indicators


def explained(values: np.ndarray, targets: np.ndarray, least: float) -> float | None:
    """Return the share of the targets' variance that a tree on one feature explains on rows it was not fitted on.

    Args:
        values: The feature, [n]; a missing value is a value of its own.
        targets: Values to explain, float64 [n, k].
        least: Share below which the exact one does not matter.

    Returns:
        The cross-validated share; None where it is below `least`, mostly after the first fold.
    """
    from sklearn.tree import DecisionTreeRegressor  # a second that copied records don't need

    # A missing value lies far below all numbers, so that no threshold is drawn too near to them.
    low, high = (float(np.nanmin(values)), float(np.nanmax(values))) if not np.isnan(values).all() else (0.0, 0.0)
    known = np.where(np.isnan(values), max(2 * low - high - 1, -_LARGEST), values)
    total, error = float(((targets - targets.mean(axis=0)) ** 2).sum()), 0.0
    features, fold = known.astype(np.float32)[:, None], np.arange(len(values)) % _FOLDS
    for held in range(_FOLDS):
        inside = fold != held
        tree = DecisionTreeRegressor(max_leaf_nodes=_LEAVES, random_state=0).fit(features[inside], targets[inside])
        predicted = tree.predict(features[~inside]).reshape(-1, targets.shape[1])
        error += float(((targets[~inside] - predicted) ** 2).sum())
        if error > (1 - least) * total:
            return None
    return 1 - error / total if total else None


def _near_duplicates(manifest: Manifest, folder: Path, train: Rows) -> list[str]:
    """Return the hint about held-out rows that nearly equal a train row, if there are enough of them."""
    held_out = Rows.concat([_sample(manifest, folder, role, HELD_OUT_ROWS) for role in ROLES[1:]])
    near = near_rows(manifest, train, held_out)
    if near < NEAR_FEWEST or near <= NEAR_SHARE * len(held_out):
        return []
    grouped = manifest.split.rule == "group"
    remedy = "split by another group" if grouped else "keep related rows in one role with data.split.by: group"
    return [
        f"{near:,} of {len(held_out):,} sampled validation and test rows nearly equal a train row: remove copies, or "
        f"{remedy}"
    ]


def near_rows(manifest: Manifest, train: Rows, held_out: Rows) -> int:
    """Return how many held-out rows are near-duplicates of a train row; 0 where chance explains them.

    Their distance to it is below a hundredth of the median distance from a train row to the nearest other one. It is
    below a hundredth of their distance to the fifth nearest train row too: where rows lie dense, all are near. By
    chance, at least ten times as many rows would be below a tenth. Rows that are equal but for an id don't count:
    without it they share one role.
    """
    from sklearn.neighbors import NearestNeighbors  # as above

    # Equal rows keep to one role, and would be each other's neighbours.
    train = train.take(np.sort(np.unique(train.alike, return_index=True)[1]))
    varying, points = coordinates(manifest, Rows.concat([train, held_out]))
    if varying < 2 or len(train) <= _CROWD:
        return 0
    known = points[: len(train)][: max(2, _COORDINATES // points.shape[1])]
    method = "kd_tree" if points.shape[1] <= _TREE_AXES else "brute"
    neighbours = NearestNeighbors(n_neighbors=_CROWD, algorithm=method).fit(known)
    between = neighbours.kneighbors(known[:HELD_OUT_ROWS], n_neighbors=2)[0][:, 1]
    usual = np.median(between[between > 0]) if between.any() else 0
    distances, places = neighbours.kneighbors(points[len(train) :])
    differing = (known[places[:, 0]] != points[len(train) :]).any(axis=1)
    scale = np.minimum(usual, distances[:, -1])
    near, close = (int((differing & (distances[:, 0] < share * scale)).sum()) for share in (NEAR, 10 * NEAR))
    return near if near >= _CLEAR * close else 0


def coordinates(manifest: Manifest, rows: Rows) -> tuple[int, np.ndarray]:
    """Return how many features vary, and the rows as points, float64 [n, axes].

    Numbers are standardised, and lie at the mean where missing; whether they are missing is a category. Different
    categories are one step apart: exactly where they are few, else about. Those without a code differ from all others.
    """
    statistics = np.array([column.statistics for column in manifest.numeric]).reshape(-1, 2)
    used = statistics[:, 1] > 1e-9 * np.abs(statistics[:, 0])  # no feature, but rounding of a large constant
    mean, std = statistics[used].T
    numbers = (rows.numeric[:, used].astype(np.float64) - mean) / std
    missing = np.isnan(numbers)
    axes = [np.where(missing, 0, numbers), missing[:, missing.any(axis=0)].astype(np.float64)]
    varying, rng = int(used.sum()), np.random.default_rng(0)
    for codes in rows.categorical.T:
        known, places = np.unique(codes, return_inverse=True)
        if len(known) < 2:
            continue
        varying += 1
        directions = np.eye(len(known)) if len(known) <= _FEW_CODES else _directions(rng, len(known))
        steps = directions[places]
        steps[codes == 1] = _directions(rng, int((codes == 1).sum()), steps.shape[1])
        axes.append(steps / np.sqrt(2))
    if rows.image is not None:
        pixels = rows.image.reshape(len(rows), -1)
        axes.append(pixels / (pixels.std() or 1))
        varying += int((pixels.std(axis=0) > 0).sum())
    return varying, np.concatenate(axes, axis=1)


def _directions(rng: np.random.Generator, count: int, axes: int = _FEW_CODES) -> np.ndarray:
    """Return random unit vectors, float64 [count, axes]."""
    vectors: np.ndarray = rng.normal(size=(count, axes))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors
