"""Whole ingests: what lands in the records, whatever the format, the order of rows and the workers."""

import gzip
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kep.components.ingest import categories, statistics
from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings, Files, Split
from kep.core.errors import RunError
from kep.data import histograms
from kep.data.columns import mix
from kep.data.records import Records, Rows, encode_table
from kep.data.schema import Manifest
from kep.data.sources.fingerprint import fingerprint
from tests.helpers.paths import DATA, ROOT

CHURN = DataSettings(source=str(DATA / "churn.csv"), label="churned")


def load(folder: Path) -> dict[str, Rows]:
    """All roles, as the steps that may see them see them."""
    tune, evaluate = Records(folder, "tune"), Records(folder, "evaluate")
    return {"train": tune.load("train"), "validation": tune.load("validation"), "test": evaluate.load("test")}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shards(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if name != "manifest.json"}


def test_stratified_proportions(tmp_path: Path):
    manifest = ingest(CHURN, 1, tmp_path / "out")
    assert manifest.label.classes == ["no", "yes"]
    assert {role: info.class_counts for role, info in manifest.roles.items()} == {
        "train": [302, 58],
        "validation": [101, 19],
        "test": [101, 19],
    }
    rows = load(tmp_path / "out")
    assert {role: np.bincount(part.labels).tolist() for role, part in rows.items()} == {
        role: info.class_counts for role, info in manifest.roles.items()
    }


def test_same_bytes_for_any_workers_and_order(tmp_path: Path):
    """Several shards, several processes, rows shuffled: the same files."""
    header, *lines = (DATA / "churn.csv").read_text().splitlines()
    random.Random(0).shuffle(lines)
    (tmp_path / "churn.csv").write_text("\n".join([header, *lines]) + "\n")
    settings = CHURN.model_copy(update={"shard_mb": 0.02, "workers": 1})
    ingest(settings, 1, tmp_path / "one")
    ingest(settings.model_copy(update={"workers": 3}), 1, tmp_path / "three")
    shuffled = settings.model_copy(update={"workers": 2, "source": str(tmp_path / "churn.csv")})
    ingest(shuffled, 1, tmp_path / "shuffled")
    assert content(tmp_path / "one") == content(tmp_path / "three")
    assert shards(tmp_path / "one") == shards(tmp_path / "shuffled")
    assert Manifest.load(tmp_path / "one").fingerprint == Manifest.load(tmp_path / "shuffled").fingerprint
    assert len(Manifest.load(tmp_path / "one").roles["train"].shards) > 2


@pytest.mark.slow
def test_many_batches_in_processes(tmp_path: Path):
    """A file of several blocks, read by one process and by three, in two orders of rows."""
    rng = np.random.default_rng(0)
    count = 90_000
    table = pa.table(
        {"a": rng.normal(size=count), "b": rng.choice(["red", "green", None], count).astype(object)}
        | {f"x{index}": rng.normal(size=count).round(9) for index in range(5)}
        | {"y": rng.choice(["no", "yes"], count)}
    )
    pyarrow.csv.write_csv(table, tmp_path / "a.csv")
    pyarrow.csv.write_csv(table.take(rng.permutation(count)), tmp_path / "b.csv")
    assert (tmp_path / "a.csv").stat().st_size > 1.5 * (1 << 22)
    results = []
    for name, workers in (("a", 1), ("b", 3)):
        settings = DataSettings(source=f"{name}.csv", label="y", workers=workers, shard_mb=2)
        ingest(settings, 5, tmp_path / name, tmp_path)
        results.append((shards(tmp_path / name), Manifest.load(tmp_path / name).columns))
    assert results[0] == results[1]


def test_seed_decides_roles(tmp_path: Path):
    first = ingest(CHURN, 1, tmp_path / "one")
    again = ingest(CHURN, 1, tmp_path / "again")
    other = ingest(CHURN, 2, tmp_path / "two")
    assert first == again
    assert first.fingerprint != other.fingerprint
    ids = [set(load(tmp_path / name)["test"].ids.tolist()) for name in ("one", "two")]
    assert len(ids[0] & ids[1]) < 60


def test_statistics_are_of_train_rows(tmp_path: Path):
    manifest = ingest(CHURN, 1, tmp_path / "out")
    train = load(tmp_path / "out")["train"]
    for place, column in enumerate(manifest.numeric):
        values = train.numeric[:, place].astype(np.float64)
        assert column.missing == np.isnan(values).sum()
        assert column.mean == pytest.approx(np.nanmean(values), rel=1e-12)
        assert column.std == pytest.approx(np.nanstd(values), rel=1e-12)
    names = [column.name for column in manifest.numeric]
    assert manifest.numeric[names.index("monthly_charge")].missing > 0
    for place, column in enumerate(manifest.categorical):
        assert column.missing == (train.categorical[:, place] == 0).sum()


def test_regression_label_statistics(tmp_path: Path):
    manifest = ingest(DataSettings(source=str(DATA / "houses.csv"), label="price"), 1, tmp_path / "out")
    rows = load(tmp_path / "out")
    assert manifest.label.task == "regression"
    assert rows["train"].labels.dtype == np.float32
    assert manifest.label.mean == pytest.approx(rows["train"].labels.astype(float).mean(), rel=1e-12)
    assert manifest.label.std == pytest.approx(rows["train"].labels.astype(float).std(), rel=1e-12)
    assert [len(part) for part in rows.values()] == [240, 80, 80]


def test_distributions_are_of_train_rows(tmp_path: Path):
    manifest = ingest(CHURN, 1, tmp_path / "out")
    train = load(tmp_path / "out")["train"]
    for place, column in enumerate(manifest.numeric):
        known = train.numeric[:, place][~np.isnan(train.numeric[:, place])]
        limits = np.array([-np.inf, *column.edges, np.inf])
        inside = (known > limits[:-1, None]) & (known <= limits[1:, None])
        assert column.counts == inside.sum(axis=1).tolist()
        assert sum(column.counts) == len(train) - column.missing
    charge = next(column for column in manifest.numeric if column.name == "monthly_charge")
    assert len(charge.counts) == 10
    assert max(charge.counts) - min(charge.counts) <= 2
    for place, column in enumerate(manifest.categorical):
        codes = train.categorical[:, place]
        assert column.counts == [(codes == code).sum() for code in range(len(column.vocabulary) + 2)]
    houses = ingest(DataSettings(source=str(DATA / "houses.csv"), label="price"), 1, tmp_path / "houses")
    assert houses.label.counts == [24] * 10
    shapes = ingest(DataSettings(source=str(DATA / "shapes")), 1, tmp_path / "shapes")
    assert sum(shapes.image.counts) == shapes.roles["train"].rows


def test_a_frequent_value_has_a_bin_of_its_own():
    values = np.array([0] * 80 + list(range(1, 21)) + [np.nan] * 5, np.float32)
    edges = histograms.quantile_edges(values)
    assert histograms.binned(values, edges).tolist() == [0, 80, 10, 10]
    constant = histograms.quantile_edges(np.ones(9, np.float32))
    assert histograms.binned(np.array([0, 1, 1, 2], np.float32), constant).tolist() == [1, 2, 1]
    assert histograms.binned(values, histograms.quantile_edges(np.full(3, np.nan, np.float32))).tolist() == [100]


def test_edges_are_of_the_first_values_and_counts_of_all(monkeypatch):
    values = np.random.default_rng(0).normal(size=(3000, 2)).astype(np.float32)
    monkeypatch.setattr(statistics, "KEPT", 2000)
    histogram = statistics.Histogram()
    for part in np.split(values, 6):
        histogram.add(part)
    histogram.finish()
    for place in range(2):
        own = histogram.of(place)
        assert own["edges"] == histograms.quantile_edges(values[:1000, place]).tolist()
        assert own["counts"] == histograms.binned(values[:, place], np.array(own["edges"])).tolist()


def test_category_unseen_in_train_is_other(tmp_path: Path):
    parts = ["train"] * 20 + ["validation"] * 10 + ["test"] * 10
    lines = ["a,b,part,y"]
    for index, part in enumerate(parts):
        word = "" if index % 7 == 0 else "new" if part != "train" and index % 2 else "uvw"[index % 3]
        lines.append(f"{index},{word},{part},{'no' if index % 3 else 'yes'}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = DataSettings(source="rows.csv", label="y", split=Split(by="column", column="part"))
    manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert manifest.categorical[0].vocabulary == ["u", "v", "w"]
    rows = load(tmp_path / "out")
    for name, part in rows.items():
        for index, code in zip(part.numeric[:, 0].astype(int), part.categorical[:, 0], strict=True):
            word = lines[index + 1].split(",")[1]
            assert code == {"": 0, "new": 1, "u": 2, "v": 3, "w": 4}[word], (name, index)
    assert (rows["validation"].categorical == 1).any()


def test_max_categories_keeps_the_most_frequent(tmp_path: Path):
    lines = ["b,c,y"] + [f"{'cccbba'[i % 6]},{i},{i % 2}" for i in range(600)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    manifest = ingest(DataSettings(source="rows.csv", label="y", max_categories=2), 1, tmp_path / "out", tmp_path)
    assert manifest.categorical[0].vocabulary == ["b", "c"]


def test_more_categories_than_are_held_are_counted_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Exactly, whatever the texts hold; equally frequent ones are told apart by their text."""
    rng = np.random.default_rng(0)
    words = np.array([f"{mark}{number}" for number in range(300) for mark in ("ü", "z\n", '"', "a,")], object)
    table = pa.table(
        {
            "a": rng.normal(size=5000),
            "b": words[np.minimum(rng.geometric(0.01, 5000), 1200) - 1],
            "c": words[rng.integers(0, 1200, 5000)],
            "y": rng.integers(0, 2, 5000),
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=300)
    settings = DataSettings(source="rows.parquet", label="y", workers=1)
    ingest(settings, 1, tmp_path / "memory", tmp_path)
    monkeypatch.setattr(categories, "HELD", 250)
    ingest(settings, 1, tmp_path / "files", tmp_path)
    assert content(tmp_path / "files") == content(tmp_path / "memory")
    assert [len(column.vocabulary) for column in Manifest.load(tmp_path / "files").categorical] == [100, 100]


def test_large_vocabulary_still_has_rows_of_one_length(tmp_path: Path):
    """Codes beyond 127 take two bytes, and the small ones are padded."""
    lines = ["a,b,y"] + [f"{i},k{i % 300},{i // 300 % 2}" for i in range(3000)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = DataSettings(source="rows.csv", label="y", max_categories=1000)
    manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert manifest.record.slots["b"].bytes == 2
    vocabulary = manifest.categorical[0].vocabulary
    for part in load(tmp_path / "out").values():
        for index, code in zip(part.numeric[:, 0].astype(int), part.categorical[:, 0], strict=True):
            assert vocabulary[code - 2] == f"k{index % 300}"


def planted(folder: Path) -> None:
    """90 rows with repeats of features, some with another label, over groups, days and parts."""
    lines = ["a,b,team,day,part,y"]
    for index in range(90):
        copy = index - 31 if index % 5 == 0 and index >= 35 else index
        label = "no" if index // 7 % 2 else "yes"
        part = ["train", "validation", "test"][index % 3]
        number = f"{copy}.0" if index % 2 else copy
        lines.append(f"{number},{'uv'[copy % 2]},{index % 9},2024-03-{index // 3 + 1:02d},{part},{label}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    header, *rows = lines
    for place, name in enumerate(("train", "validation", "test")):
        (folder / f"{name}.csv").write_text("\n".join([header, *rows[place::3]]) + "\n")


@pytest.mark.parametrize("by", ["random", "group", "time", "column", "files"])
def test_equal_features_never_in_two_roles(by: str, tmp_path: Path):
    planted(tmp_path)
    column = {"group": "team", "time": "day", "column": "part"}.get(by)
    split = Split(by=by, column=column)
    common = {"label": "y", "features": ["a", "b"], "split": split}
    if by == "files":
        files = Files(train="train.csv", validation="validation.csv", test="test.csv")
        settings = DataSettings(files=files, **common)
    else:
        settings = DataSettings(source="rows.csv", **common)
    manifest = ingest(settings, 3, tmp_path / "out", tmp_path)
    rows = load(tmp_path / "out")
    features = {
        name: {(a, b) for a, b in zip(part.numeric[:, 0], part.categorical[:, 0], strict=True)}
        for name, part in rows.items()
    }
    ids = {name: set(part.alike.tolist()) for name, part in rows.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not features[one] & features[other]
        assert not ids[one] & ids[other]
    assert manifest.duplicates == 22
    total = sum(len(part) for part in rows.values())
    assert total + sum(manifest.dropped.values()) == 90
    assert bool(manifest.dropped) == (by != "random")
    assert len(set().union(*features.values())) == len(set().union(*ids.values())) == 79


def test_group_split(tmp_path: Path):
    planted(tmp_path)
    settings = DataSettings(
        source="rows.csv",
        label="y",
        features=["a", "b", "team"],
        types={"team": "categorical"},
        split=Split(by="group", column="team"),
    )
    manifest = ingest(settings, 3, tmp_path / "out", tmp_path)
    rows = load(tmp_path / "out")
    groups = {
        name: set(
            encode_groups(part, manifest, tmp_path),
        )
        for name, part in rows.items()
    }
    assert [len(found) for found in groups.values()] == [5, 2, 2]
    assert len(set().union(*groups.values())) == 9


def encode_groups(part: Rows, manifest: Manifest, folder: Path) -> list[str]:
    """The team of each row, looked up by id: codes of unseen teams are all 1."""
    table = pyarrow.csv.read_csv(folder / "rows.csv")
    every = encode_table(manifest, table.select(["a", "b", "team"]))
    by_id = dict(zip(every.alike.tolist(), table["team"].to_pylist(), strict=True))
    return [by_id[value] for value in part.alike.tolist()]


def test_time_split(tmp_path: Path):
    settings = DataSettings(source=str(DATA / "visits.csv"), label="outcome", split=Split(by="time", column="day"))
    manifest = ingest(settings, 1, tmp_path / "out")
    table = pyarrow.csv.read_csv(DATA / "visits.csv").drop_columns("outcome")
    days: dict[int, list] = {}
    for value, day in zip(encode_table(manifest, table).alike.tolist(), table["day"].to_pylist(), strict=True):
        days.setdefault(value, []).append(day)
    rows = load(tmp_path / "out")
    span = {name: [max(days[value]) for value in part.alike.tolist()] for name, part in rows.items()}
    assert max(span["train"]) < min(span["validation"]) <= max(span["validation"]) < min(span["test"])
    assert [len(rows["validation"]), len(rows["test"])] == [80, 80]
    assert "day" in manifest.ignored


def test_missing_values_and_left_out_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    lines = ["id,a,same,empty,when,y"]
    lines += [f"key{i},{'NA' if i % 4 == 0 else i},7,,2024-01-{i % 28 + 1:02d},{i % 2}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = DataSettings(source="rows.csv", label="y", exclude=["when"])
    with caplog.at_level("INFO", "kep.ingest"):
        manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert [column.name for column in manifest.columns] == ["a"]
    assert manifest.ignored == ["id", "same", "empty", "when"]
    for name in ("id", "same", "empty"):
        assert f'left out column "{name}"' in caplog.text
    rows = Rows.concat(list(load(tmp_path / "out").values()))
    assert np.isnan(rows.numeric).sum() == 15


@pytest.mark.parametrize(("rows", "few"), [(140, "28 validation and 28 test"), (150, None)])
def test_few_rows_to_score_on_are_warned_of(
    rows: int, few: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "rows.csv").write_text("\n".join(["a,y"] + [f"{i},{i % 2}" for i in range(rows)]) + "\n")
    inspect(DataSettings(source="rows.csv", label="y"), 1, tmp_path)
    warned = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ([f"only {few} rows: scores on fewer than 30 rows are mostly noise"] if few else [])


TIMES = {
    "day": "2026-{month:02d}-{day:02d}",
    "time": "2026-{month:02d}-{day:02d}T12:00:00",
    "zoned": "2026-{month:02d}-{day:02d} 12:00:00.5+01:00",
    "utc": "2026-{month:02d}-{day:02d}T12:00Z",
}


@pytest.mark.parametrize("form", TIMES)
def test_dates_are_numbers_whatever_the_format(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Also where they are texts that repeat, which would do as categories; they still say what comes later."""
    when = [TIMES[form].format(month=i // 28 % 3 + 1, day=i % 28 + 1) for i in range(168)]
    table = pa.table({"a": range(168), "when": when, "y": [i // 7 % 2 for i in range(168)]})
    pyarrow.csv.write_csv(table, tmp_path / "rows.csv")
    kind = pa.timestamp("us", "UTC" if form in ("zoned", "utc") else None)
    pq.write_table(table.set_column(1, "when", table["when"].cast(kind)), tmp_path / "rows.parquet")
    found = {}
    for ending in ("csv", "parquet"):
        settings = DataSettings(source=f"rows.{ending}", label="y")
        with caplog.at_level("INFO", "kep.ingest"):
            manifest = ingest(settings, 1, tmp_path / ending, tmp_path)
        assert [column.name for column in manifest.inputs] == ["a", "when"]
        found[ending] = Rows.concat(list(load(tmp_path / ending).values())).numeric
        assert 'column "when" holds dates (2024-01-31): its features are days, year' in caplog.text
        later = settings.model_copy(update={"split": Split(by="time", column="when", validation=0.25, test=0.25)})
        rows = {role: info.rows for role, info in ingest(later, 1, tmp_path / "later", tmp_path).roles.items()}
        assert rows == {"train": 84, "validation": 42, "test": 42}
    ordered = [rows[rows[:, 0].argsort()] for rows in found.values()]
    np.testing.assert_array_equal(*ordered)


def test_dates_may_be_categories_and_other_texts_are_no_dates(tmp_path: Path):
    lines = ["day,code,y"] + [f"2026-01-{i % 9 + 1:02d},20{i % 9}-13-01,{i // 9 % 2}" for i in range(90)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = DataSettings(source="rows.csv", label="y", types={"day": "categorical"})
    seen = inspect(settings, 1, tmp_path)
    assert [(column.name, column.kind) for column in seen.columns] == [("day", "categorical"), ("code", "categorical")]


@pytest.mark.parametrize("delimiter", [";", ","])
def test_decimal_commas(delimiter: str, tmp_path: Path):
    """A table with commas for points gives the rows that one with points gives."""
    rows = [(f"{i - 30}.{i % 4}", f"{i * 997}", f"{i}e-2", "u,v" if i % 3 else "1.2.3", f"{i}.5") for i in range(60)]
    words = [dict(zip("abcwy", row, strict=True)) for row in rows]
    points = pa.Table.from_pylist(words)
    commas = [row | {name: row[name].replace(".", ",") for name in "acy"} for row in words]
    for row in commas:
        row["b"] = f"{int(row['b']):,}".replace(",", ".")
    pyarrow.csv.write_csv(points, tmp_path / "points.csv")
    options = pyarrow.csv.WriteOptions(delimiter=delimiter)
    pyarrow.csv.write_csv(pa.Table.from_pylist(commas), tmp_path / "commas.csv", options)
    ingest(DataSettings(source="points.csv", label="y"), 1, tmp_path / "points", tmp_path)
    settings = DataSettings(source="commas.csv", label="y", delimiter=delimiter, decimal=",")
    manifest = ingest(settings, 1, tmp_path / "commas", tmp_path)
    assert manifest.categorical[0].vocabulary == ["1.2.3", "u,v"]
    assert shards(tmp_path / "commas") == shards(tmp_path / "points")


def test_declared_markers_of_missing_values(tmp_path: Path):
    lines = ["a,b,y"] + [f"{' ?' if i % 4 == 0 else i},{'-' if i % 5 == 0 else 'uv'[i % 2]},{i % 2}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    settings = DataSettings(source="rows.csv", label="y", missing=["?", "-"])
    assert [(one.kind, one.missing) for one in inspect(settings, 1, tmp_path).columns] == [
        ("numeric", 15),
        ("categorical", 12),
    ]
    rows = Rows.concat(list(load(ingested(settings, tmp_path)).values()))
    assert np.isnan(rows.numeric).sum() == 15
    assert (rows.categorical == 0).sum() == 12


def ingested(settings: DataSettings, base: Path) -> Path:
    """The folder of the records."""
    ingest(settings, 1, base / "out", base)
    return base / "out"


def test_formats_agree(tmp_path: Path):
    """CSV, a Parquet folder and a glob of CSVs with the same rows make the same shards."""
    table = pyarrow.csv.read_csv(DATA / "churn.csv")
    (tmp_path / "parts").mkdir()
    for place in range(3):
        part = table.slice(place * 200, 200)
        pq.write_table(part, tmp_path / "parts" / f"{place}.parquet", row_group_size=70)
        pyarrow.csv.write_csv(part, tmp_path / f"part{place}.csv")
    ingest(CHURN, 1, tmp_path / "csv")
    for name, source in (("parquet", "parts"), ("glob", "part*.csv")):
        settings = DataSettings(source=source, label="churned")
        assert inspect(settings, 1, tmp_path).rows == 600
        ingest(settings, 1, tmp_path / name, tmp_path)
        assert shards(tmp_path / name) == shards(tmp_path / "csv")


def test_compressed_csv_and_quoted_values(tmp_path: Path):
    """A value may hold the delimiter, a quote and a new line."""
    words = ["u,1", 'say ""v""', "two\nlines"]
    lines = ["a,b,y"] + [f'{i},"{words[i % 3]}",{i % 2}' for i in range(60)]
    with gzip.open(tmp_path / "rows.csv.gz", "wt", newline="") as file:
        file.write("\n".join(lines) + "\n")
    manifest = ingest(DataSettings(source="rows.csv.gz", label="y"), 1, tmp_path / "out", tmp_path)
    assert manifest.categorical[0].vocabulary == ['say "v"', "two\nlines", "u,1"]
    assert sum(info.rows for info in manifest.roles.values()) == 60


def test_npz(tmp_path: Path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 3)).astype(np.float32), rng.integers(0, 2, 90)
    np.savez(tmp_path / "table.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "images.npz", X=rng.integers(0, 255, (90, 5, 4), np.uint8), labels=y)
    ingest(DataSettings(source="table.npz"), 1, tmp_path / "table", tmp_path)
    rows = Rows.concat(list(load(tmp_path / "table").values()))
    order = np.lexsort(x.T)
    mine = np.lexsort(rows.numeric.T)
    np.testing.assert_array_equal(rows.numeric[mine], x[order])
    np.testing.assert_array_equal(rows.labels[mine], y[order])
    manifest = ingest(DataSettings(source="images.npz"), 1, tmp_path / "images", tmp_path)
    assert manifest.image.shape == (5, 4, 1)
    train = load(tmp_path / "images")["train"].image
    assert manifest.image.mean == pytest.approx([train.mean()])
    assert manifest.image.std == pytest.approx([train.std()])


def test_images(tmp_path: Path):
    settings = DataSettings(source=str(DATA / "shapes"))
    manifest = ingest(settings, 1, tmp_path / "out")
    assert manifest.label.classes == ["circle", "square"]
    assert manifest.image.shape == (12, 12, 1)
    rows = Rows.concat(list(load(tmp_path / "out").values()))
    assert len(rows) == 40
    path = next((DATA / "shapes" / "square").glob("*.png"))
    pixels = np.asarray(Image.open(path).convert("L"))[..., None]
    assert rows.labels[(rows.image == pixels).all(axis=(1, 2, 3))].tolist() == [1]
    shutil.copytree(DATA / "shapes", tmp_path / "colour")
    rgba = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "colour" / "circle" / "big.PNG")
    colour = DataSettings(source="colour", image_size=(8, 6))
    assert ingest(colour, 1, tmp_path / "rgb", tmp_path).image.shape == (8, 6, 3)


@pytest.mark.parametrize(
    ("name", "task", "columns"),
    [
        ("digits", "multiclass", 1),
        ("breast_cancer", "binary", 30),
        ("diabetes", "regression", 10),
        ("iris", "multiclass", 4),
        ("wine", "multiclass", 13),
    ],
)
def test_sklearn(name: str, task: str, columns: int, tmp_path: Path):
    manifest = ingest(DataSettings(source=f"sklearn:{name}"), 1, tmp_path / "out")
    assert (manifest.label.task, len(manifest.columns)) == (task, columns)
    if name == "breast_cancer":
        assert manifest.label.classes == ["benign", "malignant"]
    load(tmp_path / "out")


def test_records_as_a_source(tmp_path: Path):
    first = ingest(CHURN, 1, tmp_path / "one")
    settings = DataSettings(source="one")
    assert ingest(settings, 9, tmp_path / "two", tmp_path) == first
    assert content(tmp_path / "one") == content(tmp_path / "two")
    assert inspect(settings, 9, tmp_path).classes == {"no": 504, "yes": 96}
    shard = tmp_path / "one" / first.roles["train"].shards[0].file
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(RunError, match=f"{shard.name} is damaged"):
        ingest(settings, 9, tmp_path / "three", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_inspect_says_what_ingest_does(tmp_path: Path):
    found = inspect(CHURN, 1)
    manifest = ingest(CHURN, 1, tmp_path / "out")
    assert found.roles == {role: info.rows for role, info in manifest.roles.items()}
    assert [(one.name, one.kind) for one in found.columns] == [(one.name, one.kind) for one in manifest.columns]
    assert {one.name: one.missing for one in found.columns if one.missing} == {
        "monthly_charge": 51,
        "region": 39,
    }
    assert (found.rows, found.task, found.classes) == (600, "binary", {"no": 504, "yes": 96})


def test_fingerprint_follows_content(tmp_path: Path):
    shutil.copytree(DATA / "shapes", tmp_path / "a")
    shutil.copytree(DATA / "shapes", tmp_path / "b")
    a, b = (fingerprint(DataSettings(source=name), tmp_path) for name in "ab")
    assert a == b
    os.rename(tmp_path / "b" / "circle", tmp_path / "b" / "disc")
    assert fingerprint(DataSettings(source="b"), tmp_path) != a
    assert fingerprint(DataSettings(source="sklearn:iris")) != fingerprint(DataSettings(source="sklearn:wine"))


def test_replaces_older_records(tmp_path: Path):
    ingest(CHURN, 1, tmp_path / "out")
    (tmp_path / "out" / "stale").touch()
    ingest(CHURN, 2, tmp_path / "out")
    assert not (tmp_path / "out" / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_tools_read_the_shards(tmp_path: Path):
    """TensorFlow's own parser gives the rows that ours gives."""
    tf = pytest.importorskip("tensorflow")
    header, *lines = (DATA / "churn.csv").read_text().splitlines()
    lines = [f"{line},k{index % 200}" for index, line in enumerate(lines)]
    (tmp_path / "rows.csv").write_text("\n".join([f"{header},many", *lines]) + "\n")
    settings = DataSettings(source="rows.csv", label="churned", max_categories=300)
    manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert manifest.record.slots["many"].bytes == 2
    files = [str(tmp_path / "out" / shard.file) for shard in manifest.roles["train"].shards]
    spec = {column.name: tf.io.FixedLenFeature([], tf.float32) for column in manifest.numeric}
    spec |= {column.name: tf.io.FixedLenFeature([], tf.int64) for column in manifest.categorical}
    spec |= {"churned": tf.io.FixedLenFeature([], tf.int64), "__id__": tf.io.FixedLenFeature([], tf.string)}
    batch = next(iter(tf.data.TFRecordDataset(files).batch(1000)))
    parsed = {name: value.numpy() for name, value in tf.io.parse_example(batch, spec).items()}
    train = load(tmp_path / "out")["train"]
    for place, column in enumerate(manifest.numeric):
        np.testing.assert_array_equal(parsed[column.name], train.numeric[:, place])
    for place, column in enumerate(manifest.categorical):
        np.testing.assert_array_equal(parsed[column.name], train.categorical[:, place])
    np.testing.assert_array_equal(parsed["churned"], train.labels)
    np.testing.assert_array_equal([int.from_bytes(value, "little") for value in parsed["__id__"]], train.ids)


LIMITED = """
import resource, sys
from pathlib import Path
from kep.data.sources import tables
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
# Arrow reads 32 blocks ahead, which does not depend on the source; small ones leave the limit to what does.
tables.BLOCK = 1 << 18
small, large, out, growth = sys.argv[1:]
settings = DataSettings(source=small, label="y", shard_mb=4, workers=1)
ingest(settings, 1, Path(out + "-small"))
used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + int(growth),) * 2)
ingest(settings.model_copy(update={"source": large}), 1, Path(out))
"""


@pytest.mark.slow
def test_source_larger_than_memory(tmp_path: Path):
    """A narrow CSV, of rows that all differ, in a process that may allocate a tenth of it after reading a small one."""
    rng = np.random.default_rng(0)

    def block(rows: int) -> pa.Table:
        numbers = {f"x{index}": rng.normal(scale=1e-5, size=rows) for index in range(3)}
        return pa.table(numbers | {"y": rng.integers(0, 2, rows)})

    pyarrow.csv.write_csv(block(200_000), tmp_path / "small.csv")
    rows = 0
    with pyarrow.csv.CSVWriter(tmp_path / "large.csv", block(0).schema) as writer:
        while (size := (tmp_path / "large.csv").stat().st_size) < 330_000_000:
            writer.write(block(250_000))
            rows += 250_000
    environment = os.environ | {
        # The limit is on address space: no pools that reserve it ahead, and freed blocks go back at once.
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-c", LIMITED),
            *(tmp_path / "small.csv", tmp_path / "large.csv", tmp_path / "out", str(size // 10)),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(info.rows for info in Manifest.load(tmp_path / "out").roles.values()) == rows


def test_mix_is_splitmix64():
    """The published first outputs of SplitMix64 with seed 1234567."""
    step = np.uint64(0x9E3779B97F4A7C15)
    seeds = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * step
    assert mix(seeds).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_rows_equal_but_for_their_time_have_one_order(tmp_path: Path):
    rows = [f"{number // 10},{number},{number // 10 % 2}" for number in range(200)]
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["x,at,y", *rows]) + "\n")
        split = Split(by="time", column="at")
        ingest(DataSettings(source=f"{name}.csv", label="y", split=split, workers=1), 1, tmp_path / name, tmp_path)
        random.Random(0).shuffle(rows)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")
