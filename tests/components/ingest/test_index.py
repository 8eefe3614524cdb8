"""The index of a data frame that was saved with it: no feature, unless the run file asks for it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.schema import Manifest
from tests.helpers.tasks import in_tasks

ROWS = 120
RNG = np.random.default_rng(0)
NOISE, LABEL = RNG.normal(size=ROWS), RNG.integers(0, 2, ROWS)
INDEX = "it is the index of a data frame; list the features in data.features, it too, if it is to be one"


def frame(names: list[str], noted: list[Any] | None = None, first: int = 0, last: int = ROWS) -> pa.Table:
    """A table as pandas saves it, with columns of the given names in front."""
    columns = {name: np.arange(first, last) * 3 % 100 for name in names}
    table = pa.table(columns | {"noise": NOISE[first:last], "y": LABEL[first:last]})
    note = {"index_columns": names if noted is None else noted, "columns": []}
    return table.replace_schema_metadata({b"pandas": json.dumps(note).encode()})


@pytest.mark.parametrize(
    ("names", "noted", "left_out"),
    [
        (["__index_level_0__"], None, True),
        (["customer"], None, True),
        (["year", "__index_level_1__"], None, True),
        (["__index_level_0__"], [], True),  # the note was lost
        (["customer"], [{"kind": "range", "name": None, "start": 0, "stop": 9, "step": 1}], False),
        (["index"], [], False),
        (["Unnamed"], [], False),
    ],
)
def test_an_index_in_parquet_is_left_out(names: list[str], noted: list[Any] | None, left_out: bool, tmp_path: Path):
    pq.write_table(frame(names, noted), tmp_path / "rows.parquet")
    settings = DataSettings(source="rows.parquet", label="y")
    seen = inspect(settings, 0, tmp_path)
    assert [column.name for column in seen.columns] == [*([] if left_out else names), "noise"]
    assert seen.ignored == (dict.fromkeys(names, INDEX) if left_out else {})
    asked = inspect(settings.model_copy(update={"features": [*names, "noise"]}), 0, tmp_path)
    assert [column.name for column in asked.columns] == [*names, "noise"]
    assert ingest(settings, 0, tmp_path / "out", tmp_path).ignored == (names if left_out else [])


@pytest.mark.parametrize(
    ("name", "left_out"), [("Unnamed: 0", True), ("Unnamed: 0_level_0", True), ("Unnamed: x", False)]
)
def test_an_index_in_csv_is_left_out(name: str, left_out: bool, tmp_path: Path):
    pyarrow.csv.write_csv(frame([name]), tmp_path / "rows.csv")
    seen = inspect(DataSettings(source="rows.csv", label="y"), 0, tmp_path)
    assert seen.ignored == ({name: INDEX} if left_out else {})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"exclude": ["customer"]}, "data.exclude names it"),
        ({"id": "customer"}, "data.id names it"),
        ({"split": {"by": "group", "column": "customer"}}, "the split goes by it"),
        ({"features": ["noise"]}, "data.features does not name it"),
    ],
)
def test_an_index_can_be_used_otherwise(settings: dict, reason: str, tmp_path: Path):
    pq.write_table(frame(["customer"]), tmp_path / "rows.parquet")
    seen = inspect(DataSettings.model_validate({"source": "rows.parquet", "label": "y"} | settings), 0, tmp_path)
    assert seen.ignored == {"customer": reason}


def test_an_index_may_be_the_label(tmp_path: Path):
    pq.write_table(frame(["customer"]), tmp_path / "rows.parquet")
    settings = DataSettings(source="rows.parquet", label="customer", task="regression")
    assert inspect(settings, 0, tmp_path).label == "customer"


def test_an_index_alone_is_refused(tmp_path: Path):
    pq.write_table(frame(["customer"]).drop_columns("noise"), tmp_path / "rows.parquet")
    with pytest.raises(UserError, match=r"no feature column is left .* index columns teach nothing"):
        inspect(DataSettings(source="rows.parquet", label="y"), 0, tmp_path)


def test_tasks_know_it_too(tmp_path: Path):
    """Of two files, the second alone has the note."""
    (tmp_path / "rows").mkdir()
    pq.write_table(frame(["customer"], [], 0, 60), tmp_path / "rows" / "a.parquet")
    pq.write_table(frame(["customer"], None, 60), tmp_path / "rows" / "b.parquet")
    settings = DataSettings(source="rows", label="y")
    one = ingest(settings, 0, tmp_path / "one", tmp_path)
    assert one.ignored == ["customer"]
    in_tasks(settings.model_copy(update={"ingest_tasks": 2}), 0, tmp_path, tmp_path / "several")
    assert Manifest.load(tmp_path / "several" / "records") == one


def test_a_csv_whose_index_has_no_name_is_one_sentence(tmp_path: Path):
    (tmp_path / "rows.csv").write_text(",x,y\n0,1,2\n")
    with pytest.raises(
        UserError, match=r"column 1 of rows.csv has no name; .*, or write it without .* \(index=False\)"
    ):
        inspect(DataSettings(source="rows.csv", label="y"), 0, tmp_path)
