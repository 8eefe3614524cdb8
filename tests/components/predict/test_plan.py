"""How a source is held against a model and shared among tasks, and what is refused before anything is predicted."""

import json
import shutil

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from kep.artifacts.predictions import SourceSlice
from kep.components.predict.plan import plan
from kep.components.predict.run import take
from kep.core.errors import UserError
from kep.core.files import write_json
from kep.storage.champions import content_version
from tests.helpers.predictions import churn


@pytest.fixture(scope="module")
def model(ensembles):
    return ensembles("churn", "mlp", "boosted_trees")


def test_tasks_get_whole_shards_that_follow_each_other(model, many, settings, tmp_path):
    slices = plan(model, settings(many, key="account", tasks=2), tmp_path)
    assert [(one.shards, one.total, one.row, one.rows) for one in slices] == [
        ([0, 1], 3, 0, 1024),
        ([1, 3], 3, 1024, 1976),
    ]
    assert {one.version for one in slices} == {content_version(model)}
    assert {one.model for one in slices} == {"."}
    assert [SourceSlice.from_json(one.to_json()).to_json() for one in slices] == [one.to_json() for one in slices]
    # More tasks than shards would have nothing to do.
    assert len(plan(model, settings(many, key="account", tasks=8), tmp_path)) == 3
    (alone,) = plan(model, settings(many, key="account", tasks=8, shard_rows=10_000), tmp_path)
    assert (alone.total, alone.rows) == (1, 3000)


def test_a_champion_on_a_volume_is_handed_on_as_it_is_at_that_moment(model, many, settings, tmp_path):
    champions, version = tmp_path / "champions", content_version(model)
    shutil.copytree(model, champions / "versions" / version)
    shutil.copytree(model, champions / "versions" / "older")
    write_json(champions / "champion.json", {"version": version})
    take(out=str(tmp_path / "taken"), folder=str(champions), code="")
    (tmp_path / "scratch").mkdir()
    (own,) = plan(tmp_path / "taken", settings(many, key="account"), tmp_path / "scratch")
    assert (own.model, own.version) == (".", version)
    with pytest.raises(SystemExit):
        take(out=str(tmp_path / "none"), folder=str(tmp_path / "nothing"), code="")


def test_a_task_names_the_files_that_it_needs_and_no_others(model, settings, tmp_path):
    (tmp_path / "new").mkdir()
    for number in range(4):
        pq.write_table(churn(1500), tmp_path / "new" / f"{number}.parquet", row_group_size=700)
    slices = plan(model, settings(tmp_path / "new", key="account", tasks=4, shard_rows=1500), tmp_path)
    assert [one.files for one in slices] == [[0, 1], [1, 2], [2, 3], [3, 4]]
    assert [one.row for one in slices] == [0, 1500, 3000, 4500]
    slices = plan(model, settings(tmp_path / "new", key="account", tasks=3, shard_rows=2000), tmp_path)
    # A file of 1,500 rows has units of 700, 700 and 100: the second shard begins in the second file.
    assert [(one.files, one.unit, one.skip, one.row) for one in slices] == [
        ([0, 2], 0, 0, 0),
        ([1, 3], 1, 0, 2200),
        ([2, 4], 2, 0, 4400),
    ]


def test_the_version_and_the_content_of_the_source_are_in_every_slice(model, many, settings, tmp_path):
    asked = settings(many, key="account")
    (before,) = plan(model, asked, tmp_path)
    assert plan(model, asked, tmp_path) == [before]
    pyarrow.csv.write_csv(churn().set_column(0, "account", pa.array(["x"] * 3000)), many)
    (after,) = plan(model, asked, tmp_path)
    assert (after.source != before.source, after.version == before.version) == (True, True)
    other = tmp_path / "other"
    shutil.copytree(model, other)
    write_json(other / "extra.json", {})
    assert plan(other, asked, tmp_path)[0].version != before.version


def test_the_champion_of_the_moment_is_taken(model, many, settings, tmp_path):
    champions = tmp_path / "champions"
    shutil.copytree(model, champions / "versions" / "abc")
    write_json(champions / "champion.json", {"version": "abc"})
    (own,) = plan(champions, settings(many, key="account"), tmp_path)
    assert own.model == "versions/abc"
    assert own.version == content_version(model)


def changed(table: pa.Table, name: str, values: list, kind: pa.DataType | None = None) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(values, kind))


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (lambda t: t.drop_columns("plan"), "account", 'column "plan" is missing in'),
        (
            lambda t: t.rename_columns(["month" if name == "months" else name for name in t.column_names]),
            "account",
            'column "months" is missing in .* did you mean "month"',
        ),
        (lambda t: t, None, 'column "account" of .* is unknown to the model; remove it, exclude it, or make it the'),
        (
            lambda t: t.append_column("regoin", t["region"]),
            "account",
            'column "regoin" of .* is unknown to the model; did you mean "region"',
        ),
        (
            lambda t: changed(t, "months", ["twelve"] * len(t)),
            "account",
            r'column "months": "twelve" is not a number; .* \(row 0 of the source, counted from 0\)',
        ),
        (lambda t: t, "acount", 'key: column "acount" is not in .*; did you mean "account"'),
        (
            lambda t: changed(t, "account", [None if row == 1500 else "c" for row in range(len(t))], pa.string()),
            "account",
            'key: column "account" has no value in row 1500 of the source, counted from 0; fill it',
        ),
        (
            lambda t: t.rename_columns(["prediction", *t.column_names[1:]]),
            "prediction",
            'key: the predictions have a column "prediction" of their own; rename it in the source',
        ),
        (lambda t: t.slice(0, 0), "account", "has no rows; there is nothing to predict"),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_can_not_be_predicted_is_one_sentence(model, settings, tmp_path, ending, change, key, words):
    path = tmp_path / f"new.{ending}"
    {"csv": pyarrow.csv.write_csv, "parquet": pq.write_table}[ending](change(churn()), path)
    with pytest.raises(UserError, match=words) as error:
        plan(model, settings(path, key=key), tmp_path)
    assert "\n" not in str(error.value)


def test_a_key_has_one_type_in_all_files(model, settings, tmp_path):
    (tmp_path / "new").mkdir()
    pq.write_table(churn(600), tmp_path / "new" / "a.parquet")
    pq.write_table(changed(churn(600), "account", list(range(600))), tmp_path / "new" / "b.parquet")
    with pytest.raises(UserError, match=r'key: column "account" is int64 in b.parquet and string before'):
        plan(model, settings(tmp_path / "new", key="account"), tmp_path)


def test_an_image_is_no_key(ensembles, settings, tmp_path):
    from tests.helpers.paths import DATA

    with pytest.raises(UserError, match='key: column "image" holds images'):
        plan(ensembles("shapes", "mlp"), settings(DATA / "shapes", key="image"), tmp_path)


def test_columns_that_the_models_own_source_had_may_be_there(model, settings, tmp_path):
    pyarrow.csv.write_csv(churn(), tmp_path / "new.csv")
    assert plan(model, settings(tmp_path / "new.csv", "account"), tmp_path)  # excluded; the label is known


def test_what_the_most_tasks_are_told_fits_into_a_parameter(model, many, settings, tmp_path):
    (own, *_) = plan(model, settings(many, key="account", tasks=256), tmp_path)
    longest = own.model_copy(
        update={"number": 255, "tasks": 256, "shards": [99_999] * 2, "total": 99_999, "files": [99_999] * 2}
        | {"row": 10**12, "rows": 10**12}
    )
    assert 256 * (len(json.dumps(longest.to_json())) + 2) < 128 << 10


def test_a_folder_without_a_model_is_refused(many, settings, tmp_path):
    with pytest.raises(UserError, match="holds no ensemble; give the folder that a run calls ensemble"):
        plan(tmp_path, settings(many, key="account"), tmp_path)
