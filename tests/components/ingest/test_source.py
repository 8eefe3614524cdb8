"""The source that is read is the one that the run was started with, and each of its files counts once."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kep.components.ingest import run as steps
from kep.components.ingest.ingest import ingest
from kep.config.data import DataSettings
from kep.core.location import Location
from kep.data import columns
from kep.data.records import Records
from kep.data.schema import Manifest
from kep.data.sources.fingerprint import fingerprint
from kep.storage.locations import list_files
from tests.helpers.paths import DATA

BEFORE = "data.source: the source is not what it was when the run was started; start the run again"
MEANWHILE = "data.source: the source was changed while ingest read it; start the run again"
BETWEEN = "data.source: the source was changed between two passes over it; start the run again"


def other(folder: Path) -> None:
    """Other rows under the same name."""
    text = (folder / "0.csv").read_text()
    (folder / "0.csv").write_text(text.replace("premium", "plus", 1))


def fewer(folder: Path) -> None:
    (folder / "1.csv").unlink()


def more(folder: Path) -> None:
    shutil.copyfile(folder / "1.csv", folder / "2.csv")


def swapped_and_back(folder: Path) -> None:
    """The file that is there in the end has the old content, but it is another one."""
    text = (folder / "0.csv").read_text()
    (folder / "0.csv").unlink()
    (folder / "0.csv").write_text(text)


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder of two files."""
    header, *lines = (DATA / "churn.csv").read_text().splitlines()
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.csv").write_text("\n".join([header, *lines[number::2]]) + "\n")
    return folder


def run(folder: Path, out: Path, given: str) -> None:
    config = DataSettings(source=str(folder), label="churned").to_json()
    steps.run(out=str(out / "records"), test=str(out / "test"), config=config, source=given, seed=1, code="")


def refused(capsys, out: Path, act: Callable[[], None], words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        act()
    assert ended.value.code == 2
    assert f"error: {words}" in capsys.readouterr().out
    assert not out.exists() or not any(path.is_file() for path in out.rglob("*"))


@pytest.mark.parametrize("change", [other, fewer, more])
def test_a_source_that_was_changed_before_ingest_is_refused(source, tmp_path, capsys, change):
    given = fingerprint(DataSettings(source=str(source), label="churned"))
    change(source)
    refused(capsys, tmp_path / "out", lambda: run(source, tmp_path / "out", given), BEFORE)


@pytest.mark.parametrize("change", [other, fewer, more, swapped_and_back])
def test_a_source_that_changes_during_ingest_is_refused(source, tmp_path, capsys, monkeypatch, change):
    given = fingerprint(DataSettings(source=str(source), label="churned"))

    def meanwhile(*arguments, **more) -> Manifest:
        made = ingest(*arguments, **more)
        change(source)
        return made

    monkeypatch.setattr(steps, "ingest", meanwhile)
    refused(capsys, tmp_path / "out", lambda: run(source, tmp_path / "out", given), MEANWHILE)


@pytest.mark.parametrize("given", ["", "a key of the caller's own"])
def test_without_a_fingerprint_there_is_nothing_to_compare_with(source, tmp_path, given):
    run(source, tmp_path / "out", given)
    assert Manifest.load(tmp_path / "out" / "records").roles["test"].shards == []


class Tasks:
    """Ingest in two tasks, up to where each row has its role."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.config = DataSettings(source=str(folder), label="churned", ingest_tasks=2).to_json()
        self.given = fingerprint(DataSettings(source=str(folder), label="churned"))
        self.out = out
        self.scans: list[str] = []
        self.keyed: list[str] = []

    def scan(self, part: int) -> None:
        self.scans.append(str(self.out / f"scan-{part}"))
        self._task(steps.scan, self.scans[-1], part)

    def keys(self, part: int) -> None:
        self.keyed.append(str(self.out / f"keys-{part}"))
        self._task(steps.keys, self.keyed[-1], part, scans=self.scans)

    def roles(self) -> None:
        where = {"out": str(self.out / "roles"), "config": self.config, "source": self.given, "seed": 1}
        steps.roles(**where, scans=self.scans, keys=self.keyed)

    def _task(self, step: Callable[..., None], out: str, part: int, **more: list[str]) -> None:
        step(out=out, part=json.dumps({"part": part}), config=self.config, source=self.given, **more)


@pytest.mark.parametrize("notes", [True, False])
def test_tasks_together_read_the_source_of_the_run(source, tmp_path, notes):
    if notes:
        (source / "README.txt").write_text("no task reads this")
    tasks = Tasks(source, tmp_path / "out")
    for part in range(2):
        tasks.scan(part)
    for part in range(2):
        tasks.keys(part)
    tasks.roles()
    assert (tmp_path / "out" / "roles" / "roles.json").exists()


def test_tasks_refuse_a_source_that_was_changed_before_them(source, tmp_path, capsys):
    tasks = Tasks(source, tmp_path / "out")
    other(source)
    for part in range(2):
        tasks.scan(part)
    for part in range(2):
        tasks.keys(part)
    refused(capsys, tmp_path / "out" / "roles", tasks.roles, BEFORE)


@pytest.mark.parametrize("change", [other, swapped_and_back])
def test_tasks_refuse_a_source_that_changes_between_them(source, tmp_path, capsys, change):
    tasks = Tasks(source, tmp_path / "out")
    for part in range(2):
        tasks.scan(part)
    change(source)
    tasks.keys(1)
    refused(capsys, tmp_path / "out" / "keys-0", lambda: tasks.keys(0), BETWEEN)


LINKS: dict[str, Callable[[Path], None]] = {
    "up": lambda folder: (folder / "up").symlink_to(".."),
    "itself": lambda folder: (folder / "same").symlink_to("."),
    "a sibling folder": lambda folder: (folder / "current").symlink_to("a"),
    "a file beside": lambda folder: (folder / "latest.csv").symlink_to("a/x.csv"),
    "a broken one": lambda folder: (folder / "gone.csv").symlink_to("nothing.csv"),
    "two that lead round": lambda folder: ((folder / "b").symlink_to("c"), (folder / "c").symlink_to("a")),
}


@pytest.mark.parametrize("link", LINKS)
def test_each_file_counts_once_whatever_links_lead_to_it(tmp_path, link):
    (tmp_path / "data" / "a").mkdir(parents=True)
    shutil.copyfile(DATA / "churn.csv", tmp_path / "data" / "a" / "x.csv")
    LINKS[link](tmp_path / "data")
    found = list_files(Location("data"), tmp_path)
    assert [os.path.relpath(info.path, tmp_path) for info in found] == ["data/a/x.csv"]


def test_a_link_to_files_elsewhere_is_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    shutil.copyfile(DATA / "churn.csv", tmp_path / "elsewhere" / "x.csv")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    assert len(list_files(Location("data"), tmp_path)) == 1


def edit(**changes: object) -> Callable[[dict], None]:
    return lambda content: content.update(changes)


EDITS: dict[str, Callable[[dict], None]] = {
    "offsets swapped": lambda content: content["record"]["slots"].update(
        months=content["record"]["slots"]["monthly_charge"], monthly_charge=content["record"]["slots"]["months"]
    ),
    "a vocabulary reversed": lambda content: next(c for c in content["columns"] if c["vocabulary"])[
        "vocabulary"
    ].reverse(),
    "classes reversed": lambda content: content["label"]["classes"].reverse(),
    "test is train": lambda content: content["roles"].update(validation=content["roles"]["train"]),
    "rows of test": lambda content: content["roles"]["test"].update(rows=1),
    "another mean": lambda content: content["columns"][0].update(mean=0.0),
    "a shard's checksum": lambda content: content["roles"]["train"]["shards"][0].update(crc32c=1),
    "another seed": lambda content: content["split"].update(seed=7),
    "another identity": lambda content: content["identity"].update(columns=["months"]),
    "an older version": edit(version=2),
    "the fingerprint": edit(fingerprint="0" * 64),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_manifest_is_refused(records, tmp_path, what):
    content = json.loads((records("churn") / "manifest.json").read_text())
    EDITS[what](content)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(Exception, match="run ingest again") as caught:
        Manifest.load(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


CHANGES: dict[str, dict[str, object]] = {
    "a type": {"types": {"months": "categorical"}},
    "a column less": {"exclude": ["support_calls"]},
    "one without which two rows are equal": {"exclude": ["region"]},
    "one without which many rows are equal": {"exclude": ["monthly_charge"]},
}


@pytest.mark.parametrize("change", CHANGES)
def test_roles_survive_a_change_of_features(tmp_path, change):
    """But for rows that are equal in what is left, which share a role now, and those that make room for them."""
    settings = DataSettings(source=str(DATA / "churn.csv"), label="churned")
    rows, duplicates = [], 0
    for number, changed in enumerate(({}, CHANGES[change])):
        duplicates = ingest(settings.model_copy(update=changed), 3, tmp_path / str(number)).duplicates
        loaded = [("tune", "train"), ("tune", "validation"), ("evaluate", "test")]
        rows.append({role: set(Records(tmp_path / str(number), step).load(role).ids.tolist()) for step, role in loaded})
    moved = sum(len(rows[0][role] - rows[1][role]) for role in rows[0])
    assert moved <= duplicates
    assert len(set().union(*rows[0].values()) ^ set().union(*rows[1].values())) == 0


def test_rows_of_one_id_share_a_role_whatever_their_features(tmp_path):
    lines = ["who,x,y"] + [f"p{number % 60},{number},{number % 7 % 2}" for number in range(300)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    manifest = ingest(DataSettings(source="rows.csv", label="y", id="who"), 1, tmp_path / "out", tmp_path)
    assert [column.name for column in manifest.columns] == ["x"]
    assert manifest.identity is not None
    assert (manifest.identity.by, manifest.identity.columns) == ("id", ["who"])
    roles = [Records(tmp_path / "out", "tune").load("train"), Records(tmp_path / "out", "evaluate").load("test")]
    assert not set(roles[0].ids.tolist()) & set(roles[1].ids.tolist())
    assert len(np.unique(roles[0].ids)) * 5 == len(roles[0])


@pytest.mark.parametrize(
    ("lines", "more", "words"),
    [
        (["a", ""], {}, 'data.id: column "who" is empty in 1 of 60 rows; fill it'),
        (["a", "b"], {"id": "whom"}, 'data.id: column "whom" not found in rows.csv; did you mean "who"?'),
    ],
)
def test_an_id_that_names_no_row_is_refused(tmp_path, lines, more, words):
    names = lines + [f"n{number}" for number in range(58)]
    rows = ["who,x,y"] + [f"{name},{number},{number % 2}" for number, name in enumerate(names)]
    (tmp_path / "rows.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(Exception, match=r"data\.id") as caught:
        ingest(DataSettings(**{"source": "rows.csv", "label": "y", "id": "who"} | more), 1, tmp_path / "out", tmp_path)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (pa.array(["7", "8"]), pa.array([7, 8]), True),
        (pa.array(["7.0", " 8 "]), pa.array([7, 8]), True),
        (pa.array(["7", "x"]), pa.array(["7.0", "x"]), True),
        (pa.array(["true", "False"]), pa.array([True, False]), True),
        (pa.array([None, 1.0]), pa.array(["", "1"]), True),
        (pa.array([-0.0, 1.0]), pa.array([0, 1]), True),
        (pa.array(["7", "8"]), pa.array(["7", "9"]), False),
        (pa.array(["a", "b"]), pa.array(["a", "B"]), False),
        (pa.array(["1_0", "2"]), pa.array(["10", "2"]), False),
    ],
)
def test_a_value_has_one_hash_whatever_file_it_came_from(one, other, same):
    hashes = [columns.identity_hashes(array, "x").tolist() for array in (one, other)]
    assert (hashes[0] == hashes[1]) is same
    assert columns.identity_hashes(one, "y").tolist() != hashes[0]


def test_an_id_counts_letter_by_letter():
    ids = pa.array(["007", "7", "9007199254740992", "9007199254740993"])
    assert len(set(columns.identity_hashes(ids, "id", exact=True).tolist())) == 4
    numbers = pa.array([9007199254740992, 9007199254740993, 7])
    assert len(set(columns.identity_hashes(numbers, "id", exact=True).tolist())) == 3


def hive(folder: Path, layout: list[tuple[str, int]]) -> Path:
    """Parquet files as Spark writes them, each with some rows."""
    for path, rows in layout:
        (folder / path).mkdir(parents=True)
        table = pa.table({"x": list(range(rows)), "y": [number % 2 for number in range(rows)]})
        pq.write_table(table, folder / path / "part-0.parquet")
    return folder


@pytest.mark.parametrize(
    ("layout", "kinds"),
    [
        ([("year=2024", 60), ("year=2025", 40)], {"x": "numeric", "year": "numeric"}),
        ([("plan=a/year=1", 50), ("plan=b/year=2", 50)], {"x": "numeric", "plan": "categorical", "year": "numeric"}),
        (
            [("town=K%C3%B6ln", 50), ("town=__HIVE_DEFAULT_PARTITION__", 50), ("town=Ulm", 20)],
            {"x": "numeric", "town": "categorical"},
        ),
        ([("zip=010", 50), ("zip=10", 50)], {"x": "numeric", "zip": "categorical"}),
        ([("data", 100)], {"x": "numeric"}),
    ],
)
def test_folders_that_name_a_value_are_a_column(tmp_path, layout, kinds):
    source = hive(tmp_path / "set", layout)
    for where in (str(source), f"{source}/**/*.parquet"):
        manifest = ingest(DataSettings(source=where, label="y"), 1, tmp_path / "out")
        assert {column.name: column.kind for column in manifest.columns} == kinds


def test_a_label_may_be_the_folders_name(tmp_path):
    source = hive(tmp_path / "set", [("y2=no", 60), ("y2=yes", 60)])
    manifest = ingest(DataSettings(source=str(source), label="y2"), 1, tmp_path / "out")
    assert manifest.label.classes == ["no", "yes"]


def test_files_of_two_layouts_are_refused(tmp_path):
    source = hive(tmp_path / "set", [("year=2024", 60), ("2025", 40)])
    with pytest.raises(Exception, match='name a value of "year"'):
        ingest(DataSettings(source=str(source), label="y"), 1, tmp_path / "out")
