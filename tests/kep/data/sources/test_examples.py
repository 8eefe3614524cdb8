"""TFRecords that TensorFlow wrote become the same records as the table or the images that they hold."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings, Files, Split
from kep.core.errors import UserError
from kep.data.schema import Manifest
from tests.helpers.examples import example, write_examples
from tests.helpers.paths import DATA


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tfrecord"))}


@pytest.fixture(scope="module")
def churn() -> pa.Table:
    """As Examples can hold it: sorted names, 32-bit floats, integers for booleans; with missing values."""
    table = pyarrow.csv.read_csv(
        DATA / "churn.csv", convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    types = {pa.float64(): pa.float32(), pa.bool_(): pa.int64()}
    schema = pa.schema([pa.field(field.name, types.get(field.type, field.type)) for field in table.schema])
    table = table.cast(schema).select(sorted(table.column_names))
    assert sum(column.null_count for column in table.columns) > 10
    return table


@pytest.fixture(scope="module")
def from_parquet(churn, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    pq.write_table(churn, folder / "churn.parquet")
    ingest(DataSettings(source="churn.parquet", label="churned"), 1, folder / "out", folder)
    return folder / "out"


@pytest.mark.parametrize(
    ("files", "compression", "source"),
    [
        (["a.tfrecord"], "", "set/a.tfrecord"),
        (["a.tfrecord", "b.tfrecords"], "", "set"),
        (["a.tfrecord.gz"], "GZIP", "set/*.gz"),
        (["churn-train.tfrecord-00000-of-00002", "churn-train.tfrecord-00001-of-00002"], "GZIP", "set"),
    ],
)
def test_a_table_gives_the_records_of_its_parquet_file(churn, from_parquet, tmp_path, files, compression, source):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json").write_text(json.dumps({"made by": "another tool"}))
    rows = churn.to_pylist()
    for place, name in enumerate(files):
        write_examples(tmp_path / "set" / name, rows[place :: len(files)], compression)
    settings = DataSettings(source=source, label="churned", workers=2)
    manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert shards(tmp_path / "out") == shards(from_parquet)
    assert manifest.fingerprint == Manifest.load(from_parquet).fingerprint
    seen = inspect(settings, 1, tmp_path)
    assert seen.rows == len(rows)
    assert {column.name: column.missing for column in seen.columns if column.missing} == {
        name: churn[name].null_count for name in churn.column_names if churn[name].null_count
    }


def test_many_batches(tmp_path):
    """More rows than one batch holds, an empty list as a missing value, and a file without records."""
    rng = np.random.default_rng(0)
    rows = [
        {"a": float(a) if a > 0 else [], "b": int(b), "y": "no" if b else "yes"}
        for a, b in zip(rng.normal(size=60_000), rng.integers(0, 2, 60_000), strict=True)
    ]
    write_examples(tmp_path / "a.tfrecord", rows)
    write_examples(tmp_path / "b.tfrecord", [])
    seen = inspect(DataSettings(source=".", label="y", features=["a"]), 1, tmp_path)
    assert seen.rows == 60_000
    assert seen.columns[0].missing == sum(row["a"] == [] for row in rows)


def encoded(image: np.ndarray, kind: str = "png") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def test_images_give_the_records_of_their_folders(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for index in range(60):
        label = ("cats", "dogs")[index % 2]
        data = encoded(rng.integers(0, 255, (7, 6, 3), np.uint8), "jpeg" if index % 3 else "png")
        path = tmp_path / "folders" / label / f"{index}.{'jpg' if index % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        rows.append({"image": data, "label": label, "filename": path.name, "embedding": [0.5, 1.5]})
    write_examples(tmp_path / "set.tfrecord", rows)
    folders = ingest(DataSettings(source="folders"), 1, tmp_path / "one", tmp_path)
    records = ingest(DataSettings(source="set.tfrecord", workers=2), 1, tmp_path / "two", tmp_path)
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert folders.fingerprint == records.fingerprint
    assert [column.kind for column in records.columns] == ["image"]


def test_one_source_per_role(churn, tmp_path):
    rows = churn.to_pylist()
    for place, role in enumerate(("train", "validation", "test")):
        write_examples(tmp_path / f"{role}.tfrecord", rows[place::3])
    files = Files(**{role: f"{role}.tfrecord" for role in ("train", "validation", "test")})
    manifest = ingest(
        DataSettings(files=files, label="churned", split=Split(by="files")), 1, tmp_path / "out", tmp_path
    )
    assert sum(info.rows for info in manifest.roles.values()) + sum(manifest.dropped.values()) == len(rows)


def test_what_is_excluded_may_be_anything(tmp_path):
    rows = [{"a": i, "b": [1.0, 2.0], "c": b"\xff\xfe", "y": i % 2} for i in range(60)]
    write_examples(tmp_path / "rows.tfrecord", rows)
    settings = DataSettings(source="rows.tfrecord", label="y", exclude=["b", "c"])
    manifest = ingest(settings, 1, tmp_path / "out", tmp_path)
    assert [column.name for column in manifest.columns] == ["a"]
    assert manifest.ignored == ["b", "c"]


def rows(**changed: Callable[[int], object]) -> list[dict]:
    functions = {"a": lambda i: i, "b": lambda i: "uvw"[i % 3], "y": lambda i: i % 2} | changed
    return [{name: function(i) for name, function in functions.items()} for i in range(60)]


def bytes_of(folder: Path) -> bytearray:
    write_examples(folder / "rows.tfrecord", rows())
    return bytearray((folder / "rows.tfrecord").read_bytes())


def damaged(change: Callable[[bytearray], object]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        data = bytes_of(folder)
        (folder / "rows.tfrecord").write_bytes(change(data) or data)

    return make


def flip(place: int) -> Callable[[Path], None]:
    def change(data: bytearray) -> None:
        data[place] ^= 1

    return damaged(change)


def written(*given, compression: str = "") -> Callable[[Path], None]:
    return lambda folder: write_examples(folder / "rows.tfrecord", list(given), compression)


def sequence() -> bytes:
    import tensorflow as tf

    frames = tf.train.FeatureLists(feature_list={"f": tf.train.FeatureList()})
    features = tf.train.Features(feature=example({"a": 1, "y": 1}).features.feature)
    return tf.train.SequenceExample(context=features, feature_lists=frames).SerializeToString()


def half_gzip(folder: Path) -> None:
    write_examples(folder / "rows.tfrecord", rows(), "GZIP")
    data = (folder / "rows.tfrecord").read_bytes()
    (folder / "rows.tfrecord").write_bytes(data[: len(data) // 2])


def own_without_manifest(folder: Path) -> None:
    ingest(DataSettings(source="sklearn:iris"), 1, folder / "own")
    shutil.copy(next((folder / "own").glob("train*")), folder / "rows.tfrecord")
    shutil.rmtree(folder / "own")


PNG = encoded(np.arange(16, dtype=np.uint8).reshape(4, 4))
CASES = {
    "cut in a record": (
        damaged(lambda data: data[:-7]),
        {},
        "rows.tfrecord ends inside record 60; write the file again, or name another one",
    ),
    "cut in a header": (
        damaged(lambda data: data + b"\1\2\3"),
        {},
        "rows.tfrecord ends inside record 61; write the file again, or name another one",
    ),
    "flipped in a record": (
        flip(20),
        {},
        "record 1 of rows.tfrecord is damaged (its CRC32C); write the file again, or name another one",
    ),
    "flipped in a CRC32C": (
        flip(-1),
        {},
        "record 60 of rows.tfrecord is damaged (its CRC32C); write the file again, or name another one",
    ),
    "no TFRecord": (
        damaged(lambda _: b"a,b,y\n1,2,3\n" * 9),
        {},
        "rows.tfrecord is not a TFRecord file; give files that TFRecordWriter wrote",
    ),
    "half of a GZIP file": (
        half_gzip,
        {},
        "the GZIP data of rows.tfrecord are damaged after record ",
    ),
    "no Example": (
        written(*rows()[:2], b"\x0a\xff\xff"),
        {},
        "record 3 of rows.tfrecord is not a tf.train.Example; write the file again, or name another one",
    ),
    "a SequenceExample": (
        lambda folder: written(sequence())(folder),
        {},
        "record 1 of rows.tfrecord is not a tf.train.Example with features; write the file again, or name another one",
    ),
    "no records": (
        written(),
        {},
        '"rows.tfrecord" holds no records with features; check the path',
    ),
    "several values": (
        written(*rows(b=lambda i: [1.0] * (1 + i // 4))),
        {},
        'feature "b" has 2 values in record 5 of rows.tfrecord; a column has one value a row, or name it in '
        "data.exclude",
    ),
    "two types": (
        written(*rows(b=lambda i: 1.0 if i < 6 else "x")),
        {},
        'feature "b" holds bytes_list values in record 7 of rows.tfrecord, float_list before; give it one type, or '
        "name it in data.exclude",
    ),
    "bytes": (
        written(*rows(b=lambda _: b"\xff\xfe")),
        {},
        'feature "b" holds bytes in record 1 of rows.tfrecord that are neither UTF-8 nor an image; name it in '
        "data.exclude",
    ),
    "no such label": (
        written(*rows()),
        {"label": "yy"},
        'data.label: column "yy" not found in rows.tfrecord; did you mean "y"?',
    ),
    "no label": (
        written(*rows()),
        {"label": None},
        "data.label: no label is given; name the column to predict, one of a, b, y",
    ),
    "own records": (
        own_without_manifest,
        {},
        '"rows.tfrecord" holds records that ingest wrote, and their roles and columns are in manifest.json; give '
        "data.source: the folder with it, or the table that they were made from",
    ),
    "two images": (
        written(*rows(a=lambda _: PNG, b=lambda _: PNG)),
        {},
        '"a" and "b" of "rows.tfrecord" hold images; a row has one, name the others in data.exclude',
    ),
    "half of an image": (
        written(*rows(a=lambda i: PNG if i < 8 else PNG[:50])),
        {},
        "image in record 9 of rows.tfrecord cannot be read (OSError); replace or remove it",
    ),
    "no image in a row": (
        written(*rows(a=lambda i: PNG if i < 8 else None)),
        {},
        "image in record 9 of rows.tfrecord cannot be read (UnidentifiedImageError); replace or remove it",
    ),
    "an empty image": (
        written(*rows(a=lambda i: PNG if i < 8 else b"")),
        {},
        "image in record 9 of rows.tfrecord cannot be read (UnidentifiedImageError); replace or remove it",
    ),
    "images of two sizes": (
        written(*rows(a=lambda i: PNG if i else encoded(np.zeros((5, 4), np.uint8)))),
        {},
        "data.image_size: the images differ in size (record 1 of rows.tfrecord has 4x5 pixels, record 2 of "
        "rows.tfrecord 4x4); set data.image_size: [height, width]",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sentence(name, tmp_path):
    make, settings, sentence = CASES[name]
    (tmp_path / "base").mkdir()
    make(tmp_path / "base")
    settings = DataSettings(**{"source": "rows.tfrecord", "label": "y"} | settings)
    for look in (inspect, lambda settings, seed, base: ingest(settings, seed, tmp_path / "out", base)):
        with pytest.raises(UserError) as caught:
            look(settings, 1, tmp_path / "base")
        text = str(caught.value).removeprefix("data.source: ")
        assert text == sentence or (sentence.endswith(" ") and text.startswith(sentence))
    assert not (tmp_path / "out").exists()


def test_a_flipped_length_names_the_record(tmp_path):
    data = bytes_of(tmp_path)
    frame = 12 + int.from_bytes(data[:8], "little") + 4
    data[frame] ^= 1
    (tmp_path / "rows.tfrecord").write_bytes(data)
    with pytest.raises(UserError, match=r"record 2 of rows\.tfrecord is damaged \(its length's CRC32C\)"):
        inspect(DataSettings(source="rows.tfrecord", label="y"), 1, tmp_path)
