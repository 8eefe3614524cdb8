"""The drift of rows that were predicted, from the counts that travel with the predictions; and the gate after it."""

import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from kep.components.drift.comparison import compared
from kep.components.drift.run import gate, run
from kep.components.predict.plan import plan
from kep.components.predict.predict import join, predict_slice
from kep.config.data import DataSettings
from kep.config.prediction import DriftSettings, PredictSettings
from kep.core.files import read_json
from kep.data.records import Records, as_array, encode_table
from kep.data.schema import Manifest
from kep.models.ensemble import Ensemble
from kep.stats.observed import HELD, Observed, ObservedCounts, predicted_bins, save_predicted, travelling
from tests.helpers.paths import DATA


@pytest.fixture(scope="module")
def bare(ensembles):
    """A model of before predictions of the test rows travelled with it."""
    return ensembles("churn", "mlp", "boosted_trees")


@pytest.fixture(scope="module")
def tested(bare, records):
    """What the model predicts of the test rows."""
    own = Ensemble(bare)
    return own.combine(own.predict_members(Records(records("churn"), "evaluate").load("test")))


@pytest.fixture(scope="module")
def model(bare, tested, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "ensemble"
    shutil.copytree(bare, folder)
    save_predicted(Manifest.load(folder), tested, folder)
    return folder


def churn() -> pa.Table:
    return pyarrow.csv.read_csv(DATA / "churn.csv")


def shifted() -> pa.Table:
    table = churn()
    plans = ["gold" if row % 3 == 0 else plan for row, plan in enumerate(table["plan"].to_pylist())]
    return table.set_column(table.schema.get_field_index("plan"), "plan", pa.array(plans))


@pytest.fixture
def predictions(model, tmp_path):
    """Function from a table to the folder of its predictions."""

    def of(table: pa.Table):
        pyarrow.csv.write_csv(table, tmp_path / "new.csv")
        asked = PredictSettings(data=DataSettings(source=str(tmp_path / "new.csv")))
        (own,) = plan(model, asked, tmp_path)
        for name in ("slice", "joined"):
            (tmp_path / name).mkdir()
        bins = travelling(Manifest.load(model), model)
        predict_slice(Ensemble(model), bins, own, asked, tmp_path / "work", tmp_path / "slice", lambda *_: None)
        join([tmp_path / "slice"], asked, tmp_path / "joined")
        return tmp_path / "joined"

    return of


def observed(model, table: pa.Table) -> Observed:
    manifest, result = Manifest.load(model), Observed()
    arrays = {column.name: as_array(table[column.name], column.name) for column in manifest.columns}
    shares = np.linspace(0, 1, len(table))
    predicted = np.stack([shares, 1 - shares], axis=1)
    result.add(manifest, predicted_bins(manifest), arrays, encode_table(manifest, arrays), predicted)
    return result


def test_counts_of_parts_are_those_of_the_whole(model):
    table, merged = shifted(), Observed()
    for start in range(0, 600, 250):
        merged.merge(ObservedCounts.from_json(observed(model, table.slice(start, 250)).record().to_json()).observed())
    whole = observed(model, table).record()
    # What is predicted here depends on the place in the part.
    assert merged.record().model_copy(update={"predicted": {}}) == whole.model_copy(update={"predicted": {}})
    assert sum(merged.predicted["predicted churned"]) == 600
    assert merged.unseen["plan"] == {"gold": 200}


def test_no_more_categories_are_held_than_memory_allows():
    one = Observed(unseen={})
    for start in (0, HELD - 5):
        one.merge(Observed(unseen={"x": Counter({str(start + i): 1 for i in range(HELD)})}))
    assert len(one.unseen["x"]) == HELD


def test_the_step_writes_page_json_and_metrics(model, tested, predictions, tmp_path):
    folder = predictions(shifted())
    metrics = run(
        out=str(tmp_path / "out"), model=str(model), predictions=str(folder), config=DriftSettings().to_json()
    )
    found = read_json(tmp_path / "out" / "drift.json")
    assert found["drifted"] == ["plan"]
    assert found["verdict"].startswith("drift beyond 0.2 in 1 of 8 comparisons (plan): 600 new rows against 360 train")
    own = {shift["name"]: shift for shift in found["shifts"]}
    assert own["plan"]["unseen_examples"] == ["gold"]
    assert own["predicted churned"]["before"] == np.bincount(tested.argmax(axis=1), minlength=2).tolist()
    assert sum(own["probability of the predicted class"]["before"]) == len(tested)
    assert sum(own["predicted churned"]["after"]) == 600
    assert metrics == {
        "rows": 600,
        "drifted": 1,
        "largest_psi_of_a_column": own["plan"]["psi"],
        "largest_psi_of_predictions": max(shift["psi"] for shift in own.values() if shift["kind"] == "prediction"),
    }
    page = (tmp_path / "out" / "drift.html").read_text()
    assert "<svg" in page
    assert "those of the test rows" in page


def test_the_comparison_is_that_of_the_rows_themselves(model, predictions):
    """Through shards and JSON nothing is lost."""
    folder = predictions(shifted())
    own, manifest, table = Ensemble(model), Manifest.load(model), shifted()
    arrays = {column.name: as_array(table[column.name], column.name) for column in manifest.columns}
    rows, bins, direct = encode_table(manifest, arrays), travelling(manifest, model), Observed()
    direct.add(manifest, bins, arrays, rows, own.combine(own.predict_members(rows)))
    stored = ObservedCounts.load(folder).observed()
    one, other = (compared(manifest, bins, side) for side in (direct, stored))
    assert [str(shift) for shift in one] == [str(shift) for shift in other]


@pytest.mark.parametrize(
    ("table", "settings", "status"),
    [
        (shifted, DriftSettings(fail=True), 1),
        (shifted, DriftSettings(fail=False), 0),
        (shifted, DriftSettings(fail=True, threshold=50), 0),
        (churn, DriftSettings(fail=True), 0),
    ],
)
def test_the_gate_fails_beyond_the_threshold_where_it_is_to(
    model, predictions, tmp_path, capsys, table, settings, status
):
    found, config = tmp_path / "found", settings.to_json()
    run(out=str(found), model=str(model), predictions=str(predictions(table())), config=config)
    capsys.readouterr()
    if not status:
        gate(out=str(tmp_path / "gate"), comparison=str(found), config=config)
        assert read_json(tmp_path / "gate" / "verdict.json")["verdict"]
        return
    with pytest.raises(SystemExit) as ended:
        gate(out=str(tmp_path / "gate"), comparison=str(found), config=config)
    assert ended.value.code == 1
    assert capsys.readouterr().out == (
        "error: drift beyond 0.2 in 1 of 8 comparisons (plan): 600 new rows against 360 train rows\n"
    )
    # The page is the other task's, and stays.
    assert (found / "drift.html").is_file()


def test_the_distribution_of_predictions_travels_exactly(model, tested, ensembles, tmp_path):
    for one, other in zip(
        travelling(Manifest.load(model), model), predicted_bins(Manifest.load(model), tested), strict=True
    ):
        assert (one.name, one.bins) == (other.name, other.bins)
        np.testing.assert_array_equal(one.before, other.before)
        np.testing.assert_array_equal(one.count(tested), one.before)
        np.testing.assert_array_equal(other.count(tested), one.before)
    houses = ensembles("houses", "mlp")
    numbers = np.random.default_rng(0).normal(size=500)
    save_predicted(Manifest.load(houses), numbers, tmp_path)
    (one,) = travelling(Manifest.load(houses), tmp_path)
    np.testing.assert_array_equal(one.count(numbers), one.before)
    assert len(one.before) == 10


def test_without_it_predictions_are_compared_with_the_labels_of_the_train_rows(bare, ensembles):
    manifest = Manifest.load(bare)
    (one,) = travelling(manifest, bare)
    assert one.before.tolist() == manifest.roles["train"].class_counts
    houses = Manifest.load(ensembles("houses", "mlp"))
    (one,) = travelling(houses, bare.parent)
    assert one.before.tolist() == houses.label.counts
