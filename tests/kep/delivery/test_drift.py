"""`kep drift`: data as the model knows them, data that have shifted, and models that know nothing."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from PIL import Image
from rich.console import Console

from kep.core.errors import UserError
from kep.core.files import read_json, write_json
from kep.data.schema import _fingerprint
from kep.delivery.drift import drift
from tests.helpers.files import edited
from tests.helpers.paths import DATA


@pytest.fixture
def compared(runs, tmp_path):
    """Function that compares a table with a run: whether it drifted, the JSON, and what was printed."""

    def of(source: str, table: pa.Table, names=("mlp", "boosted_trees"), threshold: float = 0.2):
        pyarrow.csv.write_csv(table, tmp_path / "new.csv")
        root, console = runs(source, *names), Console(record=True, width=200)
        run = str(root / source / "latest")
        found = drift(
            str(tmp_path / "new.csv"), run, root, threshold, console, tmp_path / "d.html", tmp_path / "d.json"
        )
        return found, read_json(tmp_path / "d.json"), console.export_text()

    return of


def shifts(content: dict) -> dict[str, dict]:
    return {shift["name"]: shift for shift in content["shifts"]}


def churn() -> pa.Table:
    return pyarrow.csv.read_csv(DATA / "churn.csv")


def test_the_data_of_the_run_have_not_drifted(compared, tmp_path):
    found, content, printed = compared("churn", churn())
    assert not found
    assert content["drifted"] == []
    assert (content["rows"], content["train_rows"]) == (600, 360)
    assert "no drift beyond 0.2 in 8 comparisons: 600 new rows against 360 train rows" in printed
    assert "<svg" in (tmp_path / "d.html").read_text()


def test_what_has_shifted_is_named(compared, tmp_path):
    table = churn()
    plans = ["gold" if row % 3 == 0 else plan for row, plan in enumerate(table["plan"].to_pylist())]
    charge = [None if row % 2 else value for row, value in enumerate(table["monthly_charge"].to_pylist())]
    months = pa.array([value + 30 for value in table["months"].to_pylist()])
    new = table.set_column(1, "months", months).set_column(2, "plan", pa.array(plans))
    new = new.set_column(3, "monthly_charge", pa.array(charge, pa.float64()))
    found, content, printed = compared("churn", new)
    assert found
    assert {"months", "plan", "monthly_charge"} <= set(content["drifted"])
    assert "region" not in content["drifted"]
    own = shifts(content)
    assert own["plan"]["unseen"] == {"train": 0.0, "new": pytest.approx(200 / 600)}
    assert own["plan"]["unseen_examples"] == ["gold"]
    assert own["monthly_charge"]["missing"]["new"] > 0.5
    assert sum(own["months"]["after"]) == 600
    assert "(gold)" in printed
    page = (tmp_path / "d.html").read_text()
    assert page.index(content["drifted"][0]) < page.index("region")
    assert not compared("churn", new, threshold=50)[0]


def test_predictions_are_compared_with_the_stored_ones_of_test_rows(compared, stored):
    table = churn()
    one_plan = table.set_column(1, "months", pa.array([1] * len(table)))
    _, content, _ = compared("churn", one_plan)
    own, before = shifts(content), stored("churn", "mlp", "boosted_trees")["ensemble"]
    assert own["predicted churned"]["before"] == np.bincount(before.argmax(axis=1), minlength=2).tolist()
    assert sum(own["probability of the predicted class"]["before"]) == len(before)


def test_numbers_and_images(compared, runs, tmp_path):
    houses = pyarrow.csv.read_csv(DATA / "houses.csv")
    found, content, _ = compared("houses", houses, ("mlp",))
    assert not found
    assert sum(shifts(content)["predicted price"]["after"]) == len(houses)
    console, root = Console(record=True, width=200), runs("shapes", "mlp")
    assert not drift(str(DATA / "shapes"), str(root / "shapes" / "latest"), root, 0.2, console)
    (tmp_path / "dark" / "circle").mkdir(parents=True)
    for path in (DATA / "shapes").glob("*/*"):
        with Image.open(path) as image:
            image.point(lambda value: value // 2).save(
                tmp_path / "dark" / "circle" / f"{path.parent.name}{path.stem}.png"
            )
    assert drift(str(tmp_path / "dark"), str(root / "shapes" / "latest"), root, 0.2, console)


def test_a_champion_is_the_model_of_its_run(runs, tmp_path):
    root = runs("churn", "mlp", "boosted_trees")
    champion = tmp_path / "champion"
    shutil.copytree(root / "churn" / "latest" / "ensemble", champion)
    for place, names in ((root, 8), (tmp_path, 7)):
        drift(str(DATA / "churn.csv"), str(champion), place, 0.2, Console(quiet=True), record=tmp_path / "d.json")
        assert len(read_json(tmp_path / "d.json")["shifts"]) == names


def test_mistakes_are_one_sentence(runs, tmp_path):
    root, console = runs("churn", "mlp", "boosted_trees"), Console(quiet=True)
    run = str(root / "churn" / "latest")
    with pytest.raises(UserError, match="--threshold: 0 is not above 0"):
        drift(str(DATA / "churn.csv"), run, root, 0, console)
    pyarrow.csv.write_csv(churn().drop_columns("plan"), tmp_path / "less.csv")
    with pytest.raises(UserError, match='column "plan" is missing in'):
        drift(str(tmp_path / "less.csv"), run, root, 0.2, console)
    old = tmp_path / "old"
    shutil.copytree(root / "churn" / "latest" / "ensemble", old)
    content = json.loads((old / "manifest.json").read_text())
    for part in (*content["columns"], content["label"]):
        del part["edges"], part["counts"]
    content |= {"version": 1}
    write_json(old / "manifest.json", content | {"fingerprint": _fingerprint(content)})
    with edited(old / "ensemble.json") as described:
        del described["files"]
    with pytest.raises(UserError, match="manifest has version 1 and does not hold how its train rows were distributed"):
        drift(str(DATA / "churn.csv"), str(old), root, 0.2, console)
