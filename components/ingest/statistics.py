"""Statistics of the train rows, from finished shards: their order is fixed, so each bit of a mean is too."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kep.data.histograms import binned, brightness, quantile_edges
from kep.data.schema import Manifest
from kep.data.shards import Rows, decode, empty, read_shard


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of columns, float64 [columns]."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def nothing(cls, columns: int) -> "Moments":
        """Return the moments of no rows."""
        return cls(np.zeros(columns), np.zeros(columns), np.zeros(columns))

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Return the moments of float64 [n, columns], NaN where missing."""
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
        deviation: np.ndarray = np.sqrt(self.squares / np.maximum(self.count, 1))
        return deviation


KEPT = 1 << 20
"""Values of all columns together that are held to place the bins' edges: 4 MB."""


@dataclass
class Histogram:
    """Rows by quantile bin of columns.

    The edges are quantiles of the first `KEPT` values, which is all of them in any but a very large set. Shards hold
    rows in the order of a hash, so the first ones are a random sample. The counts are of all rows.
    """

    edges: list[np.ndarray] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    _held: list[np.ndarray] = field(default_factory=list)

    def add(self, values: np.ndarray) -> None:
        """Adds float32 [n, columns], NaN where missing."""
        if self.edges:
            self._count(values)
            return
        self._held.append(values)
        if sum(part.size for part in self._held) >= KEPT:
            self._place()

    def finish(self) -> "Histogram":
        """Counts what is still held."""
        if not self.edges:
            self._place()
        return self

    def of(self, place: int) -> dict[str, list[Any]]:
        """`edges` and `counts` of a column, for the manifest."""
        return {"edges": self.edges[place].tolist(), "counts": self.counts[place].tolist()}

    def _place(self) -> None:
        held, self._held = np.concatenate(self._held), []
        self.edges = [quantile_edges(column) for column in held.T]
        self.counts = [np.zeros(len(edges) + 1, np.int64) for edges in self.edges]
        self._count(held)

    def _count(self, values: np.ndarray) -> None:
        for column, edges, counts in zip(values.T, self.edges, self.counts, strict=True):
            counts += binned(column, edges)


def _train_rows(manifest: Manifest, folder: Path) -> Iterator[Rows]:
    """Rows of the train shards, a few megabytes at a time."""
    for shard in manifest.roles["train"].shards:
        for frames in read_shard(folder, manifest, shard):
            rows = empty(manifest, len(frames))
            decode(manifest, frames, rows)
            yield rows


@dataclass
class _Sums:
    """Sums over the train rows.

    Attributes:
        numeric: Moments of the numeric columns.
        images: Moments of the images' channels.
        labels: Moments of a regression's label.
        low: Its lowest value; infinity for classes.
        high: Its highest value; minus infinity for classes.
        bins: Rows by bin of the numeric columns, or of the images' brightness.
        label_bins: Rows by bin of a regression's label.
        codes: Rows by code, of each categorical column.
    """

    numeric: Moments
    images: Moments
    labels: Moments
    low: float
    high: float
    bins: Histogram
    label_bins: Histogram
    codes: list[np.ndarray]


def _sums(manifest: Manifest, folder: Path) -> _Sums:
    """Read all train rows once."""
    shape = manifest.image_shape
    numeric, labels = Moments.nothing(len(manifest.numeric)), Moments.nothing(1)
    images = Moments.nothing(0 if shape is None else shape[2])
    bins, label_bins = Histogram(), Histogram()
    low, high = np.inf, -np.inf
    codes = [np.zeros(len(column.vocabulary or []) + 2, np.int64) for column in manifest.categorical]
    for rows in _train_rows(manifest, folder):
        numeric += Moments.of(rows.numeric.astype(np.float64))
        bins.add(rows.numeric if rows.image is None else brightness(rows.image))
        for counts, column in zip(codes, rows.categorical.T, strict=True):
            counts += np.bincount(column, minlength=len(counts))
        if rows.image is not None:
            images += Moments.of(rows.image.reshape(-1, rows.image.shape[-1]).astype(np.float64))
        if manifest.label.classes is None:
            labels += Moments.of(rows.labels.astype(np.float64)[:, None])
            label_bins.add(rows.labels[:, None])
            low, high = min(low, float(rows.labels.min())), max(high, float(rows.labels.max()))
    return _Sums(numeric, images, labels, low, high, bins.finish(), label_bins, codes)


def with_statistics(manifest: Manifest, folder: Path) -> Manifest:
    """Return the manifest with means, deviations, missing counts and distributions of its train rows."""
    sums, total = _sums(manifest, folder), manifest.roles["train"].rows
    updates: dict[str, dict[str, Any]] = {}
    for place, column in enumerate(manifest.numeric):
        updates[column.name] = {
            "missing": total - int(sums.numeric.count[place]),
            "mean": float(sums.numeric.mean[place]),
            "std": float(sums.numeric.std[place]),
        } | sums.bins.of(place)
    for column, counts in zip(manifest.categorical, sums.codes, strict=True):
        updates[column.name] = {"missing": int(counts[0]), "counts": counts.tolist()}
    if manifest.image is not None:
        moments = {"mean": sums.images.mean.tolist(), "std": sums.images.std.tolist()}
        updates[manifest.image.name] = moments | sums.bins.of(0)
    label = manifest.label
    if label.classes is None:
        known = {"mean": float(sums.labels.mean[0]), "std": float(sums.labels.std[0])}
        known |= {"low": sums.low, "high": sums.high}
        label = label.model_copy(update=known | sums.label_bins.finish().of(0))
    columns = [column.model_copy(update=updates.get(column.name, {})) for column in manifest.columns]
    return manifest.model_copy(update={"columns": columns, "label": label})
