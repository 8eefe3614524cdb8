"""Records against the disk and against other formats: how fast rows are written, and read back as shuffled batches.

One process, one machine, everything in one run, so the ratios mean something where the times don't. A table (28 float
columns and a label) and images (32 x 32 x 3 bytes and a label); each row is one tf.train.Example, the same for all that
write such. Files are written to a temporary folder and synced; batches of 128 are read in one global random order where
the format can do that. The files were just written, so they are read from the page cache.

    python -m benchmarks.records            # a tenth of the rows, about a minute
    python -m benchmarks.records --full     # the tables of docs/records.md
"""

import argparse
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from components.ingest.layout import frames_of, template
from components.ingest.write import shard_counts, write_shard
from components.shared import shards
from components.shared.schema import Column, Label, Manifest, RoleInfo, SplitInfo
from components.shared.shards import Rows, StoredRows, load_rows, store_rows

BATCH = 128
SHARD_MB = 100
FULL = {"table": 1_000_000, "images": 50_000}
INSTALL = "not installed: uv pip install array-record grain"
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


def write(folder: Path, what: str, data: list[Rows]) -> Manifest:
    """What ingest's last pass does with rows: shards of records, and a manifest with them in the role train."""
    return write_streamed(folder, what, sum(map(len, data)), iter(data))


def write_streamed(folder: Path, what: str, rows: int, data: Iterator[Rows]) -> Manifest:
    """As `write`, of parts that come one at a time."""
    blank, record = template(COLUMNS[what], LABEL, False)
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


def sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def timed(work: Callable[[], object], repeats: int) -> tuple[float, object]:
    """The shortest of several times in seconds, and what the work returned."""
    best, result = np.inf, None
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - started)
    return best, result


def arrays_of(rows: Rows) -> list[np.ndarray]:
    """What a row holds: features, label and id."""
    return [array for field in fields(rows) if (array := getattr(rows, field.name)) is not None and array.size]


def writers(what: str, data: list[Rows], folder: Path, slow: int) -> Iterator[tuple[str, float | str, int]]:
    """Yields each way to write: its name, rows a second or why not, and the bytes a row takes."""
    import tensorflow as tf

    rows = sum(map(len, data))
    few = [data[0].take(slice(0, slow))]
    path = folder / "other"

    def raw() -> None:
        with open(path, "wb") as file:
            for part in data:
                for array in arrays_of(part):
                    array.tofile(file)
        sync(path)

    def naive(compression: str, packed: bool = False) -> None:
        with tf.io.TFRecordWriter(str(path), compression) as writer:
            for example in examples(what, few, packed):
                writer.write(example)
        sync(path)

    def squeezed() -> None:
        with open(path, "wb") as file, gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as writer:
            for part in few:
                writer.write(frames_of(part, COLUMNS[what], LABEL))
        sync(path)

    seconds, _ = timed(raw, 3)
    yield "raw bytes of the arrays, written and synced", rows / seconds, path.stat().st_size // rows
    for compression, name in (("", "a `tf.train.Example` per row"), ("GZIP", "the same with GZIP")):
        seconds, _ = timed(lambda compression=compression: naive(compression), 3)
        yield name, len(few[0]) / seconds, path.stat().st_size // len(few[0])
    if what == "table":
        seconds, _ = timed(lambda: naive("", packed=True), 3)
        name = "a `tf.train.Example` per row with one feature of 28 floats: no columns"
        yield name, len(few[0]) / seconds, path.stat().st_size // len(few[0])
    seconds, manifest = timed(lambda: write(folder, what, data), 3)
    yield "**records**, synced", rows / seconds, sum(one.bytes for one in manifest.roles["train"].shards) // rows
    seconds, _ = timed(squeezed, 3)
    yield "records with GZIP", len(few[0]) / seconds, path.stat().st_size // len(few[0])
    yield from array_record_writer(what, few, path)


def array_record_writer(what: str, few: list[Rows], path: Path) -> Iterator[tuple[str, float | str, int]]:
    try:
        from array_record.python.array_record_module import ArrayRecordWriter
    except ImportError:
        yield "ArrayRecord of Examples made beforehand", INSTALL, 0
        return
    made = list(examples(what, few))

    def put() -> None:
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for example in made:
            writer.write(example)
        writer.close()
        sync(path)

    seconds, _ = timed(put, 3)
    yield "ArrayRecord of Examples made beforehand", len(made) / seconds, path.stat().st_size // len(made)


def readers(what: str, manifest: Manifest, folder: Path, slow: int) -> Iterator[tuple[str, float | str]]:
    """Yields each way to read: its name, and rows a second or why not."""
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

    yield "raw bytes of the files, in order", rows / timed(raw, 3)[0]
    one = tf.data.TFRecordDataset(files).take(slow)
    one = one.map(lambda example: pixels(tf.io.parse_single_example(example, spec))).batch(BATCH)
    yield (
        "`TFRecordDataset`, `parse_single_example`, `batch`, in order",
        min(slow, rows) / timed(lambda: drain(one), 3)[0],
    )
    many = tf.data.TFRecordDataset(files).batch(BATCH).map(lambda batch: pixels(tf.io.parse_example(batch, spec)))
    yield "`TFRecordDataset`, `batch`, `parse_example`, in order", rows / timed(lambda: drain(many), 2)[0]
    seconds, stored = timed(lambda: store_rows(folder, manifest, "train"), 2)
    yield "opening records on disk, verified", rows / seconds
    yield "**records on disk** (`StoredRows.take`), shuffled", rows / timed(lambda: gather(stored), 3)[0]
    labels, ids = stored.labels, stored.ids
    stored = None  # the system keeps what is mapped
    stored = cold(folder, manifest, labels, ids)
    yield "the same, nothing in the page cache", rows / timed(lambda: gather(stored), 1)[0]
    stored = None
    with patch.object(shards, "free_memory", lambda: 0):
        stored = cold(folder, manifest, labels, ids)
    yield "the same, as for rows larger than memory", slow / timed(lambda: gather(stored, slow), 1)[0]
    seconds, loaded = timed(lambda: load_rows(folder, manifest, "train"), 2)
    yield "loading records into memory, verified", rows / seconds
    yield "**records in memory** (`Rows.take`), shuffled", rows / timed(lambda: gather(loaded), 3)[0]
    same_values(tf, files, spec, pixels, loaded, what)
    arrays = (loaded.numeric if loaded.image is None else loaded.image, loaded.labels)
    memory = tf.data.Dataset.from_tensor_slices(arrays).shuffle(rows).batch(BATCH)
    yield "tf.data from memory: `shuffle(all rows)`, `batch`", rows / timed(lambda: drain(memory), 2)[0]
    yield from grain_readers(what, loaded, folder, slow)


def cold(folder: Path, manifest: Manifest, labels: np.ndarray, ids: np.ndarray) -> StoredRows:
    """The rows mapped anew, after the system was told to drop what it holds of their files."""
    files = [folder / shard.file for shard in manifest.roles["train"].shards]
    for file in files:
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return StoredRows(manifest, files, labels, ids, None)


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


def grain_readers(what: str, loaded: Rows, folder: Path, slow: int) -> Iterator[tuple[str, float | str]]:
    names = "ArrayRecord, batches of 128 at random, not parsed", "grain: `MapDataset.shuffle.batch` of rows in memory"
    try:
        import grain
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError:
        yield from ((name, INSTALL) for name in names)
        return
    reader = ArrayRecordReader(str(folder / "other"))
    order = np.random.default_rng(0).permutation(reader.num_records()).tolist()

    def gather() -> None:
        for start in range(0, len(order), BATCH):
            reader.read(order[start : start + BATCH])

    yield names[0], len(order) / timed(gather, 3)[0]
    inputs = (loaded.numeric if loaded.image is None else loaded.image)[:slow]
    data = grain.MapDataset.source(inputs).shuffle(seed=0).batch(BATCH)

    def drain() -> None:
        for batch in range(len(data)):
            data[batch]

    yield names[1], len(inputs) / timed(drain, 3)[0]


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

        manifest = write_streamed(Path(name), what, rows, watched(parts(what, rows)))
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


def rate(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value / 1000:,.0f}"


def ratio(value: float | str, base: float | str) -> str:
    return "" if isinstance(value, str) or isinstance(base, str) else f"{value / base:.3g}"


def compare(what: str, rows: int, slow: int) -> None:
    """Prints both tables of one kind of data."""
    with tempfile.TemporaryDirectory() as name:
        folder, data = Path(name), list(parts(what, rows))
        lines = [f"### {what}: {rows:,} rows\n\n| write | thousand rows/s | x per row | x raw | bytes a row |"]
        lines.append("| --- | ---: | ---: | ---: | ---: |")
        found = list(writers(what, data, folder, slow))
        floor, naive = found[0][1], found[1][1]
        lines += [
            f"| {way} | {rate(speed)} | {ratio(speed, naive)} | {ratio(speed, floor)} | {size or ''} |"
            for way, speed, size in found
        ]
        lines += ["\n| read into batches of 128 | thousand rows/s | x one at a time |", "| --- | ---: | ---: |"]
        manifest = write(folder, what, data)
        del data
        read = list(readers(what, manifest, folder, slow))
        lines += [f"| {way} | {rate(speed)} | {ratio(speed, read[1][1])} |" for way, speed in read]
        print("\n".join(lines), "\n", flush=True)


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


if __name__ == "__main__":
    main()
