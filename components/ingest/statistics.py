"""Statistics of the train rows, from finished shards: their order is fixed, so each bit of a mean is too."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.shared.schema import Manifest
from components.shared.shards import Rows, decode, empty, read_shard


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of columns, float64 [columns]."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Of float64 [n, columns], NaN where missing."""
        count = (~np.isnan(values)).sum(axis=0).astype(np.float64)
        mean = np.nansum(values, axis=0) / np.maximum(count, 1)
        return cls(count, mean, np.nansum((values - mean) ** 2, axis=0))

    def __add__(self, other: "Moments") -> "Moments":
        """Both together (Chan, Golub and LeVeque 1983)."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta = other.mean - self.mean
        squares = self.squares + other.squares + delta**2 * self.count * share
        return Moments(count, self.mean + delta * share, squares)

    @property
    def std(self) -> np.ndarray:
        """Population standard deviation."""
        return np.sqrt(self.squares / np.maximum(self.count, 1))


def _train_rows(manifest: Manifest, folder: Path):
    """Rows of the train shards, a few megabytes at a time."""
    for shard in manifest.roles["train"].shards:
        for frames in read_shard(folder, manifest, shard):
            rows = empty(manifest, len(frames))
            decode(manifest, frames, rows)
            yield rows


def with_statistics(manifest: Manifest, folder: Path) -> Manifest:
    """The manifest with means, deviations and missing counts of its train rows."""
    numeric = labels = image = None
    missing = np.zeros(len(manifest.categorical), np.int64)
    for rows in _train_rows(manifest, folder):
        numeric = _add(numeric, rows.numeric.astype(np.float64))
        missing += (rows.categorical == 0).sum(axis=0)
        if rows.image is not None:
            image = _add(image, _channels(rows))
        if manifest.label.classes is None:
            labels = _add(labels, rows.labels.astype(np.float64)[:, None])
    total = manifest.roles["train"].rows
    updates: dict[str, dict] = {}
    for place, column in enumerate(manifest.numeric):
        updates[column.name] = {
            "missing": total - int(numeric.count[place]),
            "mean": float(numeric.mean[place]),
            "std": float(numeric.std[place]),
        }
    for place, column in enumerate(manifest.categorical):
        updates[column.name] = {"missing": int(missing[place])}
    if manifest.image is not None:
        updates[manifest.image.name] = {"mean": image.mean.tolist(), "std": image.std.tolist()}
    label = manifest.label
    if labels is not None:
        label = label.model_copy(update={"mean": float(labels.mean[0]), "std": float(labels.std[0])})
    columns = [column.model_copy(update=updates.get(column.name, {})) for column in manifest.columns]
    return manifest.model_copy(update={"columns": columns, "label": label})


def _add(total: Moments | None, values: np.ndarray) -> Moments:
    moments = Moments.of(values)
    return moments if total is None else total + moments


def _channels(rows: Rows) -> np.ndarray:
    """Pixels of all images, float64 [n * h * w, c]."""
    return rows.image.reshape(-1, rows.image.shape[-1]).astype(np.float64)
