"""Labels are codes until they are known to be numbers: none is merged with another on the way."""

import numpy as np
import pytest

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings
from kep.core.errors import UserError
from kep.data.records import Records

ROWS = 60


def source(folder, values: list[str]) -> DataSettings:
    rows = [f"{number % 7},{number},{values[number % len(values)]}" for number in range(ROWS)]
    (folder / "rows.csv").write_text("\n".join(["a,b,label", *rows]) + "\n")
    return DataSettings(source=str(folder / "rows.csv"), label="label")


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["01", "1"], ["01", "1"]),
        (["010", "10", "2"], ["010", "10", "2"]),
        (["9007199254740992", "9007199254740993"], ["9007199254740992", "9007199254740993"]),
        (["18446744073709551615", "3"], ["18446744073709551615", "3"]),
        (["0", "1"], [0, 1]),
        (["-1", "10", "2"], [-1, 2, 10]),
        (["1.0", "2.0"], [1, 2]),
    ],
)
def test_classes_are_those_of_the_source(tmp_path, values, classes):
    settings = source(tmp_path, values)
    seen = inspect(settings, 0)
    assert seen.classes == dict.fromkeys(classes, ROWS // len(classes))
    manifest = ingest(settings, 0, tmp_path / "records")
    assert manifest.label.classes == classes
    rows = Records(tmp_path / "records", "tune").load("train")
    assert set(rows.labels.tolist()) == set(range(len(classes)))


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["1", "A"], ["1", "A"]),
        (["1,5", "2,5"], ["1,5", "2,5"]),
        (["1", "true"], ["1", "true"]),
        (["1", "inf", "A"], ["1", "A", "inf"]),
    ],
)
def test_the_task_makes_classes_of_anything(tmp_path, values, classes):
    quoted = [f'"{value}"' for value in values]
    settings = source(tmp_path, quoted).model_copy(update={"task": "multiclass"})
    assert ingest(settings, 0, tmp_path / "records").label.classes == classes


def test_several_labels_in_one_are_told_of(tmp_path, caplog):
    inspect(source(tmp_path, ["cat|dog", "cat", "dog", "cat|bird", "bird"]), 0)
    assert 'label "label": classes such as "cat|bird" look like several labels in one' in caplog.text
    caplog.clear()
    inspect(source(tmp_path, ['"Bonn, Germany"', '"Paris, France"', "Rome"]), 0)
    assert "several labels" not in caplog.text


@pytest.mark.parametrize(
    ("numbers", "offset"),
    [
        ([1_700_000_000 + number for number in range(40)], 1_700_000_000),
        ([-1_700_000_000.25 - 20 * number for number in range(40)], -1_700_000_780.25),
        ([123_456.5 + number for number in range(40)], 0),
        ([1e20 * number for number in range(1, 41)], 0),
        ([0.1 * number for number in range(40)], 0),
    ],
)
def test_a_label_that_records_would_blur_is_counted_from_its_lowest(tmp_path, numbers, offset):
    settings = source(tmp_path, list(map(str, numbers))).model_copy(update={"task": "regression"})
    manifest = ingest(settings, 0, tmp_path / "records")
    assert manifest.label.offset == offset
    rows = Records(tmp_path / "records", "tune").load("train")
    # Doubled rows share a role: the source's own row says which number it has.
    exact = np.array(numbers)[rows.numeric[:, 1].astype(int) % len(numbers)]
    np.testing.assert_allclose(manifest.label.restored(rows.labels), exact, rtol=1e-7, atol=1e-3 if offset else 0)
    assert manifest.label.std == pytest.approx((rows.labels.astype(np.float64)).std(), rel=1e-6)


def test_a_label_that_64_bit_floats_blur_is_refused(tmp_path):
    values = [str(2**59 + 64 * number) for number in range(40)]
    settings = source(tmp_path, values).model_copy(update={"task": "regression"})
    with pytest.raises(
        UserError, match=r'column "label" has values that 64-bit floats can\'t tell apart .* rescale it'
    ):
        inspect(settings, 0)
