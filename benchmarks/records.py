"""Records against the disk and against other formats: how fast rows are written, and read back as shuffled batches.

One process, one machine, everything in one run, so the ratios mean something where the times don't. A table (28 float
columns and a label) and images (32 x 32 x 3 bytes and a label); each row is one tf.train.Example, the same for all that
write such. Files are written to a temporary folder and synced; batches of 128 are read in one global random order where
the format can do that. The files were just written, so they are read from the page cache.

    python -m benchmarks.records            # a tenth of the rows, about a minute
    python -m benchmarks.records --full     # the tables of docs/explanation/measured-records.md
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from kep.components.ingest.layout import frames_of, template
from kep.components.ingest.write import shard_counts, write_shard
from kep.data import shards
from kep.data.schema import Column, Label, Manifest, RoleInfo, SplitInfo
from kep.data.shards import Rows, StoredRows, load_rows, store_rows

try:
    import grain
    from array_record.python import array_record_module as array_record
except ImportError:
    array_record = None

BATCH = 128
SHARD_MB = 100
FULL = {"table": 1_000_000, "images": 50_000}
COLUMNS = {
    "table": [Column(name=f"x{index}", kind="numeric") for index in range(28)],
    "images": [Column(name="image", kind="image", shape=(32, 32, 3))],
}
LABEL = Label(name="label", task="binary", classes=[0, 1])


def rows_of(what: str, start: int, count: int) -> Rows:
    """Rows `start` to `start + count` of the data: measurements of 3 digits in every other column, smooth images."""
    rng = np.random.default_rng(start)
    numeric, image = np.empty((count, 0), np.float32), None
    if what == "table":
        numeric = rng.normal(size=(count, 28)).astype(np.float32)
        numeric[:, ::2] = numeric[:, ::2].round(2)
    else:
        coarse = rng.integers(0, 200, (count, 8, 8, 3)).repeat(4, axis=1).repeat(4, axis=2)
        image = (coarse + rng.integers(0, 8, coarse.shape)).astype(np.uint8)
    ids = np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Rows(numeric, np.empty((count, 0), np.int32), image, rng.integers(0, 2, count), ids)


def parts(what: str, rows: int) -> Iterator[Rows]:
    """The data in parts that take some megabytes."""
    step = 8000 if what == "table" else 400
    for start in range(0, rows, step):
        yield rows_of(what, start, min(step, rows - start))


def write(folder: Path, what: str, data: Iterator[Rows], rows: int) -> Manifest:
    """What ingest's last pass does with rows: shards of records, and a manifest with them in the role train."""
    blank, record = template(COLUMNS[what], LABEL, False, False)
    count, *_ = shard_counts([rows, 0, 0], len(blank), SHARD_MB)
    shards, total = [], 0

    def blocks(until: float) -> Iterator[np.ndarray]:
        nonlocal total
        while total < until and (part := next(data, None)) is not None:
            total += len(part)
            yield frames_of(part, COLUMNS[what], LABEL)

    for index in range(count):
        path = folder / f"train-{index:05d}.tfrecord"
        shards.append(write_shard(path, blocks(rows * (index + 1) / count), record)[0])
    empty = RoleInfo(rows=0, class_counts=[], shards=[], fingerprint="")
    return Manifest(
        columns=COLUMNS[what],
        label=LABEL,
        roles={"train": empty.model_copy(update={"rows": rows, "shards": shards}), "validation": empty, "test": empty},
        split=SplitInfo(rule="random", seed=0, validation=0.2, test=0.2),
        fingerprint="",
        source="",
        record=record,
    )


def examples(what: str, data: list[Rows], packed: bool = False) -> Iterator[bytes]:
    """Each row as every tutorial writes it: a feature for each column, or one of all numbers where `packed`."""
    import tensorflow as tf

    def of(value: list, kind: str) -> tf.train.Feature:
        if kind == "bytes":
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        if kind == "float":
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    for rows in data:
        for place in range(len(rows)):
            if what == "images":
                row = {"image": of([rows.image[place].tobytes()], "bytes")}
            elif packed:
                row = {"x": of(rows.numeric[place], "float")}
            else:
                row = {column.name: of([rows.numeric[place, at]], "float") for at, column in enumerate(COLUMNS[what])}
            row["label"] = of([rows.labels[place]], "int")
            row["__id__"] = of([rows.ids[place].tobytes()], "bytes")
            yield tf.train.Example(features=tf.train.Features(feature=row)).SerializeToString()


def synced(path: Path) -> int:
    """The bytes of a file that now is on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return path.stat().st_size


@dataclass
class Way:
    """A way to write or read `rows` rows; `work` may return the bytes that it wrote."""

    name: str
    rows: int
    work: Callable[[], int | None]
    best: float = np.inf
    bytes: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.best

    @property
    def size(self) -> int:
        """Bytes that a row took."""
        return self.bytes // self.rows


def race(ways: list[Way], rounds: int = 3) -> list[Way]:
    """Times all ways in turn, several times, so that what else the machine does hits all of them."""
    for _ in range(rounds):
        for way in ways:
            started = time.perf_counter()
            way.bytes = way.work() or 0
            way.best = min(way.best, time.perf_counter() - started)
    return ways


def arrays_of(rows: Rows) -> list[np.ndarray]:
    """What a row holds: features, label and id."""
    return [array for field in fields(rows) if (array := getattr(rows, field.name)) is not None and array.size]


def writers(what: str, data: list[Rows], folder: Path, slow: int) -> list[Way]:
    """All ways to write; the slow ones write `slow` rows."""
    import tensorflow as tf

    rows = sum(map(len, data))
    few = [data[0].take(slice(0, slow))]
    slow = len(few[0])
    path = folder / "other"

    def raw() -> int:
        with open(path, "wb") as file:
            for part in data:
                for array in arrays_of(part):
                    array.tofile(file)
        return synced(path)

    def naive(compression: str = "", packed: bool = False) -> int:
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for example in examples(what, few, packed):
                writer.write(example)
        return synced(path)

    def squeezed() -> int:
        with open(path, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as writer:
            for part in few:
                writer.write(frames_of(part, COLUMNS[what], LABEL))
        return synced(path)

    def records() -> int:
        return sum(shard.bytes for shard in write(folder, what, iter(data), rows).roles["train"].shards)

    ways = [
        Way("raw bytes of the arrays", rows, raw),
        Way("a `tf.train.Example` per row", slow, naive),
        Way("**records**", rows, records),
        Way("a `tf.train.Example` per row, GZIP", slow, lambda: naive("GZIP")),
        Way("records, GZIP", slow, squeezed),
    ]
    if what == "table":
        ways.append(Way("a `tf.train.Example` per row of one feature with 28 floats", slow, lambda: naive(packed=True)))
    if array_record:
        made = list(examples(what, few))

        def array_records() -> int:
            writer = array_record.ArrayRecordWriter(str(folder / "array_record"), "group_size:1")
            for example in made:
                writer.write(example)
            writer.close()
            return synced(folder / "array_record")

        ways.append(Way("ArrayRecord of Examples that are made already", slow, array_records))
    return race(ways)


def readers(what: str, manifest: Manifest, folder: Path, slow: int) -> list[Way]:
    """All ways to read."""
    import tensorflow as tf

    files = [str(folder / shard.file) for shard in manifest.roles["train"].shards]
    rows = manifest.roles["train"].rows
    spec = {"label": tf.io.FixedLenFeature([], tf.int64), "__id__": tf.io.FixedLenFeature([], tf.string)}
    spec |= {one.name: tf.io.FixedLenFeature([], tf.string if one.shape else tf.float32) for one in manifest.columns}
    order = np.random.default_rng(0).permutation(rows)

    def pixels(parsed: dict) -> dict:
        if "image" in parsed:
            parsed["image"] = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, 32, 32, 3])
        return parsed

    def raw() -> None:
        for file in files:
            np.fromfile(file, np.uint8)

    def drain(data: "tf.data.Dataset") -> None:
        for _ in data:
            pass

    def gather(source: Rows | StoredRows, count: int = rows) -> None:
        for start in range(0, count, BATCH):
            source.take(order[start : start + BATCH])

    one = tf.data.TFRecordDataset(files).take(slow)
    one = one.map(lambda example: pixels(tf.io.parse_single_example(example, spec))).batch(BATCH)
    many = tf.data.TFRecordDataset(files).batch(BATCH).map(lambda batch: pixels(tf.io.parse_example(batch, spec)))
    stored, loaded = store_rows(folder, manifest, "train"), load_rows(folder, manifest, "train")
    same_values(tf, files, spec, pixels, loaded, what)
    inputs = loaded.numeric if loaded.image is None else loaded.image
    memory = tf.data.Dataset.from_tensor_slices((inputs, loaded.labels)).shuffle(rows).batch(BATCH)
    ways = [
        Way("raw bytes of the files, in order", rows, raw),
        Way("`TFRecordDataset`, `parse_single_example`, `batch`, in order", min(slow, rows), lambda: drain(one)),
        Way("`TFRecordDataset`, `batch`, `parse_example`, in order", rows, lambda: drain(many)),
        Way("opening records on disk, verified", rows, lambda: void(store_rows(folder, manifest, "train"))),
        Way("**records on disk** (`StoredRows.take`), shuffled", rows, lambda: gather(stored)),
        Way("loading records into memory, verified", rows, lambda: void(load_rows(folder, manifest, "train"))),
        Way("**records in memory** (`Rows.take`), shuffled", rows, lambda: gather(loaded)),
        Way("tf.data from memory: `shuffle(all rows)`, `batch`", rows, lambda: drain(memory)),
        *others(inputs[:slow], folder),
    ]
    race(ways)
    labels, ids = stored.labels, stored.ids
    stored = None  # the system keeps what is mapped
    stored = cold(folder, manifest, labels, ids)
    ways += race([Way("records on disk, none of it in the page cache, shuffled", rows, lambda: gather(stored))], 1)
    stored = None
    with patch.object(shards, "free_memory", lambda: 0):
        stored = cold(folder, manifest, labels, ids)
    name = "the same, as for records larger than memory"
    return ways + race([Way(name, min(slow, rows), lambda: gather(stored, slow))], 1)


def void(_: object) -> None:
    """Drops what a way returns."""


def others(inputs: np.ndarray, folder: Path) -> list[Way]:
    """The readers of other libraries, where they are installed."""
    if not array_record:
        return []
    reader = array_record.ArrayRecordReader(str(folder / "array_record"))
    order = np.random.default_rng(0).permutation(reader.num_records()).tolist()
    data = grain.MapDataset.source(inputs).shuffle(seed=0).batch(BATCH)

    def gather() -> None:
        for start in range(0, len(order), BATCH):
            reader.read(order[start : start + BATCH])

    def drain() -> None:
        for batch in range(len(data)):
            data[batch]

    return [
        Way("ArrayRecord, shuffled, not parsed", len(order), gather),
        Way("grain `MapDataset` of rows in memory, shuffled", len(inputs), drain),
    ]


def cold(folder: Path, manifest: Manifest, labels: np.ndarray, ids: np.ndarray) -> StoredRows:
    """The rows mapped anew, after the system was told to drop what it holds of their files."""
    files = [folder / shard.file for shard in manifest.roles["train"].shards]
    for file in files:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    small = shards.empty(manifest.model_copy(update={"columns": []}), len(ids))
    return StoredRows(manifest, files, replace(small, labels=labels, ids=ids))


def same_values(tf, files: list[str], spec: dict, pixels: Callable, loaded: Rows, what: str) -> None:
    """Fails unless TensorFlow's own parser gives the rows that ours gives."""
    batch = next(iter(tf.data.TFRecordDataset(files).batch(1000)))
    parsed = {name: value.numpy() for name, value in pixels(tf.io.parse_example(batch, spec)).items()}
    count = len(parsed["label"])
    np.testing.assert_array_equal(parsed["label"], loaded.labels[:count])
    if what == "images":
        np.testing.assert_array_equal(parsed["image"], loaded.image[:count])
    else:
        for place, column in enumerate(COLUMNS[what]):
            np.testing.assert_array_equal(parsed[column.name], loaded.numeric[:count, place])


def anonymous() -> int:
    """Bytes of this process's memory that are no file's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def memory(what: str, rows: int) -> None:
    """Prints the most anonymous memory of writing the records, and of reading them shuffled, beyond that at start."""
    with tempfile.TemporaryDirectory() as name:
        highest, start = 0, anonymous()

        def watched(data: Iterator) -> Iterator:
            nonlocal highest
            for one in data:
                highest = max(highest, anonymous() - start)
                yield one

        manifest = write(Path(name), what, watched(parts(what, rows)), rows)
        written, highest = highest, 0
        stored = store_rows(Path(name), manifest, "train")
        starts = np.random.default_rng(0).integers(0, rows, (2000, BATCH))
        for index in watched(iter(starts)):
            stored.take(index)
        size = sum(shard.bytes for shard in manifest.roles["train"].shards)
        print(rows, size, written, highest, stored.labels.nbytes + stored.ids.nbytes)


def memory_table(rows: dict[str, int]) -> None:
    print("| rows | MB of shards | writing, MB | reading shuffled, MB | of that labels and ids, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for what in rows:
        for factor in (1, 4):
            command = [sys.executable, "-m", "benchmarks.records", "--memory", what, str(factor * rows[what])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            count, *sizes = map(int, done.stdout.split())
            print(f"| {count:,} {'rows' if what == 'table' else what} | ", end="")
            print(" | ".join(f"{size / 1e6:.0f}" for size in sizes), "|", flush=True)


def compare(what: str, rows: int, slow: int) -> None:
    """Prints both tables of one kind of data."""
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), list(parts(what, rows))
        print(f"### {what}: {rows:,} rows\n")
        print("| write and sync | thousand rows/s | x a row at a time | x raw | bytes a row |")
        print("| --- | ---: | ---: | ---: | ---: |")
        ways = writers(what, data, folder, slow)
        raw, naive, *_ = ways
        for way in ways:
            times, share = way.rate / naive.rate, way.rate / raw.rate
            print(f"| {way.name} | {way.rate / 1e3:,.0f} | {times:.1f} | {share:.2f} | {way.size} |")
        manifest = write(folder, what, iter(data), rows)
        del data
        print("\n| read into batches of 128 | thousand rows/s | x a row at a time |")
        print("| --- | ---: | ---: |")
        ways = readers(what, manifest, folder, slow)
        for way in ways:
            print(f"| {way.name} | {way.rate / 1e3:,.0f} | {way.rate / ways[1].rate:.1f} |")
        print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="1,000,000 rows of the table and 50,000 images")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory:
        memory(arguments.memory[0], int(arguments.memory[1]))
        return
    rows = FULL if arguments.full else {name: count // 10 for name, count in FULL.items()}
    slow = 8000 if arguments.full else 4000
    for what, count in rows.items():
        compare(what, count, slow)
    print("### Anonymous memory beyond that of the imports\n")
    memory_table(rows)
    if not array_record:
        print("\nArrayRecord and grain are not installed: uv pip install array-record grain")
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"\n{len(os.sched_getaffinity(0))} cores; load averages of 1, 5 and 15 minutes at the end: {load}")


if __name__ == "__main__":
    main()
