"""Ingest in tasks that share the source: the same bytes as in one, whatever the split, the format and their number."""

import csv
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kep.components.ingest import categories
from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.components.ingest.tasks import files_of_tasks
from kep.config.data import DataSettings, Files, Split
from kep.core.errors import UserError
from kep.data.schema import Manifest
from tests.helpers.tasks import in_tasks


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows(count: int, seed: int = 0) -> dict[str, list]:
    """Rows with missing values, rare categories, repeated features, groups and times."""
    rng = np.random.default_rng(seed)
    amount = [f"{value:.2f}" for value in rng.normal(50, 20, count)]
    for place in range(0, count, 17):
        amount[place] = ""
    return {
        "amount": amount,
        "plan": [f"p{value}" for value in rng.geometric(0.3, count)],
        "score": rng.integers(0, 6, count).tolist(),
        "customer": [f"c{value}" for value in rng.integers(0, 40, count)],
        "day": rng.integers(0, 90, count).tolist(),
        "role": rng.choice(["train", "train", "validation", "test"], count).tolist(),
        "bought": rng.choice(["no", "yes"], count, p=[0.7, 0.3]).tolist(),
        "price": rng.normal(1e6, 3, count).tolist(),
    }


def people(columns: dict[str, list]) -> dict[str, list]:
    """Rows as people write them; the first of them don't show yet how."""
    amount = [f"{float(value or 0) * 50:,.2f}" for value in columns["amount"]]
    amount[:3] = ["7", "950.00", "12.5"]
    days = [f"{day % 28 + 1:02d}/{day // 28 + 1:02d}/2024 {day % 24}:30" for day in columns["day"]]
    days[:5] = ["01/02/2024"] * 5
    zips = ["10115" if day < 45 else "01067" for day in columns["day"]]
    zips[:5] = ["10115"] * 5
    grades = ["NA" if day < 30 else "B" for day in columns["day"]]
    fees = [f"{day} €" for day in columns["day"]]
    return {"amount": amount, "when": days, "zip": zips, "grade": grades, "fee": fees, "bought": columns["bought"]}


def write_csv(path: Path, columns: dict[str, list]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def slices(columns: dict[str, list], edges: list[int]) -> list[dict[str, list]]:
    return [{name: values[start:end] for name, values in columns.items()} for start, end in pairwise(edges)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows as seven CSV files of different sizes and as Parquet, and images, some of them grey."""
    base = tmp_path_factory.mktemp("source")
    columns = rows(700)
    for name in ("csv", "parquet"):
        (base / name).mkdir()
    for number, part in enumerate(slices(columns, [0, 5, 200, 205, 350, 500, 501, 700])):
        write_csv(base / "csv" / f"{number}.csv", part)
        table = pa.table(part | {"amount": [float(value) if value else None for value in part["amount"]]})
        pq.write_table(table, base / "parquet" / f"{number}.parquet", row_group_size=64)
    spelled = people(columns)
    (base / "forms").mkdir()
    for number, part in enumerate(slices(spelled, [0, 5, 200, 700])):
        write_csv(base / "forms" / f"{number}.csv", part)
    for number, part in enumerate(slices(columns, [0, 400, 550, 700])):
        write_csv(base / f"{('train', 'validation', 'test')[number]}.csv", part)
    rng = np.random.default_rng(0)
    for name in ("circle", "square"):
        (base / "images" / name).mkdir(parents=True)
        for number in range(20):
            shape = (6, 5) if name == "circle" else (6, 5, 3)
            pixels = rng.integers(0, 255, shape).astype(np.uint8)
            Image.fromarray(pixels).save(base / "images" / name / f"{number}.png")
    return base


TABLE = {"source": "csv", "label": "bought", "exclude": ["customer", "day", "role", "price"], "shard_mb": 0.01}
SETTINGS = {
    "random": TABLE,
    "regression": TABLE | {"label": "price", "exclude": ["customer", "day", "role", "bought"]},
    "group": TABLE | {"exclude": ["day", "role", "price"], "split": Split(by="group", column="customer")},
    "time": TABLE | {"exclude": ["customer", "role", "price"], "split": Split(by="time", column="day")},
    "column": TABLE | {"exclude": ["customer", "day", "price"], "split": Split(by="column", column="role")},
    "files": {
        "files": Files(train="train.csv", validation="validation.csv", test="test.csv"),
        "split": Split(by="files"),
        "label": "bought",
        "exclude": ["price"],
    },
    "parquet": TABLE | {"source": "parquet", "max_categories": 4},
    "weights": TABLE | {"weight": "score"},
    "balanced": TABLE | {"weight": "balanced"},
    "glob": TABLE | {"source": "csv/[0-3].csv"},
    "images": {"source": "images", "shard_mb": 0.001},
    "forms": {"source": "forms", "label": "bought", "missing": {"grade": []}, "shard_mb": 0.01},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_same_bytes_for_any_number_of_tasks(name: str, folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(categories, "HELD", 3)
    settings = DataSettings(**SETTINGS[name], workers=1)
    ingest(settings, 4, tmp_path / "one", folder)
    assert len(list((tmp_path / "one").iterdir())) > 3
    for number in (2, 5):
        in_tasks(settings.model_copy(update={"ingest_tasks": number}), 4, folder, tmp_path / f"{number}")
        assert content(tmp_path / f"{number}" / "records") == content(tmp_path / "one")


def test_a_form_follows_from_the_files_of_all_tasks(folder: Path, tmp_path: Path):
    settings = DataSettings(**SETTINGS["forms"], workers=1, ingest_tasks=3)
    in_tasks(settings, 4, folder, tmp_path / "3")
    found = {column.name: (column.kind, str(column.reading)) for column in Manifest.load(tmp_path / "3/records").inputs}
    assert found == {
        "amount": ("numeric", "1,234.5"),
        "when": ("date", "day first"),
        "zip": ("categorical", ""),
        "grade": ("categorical", ""),
        "fee": ("numeric", "1,234.5 €"),
    }


def test_units_of_the_files_of_all_tasks_are_compared(folder: Path, tmp_path: Path):
    columns = people(rows(60))
    for number, part in enumerate(slices(columns | {"fee": ["5"] * 20 + ["5 €"] * 20 + ["5 $"] * 20}, [0, 20, 40, 60])):
        write_csv(tmp_path / f"part{number}.csv", part)
    settings = DataSettings(source="part*.csv", label="bought", workers=1, ingest_tasks=3)
    words = 'has numbers of several units ("5" in row 1, "5 €" in row 21)'
    with pytest.raises(UserError, match=re.escape(words)):
        in_tasks(settings, 4, tmp_path, tmp_path / "out")


def test_every_file_is_read_by_one_task_and_each_has_its_share(folder: Path):
    settings = DataSettings(**TABLE)
    sizes = {str(path): path.stat().st_size for path in (folder / "csv").iterdir()}
    for number in (2, 3, 7, 20):
        parts = [paths for (paths,) in files_of_tasks(settings.model_copy(update={"ingest_tasks": number}), folder)]
        assert len(parts) == number
        assert sorted(path for paths in parts for path in paths) == sorted(sizes)
        shares = [sum(sizes[path] for path in paths) / sum(sizes.values()) for paths in parts]
        assert max(shares) < 1 / number + max(sizes.values()) / sum(sizes.values())


@pytest.mark.slow
def test_processes_of_a_task_change_nothing(folder: Path, tmp_path: Path):
    settings = DataSettings(**SETTINGS["random"], workers=1, ingest_tasks=2)
    in_tasks(settings, 4, folder, tmp_path / "one")
    in_tasks(settings.model_copy(update={"workers": 2}), 4, folder, tmp_path / "two")
    assert content(tmp_path / "one" / "records") == content(tmp_path / "two" / "records")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "sklearn:iris"}, '"sklearn:iris" is sklearn, which one task reads; several tasks can share csv, '),
        ({"source": "a.npz"}, '"a.npz" is npz, which one task reads'),
        ({"source": "a.tfrecord"}, '"a.tfrecord" is tfrecord, which one task reads'),
        ({"source": "a.csv", "label": "y"}, '"a.csv" is one file, and tasks share a source by its files'),
    ],
)
def test_what_tasks_cannot_share_is_refused_before_a_run(settings: dict, message: str, tmp_path: Path):
    for name in ("a.npz", "a.tfrecord", "a.csv"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"data\.ingest_tasks: " + message):
        inspect(DataSettings(**settings, ingest_tasks=2), 0, tmp_path)


def test_files_that_differ_between_tasks(tmp_path: Path):
    """What one task can't see is found when the tasks' scans are put together."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(4):
        columns = rows(30, number)
        write_csv(source / f"{number}.csv", columns | ({"more": columns["score"]} if number == 3 else {}))
    settings = DataSettings(source="source", label="bought", ingest_tasks=4)
    with pytest.raises(UserError, match=r'data\.source: column "more" is in some files of source but not in others'):
        in_tasks(settings, 0, tmp_path, tmp_path / "out")
    (source / "3.csv").unlink()
    with pytest.raises(UserError, match=r'data\.features: column "amout" not found in source; did you mean "amount"'):
        in_tasks(settings.model_copy(update={"features": ["amout"]}), 0, tmp_path, tmp_path / "other")


def test_a_role_without_a_column(tmp_path: Path):
    for number, name in enumerate(("train", "validation", "test")):
        columns = rows(60, number)
        if name == "test":
            del columns["plan"]
        write_csv(tmp_path / f"{name}.csv", columns)
    settings = DataSettings(**SETTINGS["files"], ingest_tasks=3)
    with pytest.raises(UserError, match=r'data\.files: column "plan" is not in test\.csv; give the same columns'):
        in_tasks(settings, 0, tmp_path, tmp_path / "out")


def test_images_that_differ_in_size_between_tasks(tmp_path: Path):
    for name, size in (("a", (4, 6)), ("b", (5, 6))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", size, number).save(tmp_path / "images" / name / f"{number}.png")
    settings = DataSettings(source="images", ingest_tasks=2)
    with pytest.raises(UserError, match=r"data.image_size: the images differ in size \(4x6 and 5x6 pixels\)"):
        in_tasks(settings, 0, tmp_path, tmp_path / "out")
