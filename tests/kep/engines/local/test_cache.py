"""kfp.local's cache, verified: damage is told of and made again, never read; a store may be moved."""

import json
import shutil
from pathlib import Path

import pytest
from kfp.dsl import Artifact, Dataset

from kep.core.files import read_json, write_json
from kep.core.json_model import with_fingerprint
from kep.engines.local.cache import VerifiedCache

TASK = {"image": "i", "full_command": ["run"]}


class Store:
    """A store with one finished task in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused: list[str] = []
        self.damaged: list[tuple[str, str]] = []
        self.cache = VerifiedCache(
            str(folder / "cache"),
            folder,
            self.reused.append,
            lambda step, path: self.damaged.append((step, str(path.relative_to(folder)))),
        )

    @property
    def records(self) -> Path:
        return self.folder / "training-1" / "ingest" / "records"

    def key(self, **arguments: object) -> str:
        return self.cache.compute_key("comp-ingest", **TASK, arguments=arguments)

    def entry(self) -> Path:
        (path,) = (self.folder / "cache").glob("*.json")
        return path


@pytest.fixture
def store(tmp_path) -> Store:
    made = Store(tmp_path / "store")
    made.records.mkdir(parents=True)
    (made.records / "manifest.json").write_text('{"rows": 3}')
    (made.records / "train-0.tfrecord").write_bytes(bytes(range(256)))
    outputs = {"records": Dataset(name="records", uri=str(made.records), metadata={"a": 1}), "Output": ["x", "y"]}
    made.cache.put(made.key(seed=1), outputs)
    return made


def test_what_is_whole_is_reused(store):
    found = store.cache.get(store.key(seed=1))
    assert (found["records"].path, found["records"].metadata, found["Output"]) == (
        str(store.records),
        {"a": 1},
        ["x", "y"],
    )
    assert (store.reused, store.damaged) == (["ingest"], [])
    assert store.cache.get(store.key(seed=2)) is None
    assert store.damaged == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(entry: dict) -> dict:
    """Return a whole entry of another task: those of two runs lie in one folder."""
    return with_fingerprint({name: value for name, value in entry.items() if name != "fingerprint"} | {"key": "other"})


DAMAGES = {
    "a flipped bit of a shard": lambda store: flip(store.records / "train-0.tfrecord"),
    "a truncated shard": lambda store: (store.records / "train-0.tfrecord").write_bytes(b"\0"),
    "an edited manifest": lambda store: (store.records / "manifest.json").write_text('{"rows": 4}'),
    "a missing file": lambda store: (store.records / "manifest.json").unlink(),
    "a file more": lambda store: (store.records / "train-1.tfrecord").write_bytes(b""),
    "a renamed file": lambda store: (store.records / "manifest.json").rename(store.records / "manifest.jsn"),
    "a missing folder": lambda store: shutil.rmtree(store.records),
    "an empty folder": lambda store: (shutil.rmtree(store.records), store.records.mkdir()),
    "a torn entry": lambda store: store.entry().write_text(store.entry().read_text()[:20]),
    "an entry that is no JSON": lambda store: store.entry().write_bytes(b"\xff\0"),
    "an entry that is a list": lambda store: store.entry().write_text("[]"),
    "an entry of another kind": lambda store: store.entry().write_text('{"records": 1}'),
    "the entry of another task": lambda store: write_json(store.entry(), foreign(read_json(store.entry()))),
    "an edited digest in an entry": lambda store: store.entry().write_text(
        store.entry().read_text().replace('": "', '": "0')
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_of_and_not_reused(store, damage):
    DAMAGES[damage](store)
    assert store.cache.get(store.key(seed=1)) is None
    assert store.reused == []
    ((step, path),) = store.damaged
    assert step == "ingest"
    assert path == ("training-1/ingest/records" if "entry" not in damage else f"cache/{store.entry().name}")


def test_a_moved_store_is_reused_where_it_is(store, tmp_path):
    shutil.move(store.folder, tmp_path / "moved")
    moved = Store(tmp_path / "moved")
    found = moved.cache.get(moved.key(seed=1))
    assert found["records"].path == str(moved.records)
    assert str(tmp_path / "store") not in moved.entry().read_text()


def test_a_copy_never_reads_the_original(store, tmp_path):
    shutil.copytree(store.folder, tmp_path / "copy")
    copy = Store(tmp_path / "copy")
    flip(copy.records / "train-0.tfrecord")
    assert copy.cache.get(copy.key(seed=1)) is None
    assert len(copy.damaged) == 1


def test_a_key_follows_the_inputs_and_not_the_place_of_the_store(store, tmp_path):
    def key(of: Store, path: str, **more: object) -> str:
        return of.key(records=Artifact(name="records", uri=str(of.folder / path)), items=["a"], **more)

    other = Store(tmp_path / "other")
    assert key(store, "a/ingest/records") == key(other, "a/ingest/records")
    keys = [key(store, "a/ingest/records"), key(store, "b/ingest/records"), key(store, "a/ingest/records", code="x")]
    assert len(set(keys)) == 3


def test_an_entry_holds_a_digest_of_each_artifact_of_a_list(store):
    paths = [store.folder / "training-1" / f"retrain-{number}" / "model" for number in range(2)]
    for number, path in enumerate(paths):
        path.mkdir(parents=True)
        (path / "weights").write_text(str(number))
    key = store.key(seed=9)
    store.cache.put(key, {"models": [Artifact(name="model", uri=str(path)) for path in paths]})
    entry = json.loads((store.folder / "cache" / f"{key}.json").read_text())
    assert len(set(entry["digests"].values())) == 2
    flip(paths[1] / "weights")
    assert store.cache.get(key) is None
