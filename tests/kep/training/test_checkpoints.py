"""Checkpoints are whole or not there; what is torn or foreign is passed over."""

import logging
import os

import numpy as np
import pytest

from kep.core.errors import RunError
from kep.runtime.step import Step
from kep.training.checkpoints import Checkpoints
from kep.training.monitor import StepMonitor

ARRAYS = {"v0.0": np.arange(6, dtype=np.float32).reshape(2, 3), "w0": np.array([1, 2], np.int64)}


def state(epoch: int):
    return {"epoch": epoch, "loss": float("inf")}, ARRAYS


@pytest.fixture
def kept(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "kept", "a training", minutes=60)


def test_a_checkpoint_comes_back_as_it_was(kept):
    kept.save(12, state(3))
    assert kept.numbers() == [12]
    described, arrays = kept.load(12)
    assert described == {"epoch": 3, "loss": float("inf")}
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_only_the_last_two_are_kept_and_none_when_all_is_done(kept):
    for number in (1, 2, 10, 3):
        kept.save(number, state(number))
    assert kept.numbers() == [10, 3]
    kept.remove()
    assert not list(kept.folder.iterdir())


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_torn_one_is_passed_over_with_a_warning(kept, caplog, damage):
    for number in (1, 2):
        kept.save(number, state(number))
    newest = sorted(kept.folder.iterdir())[-1]
    content = bytearray(newest.read_bytes())
    place = content.index(ARRAYS["v0.0"].tobytes())
    content[place] ^= 1
    newest.write_bytes({"cut": content[: len(content) // 2], "bit": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert kept.numbers() == [1]
    assert "000000000002.npz is passed over: it is torn" in caplog.text


def test_an_edited_one_is_passed_over(kept, caplog):
    """Its archive is whole, and its content another one."""
    for number in (1, 2):
        kept.save(number, state(number))
    newest = sorted(kept.folder.iterdir())[-1]
    content = dict(np.load(newest))
    content["v0.0"] = content["v0.0"] * 2
    np.savez(newest, **content)
    with caplog.at_level(logging.WARNING):
        assert kept.numbers() == [1]
    assert "000000000002.npz is passed over: it is not what was written there" in caplog.text


def test_no_flipped_bit_is_believed(kept):
    """A flip either is passed over or does not touch what was saved."""
    kept.save(1, state(1))
    (path,) = kept.folder.iterdir()
    whole, (told, arrays) = path.read_bytes(), kept.load(1)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        if kept.numbers():
            again, others = kept.load(1)
            assert again == told
            assert set(others) == set(arrays)
            for name, array in arrays.items():
                np.testing.assert_array_equal(others[name], array)


def test_what_a_killed_process_was_writing_is_removed(kept):
    kept.save(1, state(1))
    (kept.folder / ".0123.npz").write_bytes(b"half")
    assert kept.numbers() == [1]
    assert [path.name for path in kept.folder.iterdir()] == ["000000000001.npz"]


def test_one_of_another_training_is_passed_over(kept, caplog):
    kept.save(1, state(1))
    with caplog.at_level(logging.WARNING):
        assert Checkpoints(kept.folder, "another", minutes=60).numbers() == []
    assert "it is of another training" in caplog.text


def test_the_next_one_is_due_after_its_minutes(tmp_path):
    assert not Checkpoints(tmp_path, "a", minutes=60).due()
    assert Checkpoints(tmp_path, "a", minutes=1e-9).due()


def test_a_full_disk_is_a_sentence_and_the_last_checkpoint_still_loads(kept, tmp_path, monkeypatch):
    kept.save(1, state(1))

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError) as error, StepMonitor(Step("retrain"), "", checkpoints=kept) as monitor:
        monitor.save(2, state(2))
    assert "the checkpoint after 2 steps can't be written" in str(error.value)
    assert "No space left on device" in str(error.value)
    assert [path.name for path in kept.folder.iterdir()] == ["000000000001.npz"]
    assert kept.numbers() == [1]
