"""Models in Python: the champion by name, rows in every form, and what the run knows of them."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest

import kep
from kep.core.errors import UserError
from kep.models.ensemble import Ensemble
from tests.helpers.paths import DATA

ROWS = pyarrow.csv.read_csv(DATA / "churn.csv").slice(0, 4)


@pytest.fixture(scope="module")
def model(runs):
    folder = runs("churn", "boosted_trees")
    return kep.load(folder / "churn" / "20260101-000000", runs=folder)


@pytest.mark.parametrize(
    "form",
    [
        lambda rows: rows,
        lambda rows: rows.to_pandas(),
        lambda rows: rows.to_pydict(),
        lambda rows: rows.to_pylist(),
        lambda rows: rows.to_batches()[0],
    ],
    ids=["table", "pandas", "columns", "rows", "batch"],
)
def test_rows_in_every_form_are_predicted_the_same(model, form, runs):
    features = ROWS.select(model.columns)
    own = Ensemble(runs("churn", "boosted_trees") / "churn" / "20260101-000000" / "ensemble")
    found = model.predict(form(features))
    told = found.to_dict("list") if isinstance(found, pd.DataFrame) else found.to_pydict()
    assert list(told) == ["prediction", *(f"probability_{name}" for name in model.classes)]
    np.testing.assert_allclose(
        np.stack([told[f"probability_{name}"] for name in model.classes], axis=1), own.predict(features)
    )


def test_a_frame_of_pandas_keeps_its_index(model):
    frame = ROWS.select(model.columns).to_pandas().set_index(pd.Index(["a", "b", "c", "d"], name="customer"))
    assert model.predict(frame).index.equals(frame.index)


def test_a_dict_of_single_values_is_one_row_and_a_file_is_read_as_in_training(model, tmp_path):
    (row,) = ROWS.select(model.columns).slice(0, 1).to_pylist()
    assert model.predict(row).num_rows == 1
    pyarrow.csv.write_csv(ROWS, tmp_path / "new.csv")
    read = model.predict(tmp_path / "new.csv")
    assert isinstance(read, pa.Table)
    assert read.equals(model.predict(ROWS.select(model.columns)))
    assert model.predict([row]).equals(model.predict(row))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"nothing": 1}, "is missing"),
        ("gone.csv", "gone.csv"),
        ([], "is missing"),
        (None, "NoneType is not a table of rows; give a data frame, an Arrow table, or columns by name"),
        (np.zeros((2, 3)), "ndarray is not a table of rows"),
        (ROWS.to_pandas().iloc[0], "Series is not a table of rows"),
    ],
)
def test_what_can_not_be_predicted_is_one_sentence(model, data, words):
    with pytest.raises(UserError, match=words):
        model.predict(data)


def test_no_rows_have_no_predictions(model):
    found = model.predict(ROWS.select(model.columns).to_pandas().head(0))
    assert (len(found), next(iter(found))) == (0, "prediction")


def test_many_unknown_categories_are_warned_of(model):
    frame = ROWS.select(model.columns).to_pandas()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.predict(frame)
    with pytest.warns(UserWarning, match='column "plan" has a category that the model does not know in 4 of 4 rows'):
        model.predict(frame.assign(plan="platinum"))


@pytest.mark.parametrize(
    ("folder", "name", "words"), [("nowhere", None, "there is no folder"), ("", "chrun", "of chrun")]
)
def test_runs_that_are_not_there_are_one_sentence(runs, folder, name, words):
    with pytest.raises(UserError, match=words):
        kep.runs(runs("churn", "boosted_trees") / folder, name)


def test_the_report_of_the_run_is_at_hand_where_the_run_is(model, runs, tmp_path):
    assert model.report.evaluation.rows > 0
    away = kep.load(runs("churn", "boosted_trees") / "churn" / "20260101-000000" / "ensemble", runs=tmp_path)
    assert "boosted_trees" in repr(away)


def test_no_such_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no finished run chrn"):
        kep.load("chrn", runs=tmp_path)


def test_importing_kep_loads_neither_tensorflow_nor_the_pipelines():
    code = "import kep, sys; print(sorted({'tensorflow', 'kfp', 'pyarrow', 'google.api_core'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
