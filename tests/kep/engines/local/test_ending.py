"""A step that leaves no error message is explained by what this machine knows, and by no guess."""

import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from kep.core.errors import UserError
from kep.core.files import new_folder, sweep, write_file
from kep.engines.local import ending
from kep.engines.local.ending import Ending, killed_for_memory
from kep.engines.local.runner import RunsFolder


@pytest.fixture
def known(tmp_path) -> Ending:
    return Ending(tmp_path, tmp_path)


def test_nothing_known_is_no_cause(known):
    assert known.cause() == "a step ended without an error message"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV])
def test_a_signal_is_named(known, number):
    known.signals.append(int(number))
    assert known.cause() == f"a step was ended by {number.name}, as when a library aborts"


@pytest.mark.parametrize(("available", "end"), [(1, ", perhaps because memory ran out"), (50, "")])
def test_a_kill_is_a_lack_of_memory_only_where_memory_is_short(known, monkeypatch, available, end):
    known.signals.append(signal.SIGKILL)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=available, total=100))
    assert known.cause() == f"a step was killed (SIGKILL){end}"


def test_the_kernels_counters_are_read(known, tmp_path, monkeypatch):
    counters = [tmp_path / name for name in ("vmstat", "memory.events", "missing")]
    counters[0].write_text("pgfault 5\noom_kill 3\n")
    counters[1].write_text("oom 1\noom_kill 1\noom_group_kill 0\n")
    assert killed_for_memory(counters) == [3, 1]
    more = [count + 1 for count in killed_for_memory()] or [1]
    monkeypatch.setattr(ending, "killed_for_memory", lambda: more)
    assert "because the memory of this machine ran out" in known.cause()


def test_a_full_disk_is_named(known, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2_000_000))
    assert known.cause().startswith(f"a step ended because the disk of {tmp_path} is full (2 MB are free)")


def test_a_temporary_folder_that_was_removed_is_named(tmp_path):
    gone = Ending(tmp_path, tmp_path / "gone")
    assert f"the temporary folder {tmp_path / 'gone'} was removed" in gone.cause()


def test_the_temporary_folder_of_a_run_goes_with_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    place = RunsFolder(tmp_path / "runs")
    with pytest.raises(UserError, match=rf'TMPDIR: "{tmp_path}/tmp" can\'t be written'), place.scratch():
        pass
    (tmp_path / "tmp").mkdir()
    with place.scratch() as scratch:
        (scratch / "left").mkdir()
        os.rename(scratch, tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", scratch)  # as a killed run leaves it
    with place.scratch() as again:
        assert again == scratch
        assert not list(again.iterdir())
    assert not list((tmp_path / "tmp").iterdir())


def test_what_killed_attempts_left_is_swept_when_the_next_run_starts(tmp_path):
    place = RunsFolder(tmp_path)
    (place.store / "training-1" / "tune").mkdir(parents=True)

    def leave(folder: Path) -> None:
        (folder / ("." + "a" * 32 + ".npz")).touch()
        (folder / (".study-" + "b" * 32)).mkdir()
        (folder / (".study-" + "b" * 32) / "half").touch()

    leave(place.store / "training-1" / "tune")
    leave(place.store)
    (place.work / "best_epoch" / ("c" * 32)).mkdir(parents=True)
    leave(place.work / "best_epoch")
    (place.store / ".hidden").touch()
    with place.locked():
        left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {
        "lock",
        "store",
        "store/.hidden",
        "store/training-1",
        "store/training-1/tune",
        "work",
        "work/best_epoch",
        "work/best_epoch/" + "c" * 32,
    }


def test_the_names_that_are_swept_are_those_that_are_made(tmp_path):
    with new_folder(tmp_path / "study"):
        (name,) = [path.name for path in tmp_path.iterdir()]
    (tmp_path / name).mkdir()

    def write(path: Path) -> None:
        path.touch()
        os.link(path, tmp_path / "kept")
        names.append(path.name)

    names: list[str] = []
    write_file(tmp_path / "a.json", write)
    (tmp_path / names[0]).touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "kept", "study"}
