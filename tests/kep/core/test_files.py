"""A reader sees the whole of a file or folder or none of it, whatever happens to the writer."""

import errno
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from kep.core.files import finite, new_folder, read_json, write_file, write_json


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fails_half_way(path) -> None:
    path.write_text("half of")
    raise OSError("disk full")


def torn_folder(path) -> None:
    with new_folder(path) as folder:
        (folder / "part").write_text("x")
        raise ValueError("torn")


def test_a_failed_write_leaves_neither_the_file_nor_a_temporary_one(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        write_file(tmp_path / "a.txt", fails_half_way)
    assert names(tmp_path) == []


def test_a_failed_write_leaves_the_old_file_as_it_was(tmp_path):
    write_file(tmp_path / "a.txt", lambda path: path.write_text("old"))
    with pytest.raises(OSError, match="disk full"):
        write_file(tmp_path / "a.txt", fails_half_way)
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_is_replaced_and_its_folders_are_made(tmp_path):
    target = tmp_path / "b" / "c" / "a.npy"
    for value in (1, 2):
        write_file(target, lambda path, value=value: np.save(path, np.array([value])))
    assert np.load(target) == [2]
    assert names(target.parent) == ["a.npy"]


def test_the_target_keeps_the_old_content_until_the_new_one_is_whole(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    seen = []

    def write(path) -> None:
        path.write_text("new")
        seen.append(target.read_text())

    write_file(target, write)
    assert (seen, target.read_text()) == (["old"], "new")


def test_a_failed_folder_leaves_neither_the_folder_nor_a_temporary_one(tmp_path):
    with pytest.raises(ValueError, match="torn"):
        torn_folder(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_failed_folder_leaves_the_old_one_as_it_was(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "old").write_text("x")
    with pytest.raises(ValueError, match="torn"):
        torn_folder(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["old"]


def test_a_folder_appears_whole_and_replaces_a_folder_or_a_file(tmp_path):
    target = tmp_path / "out"
    target.write_text("a file, as kfp.local may leave one")
    with new_folder(target) as folder:
        (folder / "first").write_text("x")
        assert target.is_file()
    with new_folder(target) as folder:
        (folder / "second").write_text("x")
        assert names(target) == ["first"]
    assert names(target) == ["second"]
    assert names(tmp_path) == ["out"]


def test_a_killed_writer_leaves_no_target(tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from kep.core.files import new_folder, write_file
with new_folder({str(tmp_path / "out")!r}) as folder:
    (folder / "part").write_text("x")
    def write(path):
        path.write_text("half of")
        os.kill(os.getpid(), signal.SIGKILL)
    write_file({str(tmp_path / "a.txt")!r}, write)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "a.txt").exists()


def test_numbers_that_json_does_not_have_become_null(tmp_path):
    value = {"a": [float("nan"), 1.5, (float("inf"), "NaN")], "b": {"c": -np.float64("inf"), "d": True, "e": 3}}
    clean = {"a": [None, 1.5, [None, "NaN"]], "b": {"c": None, "d": True, "e": 3}}
    assert finite(value) == clean
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == clean
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == clean


def test_what_json_can_not_hold_leaves_no_file(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert names(tmp_path) == []


def test_where_folders_can_not_be_renamed_they_are_copied_whole_or_not_at_all(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSYS, "not here")

    monkeypatch.setattr("os.replace", refuse)
    for content in ("first", "second"):
        with new_folder(tmp_path / "out") as folder:
            (folder / "inner").mkdir()
            (folder / "inner" / content).write_text("x")
        assert names(tmp_path / "out" / "inner") == [content]
    assert names(tmp_path) == ["out"]
    monkeypatch.setattr("shutil.copytree", refuse)
    with pytest.raises(OSError, match="not here"), new_folder(tmp_path / "other"):
        pass
    assert names(tmp_path) == ["out"]
