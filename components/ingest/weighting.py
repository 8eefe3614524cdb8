"""How much rows count, from finished shards: weights are 1 in the mean over the train rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kep.core.errors import UserError
from kep.data.schema import ROLES, Manifest
from kep.data.shards import decode, empty, read_shard


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
