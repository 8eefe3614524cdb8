"""Hints: each fires where it should, stays silent at what looks alike, and shows on the screen and in the report."""

import json
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from kep.artifacts.report import Report
from kep.components.ingest import hints
from kep.components.ingest.ingest import ingest
from kep.components.ingest.inspect import inspect
from kep.components.ingest.scan import _SKETCH, Distinct
from kep.config.data import DataSettings, Split
from kep.config.run_file import validate
from kep.data.schema import Manifest
from kep.data.sealed import seal
from kep.engines import preflight
from kep.report.report import render
from tests.helpers.paths import DATA
from tests.helpers.reports import whole
from tests.helpers.tasks import in_tasks

ROWS = 300
RNG = np.random.default_rng(0)
CLASS = RNG.integers(0, 2, ROWS)
NOISE = RNG.normal(size=ROWS)
LOGNORMAL = np.exp(2 * RNG.normal(size=ROWS))
CLASSES = RNG.integers(0, 30, ROWS)


def found(columns: dict, base: Path, **settings) -> list[str]:
    """The hints that ingest gives for a table with some noise beside the columns."""
    table = pa.table({"noise": NOISE[: len(next(iter(columns.values())))]} | columns)
    pq.write_table(table, base / "rows.parquet")
    return ingest(DataSettings(source="rows.parquet", **{"label": "y"} | settings), 1, base / "out", base).hints


def some_missing(values: np.ndarray) -> list[float | None]:
    """The values of one class, None for the other."""
    return [None if one else float(value) for one, value in zip(CLASS, values, strict=True)]


def flipped(labels: np.ndarray, rows: int) -> np.ndarray:
    """Labels of which some are wrong."""
    changed = labels.copy()
    changed[:rows] = 1 - changed[:rows]
    return changed


NO, YES = "no", "yes"
LEAKS: dict[str, tuple[np.ndarray, object, bool]] = {
    "a threshold": (CLASS, CLASS + RNG.uniform(0, 0.4, ROWS), True),
    "a category": (CLASS, np.where(CLASS, YES, NO), True),
    "classes far apart": (CLASS, 100 * CLASS + RNG.normal(size=ROWS), True),
    "missing or not": (CLASS, some_missing(NOISE), True),
    "many classes": (CLASSES, (CLASSES * 7) % 31 + 0.5, True),
    "another unit": (LOGNORMAL, LOGNORMAL * 0.4536 + 3, True),
    "a copy with 5 % errors": (CLASS, flipped(CLASS, 15), False),
    "classes that overlap": (CLASS, 4 * CLASS + NOISE, False),
    "a number and a tenth of noise": (NOISE, NOISE + 0.2 * RNG.normal(size=ROWS), False),
    "nothing": (CLASS, RNG.normal(size=ROWS), False),
    "a constant label but for few": (np.arange(ROWS) < 40, RNG.normal(size=ROWS), False),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_feature_that_gives_the_label_away(name: str, tmp_path: Path):
    label, feature, expected = LEAKS[name]
    sentence = (
        'column "x" alone predicts "y" almost perfectly: leave it out with data.exclude unless it is known before '
    )
    told = found({"noise": RNG.normal(size=ROWS), "x": feature, "y": label}, tmp_path)
    assert told == ([sentence + '"y" is'] if expected else [])


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "iris", "wine", "diabetes"])
def test_real_sets_have_no_hints(name: str, tmp_path: Path):
    assert ingest(DataSettings(source=f"sklearn:{name}"), 1, tmp_path / "out").hints == []


@pytest.mark.parametrize(("file", "label"), [("churn.csv", "churned"), ("houses.csv", "price"), ("shapes", None)])
def test_the_sets_of_the_tests_have_no_hints(file: str, label: str | None, tmp_path: Path):
    assert ingest(DataSettings(source=str(DATA / file), label=label), 1, tmp_path / "out").hints == []


def twice(columns: int, jitter: float, share: float = 0.1, count: int = 900) -> dict[str, np.ndarray]:
    """Rows of which some are there once more, nearly."""
    rng, copies = np.random.default_rng(2), int(share * count)
    values = rng.normal(size=(count, columns))
    values[count - copies :] = values[:copies] + rng.normal(scale=jitter, size=(copies, columns))
    return {f"x{place}": column for place, column in enumerate(values.T)}


def idle(count: int = 900) -> dict[str, np.ndarray]:
    """Rows of which a third lie dense around one point."""
    rng = np.random.default_rng(3)
    scale = np.where(rng.random(count) < 0.3, 1e-4, 1)
    return {f"x{place}": rng.normal(size=count) * scale for place in range(4)}


def rare(count: int = 900) -> dict[str, np.ndarray]:
    """Rows of mostly zeros, which have one number that is none."""
    rng = np.random.default_rng(4)
    return {f"x{p}": np.where(rng.random(count) < 0.8, 0, rng.lognormal(0, 2, count)) for p in range(4)}


def worded(count: int = 900) -> dict[str, np.ndarray]:
    """Rows of two columns of words, most of which are too rare to have a code."""
    rng = np.random.default_rng(5)
    words = [f"w{number}" for number in range(400)]
    return {f"c{place}": rng.choice(words, count) for place in range(2)} | {"x": rng.integers(0, 4, count)}


NEAR: dict[str, tuple[Callable[[], dict], dict, bool]] = {
    "copies with some jitter": (lambda: twice(4, 1e-5), {}, True),
    "copies in words and a number": (lambda: twice(2, 1e-5) | {"c": np.resize(["a", "b", "c"], 900)}, {}, True),
    "copies within a group": (lambda: twice(4, 1e-5), {"split": Split(by="group", column="group")}, False),
    "copies that differ": (lambda: twice(4, 0.3), {}, False),
    "equal but for an id": (lambda: worded() | {"id": np.random.default_rng(7).permutation(900)}, {}, False),
    "few copies": (lambda: twice(4, 1e-5, share=0.003), {}, False),
    "one feature": (lambda: twice(1, 1e-4), {}, False),
    "one feature in two units": (lambda: (x := twice(1, 1e-4, 0)) | {"z": 2 * x["x0"]}, {}, False),
    "dense rows": (idle, {}, False),
    "rare numbers": (rare, {}, False),
    "rare words": (worded, {"max_categories": 5}, False),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_duplicates_of_train_rows(name: str, tmp_path: Path):
    make, settings, expected = NEAR[name]
    columns = make()
    rows = np.arange(900)
    names = {"group": rows % 810 // 3} if "split" in settings else {}
    table = pa.table(columns | names | {"y": np.random.default_rng(6).integers(0, 2, 900)})
    pq.write_table(table, tmp_path / "rows.parquet")
    data = DataSettings(source="rows.parquet", label="y", **settings)
    told = ingest(data, 1, tmp_path / "out", tmp_path).hints
    told = [sentence for sentence in told if "train row" in sentence]
    assert bool(told) is expected, told
    if expected:
        assert told[0].endswith(
            " of 360 sampled validation and test rows nearly equal a train row: remove copies, or keep "
            "related rows in one role with data.split.by: group"
        )


def test_near_duplicates_among_images(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (200, 17, 12)).astype(np.uint8)
    copies = images[:40].copy()
    copies[:, 3, 4] += 1
    for name, pixels, expected in (("a", images, 0), ("b", np.concatenate([images, copies]), 1)):
        np.savez(tmp_path / f"{name}.npz", x=pixels, y=rng.integers(0, 2, len(pixels)))
        assert len(ingest(DataSettings(source=f"{name}.npz"), 1, tmp_path / name, tmp_path).hints) == expected


def test_shrunk_images_are_means_of_blocks():
    images = np.random.default_rng(0).integers(0, 255, (3, 16, 5, 2)).astype(np.uint8)
    expected = images.astype(float).reshape(3, 8, 2, 5, 2).mean(axis=2)
    np.testing.assert_allclose(hints.shrunk(images), expected, rtol=1e-6)


SHUFFLED = RNG.permutation(ROWS)
ID = 'column "x" has a value of its own in every row, like an id: leave it out with data.exclude, or name it in data.id'
COUNTS = 'column "x" counts the rows from {}: leave it out with data.exclude'
LOST = (
    'column "x" has values that float32 can\'t tell apart: subtract an offset or rescale it, or leave it out with '
    "data.exclude"
)
COLUMNS: dict[str, tuple[object, str | None]] = {
    "an id": (SHUFFLED * 7 + 10_000, ID),
    "an id in order with gaps": (np.arange(ROWS) * 2, ID),
    "an id as a float": (SHUFFLED.astype(float), ID),
    "an index from 0": (np.arange(ROWS), COUNTS.format(0)),
    "an index from 1": (np.arange(ROWS) + 1.0, COUNTS.format(1)),
    "from 5 on": (np.arange(ROWS) + 5, ID),
    "one value twice": (np.r_[SHUFFLED[:-1], SHUFFLED[0]], None),
    "one value missing": ([None, *range(1, ROWS)], None),
    "measurements with repeats": (RNG.integers(20, 90, ROWS), None),
    "fractions": (RNG.normal(size=ROWS), None),
    "words": ([f"w{n % 40}" for n in range(ROWS)], None),
    "nanoseconds": (1_700_000_000_000_000_000 + RNG.integers(0, 9, ROWS) * 1_000_000_000, None),
    "twelve digits": (123_456_789_012 + RNG.integers(0, 200, ROWS), None),
    "both signs": (np.where(np.arange(ROWS) % 3, 1, -1) * 123_456_789_012 + np.arange(ROWS) * 7 % 200, LOST),
    "seconds with fractions": (1_700_000_000 + RNG.integers(0, 2000, ROWS) / 8, None),
    "twelve digits apart": (RNG.integers(0, 100, ROWS) * 10_000_000_000, None),
    "seven digits": (RNG.integers(1_000_000, 1_000_100, ROWS), None),
    "rounding errors": (RNG.integers(0, 90, ROWS) * 0.1 + RNG.choice([0, 1e-16], ROWS), None),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_what_a_column_of_the_source_holds(name: str, tmp_path: Path):
    values, expected = COLUMNS[name]
    assert found({"x": values, "y": CLASS}, tmp_path) == ([expected] if expected else [])


def test_no_id_is_told_of_below_50_rows(tmp_path: Path):
    assert found({"x": SHUFFLED[:49], "y": CLASS[:49]}, tmp_path) == []
    assert found({"x": SHUFFLED[:50], "y": CLASS[:50]}, tmp_path) == [ID]


@pytest.mark.parametrize(
    "settings",
    [
        {"exclude": ["x"]},
        {"id": "x"},
        {"features": ["noise"]},
        {"split": Split(by="time", column="x")},
        {"label": "x", "task": "regression", "exclude": ["y"]},
    ],
)
def test_what_is_no_feature_has_no_hint(settings: dict, tmp_path: Path):
    assert found({"x": np.arange(ROWS), "y": CLASS}, tmp_path, **settings) == []


def test_a_sentence_names_the_setting_that_can_be_used(tmp_path: Path):
    columns = {"x": SHUFFLED, "z": np.arange(ROWS) * 3, "y": CLASS}
    told = found(columns, tmp_path, features=["noise", "x"], id="z")
    assert told == ['column "x" has a value of its own in every row, like an id: take it out of data.features']


def test_every_sentence_is_short(tmp_path: Path):
    columns = {
        "a": np.where(CLASS, YES, NO),
        "b": np.arange(ROWS),
        "c": SHUFFLED,
        "d": COLUMNS["both signs"][0],
    }
    told = found(columns | {"y": CLASS}, tmp_path)
    assert [sentence.split('"')[1] for sentence in told] == ["a", "c", "b", "d"]
    assert max(len(sentence.split()) for sentence in told) < 25


def test_distinct_values_do_not_depend_on_how_rows_are_read():
    """The sample of many values is that of the smallest hashes, and a repeat counts where it is in the sample."""
    rng = np.random.default_rng(0)
    for repeats in (0, 5000):
        values = np.r_[np.arange(20_000.0), np.arange(float(repeats))]
        rng.shuffle(values)
        seen = []
        for parts in (1, 7, 300):
            total = Distinct()
            for part in np.array_split(values, parts):
                later = Distinct()
                later.add(part)
                total.merge(later)
            seen.append((total.settle().tolist(), total.repeated))
        assert seen[0] == seen[1] == seen[2]
        assert len(seen[0][0]) == _SKETCH
        assert seen[0][1] is bool(repeats)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Three CSV files of one table with a leak, an id and an index, and near-duplicates."""
    columns = twice(3, 1e-5) | {"index": np.arange(900), "id": np.random.default_rng(1).permutation(900)}
    label = np.random.default_rng(2).integers(0, 2, 900)
    table = pa.table(columns | {"leak": label + 0.5, "y": label})
    (tmp_path / "parts").mkdir()
    for number, start in enumerate((0, 100, 500)):
        end = (100, 500, 900)[number]
        pyarrow.csv.write_csv(table.slice(start, end - start), tmp_path / "parts" / f"{number}.csv")
    return tmp_path


def test_tasks_and_copies_tell_the_same(parts: Path, caplog: pytest.LogCaptureFixture):
    settings = DataSettings(source="parts", label="y", workers=1)
    manifest = ingest(settings, 1, parts / "one", parts)
    assert len(manifest.hints) == 4
    in_tasks(settings.model_copy(update={"ingest_tasks": 2}), 1, parts, parts / "two")
    assert Manifest.load(parts / "two" / "records") == manifest
    caplog.clear()
    copied = ingest(DataSettings(source="one"), 1, parts / "copy", parts)
    assert copied == manifest
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [f"hint: {hint}" for hint in manifest.hints]
    assert inspect(DataSettings(source="one"), 1, parts).hints == manifest.hints


def test_hints_are_no_part_of_the_fingerprint_and_test_rows_stay_sealed(parts: Path):
    manifest = ingest(DataSettings(source="parts", label="y"), 1, parts / "out", parts)
    assert manifest.model_copy(update={"hints": []}).with_fingerprint().fingerprint == manifest.fingerprint
    assert "hints" not in json.loads(manifest.model_copy(update={"hints": []}).model_dump_json())
    (parts / "test").mkdir()
    seal(parts / "out", parts / "test")
    assert Manifest.load(parts / "test").hints == manifest.hints
    assert Manifest.load(parts / "out").hints == []


def test_the_check_screen_and_the_report_show_them(parts: Path, monkeypatch: pytest.MonkeyPatch):
    data = {"source": str(parts / "parts"), "label": "y"}
    settings = validate({"name": "demo", "data": data})
    manifest = ingest(settings.data, settings.seed, parts / "out", parts)

    def screen() -> list[str]:
        console = Console(width=200, highlight=False)
        with console.capture() as captured:
            console.print(preflight.check(settings, parts, parts / "runs"))
        return [" ".join(line.split()) for line in captured.get().splitlines()]

    lines = screen()
    assert [line for line in lines if line.startswith("hint ")] == [f"hint {hint}" for hint in manifest.hints]
    monkeypatch.setattr(preflight, "MOST_SURVEYED", 10)
    monkeypatch.setattr(preflight, "MOST_HINTS", 1)
    (told,) = [line for line in screen() if line.startswith("hint")]
    assert told.startswith("hints ingest will look for them: the data are too large for here (")
    page = render(Report.from_json(json.dumps(whole(manifest))))
    head = page[: page.index("</header>")]
    listed = head[head.index('aria-label="Warnings"') :]
    assert all(escape(hint).replace("&quot;", "&#34;") in listed for hint in manifest.hints)
    assert "counts the rows from 0: leave it out with data.exclude." in head
    without = manifest.model_copy(update={"hints": []})
    assert "counts the rows from 0" not in render(Report.from_json(json.dumps(whole(without))))


def test_trees_are_fitted_on_a_bounded_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    sizes = []
    explained = hints.explained

    def counted(values: np.ndarray, targets: np.ndarray, least: float) -> float | None:
        sizes.append(len(values))
        return explained(values, targets, least)

    monkeypatch.setattr(hints, "explained", counted)
    monkeypatch.setattr(hints, "LEAK_ROWS", 60)
    found({"x": RNG.normal(size=ROWS), "y": CLASS}, tmp_path)
    assert sizes == [60, 60]
