"""Equal models are equal files, whenever they were written."""

import json
import re
import zipfile
from pathlib import Path

import keras
import numpy as np

from kep.models import keras_file


def model() -> keras.Model:
    """Return a model whose configuration holds an address in memory: of the precision that its layers share."""
    keras.backend.clear_session()  # layers are named by their number
    keras.utils.set_random_seed(1)
    precision = keras.DTypePolicy("float32")
    network = keras.Sequential([keras.layers.Dense(units, dtype=precision) for units in (8, 2)])
    raw = keras.Input((3,))
    return keras.Model(raw, network(keras.layers.Dense(3, dtype=precision)(raw)))


def part(path: Path, name: str) -> str:
    """Return the text of one part of a Keras file."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode()


def test_equal_models_are_equal_bytes_and_predict_the_same(tmp_path):
    first, second = model(), model()
    for name, one in {"first": first, "second": second}.items():
        keras_file.save(one, tmp_path / f"{name}.keras")
    assert (tmp_path / "first.keras").read_bytes() == (tmp_path / "second.keras").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.keras", "second.keras"]
    loaded = keras.saving.load_model(tmp_path / "first.keras")
    rows = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(loaded.predict(rows, verbose=0), first.predict(rows, verbose=0))


def test_a_file_holds_neither_times_nor_addresses(tmp_path):
    saved = model()
    saved.save(tmp_path / "keras.keras")
    keras_file.save(saved, tmp_path / "own.keras")
    shared = {
        name: re.findall(r'"shared_object_id": (\d+)', part(tmp_path / f"{name}.keras", "config.json"))
        for name in ("keras", "own")
    }
    assert len(set(shared["keras"])) == 1
    assert shared["own"] == ["1"] * len(shared["keras"])
    assert json.loads(part(tmp_path / "own.keras", "metadata.json"))["date_saved"] == "1980-01-01@00:00:00"
    with zipfile.ZipFile(tmp_path / "own.keras") as archive:
        assert {one.date_time for one in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
