"""How much rows count: weights are 1 in the mean over the train rows, which finished shards show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kep.components.ingest.scan import ColumnScan
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.schema import ROLES, Label, Manifest
from kep.data.shards import decode, empty, read_shard
from kep.data.sources.unit import Source

BALANCED = "balanced"
"""The setting `data.weight` that lets each class count the same."""
_GIVE = "give each row a number of at least 0, and some row one above"


def weight_column(settings: DataSettings) -> str | None:
    """Return the column that says how much a row counts; None where all count the same, or each class does."""
    return None if settings.weight == BALANCED else settings.weight


def check_weight(settings: DataSettings, source: Source, label: Label, scan: ColumnScan | None) -> None:
    """Refuse weights that say nothing, or that no loss can have.

    Raises:
        UserError: A class of a number is to be balanced, or the column does not hold a weight in every row.
    """
    name = settings.weight
    if name == BALANCED:
        if BALANCED in source.names:
            raise UserError(f'data.weight: "{name}" could be the column of this name; rename the column or exclude it')
        if label.classes is None:
            raise UserError(f'data.weight: balanced is for classes, and "{label.name}" is a number; name a column')
    if scan is None:
        return
    if scan.words:
        row, value = scan.first_word
        raise UserError(f'data.weight: column "{name}" holds "{value}" in row {row}; {_GIVE}')
    if scan.missing:
        raise UserError(f'data.weight: column "{name}" is empty in {scan.missing:,} of {scan.rows:,} rows; {_GIVE}')
    if scan.infinite_at:
        row, value = scan.infinite_at
        raise UserError(f'data.weight: column "{name}" is {value} in row {row}; {_GIVE}')
    if scan.low < 0 or scan.high == 0:
        raise UserError(f'data.weight: column "{name}" goes from {scan.low:g} to {scan.high:g}; {_GIVE}')


@dataclass
class _Sums:
    """Sums over the rows of a role.

    Attributes:
        weights: Sum of the weights, by class; of a regression one sum.
        labels: Sum of weight times label, of a regression.
    """

    weights: np.ndarray
    labels: float = 0.0


def weighted(manifest: Manifest, folder: Path) -> Manifest:
    """Return the manifest with what weights need to know of the rows.

    Args:
        manifest: Manifest of the shards; its weighting names a column, or none where classes are balanced.
        folder: Folder of the shards.

    Raises:
        UserError: All rows of a role have the weight 0.
    """
    weighting, label, train = manifest.weighting, manifest.label, manifest.roles["train"]
    if weighting is None:
        return manifest
    if weighting.column is None:
        # Of equal sum, as scikit-learn's class_weight="balanced".
        by_class = train.rows / (label.class_count * np.maximum(train.class_counts, 1))
        shares = np.full(label.class_count, 1 / label.class_count)
        known = {"by_class": by_class.tolist(), "shares": shares.tolist()}
        return manifest.model_copy(update={"weighting": weighting.model_copy(update=known)})
    sums = {role: _sums(manifest, folder, role) for role in ROLES}
    for role, one in sums.items():
        if not one.weights.any():
            raise UserError(
                f'data.weight: column "{weighting.column}" is 0 in all {role} rows, so nothing can be measured there; '
                "change the weights or data.split"
            )
    own = sums["train"]
    total = float(own.weights.sum())
    known = {"mean": total / train.rows}
    known |= {"label_mean": own.labels / total} if label.classes is None else {"shares": (own.weights / total).tolist()}
    return manifest.model_copy(update={"weighting": weighting.model_copy(update=known)})


def _sums(manifest: Manifest, folder: Path, role: str) -> _Sums:
    # Without columns a row is its label, its id and its weight.
    small = manifest.model_copy(update={"columns": []})
    sums = _Sums(np.zeros(max(1, manifest.label.class_count)))
    for shard in manifest.roles[role].shards:
        for frames in read_shard(folder, manifest, shard):
            rows = empty(small, len(frames))
            decode(small, frames, rows)
            weights = np.asarray(rows.weights, np.float64)
            if manifest.label.classes is None:
                sums.weights += weights.sum()
                sums.labels += float(weights @ rows.labels)
            else:
                sums.weights += np.bincount(rows.labels, weights, len(sums.weights))
    return sums
