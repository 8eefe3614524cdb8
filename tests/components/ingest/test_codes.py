"""Digits whose leading zeros count are categories."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings
from kep.data.records import encode_table


def source(folder, values: list[str], **more) -> DataSettings:
    rows = [f"{values[number % len(values)]},{number},{number // 3 % 2}" for number in range(60)]
    (folder / "rows.csv").write_text("\n".join(["zip,b,label", *rows]) + "\n")
    return DataSettings(source=str(folder / "rows.csv"), label="label", **more)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["01234", "10001"], "categorical"),
        ([" 007 ", "8", ""], "categorical"),
        (["-01", "1"], "categorical"),
        (["0", "1", "10"], "numeric"),
        (["0.5", "01.5"], "numeric"),
        (["01", "1.5"], "numeric"),
        (["01", "1e5"], "numeric"),
        (["NA", "0", "7"], "numeric"),
    ],
)
def test_digits_that_begin_with_zero_are_codes(tmp_path, values, kind):
    seen = inspect(source(tmp_path, values), 0)
    assert {column.name: column.kind for column in seen.columns}["zip"] == kind


def test_the_log_says_so_and_the_settings_go_first(tmp_path, caplog):
    with caplog.at_level("INFO", "kep.ingest"):
        inspect(source(tmp_path, ["10001", "01234"]), 0)
        assert 'column "zip" holds codes, since "01234" in row 2 begins with zero' in caplog.text
    seen = inspect(source(tmp_path, ["10001", "01234"], types={"zip": "numeric"}), 0)
    assert [column.kind for column in seen.columns] == ["numeric", "numeric"]


def test_codes_of_which_nearly_every_one_occurs_once_are_left_out(tmp_path):
    seen = inspect(source(tmp_path, [f"{number:05d}" for number in range(60)]), 0)
    assert "nearly every value occurs once" in seen.ignored["zip"]


def test_a_program_that_drops_the_zeros_means_the_same_category(tmp_path):
    settings = source(tmp_path, ["01234", "10001", "00501"])
    manifest = ingest(settings, 0, tmp_path / "out")
    table = pyarrow.csv.read_csv(tmp_path / "rows.csv")
    assert pa.types.is_integer(table["zip"].type)
    texts = table.set_column(0, "zip", pa.array([f"{code:05d}" for code in table["zip"].to_pylist()]))
    found = [encode_table(manifest, each).categorical for each in (table, texts)]
    np.testing.assert_array_equal(*found)
    assert set(found[0][:, 0].tolist()) == {2, 3, 4}


@pytest.mark.parametrize(("values", "told"), [(["08/03/24", "17/11/24"], True), (["red", "blue"], False)])
def test_dates_that_no_form_reads_are_told_of(tmp_path, caplog, values, told):
    inspect(source(tmp_path, values), 0)
    assert ('column "zip" looks like dates, but no way' in caplog.text) == told
