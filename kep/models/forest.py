"""A forest of decision trees as arrays: what it predicts depends on no library's version, and loading runs no code."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 4_000_000
"""Nodes that are looked at together while predicting: rows times trees."""
_LEAF = -1


@dataclass
class Forest:
    """Trees whose predictions are averaged.

    Attributes:
        roots: int32 [trees], the first node of each tree.
        feature: int32 [nodes], the column that a node looks at; -1 in a leaf.
        threshold: float64 [nodes]; rows up to it go to the left.
        children: int32 [nodes, 2], left and right.
        value: float32 [nodes, classes], or [nodes, 1] of a regression; 0 but in leaves.
        prior: float32 [classes], what counts like one more tree, so that no class has probability 0; empty of a
            regression.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    value: np.ndarray
    prior: np.ndarray

    @classmethod
    def of(cls, fitted: Any, classes: int) -> "Forest":
        """Return the trees of a fitted forest of scikit-learn.

        Args:
            fitted: ExtraTreesClassifier or ExtraTreesRegressor.
            classes: Number of classes of the label, of which it may have seen a part; 0 for a regression.
        """
        trees = [one.tree_ for one in fitted.estimators_]
        counts = np.array([tree.node_count for tree in trees])
        roots = (np.cumsum(counts) - counts).astype(np.int32)
        feature = np.concatenate([np.where(tree.children_left < 0, _LEAF, tree.feature) for tree in trees])
        children = [
            np.stack([tree.children_left, tree.children_right], axis=1) + root
            for tree, root in zip(trees, roots, strict=True)
        ]
        given = np.concatenate([tree.value[:, 0] for tree in trees]) * (feature == _LEAF)[:, None]
        value, prior = given, np.empty(0)
        if classes:
            value = np.zeros((len(given), classes))
            value[:, fitted.classes_.astype(int)] = given
            value[feature == _LEAF] /= value[feature == _LEAF].sum(axis=1, keepdims=True)
            # The root of each tree has seen all rows.
            prior = np.zeros(classes)
            prior[fitted.classes_.astype(int)] = trees[0].value[0, 0] / trees[0].value[0, 0].sum()
        return cls(
            roots,
            feature.astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            np.concatenate(children).astype(np.int32),
            value.astype(np.float32),
            prior.astype(np.float32),
        )

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Predict: float32 [n, classes], or [n] of a regression, of float32 [n, columns]."""
        step = max(1, CHUNK // len(self.roots))
        parts = [self._mean(self._leaves(matrix[at : at + step])) for at in range(0, max(len(matrix), 1), step)]
        return np.concatenate(parts)

    def staged(self, matrix: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the predictions of the first tree, of the first two, and so on."""
        total = np.zeros((len(matrix), self.value.shape[1]))
        leaves = self._leaves(matrix)
        for done in range(len(self.roots)):
            total += self.value[leaves[:, done]]
            yield self._averaged(total, done + 1)

    def save(self, path: Path) -> None:
        """Write the arrays as one compressed file of NumPy."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Forest":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**arrays)

    def _leaves(self, matrix: np.ndarray) -> np.ndarray:
        """Return the leaf of each row in each tree, int32 [n, trees]."""
        nodes = np.tile(self.roots, (len(matrix), 1))
        rows = np.arange(len(matrix))[:, None]
        while True:
            feature = self.feature[nodes]
            inner = feature != _LEAF
            if not inner.any():
                return nodes
            right = matrix[rows, np.maximum(feature, 0)] > self.threshold[nodes]
            nodes = np.where(inner, self.children[nodes, right.astype(np.int32)], nodes)

    def _mean(self, leaves: np.ndarray) -> np.ndarray:
        total: np.ndarray = self.value[leaves].sum(axis=1, dtype=np.float64)
        return self._averaged(total, leaves.shape[1])

    def _averaged(self, total: np.ndarray, trees: int) -> np.ndarray:
        mean: np.ndarray = (total + self.prior) / (trees + 1) if len(self.prior) else total[:, 0] / trees
        return mean.astype(np.float32)
