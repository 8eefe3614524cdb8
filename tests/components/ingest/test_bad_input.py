"""Each mistake gets one sentence, and leaves nothing behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.config.data import DataSettings, Files, RoleValues, Split
from kep.core.errors import UserError


def table(rows: int = 60, **columns: Callable[[int], object]) -> str:
    """CSV text with a numeric feature `a`, a word `b` and a label `y`, some columns replaced or added."""
    functions = {
        "a": lambda i: i,
        "b": lambda i: "uvw"[i % 3],
        "y": lambda i: "no" if i % 2 else "yes",
    } | columns
    lines = [",".join(functions)]
    lines += [",".join(str(function(i)) for function in functions.values()) for i in range(rows)]
    return "\n".join(lines) + "\n"


def csv(text: str | bytes, name: str = "rows.csv") -> Callable[[Path], None]:
    """A maker of one file."""
    data = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / name).write_bytes(data)


def npz(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "rows.npz", **arrays)


def picture(path: Path, size: tuple[int, int] = (6, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 255, size, np.uint8)).save(path)


def pictures(*names: str, also: Callable[[Path], object] = lambda _: None) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name in names:
            picture(folder / "images" / name)
        also(folder / "images")

    return make


def three_files(folder: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (folder / name).write_text(table())
    (folder / "three.csv").write_text(table().replace("b,y", "c,y", 1))


ROWS = {"source": "rows.csv", "label": "y"}
IMAGES = {"source": "images"}
NPZ = {"source": "rows.npz"}

CASES = {
    "no such file": (
        csv(table()),
        {"source": "row.csv", "label": "y"},
        'data.source: "row.csv" does not exist; did you mean "rows.csv"?',
    ),
    "empty glob": (
        csv(table()),
        {"source": "*.parquet"},
        'data.source: "*.parquet" holds no files; check the path',
    ),
    "empty file": (csv(""), ROWS, "data.source: rows.csv is empty; give a file with a header line and rows"),
    "header only": (csv("a,b,y\n"), ROWS, "data.source: rows.csv has no rows; give at least a few per class"),
    "one class": (
        csv(table(y=lambda _: "yes")),
        ROWS,
        'data.label: column "y" has one class ("yes") in all 60 rows; there is nothing to predict, give '
        "rows of "
        "at least two classes",
    ),
    "too few rows in a class": (
        csv(table(y=lambda i: "rare" if i < 2 else "yes")),
        ROWS,
        'data.split: class "rare" has 2 distinct rows, too few for train, validation and test; give more '
        "or leave "
        "it out",
    ),
    "label misspelt": (
        csv(table(target=lambda i: i % 2)),
        ROWS | {"label": "targt"},
        'data.label: column "targt" not found in rows.csv; did you mean "target"?',
    ),
    "label not given": (
        csv(table()),
        {"source": "rows.csv"},
        "data.label: no label is given; name the column to predict, one of a, b, y",
    ),
    "label empty": (
        csv(table(y=lambda _: "")),
        ROWS,
        'data.label: column "y" is empty in every row; name another column or fill it',
    ),
    "label partly empty": (
        csv(table(y=lambda i: "" if i % 5 == 0 else "yes")),
        ROWS,
        'data.label: column "y" is empty in 12 of 60 rows; remove them or fill them',
    ),
    "label of numbers and words": (
        csv(table(y=lambda i: "low" if i == 7 else i % 2)),
        ROWS,
        'data.label: column "y" mixes numbers and words (59 and 1 of 60 rows: 0 in row 1, "low" in row 8); '
        "correct them, or set data.task: multiclass to make classes of them",
    ),
    "mixed types": (
        csv(table(a=lambda i: "old" if i == 40 else i)),
        ROWS,
        'data.types: column "a" of rows.csv mixes numbers and words (59 and 1 of 60 rows: 0 in row 1, "old" in '
        'row 41); correct them, list "old" in data.missing if it means no value, '
        "or set data.types: {a: categorical}",
    ),
    "two readings": (
        csv(table(a=lambda i: f'"1,{i:03d}"')),
        ROWS,
        'data.decimal: column "a" can be read in two ways ("1,000" in row 1: thousands or decimals); set '
        'data.decimal: "." or ",", or set data.types: {a: categorical}',
    ),
    "two readings of a label": (
        csv(table(y=lambda i: f"$1.{i:03d}")),
        ROWS,
        'data.decimal: column "y" can be read in two ways ("$1.000" in row 1: thousands or decimals); set '
        'data.decimal: "." or ",", or set data.task: multiclass to make classes of them',
    ),
    "decimal commas and points": (
        csv(table(a=lambda i: f'"{i},5"' if i else "0.5")),
        ROWS,
        'data.types: column "a" mixes decimal commas and points ("1,5" in row 2, 0.5 in row 1); write them in one way, '
        "or set data.types: {a: categorical}",
    ),
    "two units": (
        csv(table(a=lambda i: f"{i} €" if i % 2 else f"{i} $")),
        ROWS,
        'data.types: column "a" has numbers of several units ("0 $" in row 1, "1 €" in row 2); write them in one unit, '
        "or set data.types: {a: categorical}",
    ),
    "a unit that is missing once": (
        csv(table(a=lambda i: f"{i} %" if i != 7 else i)),
        ROWS,
        'data.types: column "a" has numbers of several units ("0 %" in row 1, "7" in row 8); write them in one unit, '
        "or set data.types: {a: categorical}",
    ),
    "one word among amounts": (
        csv(table(a=lambda i: f'"$1,{i:03d}.50"' if i != 40 else "free")),
        ROWS,
        'data.types: column "a" holds numbers ("$1,000.50" in row 1), but "free" in row 41 is not one (1 of 60 rows); '
        'correct it, list "free" in data.missing if it means no value, or set data.types: {a: categorical}',
    ),
    "one word among dates": (
        csv(table(a=lambda i: f"2024-01-{i % 28 + 1:02d}" if i != 40 else "2024-02-30")),
        ROWS,
        'data.types: column "a" holds dates ("2024-01-01" in row 1), but "2024-02-30" in row 41 is not one (1 of 60 '
        'rows); correct it, list "2024-02-30" in data.missing if it means no value, or set data.types: '
        "{a: categorical}",
    ),
    "no dates": (
        csv(table()),
        ROWS | {"types": {"b": "date"}},
        'data.types: column "b" holds no dates ("u" in row 1); give dates such as 2024-01-31, or set data.types: '
        "{b: categorical}",
    ),
    "no dates but numbers": (
        csv(table()),
        ROWS | {"types": {"a": "date"}},
        'data.types: column "a" holds no dates (0 in row 1); give dates such as 2024-01-31 or 20240131, or set '
        "data.types: {a: categorical}",
    ),
    "all at once": (
        csv(
            table(
                y=lambda i: "low" if i == 7 else i % 2, c=lambda i: f'"1,{i:03d}"', d=lambda i: "inf" if i == 8 else i
            )
        ),
        ROWS,
        'data.label: column "y" mixes numbers and words (59 and 1 of 60 rows: 0 in row 1, "low" in row 8); correct '
        "them, or set data.task: multiclass to make classes of them\n"
        'data.decimal: column "c" can be read in two ways ("1,000" in row 1: thousands or decimals); set data.decimal: '
        '"." or ",", or set data.types: {c: categorical}\n'
        'data.source: column "d" is inf in row 9, beyond 32-bit floats; rescale it or leave it empty',
    ),
    "all unknown columns at once": (
        csv(table()),
        ROWS | {"features": ["a", "bb"], "id": "who"},
        'data.features: column "bb" not found in rows.csv; did you mean "b"?\n'
        'data.id: column "who" not found in rows.csv; the columns are a, b, y',
    ),
    "lists of labels": (
        lambda folder: pq.write_table(
            pa.table({"a": list(range(18)), "y": [["u"], ["v", "w"]] * 9}), folder / "rows.parquet"
        ),
        {"source": "rows.parquet", "label": "y"},
        'data.label: column "y" holds lists (list<element: string>); several labels a row are not supported: make a '
        "column of yes and no for each label, and a run for each column",
    ),
    "unknown column of missing values": (
        csv(table()),
        ROWS | {"missing": {"c": []}},
        'data.missing: column "c" not found in rows.csv; the columns are a, b, y',
    ),
    "duplicate columns": (
        csv(table().replace("a,b", "a,a", 1)),
        ROWS,
        'data.source: rows.csv has two columns named "a"; rename one',
    ),
    "column without a name": (
        csv(table().replace("a,b", "a,", 1)),
        ROWS,
        "data.source: column 2 of rows.csv has no name; name it in the header line",
    ),
    "infinite label": (
        csv(table(y=lambda i: "inf" if i == 8 else i + 0.5)),
        ROWS,
        'data.label: column "y" is inf in row 9; labels must be finite 32-bit numbers',
    ),
    "constant label": (
        csv(table(y=lambda _: 1.5)),
        ROWS,
        'data.label: column "y" is 1.5 in every row; there is nothing to predict',
    ),
    "infinite feature": (
        csv(table(a=lambda i: "-inf" if i == 3 else i)),
        ROWS,
        'data.source: column "a" is -inf in row 4, beyond 32-bit floats; rescale it or leave it empty',
    ),
    "no feature left": (
        csv(table(a=lambda _: 1, b=lambda i: f"id {i}")),
        ROWS,
        "data.features: no feature column is left (constant, empty, identifier and index columns teach nothing); "
        "give at "
        "least one column that varies",
    ),
    "ragged rows": (
        csv(table().replace("\n9,u", "\n9,u,7", 1)),
        ROWS,
        "data.source: line 11 of rows.csv has 4 values, the header line has 3; correct that line (quote "
        "values "
        "that hold the delimiter)",
    ),
    "Latin-1": (
        csv(table(b=lambda i: "Köln" if i == 20 else "Rom").encode("latin1")),
        ROWS,
        "data.source: rows.csv is not UTF-8 (byte 0xf6 at position 5 of line 22); convert it, such as with "
        "iconv "
        "-f latin1 -t utf-8",
    ),
    "Latin-1 in the header": (
        csv(table().replace("a,", "größe,", 1).encode("latin1")),
        ROWS,
        "data.source: rows.csv is not UTF-8 (byte 0xf6 at position 3 of line 1); convert it, such as with "
        "iconv "
        "-f latin1 -t utf-8",
    ),
    "wrong delimiter": (
        csv(table().replace(",", ";")),
        ROWS,
        'data.delimiter: rows.csv has one column when split at ","; set data.delimiter: ";"',
    ),
    "unsupported ending": (
        csv(table(), "rows.xlsx"),
        {"source": "rows.xlsx"},
        'data.source: "rows.xlsx" ends in ".xlsx", which no reader knows; the known endings are .csv, '
        ".csv.gz, "
        ".parquet, .pq, .npz, .png, .jpg, .jpeg, .tfrecord, .tfrecords, .tfrecord.gz, "
        ".tfrecords.gz; convert it, or set data.format",
    ),
    "not Parquet": (
        csv("PAR", "rows.parquet"),
        {"source": "rows.parquet", "label": "y"},
        "data.source: rows.parquet is not a readable Parquet file: Parquet file size is 3 bytes, smaller "
        "than the "
        "minimum file footer (8 bytes)",
    ),
    "nested column": (
        lambda folder: pq.write_table(
            pa.table({"a": [[1], [2]] * 9, "b": list(range(18)), "y": ["u", "v"] * 9}),
            folder / "rows.parquet",
        ),
        {"source": "rows.parquet", "label": "y"},
        'data.exclude: column "a" has type list<element: int64>, which is no feature; exclude it',
    ),
    "unknown set": (
        csv(""),
        {"source": "sklearn:digit"},
        'data.source: "sklearn:digit" is not a set; the sets are digits, breast_cancer, diabetes, iris, '
        "wine; did "
        'you mean "digits"?',
    ),
    "unknown feature": (
        csv(table()),
        ROWS | {"features": ["a", "bb"]},
        'data.features: column "bb" not found in rows.csv; did you mean "b"?',
    ),
    "unknown exclusion": (
        csv(table()),
        ROWS | {"exclude": ["id"]},
        'data.exclude: column "id" not found in rows.csv; the columns are a, b, y',
    ),
    "unknown typed column": (
        csv(table()),
        ROWS | {"types": {"zip": "categorical"}},
        'data.types: column "zip" not found in rows.csv; the columns are a, b, y',
    ),
    "label excluded": (
        csv(table()),
        ROWS | {"exclude": ["y"]},
        'data.exclude: "y" is the label; remove it from data.exclude or name another label',
    ),
    "words typed numeric": (
        csv(table()),
        ROWS | {"types": {"b": "numeric"}},
        'data.types: column "b" can\'t be numeric ("u" in row 1); correct it, or set data.types: {b: categorical}',
    ),
    "numbers typed boolean": (
        csv(table(a=lambda i: i + 5)),
        ROWS | {"types": {"a": "boolean"}},
        'data.types: column "a" can\'t be boolean ("5" in row 1); give true and false, or 0 and 1',
    ),
    "words for regression": (
        csv(table()),
        ROWS | {"task": "regression"},
        'data.task: column "y" holds words ("no"), which regression cannot predict; remove data.task or '
        "name a "
        "column of numbers",
    ),
    "three classes for binary": (
        csv(table(y=lambda i: "uvw"[i % 3])),
        ROWS | {"task": "binary"},
        'data.task: binary needs 2 classes, column "y" has 3 (u, v, w); set data.task: multiclass',
    ),
    "fractions for classes": (
        csv(table(y=lambda i: i + 0.5)),
        ROWS | {"task": "multiclass"},
        'data.task: column "y" holds fractions (0.5 to 59.5), which are no classes; set data.task: regression',
    ),
    "unknown split column": (
        csv(table()),
        ROWS | {"split": Split(by="group", column="c")},
        'data.split.column: column "c" not found in rows.csv; the columns are a, b, y',
    ),
    "unknown role": (
        csv(table(part=lambda i: ["train", "validation", "tests"][i % 3])),
        ROWS | {"split": Split(by="column", column="part")},
        'data.split.roles: column "part" holds "tests", which means no role; the values that do are train, '
        "validation, test",
    ),
    "a role without rows": (
        csv(table(part=lambda i: ["train", "test"][i // 2 % 2])),
        ROWS | {"split": Split(by="column", column="part", roles=RoleValues(validation=["valid"]))},
        "data.split: no row is left for validation; change the split so that every role has rows",
    ),
    "a class that train lacks": (
        csv(table(part=lambda i: ["train", "validation", "test"][i // 20], y=lambda i: "yes" if i > 30 else "no")),
        ROWS | {"split": Split(by="column", column="part")},
        'data.split: class "yes" has no train row; change the split so that it has some',
    ),
    "two groups": (
        csv(table(team=lambda i: i // 30)),
        ROWS | {"split": Split(by="group", column="team")},
        'data.split: column "team" has 2 groups, too few for train, validation and test; give more or leave it out',
    ),
    "words for time": (
        csv(table()),
        ROWS | {"split": Split(by="time", column="b")},
        'data.split.column: column "b" holds "u", which is no date or number; give dates such as '
        "2024-05-31 or "
        "2024-05-31 12:00:00",
    ),
    "time partly empty": (
        csv(table(day=lambda i: "" if i == 5 else f"2024-01-{i % 28 + 1:02d}")),
        ROWS | {"split": Split(by="time", column="day")},
        'data.split.column: column "day" is empty in some rows; fill it',
    ),
    "files with other columns": (
        three_files,
        {
            "files": Files(train="one.csv", validation="two.csv", test="three.csv"),
            "label": "y",
            "split": Split(by="files"),
        },
        'data.files: column "b" is not in three.csv; give the same columns',
    ),
    "folder of files with other columns": (
        three_files,
        {"source": "*.csv", "label": "y"},
        'data.source: column "b" is in one.csv but not in three.csv; give files with the same columns',
    ),
    "npz without x": (
        npz(a=np.zeros((9, 2)), y=np.zeros(9)),
        NPZ,
        'data.source: rows.npz holds the arrays a, y; name them "x" and "y"',
    ),
    "two npz files": (
        lambda folder: [np.savez(folder / f"{name}.npz", x=np.zeros((9, 2)), y=np.zeros(9)) for name in "ab"],
        {"source": "*.npz"},
        'data.source: "*.npz" holds 2 .npz files; name the one to read',
    ),
    "npz of objects": (
        npz(x=np.array([{}] * 9).reshape(9, 1), y=np.zeros(9)),
        NPZ,
        'data.source: "x" of rows.npz holds Python objects; save np.ascontiguousarray of numbers or fixed-length '
        "strings",
    ),
    "npz of two lengths": (
        npz(x=np.zeros((9, 2)), y=np.zeros(8)),
        NPZ,
        'data.source: "x" of rows.npz has 9 rows, "y" has 8; give one label a row',
    ),
    "npz of float images": (
        npz(x=np.zeros((9, 4, 4), np.float32), y=np.zeros(9)),
        NPZ,
        'data.source: "x" of rows.npz has shape [9, 4, 4] and type float32; give numbers [rows, columns] '
        "or uint8 "
        "images [rows, height, width, channels] from 0 to 255",
    ),
    "unreadable image": (
        pictures("a/1.png", "b/2.png", also=lambda folder: (folder / "b/3.png").write_bytes(b"\x89PNG rubbish")),
        IMAGES,
        "data.source: image b/3.png cannot be read (UnidentifiedImageError); replace or remove it",
    ),
    "truncated image": (
        pictures("a/1.png", "b/2.png", also=lambda folder: cut(folder / "b/2.png")),
        IMAGES,
        "data.source: image b/2.png cannot be read (OSError); replace or remove it",
    ),
    "images of two sizes": (
        pictures("a/1.png", "b/2.png", also=lambda folder: picture(folder / "b/wide.png", (6, 8))),
        IMAGES,
        "data.image_size: the images differ in size (1.png has 6x6 pixels, wide.png 8x6); set "
        "data.image_size: "
        "[height, width]",
    ),
    "empty class folder": (
        pictures("a/1.png", "b/2.png", also=lambda folder: (folder / "c").mkdir()),
        IMAGES,
        'data.source: class folder "c" holds no images; fill it or remove it',
    ),
    "one class folder": (
        pictures("a/1.png", "a/2.png"),
        IMAGES,
        'data.label: column "label" has one class ("a") in all 2 rows; there is nothing to predict, give '
        "rows of "
        "at least two classes",
    ),
    "loose image": (
        pictures("1.png", "a/2.png"),
        IMAGES,
        "data.source: image 1.png lies in no class folder; put each image in a folder named by its class",
    ),
}


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("name", CASES)
def test_sentence(name: str, tmp_path: Path):
    make, settings, sentence = CASES[name]
    base, runs = tmp_path / "base", tmp_path / "runs"
    base.mkdir()
    runs.mkdir()
    make(base)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as caught:
        ingest(DataSettings(**settings), 1, runs / "records", base)
    assert str(caught.value) == sentence
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(UserError) as caught:
        inspect(DataSettings(**settings), 1, base)
    assert str(caught.value) == sentence


def test_error_in_a_worker_process(tmp_path: Path):
    """A sentence from another process is the same sentence."""
    (tmp_path / "rows.csv").write_text(table(b=lambda _: "Köln"), encoding="utf-8")
    settings = DataSettings(source="rows.csv", label="y", split=Split(by="time", column="b"), workers=2)
    with pytest.raises(UserError, match='column "b" holds "Köln", which is no date or number'):
        ingest(settings, 1, tmp_path / "records", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


DAYS = [f"2024-01-{day:02d}" for day in range(1, 31)]
TIMES = {
    "a word in the middle": ([*DAYS[:20], "soon", *DAYS[20:]], '"soon", which is no date or number'),
    "a word at the end": ([*DAYS, "later"], '"later", which is no date or number'),
    "a day that is none": ([*DAYS, "2024-02-30"], '"2024-02-30", which is no date or number'),
    "a word among years": (["2021", "2022", "-3", "1e3", "soon", "2023"], '"soon", which is no date or number'),
    "a year among dates": ([*DAYS, "2021"], '"2021", which is no date or number'),
    "another way to write": (["1.2.2024", "2.2.2024"], '"1.2.2024", which is no date or number'),
    "a word after times with a zone": (["2024-01-01T00:00:00Z", "soon"], '"soon", which is no date or number'),
    "with a zone and without": (
        [*DAYS, "2024-02-01T00:00:00Z"],
        'dates with a time zone and without ("2024-02-01T00:00:00Z" and "2024-01-01")',
    ),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_split_by_time_names_the_value_that_is_no_time(name: str, tmp_path: Path):
    values, words = TIMES[name]
    lines = [f"{value},{row * 37 % 101},{row % 2}" for row, value in enumerate(values)]
    (tmp_path / "rows.csv").write_text("\n".join(["when,x,y", *lines]))
    settings = DataSettings(source="rows.csv", label="y", split=Split(by="time", column="when"))
    with pytest.raises(UserError) as caught:
        inspect(settings, 1, tmp_path)
    rest = "; give dates such as 2024-05-31 or 2024-05-31 12:00:00"
    assert str(caught.value) == f'data.split.column: column "when" holds {words}{rest}'


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "rows.csv").write_text(table())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(UserError, match=r"not enough disk: needs about 0\.00 GB under .*, 0\.00 GB free"):
        ingest(DataSettings(source="rows.csv", label="y"), 1, tmp_path / "runs" / "records", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["rows.csv"]
