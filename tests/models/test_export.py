"""An exported ensemble predicts from raw columns what the ensemble predicts, without this package."""

import numpy as np
import pytest

from components.shared.errors import UserError
from components.shared.files import write_json
from components.shared.monitor import Monitor
from components.shared.records import Records
from models import ensemble as ensembles
from models.ensemble import Ensemble
from models.export import drawn, savedmodel
from models.family import Settings
from models.registry import family


def ensemble(records, tmp_path, source: str, names: list[str], pooling: str = "arithmetic") -> Ensemble:
    """An ensemble of members that were trained for a moment."""
    data = Records(records(source), "tune")
    train, members = data.load("train"), {}
    for place, name in enumerate(names):
        own, folder = family({"name": name}, data.manifest), tmp_path / f"{name}-{place}"
        folder.mkdir()
        values = own.space().values
        own.save(own.refit(values, train, 2, Settings(2, 2, 64, place), Monitor()), folder)
        described = {"id": folder.name, "weight": [0.7, 0.3][place], "spec": {"name": name}}
        write_json(folder / "member.json", described)
        members[folder.name] = folder
    (tmp_path / "ensemble").mkdir()
    ensembles.write(tmp_path / "ensemble", members, records(source), train.ids, pooling)
    return Ensemble(tmp_path / "ensemble")


@pytest.mark.parametrize(
    ("source", "names", "pooling"),
    [
        ("churn", ["mlp", "mlp"], "arithmetic"),
        ("houses", ["mlp", "mlp"], "arithmetic"),
        ("digits", ["mlp", "cnn"], "geometric"),
    ],
)
def test_a_saved_model_predicts_the_same_in_a_fresh_process(records, tmp_path, source, names, pooling):
    own = ensemble(records, tmp_path, source, names, pooling)
    largest = float(np.abs(own.predict(drawn(own.manifest))).max())
    assert savedmodel(own, tmp_path / "out") <= 1e-5 * max(1.0, largest)
    assert (tmp_path / "out" / "saved_model.pb").is_file()


def test_drawn_rows_have_gaps_and_categories_that_no_train_row_had(records, tmp_path):
    manifest = Records(records("churn"), "tune").manifest
    rows = drawn(manifest)
    for column in manifest.columns:
        assert None in rows[column.name]
        if column.kind == "categorical":
            assert set(rows[column.name]) > set(column.vocabulary)


def test_trees_are_named(records, tmp_path):
    own = ensemble(records, tmp_path, "cancer", ["mlp", "boosted_trees"])
    with pytest.raises(UserError, match="boosted_trees-1 can't be in a SavedModel"):
        savedmodel(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()
