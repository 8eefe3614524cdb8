"""An exported ensemble predicts from raw columns what the ensemble predicts, without this package."""

import numpy as np
import pytest

from kep.core.errors import UserError
from kep.data.records import Records
from kep.delivery.export.savedmodel import drawn, input_names, savedmodel
from kep.models.ensemble import Ensemble


@pytest.mark.parametrize(
    ("source", "names", "pooling"),
    [
        pytest.param("churn", ["mlp", "mlp"], "arithmetic", marks=pytest.mark.slow),
        ("churn", ["tabular", "realmlp"], "arithmetic"),
        pytest.param("houses", ["mlp", "mlp"], "arithmetic", marks=pytest.mark.slow),
        pytest.param("cancer", ["mlp"], "arithmetic", marks=pytest.mark.slow),
        pytest.param("digits", ["mlp", "cnn"], "geometric", marks=pytest.mark.slow),
    ],
)
def test_a_saved_model_predicts_the_same_in_a_fresh_process(ensembles, tmp_path, source, names, pooling):
    own = Ensemble(ensembles(source, *names, pooling=pooling))
    largest = float(np.abs(own.predict(drawn(own.manifest))).max())
    assert savedmodel(own, tmp_path / "out") <= 1e-5 * max(1.0, largest)
    assert (tmp_path / "out" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("source", "names", "pooling"),
    [
        ("churn", ["mlp", "mlp"], "arithmetic"),
        pytest.param("digits", ["mlp", "cnn"], "geometric", marks=pytest.mark.slow),
    ],
)
def test_a_saved_model_carries_the_temperature(ensembles, calibrated, tmp_path, source, names, pooling):
    plain = ensembles(source, *names, pooling=pooling)
    own = Ensemble(calibrated(plain, temperature=2.5))
    rows = drawn(own.manifest)
    assert np.abs(own.predict(rows) - Ensemble(plain).predict(rows)).max() > 0.01
    assert savedmodel(own, tmp_path / "out") <= 1e-5


def test_drawn_rows_have_gaps_and_categories_that_no_train_row_had(records):
    manifest = Records(records("churn"), "tune").manifest
    rows = drawn(manifest)
    for column in manifest.columns:
        assert None in rows[column.name]
        if column.kind == "categorical":
            assert set(rows[column.name]) > set(column.vocabulary)


def test_trees_are_named(ensembles, tmp_path):
    own = Ensemble(ensembles("churn", "mlp", "boosted_trees"))
    with pytest.raises(UserError, match="boosted_trees-1 can't be in a SavedModel"):
        savedmodel(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_inputs_have_names_that_tensorflow_takes(records):
    manifest = Records(records("churn"), "tune").manifest

    def named(*names: str) -> list[str]:
        columns = [manifest.columns[0].model_copy(update={"name": name}) for name in names]
        return list(input_names(manifest.model_copy(update={"columns": columns})).values())

    assert named("mean radius", "1st", "class", "Größe", "a_b") == ["mean_radius", "arg_1st", "class_", "Größe", "a_b"]
    with pytest.raises(UserError, match='"a b" and "a-b" would both be called a_b'):
        named("a b", "a-b")
