"""What a file, a folder or a glob means, and the digests that stand for its content."""

import hashlib
import shutil

import pytest

from kep.core.errors import UserError
from kep.core.location import Location
from kep.storage.locations import digests, list_files


@pytest.fixture
def tree(tmp_path):
    for name in ("b.csv", "a.csv", "sub/c.csv", "notes.txt", ".hidden.csv", "_SUCCESS", ".git/d.csv", "_tmp/e.csv"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def listed(location: str, base) -> list[str]:
    root = f"{base.as_posix()}/"
    return [info.path.removeprefix(root) for info in list_files(Location(location), base)]


@pytest.mark.parametrize(
    ("location", "files"),
    [
        ("data/b.csv", ["data/b.csv"]),
        ("data/.hidden.csv", ["data/.hidden.csv"]),
        ("data", ["data/a.csv", "data/b.csv", "data/notes.txt", "data/sub/c.csv"]),
        ("data/", ["data/a.csv", "data/b.csv", "data/notes.txt", "data/sub/c.csv"]),
        ("data/[ab].csv", ["data/a.csv", "data/b.csv"]),
        ("data/s*/?.csv", ["data/sub/c.csv"]),
    ],
)
def test_a_file_a_folder_and_a_glob_mean_their_files_without_hidden_ones(tree, location, files):
    assert listed(location, tree) == files


@pytest.mark.parametrize("location", ["data", "data/*.csv", "data/a.csv"])
def test_data_under_a_hidden_folder_are_found(tree, location):
    for hidden in (".cache", "_staging"):
        shutil.copytree(tree / "data", tree / hidden / "data")
        assert "data/a.csv" in listed(location, tree / hidden)


def test_an_absolute_location_does_not_start_from_the_base(tree, tmp_path):
    assert listed(str(tree / "data" / "a.csv"), tmp_path / "elsewhere") == [str(tree / "data" / "a.csv")]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("dat", 'data.source: "dat" does not exist; did you mean "data"'),
        ("data/zzzzzz.csv", "does not exist; check the path"),
        ("gone/deep/x.csv", "does not exist; check the path"),
        ("data/*.parquet", "holds no files"),
        ("data/_tmp/.git", "does not exist"),
    ],
)
def test_what_is_not_there_is_one_sentence(tree, location, words):
    with pytest.raises(UserError, match=words) as error:
        list_files(Location(location), tree)
    assert "\n" not in str(error.value)


def test_an_empty_folder_holds_no_files(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no files"):
        list_files(Location("empty"), tmp_path)


def test_digests_are_of_the_content_and_go_with_the_folder(tree, tmp_path):
    first = list(digests(Location("data"), tree))
    assert first[0] == ("a.csv", hashlib.sha256(b"a.csv").hexdigest())
    assert [name for name, _ in first] == ["a.csv", "b.csv", "notes.txt", "sub/c.csv"]
    shutil.copytree(tree / "data", tmp_path / "moved")
    assert list(digests(Location("moved"), tmp_path)) == first
    (tree / "data" / "sub" / "c.csv").write_text("changed")
    assert [new == old for new, old in zip(digests(Location("data"), tree), first, strict=True)] == [
        True,
        True,
        True,
        False,
    ]
