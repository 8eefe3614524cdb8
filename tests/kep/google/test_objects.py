"""Names of objects as paths: what would leave the folder is refused, and nothing is written."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kep.core.errors import AwayError, UserError
from kep.delivery.models import opened
from kep.google import objects
from kep.storage import champions
from tests.helpers.fuzzing import examples


def download(gcs, folder, *names: str) -> None:
    for name in names:
        gcs.put("data", f"runs/{name}", b"x")
    blobs = {blob.name.removeprefix("runs/"): blob for blob in objects.find("gs://data/runs/", lambda name: True)}
    (folder / "inside").mkdir()
    objects.download(blobs, folder / "inside")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["../out"], "gs://data/runs/../out"),
        (["a/../../out"], "gs://data/runs/a/../../out"),
        (["a/./b"], "gs://data/runs/a/./b"),
        (["a//b"], "gs://data/runs/a//b"),
        (["/tmp/kep-out"], "gs://data/runs//tmp/kep-out"),
        (["a/" + "x" * 256], "x" * 256),
        # A file and a folder of one name.
        (["a", "a/b"], "gs://data/runs/a"),
    ],
)
def test_a_name_that_is_no_path_in_the_folder_is_refused(gcs, tmp_path, names, told):
    with pytest.raises(UserError, match="rename it") as refused:
        download(gcs, tmp_path, "good.txt", *names)
    assert told in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside"]


@pytest.mark.parametrize("name", ["a[1].txt", "a*b", "what?", "ä b/c#d.txt", "…/x", "..a", "a..", "-r"])
def test_odd_names_that_are_paths_are_downloaded(gcs, tmp_path, name):
    download(gcs, tmp_path, name)
    assert (tmp_path / "inside" / name).read_bytes() == b"x"


def test_what_a_console_shows_as_a_folder_is_no_file(gcs, tmp_path):
    gcs.put("data", "runs/sub/", b"")
    download(gcs, tmp_path, "sub/a.txt")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.txt"]


@pytest.mark.parametrize(
    "read",
    [
        lambda: champions.opened("gs://data/champs/churn/versions/0123456789ab"),
        lambda: opened("gs://data/champs/churn", Path("runs")),
    ],
    ids=["champion", "predict"],
)
@pytest.mark.parametrize("name", ["../../../../out", "/abs/out"])
def test_whoever_reads_a_model_from_a_bucket_writes_nothing_outside_of_its_folder(gcs, name, read):
    gcs.put("data", "champs/churn/champion.json", b'{"version": "0123456789ab"}')
    gcs.put("data", "champs/churn/versions/0123456789ab/ensemble.json", b"{}")
    gcs.put("data", f"champs/churn/versions/0123456789ab/{name}", b"{}")
    with pytest.raises(UserError, match="has a name that is no path; rename it"), read():
        pass


@pytest.fixture
def paid(gcs):
    """A bucket whose requester pays, with one object."""
    gcs.put("paid", "a/b.csv", b"x,y\n1,2\n")
    gcs.paid_for.add("paid")
    return gcs


CALLS = {
    "find": lambda folder: objects.find("gs://paid/a", None),
    "read": lambda folder: objects.read("gs://paid/a/b.csv", "here"),
    "replace": lambda folder: objects.replace("gs://paid/new", b"{}", 0, "here"),
    "upload": lambda folder: objects.upload(folder, "gs://paid/there", "here"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_requester_who_names_no_project_is_told_how(paid, tmp_path, call):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError) as told:
        CALLS[call](tmp_path)
    assert not isinstance(told.value, AwayError)
    assert "its bucket has the requester pay (" in str(told.value)
    assert "name your project with kep --user-project, or KEP_USER_PROJECT" in str(told.value)


@pytest.mark.parametrize("call", CALLS)
def test_a_requester_pays_by_the_project_that_is_named(paid, tmp_path, call, monkeypatch):
    monkeypatch.setenv("KEP_USER_PROJECT", "shop-billing")
    (tmp_path / "file").write_text("x")
    CALLS[call](tmp_path)
    assert paid.journal
    # Google's client asks beside this for the bucket's place, without a project, and does without an answer.
    unpaid = [line for line in paid.journal if "userProject=shop-billing" not in line]
    assert all(line.startswith("GET /storage/v1/b/paid?") for line in unpaid), unpaid


def test_a_download_is_paid_for(paid, tmp_path, monkeypatch):
    monkeypatch.setenv("KEP_USER_PROJECT", "shop-billing")
    (blob,) = objects.find("gs://paid/a", None)
    objects.download({"b.csv": blob}, tmp_path)
    assert (tmp_path / "b.csv").read_bytes() == b"x,y\n1,2\n"


@pytest.mark.parametrize(
    ("status", "away"), [(400, False), (402, False), (408, True), (410, True), (429, True), (503, True)]
)
def test_only_what_may_pass_is_to_be_tried_again(gcs, status, away, monkeypatch):
    monkeypatch.setattr(objects, "RETRY", objects.RETRY.with_timeout(0.1))
    gcs.put("data", "x", b"1")
    # Of objects alone: Google's client asks for the bucket in a thread, which would go on after the test, and draw
    # from Python's random numbers while others seed them.
    gcs.fault("GET .*/o[?/]", "status", status, times=float("inf"))
    with pytest.raises(UserError) as told:
        objects.find("gs://data/x", None)
    assert isinstance(told.value, AwayError) is away
    assert ("try again later" in str(told.value)) is away
    assert ("Cloud Storage refuses it (injected fault)" in str(told.value)) is not away


# What paths are made of, rarely something else: whole names that nobody would think of come from `_TEXT`.
_PARTS = st.sampled_from(["", ".", "..", "a", "A", "b", "...", "~", "*", "[a]", "\\", "\0", "-r", "ä", "ä", "x" * 256])
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=40)
_NAMES = st.one_of(st.lists(_PARTS | _TEXT, min_size=1, max_size=5).map("/".join), _TEXT).filter(
    lambda name: name and len(name.encode()) <= 1024
)


@pytest.mark.fuzz
@examples(300)
@given(st.lists(st.tuples(_NAMES, st.integers(0, 1)), min_size=1, max_size=5, unique_by=lambda one: one[0]))
def test_any_names_are_files_of_their_own_inside_of_the_folder_or_refused(found):
    bucket = SimpleNamespace(name="data")
    blobs = {name: SimpleNamespace(name=name, size=size, bucket=bucket) for name, size in found}
    plain = {name for name in blobs if not {"", ".", ".."} & set(name.split("/")) and "\0" not in name}
    try:
        files = objects.paths_in(blobs)
    except UserError:
        # Nothing is refused without a reason.
        long = any(len(part.encode()) > 255 for name in blobs for part in name.split("/"))
        assert long or plain != set(blobs) or any(other.startswith(f"{name}/") for name in blobs for other in blobs)
        return
    assert set(files) | {name for name, size in found if name.endswith("/") and not size} == set(blobs)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "inside"
        for name in files:
            path = folder / name
            assert path.resolve().is_relative_to(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        # Each is there, under its own name, and nothing else is.
        written = {
            path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
        }
        assert written == {name: name for name in files}
        assert {path.name for path in Path(place).iterdir()} <= {"inside"}
