"""Counts of new rows in the bins of the train rows: what is to be known of data to say whether they have drifted."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from kep.core.json_model import JsonFile, JsonModel, is_none
from kep.data import columns
from kep.data.histograms import binned, brightness, quantile_edges
from kep.data.records import Rows
from kep.data.schema import Column, Manifest, decided
from kep.stats.divergence import labelled

HELD = 10_000
"""Distinct unseen categories of a column that are counted."""


@dataclass(frozen=True)
class PredictionBins:
    """Something about predictions, in bins.

    Attributes:
        name: Name of what is counted.
        bins: Names of the bins, for people.
        before: int64 [bins], rows that the model knows.
        edges: Where the bins end, of numbers or of probabilities of the predicted class; None for bins by class.
        threshold: Operating point of bins by class, as in `kep.data.schema.decided`.
    """

    name: str
    bins: list[str]
    before: np.ndarray
    edges: np.ndarray | None = None
    threshold: float | None = None

    def count(self, predictions: np.ndarray) -> np.ndarray:
        """Rows of each bin, of predictions [n, classes] or [n]."""
        if self.edges is None:
            return np.bincount(decided(predictions, self.threshold), minlength=len(self.bins))
        values = predictions if predictions.ndim == 1 else predictions.max(axis=1)
        return binned(values.astype(np.float32), self.edges)


class BinsRecord(JsonModel):
    """`PredictionBins` as a file holds them."""

    name: str
    bins: list[str]
    before: list[int]
    edges: list[float] | None
    threshold: float | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, one: PredictionBins) -> "BinsRecord":
        edges = None if one.edges is None else one.edges.tolist()
        return cls(name=one.name, bins=one.bins, before=one.before.tolist(), edges=edges, threshold=one.threshold)

    def read_out(self) -> PredictionBins:
        edges = None if self.edges is None else np.array(self.edges)
        return PredictionBins(self.name, self.bins, np.array(self.before), edges, self.threshold)


class PredictedBins(JsonFile):
    """How an ensemble's predictions of the test rows were distributed; lies in its folder."""

    FILE: ClassVar[str] = "predicted.json"
    KIND: ClassVar[str] = "distributions of predictions"
    REMEDY: ClassVar[str] = "restore the file, or run the pipeline again"

    bins: list[BinsRecord]

    @model_validator(mode="before")
    @classmethod
    def _unnamed(cls, content: Any) -> Any:
        """Files of before there were fingerprints are the list alone."""
        return {"bins": content} if isinstance(content, list) else content


def predicted_bins(manifest: Manifest, stored: np.ndarray | None = None) -> list[PredictionBins]:
    """Return bins to compare predictions in: of stored ones, or else of the labels of the train rows.

    Args:
        manifest: Manifest of the records that the model was trained on.
        stored: Predictions of its test rows, [n, classes] or [n].
    """
    label, name = manifest.label, f"predicted {manifest.label.name}"
    if label.classes is None:
        edges = np.array(label.edges) if stored is None else quantile_edges(stored.astype(np.float32))
        before = np.array(label.counts) if stored is None else binned(stored.astype(np.float32), edges)
        return [PredictionBins(name, labelled(edges.tolist(), label.offset), before, edges)]
    names = [str(one) for one in label.classes]
    if stored is None:
        before = np.array(manifest.roles["train"].class_counts)
        return [PredictionBins(name, names, before, threshold=label.threshold)]
    most = stored.max(axis=1).astype(np.float32)
    edges = quantile_edges(most)
    return [
        PredictionBins(name, names, np.bincount(label.decide(stored), minlength=len(names)), threshold=label.threshold),
        PredictionBins("probability of the predicted class", labelled(edges.tolist()), binned(most, edges), edges),
    ]


def travelling(manifest: Manifest, model: Path) -> list[PredictionBins]:
    """Return what is compared of predictions by what travels with a model; older ensembles carry nothing."""
    if not (model / PredictedBins.FILE).is_file():
        return predicted_bins(manifest)
    return [one.read_out() for one in PredictedBins.load(model).bins]


def save_predicted(manifest: Manifest, stored: np.ndarray, model: Path) -> None:
    """Save the distribution of the predictions of the test rows beside a model.

    A model does not predict each class as often as it occurs, so that the labels of the train rows are no fair
    comparison.
    """
    PredictedBins(bins=[BinsRecord.of(one) for one in predicted_bins(manifest, stored)]).save(model)


def can_observe(manifest: Manifest) -> bool:
    """Return whether the manifest says how the train rows were distributed; those of version 1 do not."""
    return all(column.counts is not None for column in manifest.columns)


@dataclass
class Observed:
    """Counts of new rows, filled batch by batch.

    Attributes:
        rows: So far.
        counts: Rows of each bin by column name; of a categorical column by code.
        missing: Rows without a value by column name.
        unseen: Categories outside the vocabulary by column name.
        predicted: Rows of each bin by name of `PredictionBins`.
    """

    rows: int = 0
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    unseen: dict[str, Counter[str]] = field(default_factory=dict)
    predicted: dict[str, np.ndarray] = field(default_factory=dict)

    def add(
        self,
        manifest: Manifest,
        bins: list[PredictionBins],
        table: dict[str, pa.Array],
        rows: Rows,
        predictions: np.ndarray,
    ) -> None:
        """Takes in a batch.

        Args:
            manifest: Manifest of the model; says which columns and bins there are.
            bins: Bins of the predictions.
            table: The raw columns.
            rows: The same, encoded.
            predictions: Predictions of the model, [n, classes] or [n].
        """
        self.rows += len(rows)
        for one in bins:
            _count(self.predicted, one.name, one.count(predictions))
        for place, column in enumerate(manifest.numeric):
            _count(self.counts, column.name, binned(rows.numeric[:, place], np.array(column.edges)))
            self.missing[column.name] += int(np.isnan(rows.numeric[:, place]).sum())
        for place, column in enumerate(manifest.categorical):
            codes = rows.categorical[:, place]
            _count(self.counts, column.name, np.bincount(codes, minlength=len(column.counts or [])))
            self.missing[column.name] += int((codes == 0).sum())
            if (codes == 1).any():
                self._name(column, table[column.name].filter(pa.array(codes == 1)))
        if (image := manifest.image) is not None and rows.image is not None:
            _count(self.counts, image.name, binned(brightness(rows.image)[:, 0], np.array(image.edges)))

    def merge(self, other: "Observed") -> None:
        """Takes in what was counted of other rows."""
        self.rows += other.rows
        self.missing.update(other.missing)
        for mine, theirs in ((self.counts, other.counts), (self.predicted, other.predicted)):
            for name, counts in theirs.items():
                _count(mine, name, counts)
        for name, found in other.unseen.items():
            self._hold(name, found.items())

    def record(self) -> "ObservedCounts":
        """Return the counts as a file holds them."""
        return ObservedCounts(
            rows=self.rows,
            counts={name: counts.tolist() for name, counts in self.counts.items()},
            missing=dict(self.missing),
            unseen={name: dict(found) for name, found in self.unseen.items()},
            predicted={name: counts.tolist() for name, counts in self.predicted.items()},
        )

    def _name(self, column: Column, values: pa.Array) -> None:
        indices, texts = columns.texts(values, column.name, column.reading)
        self._hold(column.name, zip(texts, np.bincount(indices, minlength=len(texts)).tolist(), strict=True))

    def _hold(self, column: str, found: Iterable[tuple[str, int]]) -> None:
        counter = self.unseen.setdefault(column, Counter())
        for text, rows in found:
            if text in counter or len(counter) < HELD:
                counter[text] += rows


class ObservedCounts(JsonFile):
    """`Observed` as a file holds it."""

    FILE: ClassVar[str] = "observed.json"
    KIND: ClassVar[str] = "counts of rows"
    REMEDY: ClassVar[str] = "predict again"

    rows: int
    counts: dict[str, list[int]]
    missing: dict[str, int]
    unseen: dict[str, dict[str, int]]
    predicted: dict[str, list[int]]

    def observed(self) -> Observed:
        """Return what can be counted further."""
        return Observed(
            self.rows,
            {name: np.array(counts) for name, counts in self.counts.items()},
            Counter(self.missing),
            {name: Counter(found) for name, found in self.unseen.items()},
            {name: np.array(counts) for name, counts in self.predicted.items()},
        )


def _count(counts: dict[str, np.ndarray], name: str, more: np.ndarray) -> None:
    counts[name] = counts[name] + more if name in counts else more
