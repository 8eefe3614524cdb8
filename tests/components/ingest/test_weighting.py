"""`data.weight`: how much rows count."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kep.components.evaluate.evaluate import baseline
from kep.components.ingest.ingest import ingest, outline
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings, Split
from kep.core.errors import UserError
from kep.data.records import Records, encode_table
from kep.data.schema import Manifest
from kep.data.shards import load_rows, store_rows

ROWS = 120


def table(**more: object) -> pa.Table:
    numbers = np.arange(ROWS)
    columns = {"a": numbers * 1.5, "b": numbers % 7, "w": (numbers % 5).astype(float), "label": numbers % 4 == 0}
    return pa.table(columns | more)


def source(folder: Path, of: pa.Table, **more: object) -> DataSettings:
    pq.write_table(of, folder / "rows.parquet")
    return DataSettings(source=str(folder / "rows.parquet"), **({"label": "label", "weight": "w"} | more))


def test_weights_are_one_in_the_mean_over_the_train_rows(tmp_path):
    manifest = ingest(source(tmp_path, table()), 0, tmp_path / "out")
    assert [column.name for column in manifest.columns] == ["a", "b"]
    assert "w" in manifest.ignored
    every = []
    for role in manifest.roles:
        rows = load_rows(tmp_path / "out", manifest, role)
        place = np.round(rows.numeric[:, 0] / 1.5).astype(int)
        np.testing.assert_allclose(rows.weights, (place % 5) / manifest.weighting.mean, rtol=1e-6)
        every.append(rows)
    assert every[0].weights.mean() == pytest.approx(1)
    shares = np.bincount(every[0].labels, every[0].weights) / every[0].weights.sum()
    assert manifest.weighting.shares == pytest.approx(shares.tolist())
    np.testing.assert_allclose(baseline(manifest, 2), np.tile(shares, (2, 1)), rtol=1e-6)
    assert Manifest.load(tmp_path / "out") == manifest


def test_balanced_classes_count_the_same(tmp_path):
    settings = source(tmp_path, table().drop(["w"]), weight="balanced")
    manifest = ingest(settings, 0, tmp_path / "out")
    rows = load_rows(tmp_path / "out", manifest, "train")
    sums = np.bincount(rows.labels, rows.weights)
    assert sums == pytest.approx(len(rows) / 2)
    np.testing.assert_allclose(baseline(manifest, 1), [[0.5, 0.5]])


def test_a_regression_is_held_against_the_weighted_mean(tmp_path):
    settings = source(tmp_path, table(label=np.arange(ROWS) * 0.5 + 0.25))
    manifest = ingest(settings, 0, tmp_path / "out")
    rows = load_rows(tmp_path / "out", manifest, "train")
    expected = np.average(rows.labels, weights=rows.weights)
    assert baseline(manifest, 3) == pytest.approx(np.full(3, expected))
    assert manifest.label.mean != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weight", ["w", "balanced"])
def test_rows_on_disk_count_as_those_in_memory(tmp_path, weight):
    settings = source(tmp_path, table(), weight=weight, exclude=["w"] if weight != "w" else [])
    manifest = ingest(settings, 0, tmp_path / "o")
    held, stored = (read(tmp_path / "o", manifest, "train") for read in (load_rows, store_rows))
    np.testing.assert_array_equal(held.weights, stored.weights)
    some = np.array([5, 1, 7])
    np.testing.assert_array_equal(held.take(some).weights, stored.take(some).weights)
    both = type(stored).concat([stored, stored])
    np.testing.assert_array_equal(both.weights, np.tile(held.weights, 2))


def test_rows_in_groups_keep_their_weights(tmp_path):
    settings = source(tmp_path, table(), split=Split(by="group", column="b"))
    manifest = ingest(settings, 0, tmp_path / "out")
    rows = load_rows(tmp_path / "out", manifest, "train")
    place = np.round(rows.numeric[:, 0] / 1.5).astype(int)
    np.testing.assert_allclose(rows.weights, (place % 5) / manifest.weighting.mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        ({"w": pa.array([None] + [1.0] * (ROWS - 1))}, {}, 'column "w" is empty in 1 of 120 rows'),
        ({"w": pa.array([-1.0] + [1.0] * (ROWS - 1))}, {}, 'column "w" goes from -1 to 1'),
        ({"w": pa.array([0.0] * ROWS)}, {}, 'column "w" goes from 0 to 0'),
        ({"w": pa.array(["x"] + ["1"] * (ROWS - 1))}, {}, 'column "w" holds "x" in row 1'),
        ({"w": pa.array([np.inf] + [1.0] * (ROWS - 1))}, {}, 'column "w" is inf in row 1'),
        ({}, {"weight": "v"}, 'column "v" not found'),
        ({"label": np.arange(ROWS) * 0.5}, {"weight": "balanced", "exclude": ["w"]}, "balanced is for classes"),
        ({"balanced": np.ones(ROWS)}, {"weight": "balanced"}, "could be the column of this name"),
        (
            {"w": pa.array([1.0] * 40 + [0.0] * 80), "t": np.arange(ROWS)},
            {"split": Split(by="time", column="t")},
            'column "w" is 0 in all validation rows',
        ),
    ],
)
def test_what_is_no_weight_is_refused(tmp_path, change, settings, words):
    with pytest.raises(UserError) as refused:
        ingest(source(tmp_path, table(**change), **settings), 0, tmp_path / "out")
    assert str(refused.value).startswith("data.weight: ")
    assert words in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("other", [{"label": "w"}, {"id": "w"}, {"features": ["a", "w"]}])
def test_the_column_says_no_more_than_how_much_a_row_counts(other):
    with pytest.raises(ValueError, match='"weight" is "w", which is'):
        DataSettings(**({"source": "x.csv", "label": "label", "weight": "w"} | other))


def test_new_rows_may_have_the_column(tmp_path):
    manifest = ingest(source(tmp_path, table()), 0, tmp_path / "out")
    assert encode_table(manifest, table()).weights is None
    assert len(encode_table(manifest, table().drop(["w", "label"]))) == ROWS


def test_records_keep_the_weights_that_they_were_written_with(tmp_path):
    ingest(source(tmp_path, table()), 0, tmp_path / "out")
    folder = str(tmp_path / "out")
    manifest = ingest(DataSettings(source=folder, weight="w"), 0, tmp_path / "again")
    assert load_rows(tmp_path / "again", manifest, "train").weights.mean() == pytest.approx(1)
    assert Records(tmp_path / "again", "tune").load("train").weights is not None
    for weight in ("balanced", "v"):
        with pytest.raises(UserError, match="were written with w"):
            inspect(DataSettings(source=folder, weight=weight), 0)


def test_the_outline_knows_that_rows_count(tmp_path):
    assert outline(source(tmp_path, table()), 0).weighting is not None
