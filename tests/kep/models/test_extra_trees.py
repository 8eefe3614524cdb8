"""Extra trees: our arrays predict what scikit-learn's forest does, and no class is impossible."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from kep.models.forest import CHUNK, Forest


@pytest.mark.parametrize("leaf", [1, 5])
def test_a_forest_predicts_what_it_was_made_of(leaf, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows, label = rng.normal(size=(300, 4)).astype(np.float32), rng.integers(0, 3, 300)
    fitted = ExtraTreesClassifier(20, min_samples_leaf=leaf, random_state=0).fit(rows, label)
    forest = Forest.of(fitted, 3)
    shares = np.bincount(label) / 300
    expected = (20 * fitted.predict_proba(rows) + shares) / 21
    np.testing.assert_allclose(forest.predict(rows), expected, atol=1e-6)
    forest.save(tmp_path / "model.npz")
    monkeypatch.setattr("kep.models.forest.CHUNK", 20 * 7)  # seven rows at a time
    assert CHUNK > 20 * 7
    np.testing.assert_array_equal(Forest.load(tmp_path / "model.npz").predict(rows), forest.predict(rows))
    *_, last = forest.staged(rows)
    np.testing.assert_allclose(last, expected, atol=1e-6)


def test_a_forest_of_numbers():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    fitted = ExtraTreesRegressor(20, random_state=0).fit(rows, rows[:, 0] * 1e4)
    np.testing.assert_allclose(Forest.of(fitted, 0).predict(rows), fitted.predict(rows), rtol=1e-5)


def test_a_class_without_train_rows_is_known():
    rows = np.arange(40, dtype=np.float32)[:, None]
    fitted = ExtraTreesClassifier(5, random_state=0).fit(rows, np.repeat([0, 2], 20))
    found = Forest.of(fitted, 4).predict(rows)
    assert found.shape == (40, 4)
    assert (found[:, [0, 2]] > 0).all()
    assert (found[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_no_rows_are_predicted():
    fitted = ExtraTreesRegressor(3, random_state=0).fit(np.ones((5, 2)), np.ones(5))
    assert Forest.of(fitted, 0).predict(np.empty((0, 2), np.float32)).shape == (0,)
