"""Predictions by tasks: the rows of `kep predict`, whatever the source and the number of tasks, and after a kill."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from kep.artifacts.predictions import PredictionSet
from kep.components.predict import run as steps
from kep.components.predict.plan import plan
from kep.components.predict.predict import join, predict_slice
from kep.components.predict.read import chunks, open_for
from kep.config.data import DataSettings
from kep.core.environment import EVENTS, WORK
from kep.core.errors import RunError, UserError
from kep.core.files import read_json
from kep.data.columns import pixels
from kep.data.schema import Column, Manifest, Reading, _fingerprint
from kep.delivery.predict import SourceOptions, predict
from kep.models.ensemble import Ensemble
from kep.stats.observed import predicted_bins
from kep.storage.champions import content_version
from tests.helpers.commands import environment
from tests.helpers.examples import write_examples
from tests.helpers.files import edited
from tests.helpers.paths import DATA
from tests.helpers.predictions import churn


def shards(joined: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((joined / "predictions").iterdir())}


def a_csv(folder: Path) -> Path:
    pyarrow.csv.write_csv(churn().drop_columns("account"), folder / "new.csv")
    return folder / "new.csv"


def many_csv(folder: Path) -> Path:
    for number, rows in enumerate((1100, 5, 1024, 871)):
        pyarrow.csv.write_csv(churn(rows).drop_columns("account"), folder / f"{number}.csv")
    return folder


def parquet(folder: Path) -> Path:
    pq.write_table(churn(5000).drop_columns("account"), folder / "a.parquet", row_group_size=1500)
    # As pandas writes it: numbers with gaps are floats.
    part = churn(700).drop_columns("account")
    part = part.set_column(part.schema.get_field_index("months"), "months", part["months"].cast(pa.float64()))
    pq.write_table(part, folder / "b.parquet")
    return folder


def tfrecords(folder: Path) -> Path:
    for number in range(2):
        write_examples(folder / f"{number}.tfrecord", churn(1100).drop_columns("account").to_pylist())
    return folder


def npz(folder: Path) -> Path:
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savez(folder / "new.npz", x=digits.images.astype(np.uint8), y=digits.target)
    return folder / "new.npz"


def images(folder: Path) -> Path:
    for name in ("a", "b"):
        (folder / name).mkdir()
        for number, path in enumerate(sorted((DATA / "shapes").glob("*/*"))):
            with Image.open(path) as image:
                for copy in range(6):
                    image.save(folder / name / f"{number}-{copy}.png")
    return folder


@pytest.mark.parametrize(
    ("source", "model", "rows"),
    [
        (a_csv, "churn", 3000),
        (many_csv, "churn", 3000),
        (parquet, "churn", 5700),
        (tfrecords, "churn", 2200),
        (npz, "digits", 1797),
        (images, "shapes", None),
        (lambda folder: DATA / "houses.csv", "houses", 400),
    ],
)
def test_any_number_of_tasks_writes_the_rows_of_kep_predict(
    ensembles, settings, predicted, tmp_path, source, model, rows
):
    families = {"churn": ("mlp", "boosted_trees"), "shapes": ("mlp", "cnn")}.get(model, ("mlp",))
    folder = ensembles(model, *families)
    (tmp_path / "new").mkdir()
    new = source(tmp_path / "new")
    asked = settings(new, shard_rows=200)
    one, three = (predicted(folder, asked.model_copy(update={"tasks": tasks})) for tasks in (1, 3))
    assert shards(one) == shards(three)
    table = pq.read_table(one / "predictions")
    predict(str(folder), None, str(new), tmp_path / "all.parquet", tmp_path, Console(quiet=True))
    expected = pq.read_table(tmp_path / "all.parquet")
    assert table.select(expected.column_names).equals(expected)
    assert table.column_names == ["row", *expected.column_names, "model_version"]
    assert table["row"].to_pylist() == list(range(len(expected)))
    assert rows in (None, len(expected))
    assert set(table["model_version"].to_pylist()) == {content_version(folder)}
    told = PredictionSet.load(three)
    assert told.rows == len(expected) == sum(shard.rows for shard in told.shards)
    assert (told.model.folder, told.model.version) == (".", content_version(folder))
    assert [shard.file for shard in told.shards] == list(shards(one))
    assert [column.name for column in told.columns] == table.column_names
    assert read_json(one / "observed.json") == read_json(three / "observed.json")


@pytest.mark.parametrize("key", ["account", "months"])
def test_a_key_names_the_rows(ensembles, settings, predicted, many, key):
    exclude = [] if key == "account" else ["account"]
    joined = predicted(ensembles("churn", "mlp", "boosted_trees"), settings(many, *exclude, key=key, tasks=2))
    table = pq.read_table(joined / "predictions")
    assert table.column_names[0] == key
    # A CSV file's values are texts.
    assert table[key].to_pylist() == [str(value) for value in churn()[key].to_pylist()]
    assert read_json(joined / "predictions.json")["key"] == key


def test_the_key_does_not_change_what_is_predicted(ensembles, settings, tmp_path):
    """In which batches a Parquet file is read depends on the number of columns; what is predicted at once does not."""
    folder = ensembles("churn", "mlp", "boosted_trees")
    pq.write_table(churn(50_000), tmp_path / "new.parquet")
    (with_key,) = plan(folder, settings(tmp_path / "new.parquet", key="account", shard_rows=100_000), tmp_path)
    sizes = []

    class Counting(Ensemble):
        def predict_members(self, rows):
            sizes.append(len(rows))
            return [np.full((len(rows), 2), 0.5) for _ in self.members]

    asked = settings(tmp_path / "new.parquet", key="account", shard_rows=100_000)
    (tmp_path / "out").mkdir()
    predict_slice(Counting(folder), [], with_key, asked, tmp_path / "work", tmp_path / "out", lambda *_: None)
    assert sizes == [1024] * 48 + [848]


def test_a_value_that_the_model_can_not_take_is_one_sentence(ensembles, settings, predicted, tmp_path):
    table = churn()
    months = [str(value) for value in table["months"].to_pylist()]
    months[2500] = "soon"
    pyarrow.csv.write_csv(table.set_column(2, "months", pa.array(months)), tmp_path / "new.csv")
    with pytest.raises(UserError, match=r'"months": "soon" is not a number; .* \(row 2,500 of'):
        predicted(ensembles("churn", "mlp", "boosted_trees"), settings(tmp_path / "new.csv", key="account", tasks=2))


@pytest.mark.parametrize(
    ("mode", "size", "shape", "words"),
    [
        ("RGB", (12, 12), (12, 12, 3), None),
        ("L", (12, 12), (12, 12, 3), None),  # grey ones have colours, too
        (
            "RGB",
            (12, 12),
            (12, 12, 1),
            "images of 12x12 pixels and 3 channels .* the model takes 12x12 pixels and 1 ch",
        ),
        (
            "RGB",
            (24, 12),
            (12, 12, 3),
            "images of 12x24 pixels and 3 channels .* the model takes 12x12 pixels and 3 ch",
        ),
    ],
)
def test_images_have_the_shape_that_the_model_takes(tmp_path, mode, size, shape, words):
    (tmp_path / "new" / "a").mkdir(parents=True)
    picture = Image.new(mode, size, 77 if mode == "L" else (1, 2, 3))
    picture.save(tmp_path / "new" / "a" / "0.png")
    columns, data = [Column(name="image", kind="image", shape=shape)], DataSettings(source=str(tmp_path / "new"))
    if words:
        with pytest.raises(UserError, match=words):
            open_for(columns, data, tmp_path)
        return
    (chunk,) = chunks(open_for(columns, data, tmp_path), ["image"], 10)
    assert pixels(chunk["image"], columns[0])[0, 0, 0].tolist() == ([77] * 3 if mode == "L" else [1, 2, 3])


@pytest.mark.parametrize("rows", [2900, 3100])
def test_a_source_that_changed_under_the_tasks_is_noticed(ensembles, settings, many, tmp_path, rows):
    folder, asked = ensembles("churn", "mlp", "boosted_trees"), settings(many, key="account")
    (own,) = plan(folder, asked, tmp_path)
    pyarrow.csv.write_csv(churn(rows), many)
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match=r"many.csv changed while it was predicted; run it again"):
        predict_slice(
            Ensemble(folder),
            predicted_bins(Manifest.load(folder)),
            own,
            asked,
            tmp_path / "work",
            tmp_path / "out",
            lambda *_: None,
        )


def test_a_missing_shard_is_noticed(ensembles, settings, predicted, many, tmp_path):
    asked = settings(many, key="account", tasks=3)
    place = predicted(ensembles("churn", "mlp", "boosted_trees"), asked).parent
    (tmp_path / "again").mkdir()
    with pytest.raises(RunError, match=r"part-00001-of-00003.parquet is missing"):
        join([place / "slice-0", place / "slice-2"], asked, tmp_path / "again")


def killed(out: Path, task: dict[str, str]) -> None:
    """Run a task that is killed after its second shard."""
    program = f"""
import os, signal
from kep.components.predict.run import run
from kep.runtime.step import Step
say = Step.progress
def deadly(step, text, *more):
    say(step, text, *more)
    if text.startswith("shard 2"):
        os.kill(os.getpid(), signal.SIGKILL)
Step.progress = deadly
run(out={str(out)!r}, **{task!r})
"""
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not out.exists()


def test_a_killed_task_predicts_only_what_is_missing(ensembles, settings, many, tmp_path, monkeypatch):
    """SIGKILL after the second of three shards; the next attempt ends with the uninterrupted one's bytes."""
    folder, asked = ensembles("churn", "mlp", "boosted_trees"), settings(many, key="account")
    (own,) = plan(folder, asked, tmp_path)
    task = {"part": own.to_json(), "model": str(folder), "config": asked.to_json(), "code": ""}
    for name, path in ((WORK, tmp_path / "work"), (EVENTS, tmp_path / "events.jsonl")):
        monkeypatch.setenv(name, str(path))
    killed(tmp_path / "out", task)
    kept = sorted(path.name for path in (tmp_path / "work").glob("predict/*/part-*.parquet"))
    assert kept == ["part-00000-of-00003.parquet", "part-00001-of-00003.parquet"]
    rows = []
    members = Ensemble.predict_members
    monkeypatch.setattr(Ensemble, "predict_members", lambda self, own: rows.append(len(own)) or members(self, own))
    steps.run(out=str(tmp_path / "out"), **task)
    assert rows == [3000 - 2048]
    texts = [json.loads(line).get("text") for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [text for text in texts if text] == [
        "shard 1 of 3: 1,024 rows",
        "shard 2 of 3: 1,024 rows",
        "shard 1 of 3: was predicted before",
        "shard 2 of 3: was predicted before",
        "shard 3 of 3: 952 rows",
    ]
    (tmp_path / "alone").mkdir()
    predict_slice(
        Ensemble(folder),
        predicted_bins(Manifest.load(folder)),
        own,
        asked,
        tmp_path / "other",
        tmp_path / "alone",
        lambda *_: None,
    )
    for path in (tmp_path / "alone").glob("part-*"):
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
    assert not list((tmp_path / "work" / "predict").iterdir())


def test_what_is_kept_is_of_the_same_settings(ensembles, settings, many, tmp_path, monkeypatch):
    """Another key gives the same slice, but not the same shards."""
    folder = ensembles("churn", "mlp", "boosted_trees")
    monkeypatch.setenv(WORK, str(tmp_path / "work"))
    tasks = {}
    for key in ("account", "months"):
        asked = settings(many, "account", key=key)
        (own,) = plan(folder, asked, tmp_path)
        tasks[key] = {"part": own.to_json(), "model": str(folder), "config": asked.to_json(), "code": ""}
    killed(tmp_path / "account", tasks["account"])
    steps.run(out=str(tmp_path / "months"), **tasks["months"])
    assert len(list((tmp_path / "work" / "predict").iterdir())) == 1, "what the killed task kept"
    table = pq.read_table(tmp_path / "months" / "part-00000-of-00003.parquet")
    assert table.column_names[0] == "months"


def test_a_model_without_counts_predicts_and_counts_nothing(ensembles, settings, predicted, tmp_path, many):
    old = tmp_path / "old"
    shutil.copytree(ensembles("churn", "mlp", "boosted_trees"), old)
    manifest = Manifest.load(old)
    bare = [column.model_copy(update={"edges": None, "counts": None}) for column in manifest.columns]
    first = manifest.model_copy(update={"columns": bare, "version": 1})
    first.model_copy(update={"fingerprint": _fingerprint(first.model_dump(mode="json"))}).save(old)
    with edited(old / "ensemble.json") as content:
        del content["files"]
    joined = predicted(old, settings(many, key="account"))
    assert read_json(joined / "predictions.json")["rows"] == 3000
    assert not (joined / "observed.json").exists()


@pytest.mark.parametrize(("known", "told"), [(None, True), (["?"], False)])
def test_markers_that_the_model_does_not_hold_are_told_of(known, told, tmp_path, caplog):
    (tmp_path / "rows.csv").write_text("a,b\n?,1\n")
    columns = [Column(name="a", kind="categorical", vocabulary=["u"], reading=Reading(missing=known))]
    open_for(columns, DataSettings(source=str(tmp_path / "rows.csv"), missing=["?"]), tmp_path)
    assert ("the model was trained before models held" in caplog.text) is told


@pytest.mark.parametrize(("share", "told"), [(0.5, True), (0.02, False)])
def test_many_rows_of_an_unknown_category_are_told_of(ensembles, tmp_path, share, told):
    table = churn().slice(0, 200)
    plans = ["gold" if row < share * len(table) else plan for row, plan in enumerate(table["plan"].to_pylist())]
    new = table.set_column(table.schema.get_field_index("plan"), "plan", pa.array(plans))
    pyarrow.csv.write_csv(new, tmp_path / "new.csv", pyarrow.csv.WriteOptions(delimiter=";"))
    console = Console(record=True, width=200)
    folder = str(ensembles("churn", "boosted_trees"))
    asked = {"runs": tmp_path, "console": console, "reading": SourceOptions(delimiter=";")}
    predict(folder, None, str(tmp_path / "new.csv"), tmp_path / "told.csv", **asked)
    note = 'column "plan" has a category that the model does not know in 100 of 200 rows, such as "gold"'
    assert (note in console.export_text()) == told
