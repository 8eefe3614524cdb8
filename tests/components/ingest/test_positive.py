"""`data.positive`: which class of two is the positive one."""

import numpy as np
import pytest

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.schema import Manifest
from kep.data.shards import load_rows


def source(folder, first: str, second: str, **more) -> DataSettings:
    """90 rows, of which every third is of the first class."""
    rows = [f"{number},{first if number % 3 == 0 else second}" for number in range(90)]
    (folder / "rows.csv").write_text("\n".join(["a,label", *rows]) + "\n")
    return DataSettings(source=str(folder / "rows.csv"), label="label", **more)


@pytest.mark.parametrize(
    ("first", "second", "positive", "classes"),
    [
        ("fraud", "ok", None, ["fraud", "ok"]),
        ("fraud", "ok", "fraud", ["ok", "fraud"]),
        ("fraud", "ok", "ok", ["fraud", "ok"]),
        ("0", "1", 0, [1, 0]),
        ("0", "1", "0", [1, 0]),
        ("0", "1", 1, [0, 1]),
        ("true", "false", False, [True, False]),
        ("TRUE", "FALSE", "false", [True, False]),
        ("01", "1", "01", ["1", "01"]),
    ],
)
def test_the_positive_class_is_the_last_one(tmp_path, first, second, positive, classes):
    settings = source(tmp_path, first, second, positive=positive)
    assert list(inspect(settings, 0).classes) == classes
    manifest = ingest(settings, 0, tmp_path / "out")
    assert manifest.label.classes == classes
    rows = load_rows(tmp_path / "out", manifest, "train")
    of_first = [str(name).lower() for name in classes].index(first.lower())
    # The feature says which class a row is of.
    np.testing.assert_array_equal(rows.numeric[:, 0] % 3 == 0, rows.labels == of_first)
    assert sum(info.class_counts[of_first] for info in manifest.roles.values()) == 30


@pytest.mark.parametrize(
    ("first", "second", "more", "words"),
    [
        ("fraud", "ok", {"positive": "frud"}, 'no class of "label"; did you mean "fraud"?; name fraud or ok'),
        ("0", "1", {"positive": True}, '"True" is no class of "label"; name 0 or 1'),
        ("0.5", "1.5", {"positive": 1}, '"label" is a number; remove it'),
        ("0", "1", {"positive": 1, "task": "regression"}, '"label" is a number; remove it'),
    ],
)
def test_what_is_no_class_is_refused(tmp_path, first, second, more, words):
    with pytest.raises(UserError) as refused:
        inspect(source(tmp_path, first, second, **more), 0)
    assert str(refused.value).startswith("data.positive: ")
    assert words in str(refused.value)


def test_a_label_of_three_classes_has_no_positive_one():
    with pytest.raises(UserError, match='"target" has 3 classes; remove it'):
        inspect(DataSettings(source="sklearn:iris", positive=1), 0)


def test_records_keep_the_class_that_they_were_written_with(tmp_path):
    ingest(source(tmp_path, "fraud", "ok", positive="fraud"), 0, tmp_path / "out")
    folder = str(tmp_path / "out")
    assert list(inspect(DataSettings(source=folder, positive="fraud"), 0).classes) == ["ok", "fraud"]
    with pytest.raises(UserError, match='were written with the positive class "fraud"'):
        inspect(DataSettings(source=folder, positive="ok"), 0)
    assert Manifest.load(folder).label.classes == ["ok", "fraud"]
