"""Rows that stay on disk are those in memory, bit for bit, in any order, and take the memory of what is asked for."""

import logging
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings, Split
from kep.core.errors import RunError, UserError
from kep.data import shards
from kep.data.records import Records, Rows, StoredRows, concat
from kep.data.schema import Manifest
from kep.data.shards import free_memory, load_rows, store_rows
from kep.models.boosted_trees import BoostedTrees
from kep.models.family import Settings
from kep.training.monitor import Monitor
from tests.helpers.paths import DATA

SOURCES = {
    "table": DataSettings(source=str(DATA / "churn.csv"), label="churned", shard_mb=0.02),
    "regression": DataSettings(source=str(DATA / "houses.csv"), label="price", shard_mb=0.02),
    "images": DataSettings(source="sklearn:digits", shard_mb=0.03),
    "groups": DataSettings(
        source=str(DATA / "visits.csv"), label="outcome", shard_mb=0.01, split=Split(by="time", column="day")
    ),
    "one-shard": DataSettings(source="sklearn:iris"),
}


class Little:
    available = 10_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """Function from the name of a source to its records, in several shards."""
    made = {}

    def of(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "records"
            ingest(SOURCES[name], 0, made[name])
        return made[name]

    return of


def assert_same(one: Rows, other: Rows) -> None:
    for mine, theirs in zip(one._arrays(), other._arrays(), strict=True):
        if mine is None:
            assert theirs is None
        else:
            assert (mine.dtype, mine.shape, mine.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


def both(folder: Path) -> tuple[Rows, StoredRows]:
    manifest = Manifest.load(folder)
    return load_rows(folder, manifest, "train"), store_rows(folder, manifest, "train")


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_taken_is_what_rows_in_memory_give(name: str, folders):
    rows, stored = both(folders(name))
    assert len(Manifest.load(folders(name)).roles["train"].shards) > 1 or name == "one-shard"
    assert len(stored) == len(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    mask = rows.ids % 3 == 0
    for index in (order, order[:7], -1 - order, np.r_[5, 5, 0, 5], mask, slice(None), slice(-3, 2, -2), slice(9, 9)):
        assert_same(stored.take(index), rows.take(index))
    assert_same(stored.take(np.arange(0)), rows.take(np.arange(0)))
    for held in ("labels", "ids", "groups"):
        np.testing.assert_array_equal(getattr(stored, held), getattr(rows, held))


def test_rows_beyond_memory_are_the_same_rows(folders, monkeypatch):
    rows, _ = both(folders("images"))
    monkeypatch.setattr(shards, "free_memory", lambda: 0)
    stored = store_rows(folders("images"), Manifest.load(folders("images")), "train")
    order = np.random.default_rng(0).permutation(len(rows))
    assert stored._larger_than_memory
    assert_same(stored.take(order), rows.take(order))


@pytest.mark.parametrize("index", [[600], [-601], [0, 10_000]])
def test_rows_that_are_not_there(index: list[int], folders):
    _, stored = both(folders("table"))
    with pytest.raises(IndexError):
        stored.take(np.array(index))


@pytest.mark.parametrize("name", ["table", "groups"])
def test_train_and_validation_joined_stay_on_disk(name: str, folders):
    folder = folders(name)
    manifest = Manifest.load(folder)
    roles = ("train", "validation")
    joined = concat([store_rows(folder, manifest, role) for role in roles])
    rows = concat([load_rows(folder, manifest, role) for role in roles])
    assert isinstance(joined, StoredRows)
    order = np.random.default_rng(1).permutation(len(rows))
    assert_same(joined.take(order), rows.take(order))
    np.testing.assert_array_equal(joined.labels, rows.labels)


def test_threads_take_at_the_same_time(folders):
    rows, stored = both(folders("images"))
    orders = [np.random.default_rng(seed).permutation(len(rows)) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for order, taken in zip(orders, pool.map(stored.take, orders), strict=True):
            assert_same(taken, rows.take(order))


def test_another_process_maps_the_same_files(folders):
    rows, stored = both(folders("images"))
    sent = pickle.dumps(stored)
    assert len(sent) < rows.image.nbytes / 2
    assert_same(pickle.loads(sent).take(slice(None)), rows)


def test_boosted_trees_take_all_rows(folders, monkeypatch):
    """They need all rows at once, and one sentence says where those do not fit."""
    trees = BoostedTrees(Manifest.load(folders("table")))
    rows, stored = both(folders("table"))
    settings = Settings(1, 1, 32, 0)
    fits = [trees.fit({"num_leaves": 4}, given, given, settings, Monitor()) for given in (rows, stored)]
    assert fits[0].predictions.tobytes() == fits[1].predictions.tobytes()
    monkeypatch.setattr(shards, "SMALL", 0)
    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    with pytest.raises(UserError, match=r"records: the 360 rows need about 0\.0 GB of memory, 0\.0 GB are free"):
        trees.fit({}, stored, stored, settings, Monitor())


def test_memory_decides_for_all_roles_of_a_step_and_the_log_says_why(folders, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "kep.records")
    plenty = Records(folders("table"), "tune")
    assert isinstance(plenty.open("train"), Rows)
    assert "train and validation rows stay in memory: 0.00 GB, less than 25 % of the" in caplog.text
    manifest = plenty.manifest
    both_roles = sum(manifest.roles[role].rows for role in ("train", "validation"))
    # Enough for a quarter to hold the train rows, not for the validation rows beside them.
    available = int(4 * shards.decoded_bytes(manifest) * (both_roles - 1))
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": available}))
    scarce = Records(folders("table"), "tune")
    assert isinstance(scarce.open("train"), StoredRows)
    assert isinstance(scarce.open("validation"), StoredRows)
    assert "train and validation rows stay on disk: 0.00 GB, more than 25 % of the" in caplog.text
    plenty.load("validation")
    assert scarce.ledger == plenty.ledger
    with pytest.raises(UserError, match="may not read test rows"):
        scarce.open("test")


def test_shards_on_a_mounted_bucket_are_copied_to_local_disk_where_there_is_room(folders, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "kep.records")
    folder = folders("table")
    rows, local = both(folder)
    assert local._given[1][0].parent == folder
    mounted = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(folder), fstype="fuse.gcsfuse"),
    ]
    monkeypatch.setattr("psutil.disk_partitions", lambda all: mounted)
    _, copied = both(folder)
    assert copied._given[1][0].parent != folder
    assert_same(copied.take(slice(None)), rows)
    assert f"of shards were copied to local disk: {folder} is on a network (fuse.gcsfuse)" in caplog.text
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=10))
    _, there = both(folder)
    assert there._given[1][0].parent == folder
    assert "shards are read where they are" in caplog.text


def test_all_rows_at_once_are_refused_where_they_do_not_fit(folders, monkeypatch):
    _, stored = both(folders("images"))
    monkeypatch.setattr("psutil.virtual_memory", lambda: Little)
    stored.take(slice(0, 5))
    monkeypatch.setattr(shards, "SMALL", 10_000)
    with pytest.raises(UserError, match=r"the 1,\d+ rows need about 0\.0 GB of memory, 0\.0 GB are free"):
        stored.take(slice(None))


def test_a_damaged_shard_is_found_when_it_is_opened(folders, tmp_path: Path):
    for path in folders("table").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    manifest = Manifest.load(tmp_path)
    shard = tmp_path / manifest.roles["train"].shards[-1].file
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(RunError, match=rf"{shard.name} is damaged \(its CRC32C"):
        store_rows(tmp_path, manifest, "train")
    shard.unlink()
    with pytest.raises(RunError, match=f"{shard.name} cannot be read"):
        store_rows(tmp_path, manifest, "train")


def test_memory_is_that_of_a_block_and_of_what_is_held_for_each_row(tmp_path: Path):
    """Images of 6 MB in all, blocks of 64 kB."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (2000, 32, 32, 3)).astype(np.uint8), rng.integers(0, 2, 2000)
    np.savez(tmp_path / "images.npz", x=images, y=labels)
    manifest = ingest(DataSettings(source="images.npz", shard_mb=1), 0, tmp_path / "out", tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BLOCK", 1 << 16)
        tracemalloc.start()
        stored = store_rows(tmp_path / "out", manifest, "train")
        for start in range(0, len(stored), 100):
            stored.take(np.arange(start, start + 50))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert manifest.roles["train"].shards[0].bytes > 900_000
    assert peak < 16 * len(stored) + 700_000


def test_a_container_has_the_memory_of_its_limit(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(shards, "CGROUP", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 9_000_000}))
    assert free_memory() == 9_000_000
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("4000000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 2500000\n")
    assert free_memory() == 3_500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == 9_000_000
